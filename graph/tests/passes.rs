//! What each pass does, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_graph::passes::{self, Passes};
use striate_graph::{BufferId, Graph, NodeOp, ParameterId, Record, Source, Value};
use striate_tensor::{DType, Device, Op, Reference, Shape, Tensor, TensorType, ops};

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

const RELU: ops::Unary = ops::Unary { kind: ops::UnaryKind::Relu };
const TANH: ops::Unary = ops::Unary { kind: ops::UnaryKind::Tanh };
const ADD: ops::Binary = ops::Binary { kind: ops::BinaryKind::Add };

/// An image and a convolution of it.
fn convolution() -> (Graph, Value, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[1, 4, 4, 2]));
    let weights = graph.parameter(ParameterId(0), ty(&[2, 1, 1, 2]));
    graph.set_origin(Some(7));
    let y = graph.push("conv", ops::Conv2d::default(), &[x, weights]).unwrap();
    graph.set_origin(Some(8));
    (graph, x, y)
}

fn epilogues(graph: &Graph) -> Graph {
    passes::apply(graph, &Passes { epilogues: true, ..Passes::none() }).unwrap()
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn bias_and_relu_become_part_of_a_convolution() {
    let (mut graph, _, y) = convolution();
    let bias = graph.parameter(ParameterId(1), ty(&[2]));
    let y = graph.push("bias", ADD, &[bias, y]).unwrap();
    let y = graph.push("relu", RELU, &[y]).unwrap();
    let y = graph.push("tanh", TANH, &[y]).unwrap();
    graph.output("y", y);

    let passed = epilogues(&graph);
    assert_eq!(names(&passed), ["conv", "tanh"]);
    let node = &passed.nodes()[0];
    let expected =
        ops::Conv2d { bias: true, activation: ops::Activation::Relu, ..ops::Conv2d::default() };
    assert_eq!(node.op, NodeOp::Op(expected.into()));
    assert_eq!(node.origin, Some(7), "it is still the convolution");
    assert_eq!(passed.nodes()[1].origin, Some(8));
    assert!(matches!(passed.source(node.inputs[2]), Source::Parameter(ParameterId(1))));
    assert_eq!(passed.outputs()[0].0, "y");
}

#[test]
fn what_others_see_is_not_taken_up() {
    // A second reader, an output, a record.
    for seen in 0..3 {
        let (mut graph, _, y) = convolution();
        let relu = graph.push("relu", RELU, &[y]).unwrap();
        graph.output("y", relu);
        match seen {
            0 => {
                let other = graph.push("tanh", TANH, &[y]).unwrap();
                graph.output("other", other);
            }
            1 => graph.output("other", y),
            _ => graph.record(Record { buffer: BufferId(0), count: 1, moments: y }),
        }
        assert!(names(&epilogues(&graph)).contains(&"relu"));
    }
}

#[test]
fn gradients_end_where_they_ended() {
    let (mut graph, _, y) = convolution();
    let y = graph.push_node("relu", Op::from(RELU).into(), &[y], true).unwrap();
    graph.output("y", y);
    assert_eq!(epilogues(&graph).nodes().len(), 2);

    let (mut graph, _, y) = convolution();
    let same = NodeOp::Reshape(Shape::new(&[1, 4, 4, 2]).unwrap());
    let y = graph.push_node("detach", same, &[y], true).unwrap();
    graph.output("y", y);
    assert_eq!(passes::apply(&graph, &Passes::inference()).unwrap().nodes().len(), 2);
}

#[test]
fn an_addend_after_relu_stays_and_so_does_a_second_bias() {
    let (mut graph, _, y) = convolution();
    let y = graph.push("relu", RELU, &[y]).unwrap();
    let bias = graph.parameter(ParameterId(1), ty(&[2]));
    let y = graph.push("bias", ADD, &[y, bias]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["conv", "bias"]);

    let (mut graph, _, y) = convolution();
    let bias = graph.parameter(ParameterId(1), ty(&[2]));
    let y = graph.push("bias", ADD, &[y, bias]).unwrap();
    let y = graph.push("bias again", ADD, &[y, bias]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["conv", "bias again"]);
}

#[test]
fn the_second_of_two_branches_takes_up_their_sum() {
    // Whichever way round they are added.
    for order in [[0, 1], [1, 0]] {
        let (mut graph, x, first) = convolution();
        let weights = graph.parameter(ParameterId(1), ty(&[2, 1, 1, 2]));
        let second = graph.push("second", ops::Conv2d::default(), &[x, weights]).unwrap();
        let branches = [first, second];
        let y = graph.push("sum", ADD, &order.map(|i: usize| branches[i])).unwrap();
        let bias = graph.parameter(ParameterId(2), ty(&[2]));
        let y = graph.push("bias", ADD, &[y, bias]).unwrap();
        let y = graph.push("relu", RELU, &[y]).unwrap();
        graph.output("y", y);
        let passed = epilogues(&graph);
        assert_eq!(names(&passed), ["conv", "second"]);
        let [first, second] = passed.nodes() else { panic!("two nodes") };
        let conv = ops::Conv2d::default();
        assert_eq!(first.op, NodeOp::Op(conv.into()));
        let expected =
            ops::Conv2d { bias: true, residual: true, activation: ops::Activation::Relu, ..conv };
        assert_eq!(second.op, NodeOp::Op(expected.into()));
        assert_eq!(second.inputs[3], first.output, "the residual is the last operand");
        assert!(matches!(passed.source(second.inputs[2]), Source::Parameter(ParameterId(2))));
    }
}

/// An image, and the normalization of it by the statistics of the batch.
fn normalization() -> (Graph, Value, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[1, 4, 4, 2]));
    let moments = graph.push("moments", ops::Moments, &[x]).unwrap();
    let [scale, shift] = [0, 1].map(|id| graph.parameter(ParameterId(id), ty(&[2])));
    let norm = ops::BatchNorm { batch: true, ..ops::BatchNorm::default() };
    let y = graph.push("norm", norm, &[x, moments, scale, shift]).unwrap();
    (graph, x, y)
}

