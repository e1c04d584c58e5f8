//! What the rules of operators push a node's ops through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use striate_graph::{Graph, NodeOp, Value};
use striate_tensor::ops::{self, BinaryKind, UnaryKind};
use striate_tensor::{DType, Device, Op, Shape, Tensor};

use super::item::{Dev, Item, Step, Stop, invalid};
use crate::onnx::array::Array;
use crate::onnx::attributes::Attributes;
use crate::onnx::elem::Elem;

/// Weights on a device, by their number in the file and the order of their axes: made once for all shapes
/// that a model is compiled for.
pub(crate) type Weights = Mutex<HashMap<(u32, Vec<usize>), Tensor>>;

/// A node that is being compiled: its operands, and the graph that it goes into.
pub(crate) struct Cx<'a> {
    pub(crate) graph: &'a mut Graph,
    pub(crate) device: &'a Device,
    pub(crate) weights: &'a Arc<Weights>,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) inputs: &'a [Option<Item>],
    pub(crate) algorithm: ops::Algorithm,
}

impl Cx<'_> {
    pub(crate) fn opset(&self) -> i64 {
        self.attributes.opset
    }

    /// How many outputs the node has.
    pub(crate) fn outputs(&self) -> usize {
        self.attributes.node.output.len()
    }

    /// An operand that may be left out.
    pub(crate) fn optional(&self, place: usize) -> Option<&Item> {
        self.inputs.get(place)?.as_ref()
    }

    pub(crate) fn item(&self, place: usize) -> Step<&Item> {
        match self.optional(place) {
            Some(item) => Ok(item),
            None => invalid(format!("expected an input {place}, got none")),
        }
    }

    /// An operand that has to be known now.
    pub(crate) fn array(&self, place: usize) -> Step<&Array> {
        match self.item(place)? {
            Item::Host(array) => Ok(array),
            Item::Device(_) => Err(Stop::Needs(place)),
        }
    }

    pub(crate) fn ints(&self, place: usize) -> Step<Vec<i64>> {
        Ok(self.array(place)?.ints().to_vec())
    }

    /// A list of integers: an attribute in old files, an operand in new ones.
    pub(crate) fn list(&self, name: &str, place: usize) -> Step<Option<Vec<i64>>> {
        if self.optional(place).is_some() {
            return self.ints(place).map(Some);
        }
        Ok(self.attributes.ints(name).map(<[i64]>::to_vec))
    }

    /// A number that has to be known now.
    pub(crate) fn number(&self, place: usize) -> Step<f64> {
        match self.array(place)?.floats()[..] {
            [number] => Ok(number),
            ref more => {
                invalid(format!("expected one number as input {place}, got {}", more.len()))
            }
        }
    }

    /// An operand on the device.
    pub(crate) fn dev(&mut self, place: usize) -> Step<Dev> {
        let item = self.item(place)?.clone();
        self.on_device(&item)
    }

    /// An operand on the device, of floats.
    pub(crate) fn float(&mut self, place: usize) -> Step<Dev> {
        let elem = self.item(place)?.elem();
        if !elem.is_float() {
            return Err(Stop::Host);
        }
        self.dev(place)
    }

    pub(crate) fn on_device(&mut self, item: &Item) -> Step<Dev> {
        match item {
            Item::Device(dev) => Ok(dev.clone()),
            Item::Host(array) => {
                let plain = Dev::plain(array.dims.len());
                let value = self.weight(array, &plain)?;
                Ok(Dev { value, axes: plain, dims: array.dims.clone(), elem: array.elem })
            }
        }
    }

    /// An array as a constant, with its axes in this order. Weights of the file are made once.
    pub(crate) fn weight(&mut self, array: &Array, order: &[usize]) -> Step<Value> {
        let key = array.id.map(|id| (id, order.to_vec()));
        let known = || self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &key
            && let Some(tensor) = known().get(key)
        {
            return Ok(self.graph.constant(tensor.clone()));
        }
        let mut tensor = array.to_device(self.device)?;
        if !order.iter().copied().eq(0..order.len()) {
            tensor = tensor.permute(order)?;
        }
        if let Some(key) = key {
            known().insert(key, tensor.clone());
        }
        Ok(self.graph.constant(tensor))
    }

    /// One number as a constant.
    pub(crate) fn scalar(&mut self, value: f32) -> Step<Value> {
        let tensor = Tensor::scalar(value, self.device)?;
        Ok(self.graph.constant(tensor))
    }

    /// Floats as a constant.
    pub(crate) fn constant(&mut self, dims: &[usize], values: Vec<f32>) -> Step<Value> {
        let tensor = Tensor::from_vec(values, dims, self.device)?;
        Ok(self.graph.constant(tensor))
    }

    pub(crate) fn words(&mut self, dims: &[usize], values: Vec<u32>) -> Step<Value> {
        let tensor = Tensor::from_vec(values, dims, self.device)?;
        Ok(self.graph.constant(tensor))
    }

    pub(crate) fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Step<Value> {
        let name = self.name();
        Ok(self.graph.push(name, op, inputs)?)
    }

    fn name(&self) -> String {
        let node = self.attributes.node;
        match (&*node.name, node.output.first()) {
            ("", Some(output)) => output.clone(),
            (name, _) => name.to_owned(),
        }
    }

    pub(crate) fn reshape(&mut self, value: Value, dims: &[usize]) -> Step<Value> {
        if self.graph.ty(value).shape.dims() == dims {
            return Ok(value);
        }
        let name = self.name();
        let op = NodeOp::Reshape(Shape::new(dims)?);
        Ok(self.graph.push_node(name, op, &[value], false)?)
    }

    pub(crate) fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    /// A value with its axes in this order.
    pub(crate) fn in_order(&mut self, dev: &Dev, axes: &[usize]) -> Step<Dev> {
        if dev.axes == axes {
            return Ok(dev.clone());
        }
        let order: Vec<usize> = axes.iter().map(|&axis| dev.place(axis)).collect();
        let physical = dev.physical();
        let moved = order.iter().filter(|&&place| physical[place] != 1);
        let value = match moved.is_sorted() {
            // Only axes of one entry move.
            true => {
                let dims: Vec<usize> = axes.iter().map(|&axis| dev.dims[axis]).collect();
                self.reshape(dev.value, &dims)?
            }
            false => self.push(ops::Permute { order }, &[dev.value])?,
        };
        Ok(Dev { value, axes: axes.to_vec(), ..dev.clone() })
    }

    /// A value with its axes as in the file.
    pub(crate) fn plain(&mut self, dev: &Dev) -> Step<Dev> {
        self.in_order(dev, &Dev::plain(dev.rank()))
    }

    /// A value in f32, where the device holds another type.
    pub(crate) fn wide(&mut self, dev: &Dev) -> Step<Dev> {
        match self.dtype(dev.value) {
            DType::F32 => Ok(dev.clone()),
            _ => {
                let value = self.push(ops::Cast { dtype: DType::F32 }, &[dev.value])?;
                Ok(Dev { value, ..dev.clone() })
            }
        }
    }

    pub(crate) fn unary(&mut self, kind: UnaryKind, x: &Dev) -> Step<Dev> {
        let x = self.wide(x)?;
        let value = self.push(ops::Unary { kind }, &[x.value])?;
        Ok(Dev { value, ..x })
    }

    pub(crate) fn affine(&mut self, x: &Dev, scale: f32, shift: f32) -> Step<Dev> {
        self.unary(UnaryKind::Affine { scale, shift }, x)
    }

    pub(crate) fn binary(&mut self, kind: BinaryKind, a: &Dev, b: &Dev) -> Step<Dev> {
        let (a, b) = (self.wide(a)?, self.wide(b)?);
        let elem = a.elem;
        self.broadcast(ops::Binary { kind }, &[a, b], elem)
    }

    /// One number for each element of `x` from a constant: `x + 2`.
    pub(crate) fn with_scalar(&mut self, kind: BinaryKind, x: &Dev, number: f32) -> Step<Dev> {
        let x = self.wide(x)?;
        let scalar = self.scalar(number)?;
        let value = self.push(ops::Binary { kind }, &[x.value, scalar])?;
        Ok(Dev { value, ..x })
    }

    /// An op on operands that broadcast, in the order of axes of the largest of them.
    pub(crate) fn broadcast(
        &mut self,
        op: impl Into<Op>,
        operands: &[Dev],
        elem: Elem,
    ) -> Step<Dev> {
        let shapes: Vec<&[usize]> = operands.iter().map(|dev| &dev.dims[..]).collect();
        let dims = super::item::broadcast(&shapes)?;
        let rank = dims.len();
        let whole = operands.iter().filter(|dev| dev.rank() == rank);
        let axes = whole.max_by_key(|dev| (dev.count(), usize::from(!self.is_constant(dev))));
        let axes = axes.map_or_else(|| Dev::plain(rank), |dev| dev.axes.clone());
        let mut values = Vec::with_capacity(operands.len());
        for dev in operands {
            values.push(self.aligned(dev, &axes)?);
        }
        let value = self.push(op, &values)?;
        let dev = Dev { value, axes, dims, elem };
        // Leading axes of one entry may be missing, where all operands lack them.
        let physical = dev.physical();
        let value = self.reshape(value, &physical)?;
        Ok(Dev { value, ..dev })
    }

    pub(crate) fn is_constant(&self, dev: &Dev) -> bool {
        matches!(self.graph.source(dev.value), striate_graph::Source::Constant(_))
    }

    /// An operand that broadcasts to axes in this order: with its own in it, and no leading axes of one
    /// entry.
    fn aligned(&mut self, dev: &Dev, axes: &[usize]) -> Step<Value> {
        let missing = axes.len() - dev.rank();
        let mut dims = vec![1; missing];
        dims.extend(&dev.dims);
        let own: Vec<usize> = dev.axes.iter().map(|axis| axis + missing).collect();
        let own: Vec<usize> = (0..missing).chain(own).collect();
        let value = match missing {
            0 => dev.value,
            _ => {
                let physical: Vec<usize> = own.iter().map(|&axis| dims[axis]).collect();
                self.reshape(dev.value, &physical)?
            }
        };
        let whole = Dev { value, axes: own, dims, elem: dev.elem };
        let whole = self.in_order(&whole, axes)?;
        let physical = whole.physical();
        let ones = physical.iter().take_while(|&&extent| extent == 1).count();
        let ones = if whole.count() == 1 { physical.len() } else { ones };
        match ones {
            0 => Ok(whole.value),
            _ if dev.count() == 1 && axes.is_empty() => Ok(whole.value),
            ones => self.reshape(whole.value, &physical[ones..]),
        }
    }

    /// A value of the device for the node's output, as it lies.
    pub(crate) fn like(&self, value: Value, like: &Dev) -> Item {
        Item::Device(Dev { value, ..like.clone() })
    }

    /// A value in the file's order of axes.
    pub(crate) fn made(&self, value: Value, dims: Vec<usize>, elem: Elem) -> Item {
        Item::Device(Dev { value, axes: Dev::plain(dims.len()), dims, elem })
    }
}
