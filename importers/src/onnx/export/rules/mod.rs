//! What each op becomes in the file.

mod elementwise;
mod movement;
mod normalize;
mod products;
mod resize;
mod windows;

use striate_graph::NodeOp;
use striate_tensor::ops::Activation;
use striate_tensor::{Op, TensorType};

use super::emit::{At, Emitter, Item, Step, refuse};
use super::layout::{Group, Layout};
use crate::onnx::elem::Elem;
use crate::onnx::proto::AttributeProto;

/// A node of the graph that is being written.
pub(super) struct Cx<'a> {
    pub(super) emit: &'a mut Emitter,
    pub(super) inputs: Vec<Item>,
    /// The type of what it makes.
    pub(super) output: TensorType,
}

/// Writes a node.
pub(super) fn write(cx: &mut Cx<'_>, op: &NodeOp) -> Step<Item> {
    match op {
        // Without a run's random numbers it passes on what it sees.
        NodeOp::Dropout { .. } => cx.input(0),
        NodeOp::Reshape(shape) => movement::reshape(cx, shape.dims()),
        NodeOp::Op(op) => rule(cx, op),
    }
}

fn rule(cx: &mut Cx<'_>, op: &Op) -> Step<Item> {
    match op {
        Op::Unary(op) => elementwise::unary(cx, op.kind),
        Op::Binary(op) => elementwise::binary(cx, op.kind),
        Op::Compare(op) => elementwise::compare(cx, op.kind),
        Op::Select(_) => elementwise::select(cx),
        Op::Cast(op) => elementwise::cast(cx, op.dtype),
        Op::MatMul(op) => products::matmul(cx, op),
        Op::Reduce(op) => products::reduce(cx, op),
        Op::ArgReduce(op) => products::arg_reduce(cx, op),
        Op::CumulativeSum(op) => products::cumulative_sum(cx, op),
        Op::Softmax(op) => normalize::softmax(cx, op),
        Op::Permute(op) => movement::permute(cx, &op.order),
        Op::Slice(op) => movement::slice(cx, &op.ranges),
        Op::Flip(op) => movement::flip(cx, &op.axes),
        Op::Concatenate(op) => movement::concatenate(cx, op.axis),
        Op::Pad(op) => movement::pad(cx, op),
        Op::PadImage(op) => movement::pad_image(cx, op),
        Op::Gather(op) => movement::gather(cx, op.axis),
        Op::Conv2d(op) => windows::conv(cx, op),
        Op::ConvTranspose2d(op) => windows::conv_transpose(cx, op),
        Op::MaxPool2d(op) => windows::max_pool(cx, op),
        Op::AvgPool2d(op) => windows::avg_pool(cx, &op.0),
        Op::Resize(op) => resize::resize(cx, op),
        Op::Lrn(op) => normalize::lrn(cx, op),
        Op::BatchNorm(op) => normalize::batch(cx, op),
        Op::GroupNorm(op) => normalize::groups(cx, op),
        _ => refuse("it has no form in ONNX"),
    }
}

