//! Ops beside PyTorch's: outputs and gradients on small random operands, recorded in
//! `tests/fixtures/torch` by the script there, in double precision.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::path::Path;

use common::devices;
use serde::Deserialize;
use striate::nn::{AdaptiveAvgPool2d, AdaptiveMaxPool2d, Module, Resize2d, Target};
use striate::nn::{Context, resize as resized};
use striate::prelude::*;
use striate::tensor::ops::{
    BlockOrder, Border, Coordinates, Interpolation, Nearest, Unary, UnaryKind,
};

/// Of each tensor's largest magnitude.
const TOLERANCE: f64 = 2e-6;

#[derive(Deserialize)]
struct Table {
    op: String,
    torch: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    parameters: serde_json::Value,
    inputs: Vec<Recorded>,
    output: Recorded,
    dy: Recorded,
    gradients: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Recorded {
    fn tensor(&self, device: &Device) -> Tensor {
        let values = self.values.iter().map(|&value| value as f32).collect();
        Tensor::from_vec(values, &self.shape[..], device).unwrap()
    }

    #[track_caller]
    fn assert_is(&self, what: &str, ours: &Tensor) {
        assert_eq!(ours.dims(), self.shape, "{what}");
        let scale = self.values.iter().fold(1e-30, |scale: f64, value| scale.max(value.abs()));
        for (at, (ours, value)) in
            ours.to_vec::<f32>().unwrap().iter().zip(&self.values).enumerate()
        {
            let error = (f64::from(*ours) - value).abs() / scale;
            assert!(error <= TOLERANCE, "{what}: {ours} for {value} at {at}, off by {error:e}");
        }
    }
}

/// Compares what `function` makes of each case's operands, and its gradients, on every device.
fn check(
    op: &str,
    function: impl Fn(&serde_json::Value, &[Tensor]) -> striate::tensor::Result<Tensor>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch");
    let text = std::fs::read_to_string(folder.join(format!("{op}.json"))).unwrap();
    let table: Table = serde_json::from_str(&text).unwrap();
    assert_eq!(table.op, op);
    assert!(!table.cases.is_empty() && !table.torch.is_empty());
    for device in devices() {
        for case in &table.cases {
            let what = format!("{op} {} on {}", case.parameters, device.info().description);
            let leaf = |input: &Recorded| input.tensor(&device).require_grad();
            let inputs: Vec<Tensor> = case.inputs.iter().map(leaf).collect();
            let output = function(&case.parameters, &inputs).unwrap();
            case.output.assert_is(&what, &output);
            let gradients = output.backward_with(&case.dy.tensor(&device)).unwrap();
            for (place, (input, recorded)) in inputs.iter().zip(&case.gradients).enumerate() {
                let ours = gradients.get(input).unwrap();
                recorded.assert_is(&format!("{what}, gradient {place}"), ours);
            }
        }
    }
}

fn text<'a>(parameters: &'a serde_json::Value, name: &str) -> &'a str {
    parameters[name].as_str().unwrap()
}

fn number(value: &serde_json::Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

fn pair(value: &serde_json::Value) -> [usize; 2] {
    [number(&value[0]), number(&value[1])]
}

#[test]
fn activations() {
    check("activations", |parameters, x| match text(parameters, "function") {
        "relu6" => x[0].relu6(),
        name => {
            let kind = *UnaryKind::ALL.iter().find(|kind| kind.name() == name).unwrap();
            x[0].device().execute(&Unary { kind }.into(), &[&x[0]])
        }
    });
}

#[test]
fn prelu() {
    check("prelu", |_, x| x[0].prelu(&x[1]));
}

#[test]
fn adaptive_pool() {
    check("adaptive_pool", |parameters, x| {
        let (size, cx) = (pair(&parameters["size"]), Context::inference());
        match text(parameters, "kind") {
            "avg" => AdaptiveAvgPool2d(size).forward(&x[0], &cx),
            _ => AdaptiveMaxPool2d(size).forward(&x[0], &cx),
        }
    });
}

#[test]
fn rearrange() {
    check("rearrange", |parameters, x| {
        let by = number(&parameters["by"]);
        match text(parameters, "kind") {
            "channel_shuffle" => x[0].channel_shuffle(by),
            "pixel_shuffle" => x[0].depth_to_space(by, BlockOrder::Crd),
            _ => x[0].space_to_depth(by, BlockOrder::Crd),
        }
    });
}

#[test]
fn resize() {
    check("resize", |parameters, x| {
        let mut spec = match text(parameters, "mode") {
            "nearest" => resized(1).nearest(),
            "nearest-exact" => {
                let interpolation = Interpolation::Nearest(Nearest::PreferCeil);
                let spec = resized(1).coordinates(Coordinates::HalfPixel);
                striate::nn::ResizeSpec { interpolation, ..spec }
            }
            "bilinear" => resized(1).linear(),
            "bicubic" => resized(1).cubic(),
            _ => resized(1).area(),
        };
        if parameters["align_corners"].as_bool().unwrap() {
            spec = spec.align_corners();
        }
        spec.to = match parameters["factor"].as_array() {
            Some(factor) => {
                let along = |axis: usize| factor[axis].as_f64().unwrap() as f32;
                Target::Factor([along(0), along(1)])
            }
            None => Target::Size(pair(&parameters["size"])),
        };
        Resize2d(spec).forward(&x[0], &Context::inference())
    });
}

#[test]
fn pad() {
    check("pad", |parameters, x| {
        let widths = [pair(&parameters["widths"][0]), pair(&parameters["widths"][1])];
        match text(parameters, "mode") {
            "reflect" => x[0].pad_image(widths, Border::Reflect),
            "replicate" => x[0].pad_image(widths, Border::Edge),
            "circular" => x[0].pad_image(widths, Border::Wrap),
            _ => x[0].pad(&[[0, 0], widths[0], widths[1], [0, 0]], 0.0),
        }
    });
}
