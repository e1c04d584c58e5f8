//! Where a graph can be cut.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_graph::{BufferId, Graph, NodeOp, ParameterId, Record, Value};
use striate_tensor::{Op, Shape, TensorType, ops};

const TANH: ops::Unary = ops::Unary { kind: ops::UnaryKind::Tanh };
const ADD: ops::Binary = ops::Binary { kind: ops::BinaryKind::Add };

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

fn cuts(graph: &Graph) -> Vec<String> {
    graph.cuts().into_iter().map(|cut| graph.maker(cut).unwrap().name.clone()).collect()
}

/// `x` by tanh, and added to itself by way of another tanh.
fn residual(graph: &mut Graph, x: Value, name: &str) -> Value {
    let y = graph.push(format!("{name} branch"), TANH, &[x]).unwrap();
    graph.push(format!("{name} sum"), ADD, &[x, y]).unwrap()
}

#[test]
fn a_branch_is_no_cut_and_its_end_is() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[4, 2]));
    let y = graph.push("first", TANH, &[x]).unwrap();
    let y = residual(&mut graph, y, "a");
    let y = residual(&mut graph, y, "b");
    graph.output("y", y);
    assert_eq!(cuts(&graph), ["first", "a sum", "b sum"]);
}

#[test]
fn an_input_that_is_read_later_is_alive() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[4, 2]));
    let y = graph.push("first", TANH, &[x]).unwrap();
    let y = graph.push("second", TANH, &[y]).unwrap();
    let y = graph.push("sum", ADD, &[x, y]).unwrap();
    graph.output("y", y);
    assert_eq!(cuts(&graph), ["sum"]);
}

#[test]
fn an_earlier_output_is_alive_to_the_end() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[4, 2]));
    let first = graph.push("first", TANH, &[x]).unwrap();
    let aux = graph.push("aux", TANH, &[first]).unwrap();
    let y = graph.push("second", TANH, &[first]).unwrap();
    graph.output("y", y);
    graph.output("aux", aux);
    assert_eq!(cuts(&graph), ["first"]);
}

#[test]
fn records_and_what_depends_on_parameters_alone_do_not_count() {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[4, 2]));
    let parameter = graph.parameter(ParameterId(0), ty(&[2]));
    let fixed = graph.push("fixed", TANH, &[parameter]).unwrap();
    let y = graph.push("first", TANH, &[x]).unwrap();
    let moments = graph.push_node("moments", Op::from(ops::Moments).into(), &[y], true).unwrap();
    graph.record(Record { buffer: BufferId(0), count: 4, moments });
    let norm = ops::BatchNorm { batch: true, ..ops::BatchNorm::default() };
    let y = graph.push("norm", norm, &[y, moments, fixed, fixed]).unwrap();
    let flat = NodeOp::Reshape(Shape::new(&[8]).unwrap());
    let y = graph.push_node("flat", flat, &[y], false).unwrap();
    let y = graph.push("last", TANH, &[y]).unwrap();
    graph.output("y", y);
    assert_eq!(cuts(&graph), ["first", "norm", "flat", "last"]);
}
