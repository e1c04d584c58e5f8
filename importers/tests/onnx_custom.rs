//! ONNX files with operators that are no standard ones, which the reader has ops for.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::PathBuf;

use common::caffe::{bytes, number};
use common::{chain, reference};
use striate_importers::onnx::{CustomNodes, Model};
use striate_importers::{Error, ReadOptions};
use striate_ops_cpu::Cpu;
use striate_tensor::ops::CustomOp;
use striate_tensor::{DType, Device, HostTensor, Result, Tensor, TensorType, reference};

/// The sum of its operands, plus `factor` times the place of the element, row by row: so it tells in which
/// order axes come.
#[derive(Debug)]
struct Places {
    factor: f32,
    dtype: DType,
}

impl CustomOp for Places {
    fn name(&self) -> &'static str {
        "places"
    }

    fn parameters(&self) -> Vec<u8> {
        self.factor.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [x, rest @ ..] if rest.iter().all(|y| y == x) => {
                Ok(TensorType::new(x.shape, self.dtype))
            }
            _ => Err(striate_tensor::Error::shape(self.name(), "alike operands", inputs)),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let mut y: Vec<f64> = (0..inputs[0].ty().count()).map(|i| i as f64).collect();
        y.iter_mut().for_each(|y| *y *= f64::from(self.factor));
        for x in inputs {
            y.iter_mut().zip(reference::widened(x)).for_each(|(y, x)| *y += x);
        }
        reference::rounded(&self.output(&[inputs[0].ty()])?, &y)
    }
}

fn nodes() -> CustomNodes {
    CustomNodes::new()
        .with("com.example", "Places", |attributes| match attributes.float("factor") {
            Some(factor) => Ok(Places { factor, dtype: DType::F32 }),
            None => Err(striate_tensor::Error::parameter("places", "factor", "a number", "none")),
        })
        .with("com.example", "Whole", |attributes| {
            // Of each kind, and nothing of another one.
            assert_eq!(attributes.names().collect::<Vec<_>>(), ["count", "list", "text"]);
            let count = attributes.int("count").unwrap();
            assert_eq!((attributes.float("count"), attributes.int("none")), (None, None));
            assert_eq!(attributes.ints("list"), Some(&[1, 300][..]));
            assert_eq!(
                (attributes.floats("list"), attributes.text("text")),
                (None, Some(&b"t"[..]))
            );
            Ok(Places { factor: count as f32, dtype: DType::U32 })
        })
        .with("", "NoSuchOperator", |_| Ok(Places { factor: 1.0, dtype: DType::F32 }))
        .with("", "Relu", |_| Ok(Places { factor: 1.0, dtype: DType::F32 }))
}

fn attribute(name: &str, kind: u64, value: Vec<u8>) -> Vec<u8> {
    [bytes(1, name.as_bytes()), value, number(20, kind)].concat()
}

fn factor(value: f32) -> Vec<u8> {
    attribute("factor", 1, [vec![2 << 3 | 5], value.to_le_bytes().to_vec()].concat())
}

/// A node: its domain, operator, inputs, outputs and attributes.
fn node(
    [domain, operator]: [&str; 2],
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    let mut node = Vec::new();
    inputs.iter().for_each(|name| node.extend(bytes(1, name.as_bytes())));
    outputs.iter().for_each(|name| node.extend(bytes(2, name.as_bytes())));
    node.extend(bytes(4, operator.as_bytes()));
    attributes.iter().for_each(|attribute| node.extend(bytes(5, attribute)));
    node.extend(bytes(7, domain.as_bytes()));
    node
}

