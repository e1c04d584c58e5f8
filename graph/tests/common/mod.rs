//! Random graphs, with the tensors that they read.

// Each test file uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod check;

use proptest::prelude::*;
use striate_graph::{Bind, BufferId, Graph, NodeOp, ParameterId, Record, Value};
use striate_tensor::{DType, Device, Op, Shape, Tensor, TensorType, ops};

/// What a graph is made of: the extents of the input, then steps, each of a kind with four dice.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub image: [usize; 4],
    pub steps: Vec<(Kind, [u8; 4])>,
    pub outputs: [u8; 2],
}

/// A step: what is done to a value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Conv,
    ConvNorm,
    Block,
    Product,
    BatchNorm,
    NormOfBatch,
    Bias,
    Residual,
    Relu,
    Clamp,
    Concatenate,
    Permute,
    PermuteBack,
    Reshape,
    Pool,
    Tanh,
    ConstantAddend,
    FixedAddend,
    SameCast,
    Dropout,
}

const KINDS: [(u32, Kind); 20] = [
    (6, Kind::Conv),
    (3, Kind::ConvNorm),
    (3, Kind::Block),
    (5, Kind::BatchNorm),
    (2, Kind::NormOfBatch),
    (4, Kind::Product),
    (4, Kind::Bias),
    (5, Kind::Residual),
    (6, Kind::Relu),
    (2, Kind::Clamp),
    (1, Kind::Concatenate),
    (3, Kind::Permute),
    (3, Kind::PermuteBack),
    (3, Kind::Reshape),
    (1, Kind::Pool),
    (1, Kind::Tanh),
    (2, Kind::ConstantAddend),
    (1, Kind::FixedAddend),
    (1, Kind::SameCast),
    (1, Kind::Dropout),
];

pub fn recipes() -> impl Strategy<Value = Recipe> {
    let kind = prop::strategy::Union::new_weighted(
        KINDS.iter().map(|&(weight, kind)| (weight, Just(kind))).collect(),
    );
    let steps = prop::collection::vec((kind, any::<[u8; 4]>()), 1..16);
    let image = [1..=2usize, 1..=5, 1..=5, 1..=4];
    (image, steps, any::<[u8; 2]>()).prop_map(|(image, steps, outputs)| Recipe {
        image,
        steps,
        outputs,
    })
}

/// The parameters and buffers of a graph, by number.
#[derive(Clone, Default)]
pub struct Tensors {
    pub parameters: Vec<Tensor>,
    pub buffers: Vec<Tensor>,
}

impl Bind for Tensors {
    fn parameter(&self, id: ParameterId) -> Option<&Tensor> {
        self.parameters.get(id.index())
    }

    fn buffer(&self, id: BufferId) -> Option<&Tensor> {
        self.buffers.get(id.index())
    }
}

/// Numbers of about 1, of both signs, that differ from place to place and from `salt` to `salt`.
pub fn numbers(shape: &[usize], salt: usize, device: &Device) -> Tensor {
    let shape = Shape::new(shape).unwrap();
    let number = |i: usize| {
        let hash = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt as u64) << 17;
        let hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((hash >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
    };
    Tensor::from_vec((0..shape.count()).map(number).collect::<Vec<f32>>(), shape, device).unwrap()
}

/// A graph, what it reads, and its inputs.
pub struct Built {
    pub graph: Graph,
    pub tensors: Tensors,
    pub inputs: Vec<Tensor>,
}

struct Builder<'a> {
    graph: Graph,
    tensors: Tensors,
    device: &'a Device,
    activations: Vec<Value>,
    slots: usize,
}

