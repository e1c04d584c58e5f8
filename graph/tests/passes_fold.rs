//! Folding batch normalization: by numbers, and where it is not done.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use common::{Tensors, numbers};
use striate_graph::passes::{self, Passes};
use striate_graph::{BufferId, Graph, NodeOp, ParameterId, Plan, Run, Value};
use striate_tensor::{DType, Device, Op, Reference, Shape, Tensor, TensorType, ops};

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

const FOLD: Passes = Passes {
    fold_batch_norm: true,
    epilogues: false,
    activations: false,
    constants: false,
    dead: false,
    permutes: false,
    half: false,
};

/// A convolution of one input and two output channels by one weight each, then batch normalization.
fn normalized(conv: ops::Conv2d, norm: ops::BatchNorm, dtype: DType) -> (Graph, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[1, 1, 1, 1]));
    let weights = TensorType::new(Shape::new(&[2, 1, 1, 1]).unwrap(), dtype);
    let mut inputs = vec![x, graph.parameter(ParameterId(0), weights)];
    if conv.bias {
        inputs.push(graph.parameter(ParameterId(1), ty(&[2])));
    }
    graph.set_origin(Some(0));
    let y = graph.push("conv", conv, &inputs).unwrap();
    let moments = graph.buffer(BufferId(0), ty(&[2, 2]));
    let scale = graph.parameter(ParameterId(2), ty(&[2]));
    let shift = graph.parameter(ParameterId(3), ty(&[2]));
    graph.set_origin(Some(1));
    let z = graph.push("norm", norm, &[y, moments, scale, shift]).unwrap();
    graph.output("z", z);
    (graph, y)
}

#[test]
fn a_convolution_takes_up_the_normalization_after_it() {
    let device = Device::new(Reference::new());
    let tensor = |values: &[f32], dims: &[usize]| {
        Tensor::from_vec(values.to_vec(), Shape::new(dims).unwrap(), &device).unwrap()
    };
    let norm = ops::BatchNorm {
        epsilon: 0.0,
        activation: ops::Activation::Relu,
        ..ops::BatchNorm::default()
    };
    let conv = ops::Conv2d { bias: true, ..ops::Conv2d::default() };
    for dtype in [DType::F32, DType::F16] {
        let tensors = Tensors {
            parameters: vec![
                tensor(&[2.0, -1.0], &[2, 1, 1, 1]).cast(dtype).unwrap(),
                tensor(&[1.0, 3.0], &[2]),
                tensor(&[3.0, 0.5], &[2]),
                tensor(&[-1.0, 0.25], &[2]),
            ],
            buffers: vec![tensor(&[1.0, 2.0, 4.0, 0.25], &[2, 2])],
        };
        let (graph, _) = normalized(conv, norm, dtype);
        let passed = passes::apply(&graph, &FOLD).unwrap();
        let last = passed.nodes().last().unwrap();
        let expected =
            ops::Conv2d { bias: true, activation: ops::Activation::Relu, ..ops::Conv2d::default() };
        assert_eq!(last.op, NodeOp::Op(expected.into()));
        assert_eq!((last.name.as_str(), last.origin), ("conv", Some(0)));
        let plan = Plan::new(passed);
        let nodes = plan.graph().nodes().len();
        assert!((0..nodes - 1).all(|place| plan.is_fixed(place)), "all else is computed once");

        let prepared = plan.prepare(&tensors).unwrap();
        // Channel 0: (2x + 1 - 1) · 3 / 2 - 1; channel 1: (-x + 3 - 2) · 0.5 / 0.5 + 0.25.
        let kept: Vec<Vec<f32>> =
            prepared.iter().flatten().map(|tensor| tensor.to_vec().unwrap()).collect();
        assert_eq!(kept, [[3.0, -1.0], [-1.0, 1.25]], "weights, then bias");
        let x = tensor(&[2.0], &[1, 1, 1, 1]);
        let mut run = Run { prepared: Some(&prepared), ..Run::default() };
        let z = plan.run(&[&x], &tensors, &mut run).unwrap().values[0].to_vec::<f32>().unwrap();
        assert_eq!(z, [5.0, 0.0]);
    }
}