#[test]
fn an_addend_and_an_activation_become_part_of_batch_normalization() {
    let relu6 = ops::Unary { kind: ops::UnaryKind::RELU6 };
    let clamp = ops::Activation::of(ops::UnaryKind::RELU6).unwrap();
    for (added, activation, residual, becomes, left) in [
        (false, RELU, false, ops::Activation::Relu, &["moments", "norm"][..]),
        (false, relu6, false, clamp, &["moments", "norm"]),
        (true, RELU, true, ops::Activation::Relu, &["moments", "norm"]),
        // Of a sum the gradient of a clamp would have to compute it anew.
        (true, relu6, true, ops::Activation::None, &["moments", "norm", "activation"]),
        (false, TANH, false, ops::Activation::None, &["moments", "norm", "activation"]),
    ] {
        let (mut graph, x, mut y) = normalization();
        if added {
            y = graph.push("sum", ADD, &[x, y]).unwrap();
        }
        let y = graph.push("activation", activation, &[y]).unwrap();
        graph.output("y", y);
        let passed = epilogues(&graph);
        assert_eq!(names(&passed), left);
        let expected = ops::BatchNorm {
            batch: true,
            residual,
            activation: becomes,
            ..ops::BatchNorm::default()
        };
        let node = &passed.nodes()[1];
        assert_eq!(node.op, NodeOp::Op(expected.into()));
        assert_eq!(node.inputs.len(), if added { 5 } else { 4 });
        if added {
            assert_eq!(node.inputs[4], node.inputs[0], "the addend is the last operand");
        }
    }
}