impl Builder<'_> {
    fn parameter(&mut self, shape: &[usize], scale: f32, dtype: DType) -> Value {
        let id = ParameterId(self.tensors.parameters.len() as u32);
        let tensor = numbers(shape, id.index() + 1, self.device);
        let tensor = tensor.affine(scale, 0.0).unwrap().cast(dtype).unwrap();
        let value = self.graph.parameter(id, *tensor.ty());
        self.tensors.parameters.push(tensor);
        value
    }

    /// Stored statistics: variances of about 1.
    fn moments(&mut self, channels: usize) -> Value {
        let id = BufferId(self.tensors.buffers.len() as u32);
        let mean = numbers(&[1, channels], id.index() + 1000, self.device);
        let variance = numbers(&[1, channels], id.index() + 2000, self.device);
        let variance = variance.affine(0.75, 1.25).unwrap();
        let moments = Tensor::concatenate(&[&mean, &variance], 0).unwrap();
        let value = self.graph.buffer(id, *moments.ty());
        self.tensors.buffers.push(moments);
        value
    }

    fn dims(&self, value: Value) -> Vec<usize> {
        self.graph.ty(value).shape.dims().to_vec()
    }

    fn name(&self, kind: Kind) -> String {
        format!("{kind:?} {}", self.graph.nodes().len())
    }

    fn addend(&mut self, x: Value, addend: Value, name: String, die: u8) -> Value {
        let add = ops::Binary { kind: ops::BinaryKind::Add };
        let operands = if die.is_multiple_of(2) { [x, addend] } else { [addend, x] };
        self.graph.push(name, add, &operands).unwrap()
    }

    /// The step's output; none where it does not fit the value.
    fn step(&mut self, kind: Kind, dice: [u8; 4]) -> Option<Value> {
        let recent = self.activations.len().min(3);
        let back = 1 + usize::from(dice[0]).pow(2) / 256 * recent / 256;
        let x = self.activations[self.activations.len() - back];
        let dims = self.dims(x);
        let die = |i: usize, sides: usize| usize::from(dice[i]) % sides;
        let name = self.name(kind);
        let weights = if die(3, 5) == 0 { DType::F16 } else { DType::F32 };
        Some(match kind {
            Kind::Conv => {
                let &[_, rows, cols, channels] = &dims[..] else { return None };
                let padding = [[die(1, 2), die(2, 2)], [die(1, 4) / 2, die(3, 2)]];
                let kernel = [rows.min(1 + die(2, 3)), cols.min(1 + die(3, 3))];
                let groups = if die(2, 7) == 0 { channels } else { 1 };
                let out = groups * (1 + die(1, 3));
                let fan_in = kernel[0] * kernel[1] * channels / groups;
                let bias = die(1, 3) == 0;
                let conv = ops::Conv2d {
                    stride: [1 + die(2, 5) / 4, 1],
                    padding,
                    groups,
                    bias,
                    activation: ops::Activation::relu(die(3, 11) == 0),
                    ..ops::Conv2d::default()
                };
                let shape = [out, kernel[0], kernel[1], channels / groups];
                let mut inputs = vec![x, self.parameter(&shape, 2.0 / fan_in as f32, weights)];
                if bias {
                    inputs.push(self.parameter(&[out], 1.0, DType::F32));
                }
                self.graph.push(name, conv, &inputs).unwrap()
            }
            Kind::Product => {
                let (&k, true) = (dims.last()?, dims.len() >= 2) else { return None };
                let n = 1 + die(1, 5);
                let transpose_b = die(2, 3) > 0;
                let shape = if transpose_b { [n, k] } else { [k, n] };
                let mut inputs = vec![x, self.parameter(&shape, 2.0 / k as f32, weights)];
                let bias = die(3, 3) == 0;
                if bias {
                    inputs.push(self.parameter(&[n], 1.0, DType::F32));
                }
                let op = ops::MatMul { transpose_b, bias, ..ops::MatMul::default() };
                self.graph.push(name, op, &inputs).unwrap()
            }
            // As nearly every network has it; by chance alone it would be rare.
            Kind::ConvNorm => {
                let y = self.step(Kind::Conv, dice)?;
                self.activations.push(y);
                return self.step(Kind::BatchNorm, [0, dice[1], dice[2], dice[3]]);
            }
            // A residual block: a convolution that keeps the shape, added to what it was made of.
            Kind::Block => {
                let &[_, _, _, channels] = &dims[..] else { return None };
                let shape = [channels, 1, 1, channels];
                let matrix = self.parameter(&shape, 2.0 / channels as f32, weights);
                let conv = ops::Conv2d::default();
                let y = self.graph.push(format!("{name} branch"), conv, &[x, matrix]).unwrap();
                self.addend(y, x, name, dice[2])
            }
            Kind::BatchNorm => {
                let (&channels, true) = (dims.last()?, dims.len() >= 2) else { return None };
                let moments = self.moments(channels);
                let scale = self.parameter(&[channels], 1.0, weights);
                let shift = self.parameter(&[channels], 1.0, weights);
                let activation = match die(2, 5) {
                    0 => ops::Activation::Relu,
                    1 => ops::Activation::Clamp { min: -0.5, max: 0.75 },
                    _ => ops::Activation::None,
                };
                let norm = ops::BatchNorm { activation, ..ops::BatchNorm::default() };
                self.graph.push(name, norm, &[x, moments, scale, shift]).unwrap()
            }
            Kind::NormOfBatch => {
                let (&channels, true) = (dims.last()?, dims.len() >= 2) else { return None };
                let moments = NodeOp::from(ops::Moments);
                let moments = self.graph.push_node("moments", moments, &[x], true).unwrap();
                let scale = self.parameter(&[channels], 1.0, DType::F32);
                let shift = self.parameter(&[channels], 1.0, DType::F32);
                let buffer = BufferId(self.tensors.buffers.len() as u32);
                self.tensors.buffers.push(numbers(&[2, channels], 5, self.device));
                let count = (dims.iter().product::<usize>() / channels) as u64;
                self.graph.record(Record { buffer, count, moments });
                // So much that a variance of 0 makes no large number.
                let norm =
                    ops::BatchNorm { epsilon: 0.25, batch: true, ..ops::BatchNorm::default() };
                self.graph.push(name, norm, &[x, moments, scale, shift]).unwrap()
            }
            Kind::Bias => {
                let bias = self.parameter(&[*dims.last()?], 1.0, DType::F32);
                self.addend(x, bias, name, dice[1])
            }
            Kind::Residual => {
                let ty = *self.graph.ty(x);
                let fits = |other: &&Value| *self.graph.ty(**other) == ty;
                let fitting: Vec<Value> = self.activations.iter().filter(fits).copied().collect();
                let other = fitting[die(1, fitting.len())];
                self.addend(x, other, name, dice[2])
            }
            Kind::Relu => {
                self.graph.push(name, ops::Unary { kind: ops::UnaryKind::Relu }, &[x]).unwrap()
            }
            Kind::Clamp => {
                let clamp = ops::UnaryKind::Clamp { min: -0.75, max: 0.5 };
                self.graph.push(name, ops::Unary { kind: clamp }, &[x]).unwrap()
            }
            Kind::Tanh => {
                self.graph.push(name, ops::Unary { kind: ops::UnaryKind::Tanh }, &[x]).unwrap()
            }
            Kind::Concatenate => {
                let axis = dims.len().checked_sub(1)?;
                let fits = |other: &&Value| {
                    let other = self.dims(**other);
                    other.len() == dims.len() && other[..axis] == dims[..axis]
                };
                let fitting: Vec<Value> = self.activations.iter().filter(fits).copied().collect();
                let other = fitting[die(1, fitting.len())];
                self.graph.push(name, ops::Concatenate { axis }, &[x, other]).unwrap()
            }
            Kind::Permute => {
                let mut order: Vec<usize> = (0..dims.len()).collect();
                order.rotate_left(die(1, dims.len().max(1)));
                if die(2, 2) == 0 && dims.len() > 1 {
                    order.swap(0, 1);
                }
                self.graph.push(name, ops::Permute { order }, &[x]).unwrap()
            }
            Kind::PermuteBack => {
                let Some(NodeOp::Op(Op::Permute(there))) = self.graph.maker(x).map(|n| &n.op)
                else {
                    return None;
                };
                let mut order = vec![0; there.order.len()];
                for (to, &from) in there.order.iter().enumerate() {
                    order[from] = to;
                }
                self.graph.push(name, ops::Permute { order }, &[x]).unwrap()
            }
            Kind::Reshape => {
                let count: usize = dims.iter().product();
                let shape = match die(1, 4) {
                    0 => vec![count],
                    1 => vec![1, count],
                    2 => [&dims[..], &[1]].concat(),
                    _ => [&[dims[0]], &[1, 1][..], &[count / dims[0]]].concat(),
                };
                let op = NodeOp::Reshape(Shape::new(&shape).ok()?);
                self.graph.push_node(name, op, &[x], false).unwrap()
            }
            Kind::Pool => {
                let &[_, rows, cols, _] = &dims[..] else { return None };
                let size = [rows.min(2), cols.min(3)];
                let pool = ops::Pool2d { size, ..ops::Pool2d::square(1, 1 + die(1, 2), 0) };
                let op = if die(2, 2) == 0 { Op::from(pool) } else { ops::AvgPool2d(pool).into() };
                self.graph.push(name, op, &[x]).unwrap()
            }
            Kind::ConstantAddend => {
                let constant = numbers(&[*dims.last()?], 77, self.device);
                let constant = self.graph.constant(constant);
                let affine = ops::UnaryKind::Affine { scale: 0.5, shift: 0.25 };
                let constant =
                    self.graph.push("affine", ops::Unary { kind: affine }, &[constant]).unwrap();
                self.addend(x, constant, name, dice[1])
            }
            Kind::FixedAddend => {
                let parameter = self.parameter(&[*dims.last()?], 1.0, DType::F16);
                let cast = ops::Cast { dtype: DType::F32 };
                let fixed = self.graph.push("cast", cast, &[parameter]).unwrap();
                self.addend(x, fixed, name, dice[1])
            }
            Kind::SameCast => self.graph.push(name, ops::Cast { dtype: DType::F32 }, &[x]).unwrap(),
            Kind::Dropout => {
                let slot = self.slots;
                self.slots += 1;
                let op = NodeOp::Dropout { rate: 0.5, scale: 2.0, slot, images: slot % 2 == 1 };
                self.graph.push_node(name, op, &[x], false).unwrap()
            }
        })
    }
}