#[test]
fn a_full_connect_layer_takes_up_the_normalization_after_it() {
    let device = Device::new(Reference::new());
    for transpose_b in [false, true] {
        let mut graph = Graph::new();
        let x = graph.input("x", ty(&[3, 4]));
        let shape = if transpose_b { [5, 4] } else { [4, 5] };
        let weights = graph.parameter(ParameterId(0), ty(&shape));
        let product = ops::MatMul { transpose_b, ..ops::MatMul::default() };
        let y = graph.push("full", product, &[x, weights]).unwrap();
        let moments = graph.buffer(BufferId(0), ty(&[2, 5]));
        let scale = graph.parameter(ParameterId(1), ty(&[5]));
        let shift = graph.parameter(ParameterId(2), ty(&[5]));
        let norm = ops::BatchNorm::default();
        let y = graph.push("norm", norm, &[y, moments, scale, shift]).unwrap();
        graph.output("y", y);
        let tensors = Tensors {
            parameters: vec![
                numbers(&shape, 1, &device),
                numbers(&[5], 2, &device),
                numbers(&[5], 3, &device),
            ],
            buffers: vec![numbers(&[2, 5], 4, &device).affine(0.4, 1.0).unwrap()],
        };
        same(&graph, "matmul", &numbers(&[3, 4], 5, &device), &tensors);
    }
}

#[test]
fn a_transposed_convolution_takes_up_the_normalization_after_it() {
    let device = Device::new(Reference::new());
    for bias in [false, true] {
        let mut graph = Graph::new();
        let x = graph.input("x", ty(&[2, 3, 3, 4]));
        let weights = graph.parameter(ParameterId(0), ty(&[4, 3, 3, 5]));
        let conv = ops::ConvTranspose2d { stride: [2, 2], bias, ..ops::ConvTranspose2d::default() };
        let mut inputs = vec![x, weights];
        let own = graph.parameter(ParameterId(3), ty(&[5]));
        inputs.extend(bias.then_some(own));
        let y = graph.push("conv", conv, &inputs).unwrap();
        let moments = graph.buffer(BufferId(0), ty(&[2, 5]));
        let scale = graph.parameter(ParameterId(1), ty(&[5]));
        let shift = graph.parameter(ParameterId(2), ty(&[5]));
        let norm = ops::BatchNorm::default();
        let y = graph.push("norm", norm, &[y, moments, scale, shift]).unwrap();
        graph.output("y", y);
        let tensors = Tensors {
            parameters: vec![
                numbers(&[4, 3, 3, 5], 1, &device),
                numbers(&[5], 2, &device),
                numbers(&[5], 3, &device),
                numbers(&[5], 6, &device),
            ],
            buffers: vec![numbers(&[2, 5], 4, &device).affine(0.4, 1.0).unwrap()],
        };
        same(&graph, "conv_transpose2d", &numbers(&[2, 3, 3, 4], 5, &device), &tensors);
    }
}

/// Layer scale, before and behind the convolution's output among the operands.
#[test]
fn a_convolution_takes_up_the_factors_of_its_channels() {
    let device = Device::new(Reference::new());
    for (bias, is_first) in [(false, false), (true, false), (true, true)] {
        let mut graph = Graph::new();
        let x = graph.input("x", ty(&[2, 3, 3, 4]));
        let weights = graph.parameter(ParameterId(0), ty(&[4, 1, 1, 4]));
        let own = graph.parameter(ParameterId(1), ty(&[4]));
        let mut inputs = vec![x, weights];
        inputs.extend(bias.then_some(own));
        let conv = ops::Conv2d { bias, ..ops::Conv2d::default() };
        let y = graph.push("conv", conv, &inputs).unwrap();
        let factors = graph.parameter(ParameterId(2), ty(&[4]));
        let operands = if is_first { [factors, y] } else { [y, factors] };
        let y = graph.push("scale", ops::Binary { kind: ops::BinaryKind::Mul }, &operands).unwrap();
        let y = graph.push("add", ops::Binary { kind: ops::BinaryKind::Add }, &[y, x]).unwrap();
        graph.output("y", y);
        let tensors = Tensors {
            parameters: vec![
                numbers(&[4, 1, 1, 4], 1, &device),
                numbers(&[4], 2, &device),
                numbers(&[4], 3, &device),
            ],
            buffers: Vec::new(),
        };
        let x = numbers(&[2, 3, 3, 4], 5, &device);
        same(&graph, "add", &x, &tensors);
        let passed = passes::apply(&graph, &Passes::inference()).unwrap();
        assert_eq!(passed.nodes().last().unwrap().op.name(), "conv2d", "with the addend");
    }
}

