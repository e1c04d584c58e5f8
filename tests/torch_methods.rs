//! The methods of tensors beside what PyTorch and NumPy compute: values, gradients, and how arrays print.
//! `tests/fixtures/torch/methods.py` made the numbers.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::devices;
use serde::Deserialize;
use striate::prelude::*;
use striate::tensor::{DType, NEW_AXIS, REST, Result};

/// How far a number may be off, of the largest one (or of 1 where all are smaller).
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Recorded {
    cases: Vec<Case>,
    displays: Vec<Display>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    inputs: Vec<Array>,
    output: Array,
    weights: Option<Array>,
    #[serde(default)]
    gradients: Vec<Option<Array>>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
    float: bool,
}

#[derive(Deserialize)]
struct Display {
    shape: Vec<usize>,
    values: Vec<String>,
    text: String,
}

impl Array {
    fn tensor(&self, device: &Device) -> Tensor {
        let shape = self.shape.clone();
        if self.float {
            let values: Vec<f32> = self.values.iter().map(|&value| value as f32).collect();
            Tensor::from_vec(values, shape, device).unwrap()
        } else {
            let values: Vec<u32> = self.values.iter().map(|&value| value as u32).collect();
            Tensor::from_vec(values, shape, device).unwrap()
        }
    }

    #[track_caller]
    fn compare(&self, ours: &Tensor, what: &str) {
        assert_eq!(ours.dims(), self.shape, "{what}");
        let ours = ours.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
        let scale = self.values.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        for (i, (ours, theirs)) in ours.iter().zip(&self.values).enumerate() {
            let off = (f64::from(*ours) - theirs).abs() / scale;
            assert!(off <= TOLERANCE, "{what}, element {i}: {ours} and {theirs}");
        }
    }
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("fixtures/torch/methods.json")).unwrap()
}

/// The twin of a case.
fn ours(name: &str, t: &[Tensor]) -> Result<Tensor> {
    if let Some(equation) = name.strip_prefix("einsum ") {
        return Tensor::einsum(equation, &t.iter().collect::<Vec<_>>());
    }
    let x = &t[0];
    let above = |bound: f32| x.gt(&Tensor::scalar(bound, x.device())?);
    match name {
        "sum_keepdims" => x.sum_keepdims([0, -1]),
        "var" => x.var([0, 2], 1),
        "std_population" => x.std(-1, 0),
        "norm" => x.norm(2.0, [1, 2]),
        "norm_1" => x.norm(1.0, -1),
        "norm_3" => x.norm(3.0, 1),
        "norm_max" => x.norm(f32::INFINITY, [1, 2]),
        "any" => above(1.5)?.any(-1),
        "all" => above(-1.5)?.all(0),
        "cumulative_sum" => x.cumulative_sum(1),
        "sort" => Ok(x.sort(1)?.0),
        "arg_sort_descending" => x.arg_sort_descending(-1),
        "top_k" => Ok(x.top_k(3, -1)?.0),
        "take_along" => x.take_along(&t[1], 1),
        "take_along_fewer" => x.take_along(&t[1], 2),
        "scatter" => x.scatter(1, &t[1], &t[2]),
        "scatter_add" => x.scatter_add(0, &t[1], &t[2]),
        "gather" => x.gather(&t[1], 1),
        "squeeze" => x.squeeze(..),
        "stack" => Tensor::stack(&[x, &t[1], x], -1),
        "split" => {
            let parts = x.split(&[1, 3, 1], -1)?;
            Tensor::concatenate(&parts[1..].iter().collect::<Vec<_>>(), -1)
        }
        "chunk" => {
            let parts = x.chunk(3, 1)?;
            Tensor::concatenate(&parts.iter().rev().collect::<Vec<_>>(), 1)
        }
        "expand" => x.expand([3, 2, 4]),
        "repeat" => x.repeat(&[2, 1, 3]),
        "flatten_axes" => x.flatten_axes(1, -1),
        "swap_axes" => x.swap_axes(0, -1),
        "diagonal" => x.diagonal(),
        "index_entry" => x.i((.., -1)),
        "index_ranges" => x.i((1.., ..2, -3..-1)),
        "index_lists" => x.i(([2, 0, 2], REST, [4, 1])),
        "index_new" => x.i((0, NEW_AXIS, REST, 1)),
        "matrix_vector" | "vector_matrix" | "batch_vector" | "vector_vector" => x.matmul(&t[1]),
        "one_hot" => x.one_hot(6),
        "operators" => {
            let (a, b) = (x, &t[1]);
            let first = (2.0 - ((a * b)? / 3.0)?)?;
            let second = ((-b)? * 0.5)?;
            (first + second)? - 1.0 / ((b * b)? + 1.0)?
        }
        other => panic!("no case is called `{other}` here"),
    }
}

#[test]
fn methods_give_what_pytorch_gives() {
    let recorded = recorded();
    assert!(recorded.cases.len() > 50);
    for device in devices() {
        for case in &recorded.cases {
            let what = format!("{} on {}", case.name, device.info().name);
            let leaves: Vec<Tensor> = (case.inputs.iter())
                .map(|input| input.tensor(&device))
                .map(|x| if x.dtype().is_float() { x.require_grad() } else { x })
                .collect();
            let output =
                ours(&case.name, &leaves).unwrap_or_else(|error| panic!("{what}: {error}"));
            case.output.compare(&output, &what);
            let Some(weights) = &case.weights else { continue };
            let loss = output.mul(&weights.tensor(&device)).unwrap().sum(..).unwrap();
            let mut gradients = loss.backward().unwrap();
            for (i, (leaf, theirs)) in leaves.iter().zip(&case.gradients).enumerate() {
                let Some(theirs) = theirs else { continue };
                let gradient = gradients.take(leaf).unwrap();
                theirs.compare(&gradient, &format!("{what}, gradient {i}"));
            }
        }
    }
}

#[test]
fn arrays_print_as_numpy_prints_them() {
    for device in devices() {
        for case in recorded().displays {
            let values = case.values.iter().map(|value| value.parse::<f32>().unwrap());
            let x = Tensor::from_vec(values.collect(), case.shape.clone(), &device).unwrap();
            assert_eq!(x.to_string(), case.text, "{:?}", case.shape);
        }
        let words = Tensor::from_vec(vec![1u32, 20, 300, 4], [2, 2], &device).unwrap();
        assert_eq!(words.to_string(), "[[  1  20]\n [300   4]]");
    }
}