/// Builds a graph whose shapes fit; steps that do not fit are left out.
pub fn build(recipe: &Recipe, device: &Device) -> Built {
    let shape = Shape::new(&recipe.image).unwrap();
    let (mut graph, tensors) = (Graph::new(), Tensors::default());
    let image = graph.input("image", TensorType::f32(shape));
    let unread = graph.input("unread", TensorType::f32(Shape::scalar()));
    let mut builder = Builder { graph, tensors, device, activations: vec![image], slots: 0 };
    for (i, &(kind, dice)) in recipe.steps.iter().enumerate() {
        builder.graph.set_origin(Some(i));
        // Values that outgrow their use make the test slow.
        if let Some(value) = builder.step(kind, dice)
            && builder.graph.ty(value).count() < 2000
        {
            builder.activations.push(value);
        }
    }
    let Builder { mut graph, tensors, activations, .. } = builder;
    graph.output("last", activations[activations.len() - 1]);
    for (i, die) in recipe.outputs.into_iter().enumerate() {
        if die < 100 {
            graph.output(format!("other {i}"), activations[usize::from(die) % activations.len()]);
        }
    }
    let _ = unread;
    let inputs = vec![numbers(&recipe.image, 0, device), Tensor::zeros([], device).unwrap()];
    Built { graph, tensors, inputs }
}