/// A factor that the network computes stays: its weights would be computed in each run.
#[test]
fn factors_that_depend_on_an_input_are_not_folded() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[1, 3, 3, 4]));
    let factors = graph.input("factors", ty(&[4]));
    let weights = graph.parameter(ParameterId(0), ty(&[4, 1, 1, 4]));
    let y = graph.push("conv", ops::Conv2d::default(), &[x, weights]).unwrap();
    let y = graph.push("scale", ops::Binary { kind: ops::BinaryKind::Mul }, &[y, factors]).unwrap();
    graph.output("y", y);
    let passed = passes::apply(&graph, &Passes::inference()).unwrap();
    assert_eq!(passed.nodes().len(), 2);
}

/// What is left computes the same, and its last node is this op.
fn same(graph: &Graph, last: &str, x: &Tensor, tensors: &Tensors) {
    let run = |graph: &Graph| {
        let plan = Plan::new(graph.clone());
        let outputs = plan.run(&[x], tensors, &mut Run::default()).unwrap();
        outputs.values[0].to_vec::<f32>().unwrap()
    };
    let passed = passes::apply(graph, &FOLD).unwrap();
    assert_eq!(passed.nodes().last().unwrap().op.name(), last);
    let is_left = |node: &striate_graph::Node| node.name == "scale" || node.name == "norm";
    assert!(!passed.nodes().iter().any(is_left), "it is folded");
    for (a, b) in run(graph).into_iter().zip(run(&passed)) {
        assert!((a - b).abs() < 1e-5, "{a} became {b}");
    }
}

/// The graph has its normalization after all.
fn stays(graph: &Graph) {
    let passed = passes::apply(graph, &Passes::inference()).unwrap();
    let is_norm = |op: &NodeOp| matches!(op, NodeOp::Op(Op::BatchNorm(_)));
    assert!(passed.nodes().iter().any(|node| is_norm(&node.op)));
}

#[test]
fn normalization_stays_where_it_cannot_be_folded() {
    let (conv, norm) = (ops::Conv2d::default(), ops::BatchNorm::default());
    // ReLU in between.
    stays(
        &normalized(ops::Conv2d { activation: ops::Activation::Relu, ..conv }, norm, DType::F32).0,
    );
    // A residual, which would have to be scaled too.
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[1, 1, 1, 2]));
    let weights = graph.parameter(ParameterId(0), ty(&[2, 1, 1, 2]));
    let sum = ops::Conv2d { residual: true, ..conv };
    let y = graph.push("conv", sum, &[x, weights, x]).unwrap();
    let moments = graph.buffer(BufferId(0), ty(&[2, 2]));
    let scale = graph.parameter(ParameterId(2), ty(&[2]));
    let z = graph.push("norm", norm, &[y, moments, scale, scale]).unwrap();
    graph.output("z", z);
    stays(&graph);
    // Statistics of the batch.
    stays(&normalized(conv, ops::BatchNorm { batch: true, ..norm }, DType::F32).0);
    // The convolution's output is read elsewhere.
    let (mut graph, y) = normalized(conv, norm, DType::F32);
    graph.output("y", y);
    stays(&graph);
    // Statistics that depend on the input.
    let (mut graph, y) = normalized(conv, norm, DType::F32);
    let x = graph.inputs()[0].1;
    let weights = graph.parameter(ParameterId(0), ty(&[2, 1, 1, 1]));
    let scale = graph.parameter(ParameterId(2), ty(&[2]));
    let moments = graph.push("moments", ops::Moments, &[y]).unwrap();
    let other = graph.push("other", conv, &[x, weights]).unwrap();
    let z = graph.push("second", norm, &[other, moments, scale, scale]).unwrap();
    graph.output("second", z);
    stays(&graph);
}