#[test]
fn a_second_addend_and_one_of_another_shape_stay_behind_batch_normalization() {
    let (mut graph, x, y) = normalization();
    let y = graph.push("sum", ADD, &[y, x]).unwrap();
    let y = graph.push("sum again", ADD, &[y, x]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["moments", "norm", "sum again"]);

    let (mut graph, _, y) = normalization();
    let bias = graph.parameter(ParameterId(2), ty(&[2]));
    let y = graph.push("bias", ADD, &[y, bias]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["moments", "norm", "bias"]);
}

#[test]
fn an_addend_that_is_made_later_or_is_the_value_itself_stays() {
    let (mut graph, x, y) = convolution();
    let later = graph.push("later", TANH, &[x]).unwrap();
    let y = graph.push("sum", ADD, &[y, later]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["conv", "later", "sum"]);

    let (mut graph, _, y) = convolution();
    let y = graph.push("twice", ADD, &[y, y]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["conv", "twice"]);
}

#[test]
fn a_bias_that_is_made_later_stays() {
    let (mut graph, x, y) = convolution();
    let bias = ops::Reduce {
        kind: ops::ReduceKind::Mean,
        axes: ops::Axes::new(&[0, 1, 2]).unwrap(),
        keep_axes: false,
    };
    let bias = graph.push("mean", bias, &[x]).unwrap();
    let y = graph.push("bias", ADD, &[y, bias]).unwrap();
    graph.output("y", y);
    assert_eq!(names(&epilogues(&graph)), ["conv", "mean", "bias"]);
}

#[test]
fn permutes_cancel_and_reshapes_merge() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[2, 3, 4]));
    let permute = |order: &[usize]| ops::Permute { order: order.to_vec() };
    let there = graph.push("there", permute(&[2, 0, 1]), &[x]).unwrap();
    let back = graph.push("back", permute(&[1, 2, 0]), &[there]).unwrap();
    let flat = NodeOp::Reshape(Shape::new(&[24]).unwrap());
    let flat = graph.push_node("flat", flat, &[back], false).unwrap();
    let shape = NodeOp::Reshape(Shape::new(&[6, 4]).unwrap());
    let rows = graph.push_node("rows", shape, &[flat], false).unwrap();
    graph.output("y", rows);
    let only = Passes { permutes: true, ..Passes::none() };
    let passed = passes::apply(&graph, &only).unwrap();
    assert_eq!(names(&passed), ["rows"]);
    assert_eq!(passed.nodes()[0].inputs, [passed.inputs()[0].1]);

    // Three make one; and one that moves nothing but an axis of extent 1 is a reshape.
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[2, 1, 3]));
    let mut y = x;
    for order in [[2, 0, 1], [2, 0, 1], [1, 0, 2]] {
        y = graph.push("permute", permute(&order), &[y]).unwrap();
    }
    let z = graph.push("moved", permute(&[1, 0, 2]), &[x]).unwrap();
    graph.output("y", y);
    graph.output("z", z);
    let passed = passes::apply(&graph, &only).unwrap();
    assert_eq!(names(&passed), ["permute", "moved"]);
    let node = passed.maker(passed.outputs()[0].1).unwrap();
    assert_eq!(node.op, NodeOp::Op(permute(&[2, 1, 0]).into()));
    let node = passed.maker(passed.outputs()[1].1).unwrap();
    assert_eq!(node.op, NodeOp::Reshape(Shape::new(&[1, 2, 3]).unwrap()));
}

#[test]
fn nodes_and_parameters_that_nobody_reads_vanish() {
    let (mut graph, x, y) = convolution();
    let dead = graph.push("dead", TANH, &[y]).unwrap();
    graph.push("dead too", RELU, &[dead]).unwrap();
    let alive = graph.push("alive", TANH, &[x]).unwrap();
    let recorded = graph.push("recorded", RELU, &[x]).unwrap();
    let unread = graph.input("unread", ty(&[3]));
    graph.output("y", alive);
    graph.record(Record { buffer: BufferId(3), count: 2, moments: recorded });
    let passed = passes::apply(&graph, &Passes { dead: true, ..Passes::none() }).unwrap();
    assert_eq!(names(&passed), ["alive", "recorded"]);
    assert_eq!(passed.value_count(), 4, "two inputs and two nodes");
    assert_eq!(passed.ty(passed.inputs()[1].1), graph.ty(unread));
    assert_eq!(passed.records()[0].buffer, BufferId(3));
    assert_eq!(passed.records()[0].moments, passed.nodes()[1].output);
}

