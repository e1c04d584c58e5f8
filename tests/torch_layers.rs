//! Normalization and convolutions, with their gradients, beside what PyTorch computes in double
//! precision on random shapes: `tests/fixtures/torch/make_layers.py` says how that was recorded.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::collections::BTreeMap;

use common::devices;
use serde::Deserialize;
use striate::prelude::*;
use striate::tensor::ops::{BatchNorm, Conv2d, ConvTranspose2d, GroupNorm};
use striate::tensor::{Result, Shape};

/// Of the largest magnitude of a tensor, and of its norm.
const TOLERANCE: f64 = 2e-5;

#[derive(Deserialize)]
struct File {
    op: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    parameters: Parameters,
    shapes: BTreeMap<String, Vec<usize>>,
    /// Of the output, `y`, and of the gradient in each operand.
    results: BTreeMap<String, Summary>,
}

/// Those that the op has.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Parameters {
    epsilon: f32,
    groups: usize,
    stride: [usize; 2],
    padding: [usize; 2],
    output_padding: [usize; 2],
    dilation: [usize; 2],
}

#[derive(Deserialize)]
struct Summary {
    shape: Vec<usize>,
    norm: f64,
    largest: f64,
    first: Vec<f64>,
    last: Vec<f64>,
}

/// Multiples of 2⁻²³ in [-1, 1) that belong to a name: the twin of `numbers` in `make_layers.py`.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let number = |i: usize| {
        let mut z = hash.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
    };
    (0..count).map(number).collect()
}

/// A tensor of the formula, given in PyTorch's order, channels last.
fn operand(name: &str, shape: &[usize], device: &Device) -> Tensor {
    let values = numbers(name, shape.iter().product());
    let x = Tensor::from_vec(values, Shape::new(shape).unwrap(), device).unwrap();
    if shape.len() == 4 { x.permute([0, 2, 3, 1]).unwrap() } else { x }
}

fn run(op: &str, of: &Parameters, [x, weight, bias]: [&Tensor; 3]) -> Result<Tensor> {
    let padding = of.padding.map(|padding| [padding; 2]);
    let epsilon = of.epsilon;
    match op {
        "batch_norm" => {
            let norm = BatchNorm { epsilon, batch: true, ..BatchNorm::default() };
            x.batch_norm(&x.detach().moments()?, weight, bias, norm)
        }
        "layer_norm" => x.layer_norm(weight, bias, epsilon),
        "group_norm" => x.group_norm(weight, bias, GroupNorm::group(of.groups, epsilon)),
        "instance_norm" => x.instance_norm(weight, bias, epsilon),
        "conv_transpose2d" => {
            let Parameters { stride, output_padding, dilation, groups, .. } = *of;
            let op = ConvTranspose2d {
                stride,
                padding,
                output_padding,
                dilation,
                groups,
                ..Default::default()
            };
            x.conv_transpose2d(weight, Some(bias), op)
        }
        _ => {
            let Parameters { stride, dilation, groups, .. } = *of;
            let op = Conv2d { stride, padding, dilation, groups, ..Conv2d::default() };
            x.conv2d(weight, Some(bias), op)
        }
    }
}

fn check(tensor: &Tensor, expected: &Summary, what: &str) {
    let tensor = tensor.detach();
    let tensor =
        if tensor.dims().len() == 4 { tensor.permute([0, 3, 1, 2]).unwrap() } else { tensor };
    assert_eq!(tensor.dims(), expected.shape, "{what}");
    let values: Vec<f64> = tensor.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let close = (norm - expected.norm).abs() <= TOLERANCE * expected.norm.max(1e-3);
    assert!(close, "{what}: norm {norm}, PyTorch's {}", expected.norm);
    let ends = values.iter().take(expected.first.len()).zip(&expected.first);
    let ends = ends.chain(values.iter().rev().zip(expected.last.iter().rev()));
    for (place, (got, want)) in ends.enumerate() {
        let close = (got - want).abs() <= TOLERANCE * expected.largest.max(1e-3);
        assert!(close, "{what}, end {place}: {got}, PyTorch's {want}");
    }
}

fn compare(json: &str) {
    let file: File = serde_json::from_str(json).unwrap();
    assert!(!file.cases.is_empty());
    for device in devices() {
        for (place, case) in file.cases.iter().enumerate() {
            let names = ["x", "weight", "bias"];
            let operands =
                names.map(|name| operand(name, &case.shapes[name], &device).require_grad());
            let y = run(&file.op, &case.parameters, operands.each_ref()).unwrap();
            let what = |of: &str| format!("{of} of {} {place} on {}", file.op, device.info().name);
            check(&y, &case.results["y"], &what("y"));
            let dy = operand("dy", &case.results["y"].shape, &device);
            let gradients = y.backward_with(&dy).unwrap();
            for (name, operand) in names.iter().zip(&operands) {
                let gradient = gradients.get(operand).unwrap();
                check(gradient, &case.results[*name], &what(&format!("the gradient in {name}")));
            }
        }
    }
}

macro_rules! files {
    ($($op:ident)*) => {$(
        #[test]
        fn $op() {
            compare(include_str!(concat!("fixtures/torch/", stringify!($op), ".json")));
        }
    )*};
}

files! {
    batch_norm layer_norm group_norm instance_norm depthwise grouped dilated conv_transpose2d
}