/// An input or output of f32.
fn port(name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&extent| bytes(1, &number(1, extent))).collect();
    let tensor = [number(1, 1), bytes(2, &dims)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

const DIMS: [usize; 4] = [2, 3, 4, 5];

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// A model of an input `x` and an output `y`, both of [`DIMS`].
fn file(nodes: &[Vec<u8>]) -> File {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
    let dims = DIMS.map(|extent| extent as u64);
    graph.extend(bytes(2, b"g"));
    graph.extend(bytes(11, &port("x", &dims)));
    graph.extend(bytes(12, &port("y", &dims)));
    let sets = [number(2, 17), [bytes(1, b"com.example"), number(2, 1)].concat()];
    let sets = sets.iter().flat_map(|set| bytes(8, set));
    let model = [number(1, 8), bytes(7, &graph), sets.collect()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, model).unwrap();
    File { _folder: folder, path }
}

fn x() -> Vec<f32> {
    (0..120).map(|i| ((i * 37) % 23) as f32 - 11.0).collect()
}

fn run(model: &Model, device: &Device) -> Result<Vec<f32>, Error> {
    let x = Tensor::from_vec(x(), DIMS, device).unwrap();
    let outputs = model.run(&[("x", x)], device)?;
    assert_eq!(outputs[0].1.dims(), DIMS);
    Ok(outputs[0].1.to_vec().unwrap())
}

/// Pooling of single pixels: the identity, by which images lie channels-last.
fn pool(from: &str, to: &str) -> Vec<u8> {
    let shape = attribute("kernel_shape", 7, bytes(8, &[1, 1]));
    node(["", "MaxPool"], &[from], &[to], &[shape])
}

const PLACES: [&str; 2] = ["com.example", "Places"];

#[test]
fn an_op_sees_the_files_own_order_of_axes() {
    let File { path, .. } = &file(&[
        pool("x", "a"),
        node(PLACES, &["a"], &["b"], &[factor(0.5)]),
        pool("b", "c"),
        node(["", "NoSuchOperator"], &["c", "a", ""], &["d"], &[]),
        node(["", "Relu"], &["d"], &["y"], &[]),
    ]);
    let model = Model::open_with(path, &nodes()).unwrap();
    let expected: Vec<f32> =
        x().iter().enumerate().map(|(i, x)| (2.0 * x + 1.5 * i as f32).max(0.0)).collect();
    for device in [reference(), Device::new(Cpu::new(Some(2)).unwrap())] {
        for _ in 0..2 {
            assert_eq!(run(&model, &device).unwrap(), expected);
        }
    }
    let operators = model.operators();
    let counts: Vec<_> = operators.iter().map(|(name, count)| (&**name, *count)).collect();
    assert_eq!(
        counts,
        [("MaxPool", 2), ("NoSuchOperator", 1), ("Relu", 1), ("com.example.Places", 1)]
    );
    // It is no network of layers, whatever its operators are called.
    let text = chain(&model.to_network(&reference(), &ReadOptions::default()).unwrap_err());
    assert!(text.contains("an operator of `com.example`, so that it is no layer"), "{text}");
}

#[test]
fn without_an_op_the_operators_are_named() {
    let File { path, .. } = &file(&[
        node(PLACES, &["x"], &["b"], &[factor(0.5)]),
        node(["", "NoSuchOperator"], &["b"], &["y"], &[]),
    ]);
    let expected = "operators of opset 17 that are not supported: NoSuchOperator (node `y`); \
                    com.example.Places (node `b`)";
    let text = Model::open(path).unwrap_err().to_string();
    assert!(text.ends_with(expected), "{text}");
    let other = CustomNodes::new()
        .with("other", "Places", |_| Ok(Places { factor: 1.0, dtype: DType::F32 }));
    assert!(Model::open_with(path, &other).unwrap_err().to_string().ends_with(expected));
    assert!(format!("{other:?}").contains("Places"));
}

#[test]
fn what_a_node_has_wrong_is_said_of_it() {
    let device = reference();
    let refused = |nodes_of_file: &[Vec<u8>]| {
        let File { path, .. } = &file(nodes_of_file);
        chain(&run(&Model::open_with(path, &nodes()).unwrap(), &device).unwrap_err())
    };
    let place = "node `y` (Places)";
    let one = |inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]| {
        refused(&[node(PLACES, inputs, outputs, attributes)])
    };
    let text = one(&["x"], &["y"], &[]);
    assert!(text.contains(place) && text.contains("factor must be a number"), "{text}");
    // Of another kind.
    let text = one(&["x"], &["y"], &[attribute("factor", 2, number(3, 1))]);
    assert!(text.contains("factor must be a number"), "{text}");
    let text = one(&["x"], &["y", "z"], &[factor(1.0)]);
    assert!(text.ends_with("expected one output of a custom op, got 2"), "{text}");
    let text = one(&[], &["y"], &[factor(1.0)]);
    assert!(text.ends_with("expected inputs of a custom op, got none"), "{text}");
    let text = one(&["", "x"], &["y"], &[factor(1.0)]);
    assert!(text.contains(place) && text.ends_with("expected an input 0, got none"), "{text}");
    let half = attribute("to", 2, number(3, 10));
    let text = refused(&[
        node(["", "Shape"], &["x"], &["s"], &[]),
        node(["", "Cast"], &["s"], &["t"], &[half]),
        node(PLACES, &["x", "t"], &["y"], &[factor(1.0)]),
    ]);
    assert!(text.contains("places: expected alike operands"), "{text}");
    let text = refused(&[node(
        ["com.example", "Whole"],
        &["x"],
        &["y"],
        &[
            attribute("count", 2, number(3, 7)),
            attribute("list", 7, bytes(8, &[1, 0xac, 2])),
            attribute("text", 3, bytes(4, b"t")),
        ],
    )]);
    assert!(
        text.contains("expected the custom op `places` to make floats, got u32[2, 3"),
        "{text}"
    );
}