#[test]
fn constants_are_computed_and_parameters_are_not() {
    let device = Device::new(Reference::new());
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[2]));
    let one = graph.constant(Tensor::ones([2], &device).unwrap());
    let two = graph.push("two", ADD, &[one, one]).unwrap();
    let four = graph.push("four", ADD, &[two, two]).unwrap();
    let parameter = graph.parameter(ParameterId(0), ty(&[2]));
    let fixed = graph.push("fixed", ADD, &[parameter, four]).unwrap();
    let same = graph.push("same", ops::Cast { dtype: DType::F32 }, &[fixed]).unwrap();
    let y = graph.push("y", ADD, &[x, same]).unwrap();
    graph.output("y", y);
    let passes = Passes { constants: true, ..Passes::none() };
    let passed = passes::apply(&graph, &passes).unwrap();
    assert_eq!(names(&passed), ["fixed", "y"]);
    let Source::Constant(four) = passed.source(passed.nodes()[0].inputs[1]) else {
        panic!("not a constant");
    };
    assert_eq!(four.to_vec::<f32>().unwrap(), [4.0, 4.0]);

    // A gradient is wanted of it.
    let mut graph = Graph::new();
    let leaf = graph.constant(Tensor::ones([2], &device).unwrap().require_grad());
    let y = graph.push("y", TANH, &[leaf]).unwrap();
    graph.output("y", y);
    assert_eq!(passes::apply(&graph, &passes).unwrap().nodes().len(), 1);
}

#[test]
fn without_passes_a_graph_is_as_it_was() {
    let (mut graph, _, y) = convolution();
    let y = graph.push("relu", RELU, &[y]).unwrap();
    graph.push("dead", TANH, &[y]).unwrap();
    graph.output("y", y);
    let passed = passes::apply(&graph, &Passes::none()).unwrap();
    assert_eq!(names(&passed), names(&graph));
    assert_eq!(passed.value_count(), graph.value_count());
}

#[test]
fn activations_become_half_and_statistics_do_not() {
    let (mut graph, _, y) = convolution();
    let moments = graph.buffer(BufferId(0), ty(&[2, 2]));
    let scale = graph.parameter(ParameterId(1), ty(&[2]));
    let shift = graph.parameter(ParameterId(2), ty(&[2]));
    let norm = ops::BatchNorm::default();
    let y = graph.push("norm", norm, &[y, moments, scale, shift]).unwrap();
    let y = graph.push("tanh", TANH, &[y]).unwrap();
    let y = graph.push("softmax", ops::Softmax { axis: 3, log: false }, &[y]).unwrap();
    graph.output("y", y);

    let passed = passes::apply(&graph, &Passes { half: true, ..Passes::none() }).unwrap();
    let types: Vec<(&str, DType)> = (passed.nodes().iter())
        .map(|node| (node.op.name(), passed.ty(node.output).dtype))
        .collect();
    let (half, single) = (DType::F16, DType::F32);
    let expected = [
        // The input and the weights.
        ("cast", half),
        ("cast", half),
        ("conv2d", half),
        ("batch_norm", half),
        ("tanh", half),
        ("cast", single),
        ("softmax", single),
    ];
    assert_eq!(types, expected);
    assert_eq!(passed.inputs()[0].0, "x");
    assert_eq!(passed.ty(passed.inputs()[0].1).dtype, single);
    assert_eq!(passed.ty(passed.outputs()[0].1).dtype, single);
    // There is nothing left to do.
    let again = passes::apply(&passed, &Passes { half: true, ..Passes::none() }).unwrap();
    assert_eq!(again.nodes().len(), passed.nodes().len());
}
