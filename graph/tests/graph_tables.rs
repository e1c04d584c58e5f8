//! Tables and drawings.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_graph::{Graph, NodeOp, ParameterId, Source, Value};
use striate_tensor::{Shape, TensorType, ops};

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

fn small() -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("the \"image\"", ty(&[1, 8, 8, 4]));
    let weights = graph.parameter(ParameterId(0), ty(&[4, 3, 3, 2]));
    let bias = graph.parameter(ParameterId(1), ty(&[4]));
    let conv = ops::Conv2d {
        stride: [2, 2],
        groups: 2,
        bias: true,
        activation: ops::Activation::Relu,
        ..ops::Conv2d::default()
    };
    let y = graph.push("conv1", conv, &[x, weights, bias]).unwrap();
    let y = graph.push("pool1", ops::Pool2d::square(2, 1, 1), &[y]).unwrap();
    let flat = NodeOp::Reshape(Shape::new(&[1, 64]).unwrap());
    let y = graph.push_node("flat", flat, &[y], false).unwrap();
    let matrix = graph.parameter(ParameterId(2), ty(&[10, 64]));
    let product = ops::MatMul { transpose_b: true, ..ops::MatMul::default() };
    let y = graph.push("full\\1", product, &[y, matrix]).unwrap();
    graph.output("logits", y);
    graph
}

#[test]
fn a_table_says_what_each_node_does_and_takes() {
    let graph = small();
    let table = graph.table();
    let ops: Vec<&str> = table.rows.iter().map(|row| row.op.as_str()).collect();
    let expected =
        ["conv2d 3x3/2 groups 2 +bias +relu", "max_pool2d 2x2 pad 1", "reshape", "matmul bᵀ"];
    assert_eq!(ops, expected);
    assert_eq!(table.rows[0].from, ["the \"image\"", "parameter 0", "parameter 1"]);
    assert_eq!(table.rows[1].from, ["conv1"]);
    assert_eq!(table.rows[0].freed, ["the \"image\""]);
    assert_eq!(table.rows[0].macs, Some(3 * 3 * 4 * 18));
    assert_eq!(table.rows[3].macs, Some(640));
    assert_eq!(table.total_macs, 648 + 640);
    assert_eq!(table.rows[1].macs, None);
    assert_eq!(table.rows[0].cost.bytes_written, 3 * 3 * 4 * 4);
    // The image and the first convolution; later values are smaller.
    assert_eq!(table.peak_bytes, 4 * (8 * 8 * 4 + 3 * 3 * 4));

    let named = graph.table_with(|value: Value| match graph.source(value) {
        Source::Parameter(id) => Some(format!("conv1.{}", ["weight", "bias", "x"][id.index()])),
        _ => None,
    });
    assert_eq!(named.rows[0].from[1..], ["conv1.weight", "conv1.bias"]);
}

#[test]
fn a_printed_table_has_columns() {
    let text = small().table().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 1 + 4 + 1, "{text}");
    let column = |line: &str, word: &str| line.find(word).unwrap();
    let start = column(lines[0], "op");
    assert_eq!(column(lines[2], "conv2d"), start, "{text}");
    assert_eq!(column(lines[3], "max_pool2d"), start, "{text}");
    assert!(lines[2].contains("648 MAC") && lines[2].contains("144 B"), "{text}");
    assert!(lines[6].starts_with("1.3 kMAC"), "{text}");
}

#[test]
fn a_drawing_has_a_box_a_node_and_an_arrow_a_read() {
    let dot = small().to_dot();
    assert!(dot.starts_with("digraph {\n") && dot.ends_with("}\n"), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 5, "{dot}");
    assert!(dot.contains(r#"label="the \"image\"\nf32[1, 8, 8, 4]""#), "{dot}");
    let conv = r#"label="conv1\nconv2d 3x3/2 groups 2 +bias +relu\nparameter 0, parameter 1\n"#;
    assert!(dot.contains(conv), "{dot}");
    assert!(dot.contains(r#"label="full\\1\n"#), "{dot}");
    // Each label is closed: every line has an even number of quotation marks that are not escaped.
    for line in dot.lines() {
        let plain = line.replace("\\\\", "").replace("\\\"", "");
        assert!(plain.matches('"').count().is_multiple_of(2), "{line}");
    }
}