impl Cx<'_> {
    pub(super) fn input(&self, place: usize) -> Step<Item> {
        match self.inputs.get(place) {
            Some(item) => Ok(item.clone()),
            None => refuse(format!("it has no operand {place}")),
        }
    }

    /// An operand as a value of the file: a weight in our own order.
    fn value(&mut self, place: usize) -> Step<(String, Item)> {
        let item = self.input(place)?;
        self.settled(item)
    }

    fn settled(&mut self, mut item: Item) -> Step<(String, Item)> {
        if let At::Weight(_) = item.at {
            let axes = item.layout.axes().to_vec();
            item.at = At::Value(self.emit.realize(&item, &axes)?);
            item.layout.set_file(axes);
        }
        match &item.at {
            At::Value(name) => Ok((name.clone(), item)),
            At::Weight(_) => refuse("its operand has no value"),
        }
    }

    /// An operand whose axes in the file are whole axes of ours; and in which order.
    fn ordered(&mut self, place: usize) -> Step<(String, Item, Vec<usize>)> {
        let (_, item) = self.value(place)?;
        let order = item.layout.order();
        let (name, item) = self.in_order(item, &order)?;
        Ok((name, item, order))
    }

    /// A value in our own order, each axis of which is one atom: what nothing can be said of but that.
    fn solid(&mut self, item: Item) -> Step<Item> {
        let plain: Vec<usize> = (0..item.layout.rank()).collect();
        let (_, mut item) = self.in_order(item, &plain)?;
        let open = |axis: &usize| item.layout.is_open(&item.layout.axes()[*axis]).then_some(*axis);
        let kept: Vec<_> = plain.iter().map(open).collect();
        item.layout = item.layout.next(&item.layout.dims(), &kept, &plain);
        Ok(item)
    }

    /// A value whose last axis is made of so many groups, and the atoms of these and of what is in each.
    fn in_groups(&mut self, item: Item, groups: usize) -> Step<(Item, Group, Group)> {
        let Some(last) = item.layout.rank().checked_sub(1) else {
            return refuse("expected an axis of channels");
        };
        let each = item.layout.dims()[last].checked_div(groups).unwrap_or(0);
        let mut item = item;
        if item.layout.split(last, &[groups, each]).is_none() {
            item = self.solid(item)?;
        }
        let parts = item.layout.split(last, &[groups, each]);
        let Some(layout) = parts else { return refuse("its groups do not divide its channels") };
        let atoms = layout.axes()[last].clone();
        let cut = (0..=atoms.len()).find(|&cut| layout.extent(&atoms[..cut]) == groups);
        let Some(cut) = cut else { return refuse("its groups do not divide its channels") };
        let (group, rest) = (atoms[..cut].to_vec(), atoms[cut..].to_vec());
        Ok((Item { layout, ..item }, group, rest))
    }

    /// A value whose axes in the file are ours in this order.
    fn in_order(&mut self, mut item: Item, order: &[usize]) -> Step<(String, Item)> {
        let groups = item.layout.groups(order);
        let name = self.emit.realize(&item, &groups)?;
        item.at = At::Value(name.clone());
        item.layout.set_file(groups);
        Ok((name, item))
    }

    /// An operand as these axes of the file, of elements of this type.
    fn typed(&mut self, item: &Item, groups: &[Group], elem: Elem) -> Step<String> {
        let name = self.emit.realize(item, groups)?;
        Ok(self.emit.cast(name, item.elem, elem))
    }

    /// A node that makes one of a value that lies as another.
    fn like(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        like: &Item,
    ) -> Item {
        let at = At::Value(self.emit.push(op, inputs, attributes));
        Item { at, layout: like.layout.clone(), elem: like.elem }
    }

    /// A value of the file.
    fn made(name: String, layout: Layout, elem: Elem) -> Item {
        Item { at: At::Value(name), layout, elem }
    }

    /// The output, of which these axes are the operand's.
    fn next(&self, name: String, like: &Item, kept: &[Option<usize>], order: &[usize]) -> Item {
        let layout = like.layout.next(self.output.shape.dims(), kept, order);
        Item { at: At::Value(name), layout, elem: like.elem }
    }

    /// A number for each entry of an axis of another value, in the order in which `group` has its atoms.
    fn along(&mut self, item: &Item, x: &Layout, group: &Group, elem: Elem) -> Step<String> {
        let own: Vec<usize> =
            x.axes().iter().find(|axis| same_atoms(axis, group)).cloned().unwrap_or_default();
        let extents: Vec<usize> = own.iter().map(|&atom| x.extents()[atom]).collect();
        let parts = match item.layout.rank() {
            1 if own.len() > 1 => item.layout.split(0, &extents),
            1 => Some(item.layout.clone()),
            _ => None,
        };
        let Some(parts) = parts else { return refuse("it has not one number for each channel") };
        let atoms = parts.axes()[0].clone();
        let wanted: Group = match atoms.len() == own.len() {
            true => {
                group.iter().filter_map(|a| Some(atoms[own.iter().position(|o| o == a)?])).collect()
            }
            false => atoms,
        };
        let item = Item { layout: parts, ..item.clone() };
        self.typed(&item, &[wanted], elem)
    }

    /// An activation of a value whose elements are `elem`.
    fn activation(&mut self, name: String, activation: Activation, elem: Elem) -> Step<String> {
        match activation.kind() {
            Some(kind) => elementwise::function(self, kind, name, elem),
            None => Ok(name),
        }
    }
}

/// Whether two axes are made of the same atoms, in whatever order.
fn same_atoms(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().all(|atom| b.contains(atom))
}
