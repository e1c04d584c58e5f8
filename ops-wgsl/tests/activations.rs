//! Each activation at the end of each kernel of convolutions and products, against the plain reference: it
//! takes no dispatch of its own, and f16 is rounded once, after it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::{default_limits, gpu};
use striate_ops_wgsl::{Class, Wgpu};
use striate_tensor::ops::{Activation, Conv2d, MatMul};
use striate_tensor::{DType, Device, RandomKey, Reference, Result, Tensor};

/// Of the largest sum or output: Winograd's transforms are off by more than direct sums.
const TOLERANCE: f32 = 2e-5;

fn normal(shape: &[usize], stream: u64, dtype: DType) -> Tensor {
    let plain = Device::new(Reference::new());
    let x = Tensor::normal(shape, 0.0, 1.0, RandomKey::new(23, stream), &plain).unwrap();
    x.cast(dtype).unwrap()
}

fn adapter(class: Class, winograd: bool) -> Option<Wgpu> {
    let mut options = default_limits();
    options.class = Some(class);
    options.winograd = Some(winograd);
    gpu(options)
}

/// What is computed with an activation at its end, and from what.
struct Case {
    name: &'static str,
    inputs: Vec<Tensor>,
    run: fn(&[Tensor], Activation) -> Result<Tensor>,
}

fn cases() -> Vec<Case> {
    let of = |shapes: &[&[usize]]| -> Vec<Tensor> {
        let each = shapes.iter().zip(0..);
        each.map(|(shape, stream)| normal(shape, stream, DType::F32)).collect()
    };
    vec![
        Case {
            name: "convolution",
            inputs: of(&[&[1, 5, 6, 7], &[9, 3, 3, 7], &[9], &[1, 5, 6, 9]]),
            run: |of, activation| {
                let conv = Conv2d { padding: [[1; 2]; 2], activation, ..Conv2d::default() };
                of[0].conv2d_residual(&of[1], Some(&of[2]), &of[3], conv)
            },
        },
        Case {
            name: "of each channel",
            inputs: of(&[&[2, 5, 6, 7], &[7, 3, 3, 1], &[7]]),
            run: |of, activation| {
                let conv = Conv2d { groups: 7, stride: [2, 1], activation, ..Conv2d::default() };
                of[0].conv2d(&of[1], Some(&of[2]), conv)
            },
        },
        Case {
            name: "few rows",
            inputs: of(&[&[3, 256], &[10, 256], &[10]]),
            run: |of, activation| {
                let product = MatMul { transpose_b: true, activation, ..MatMul::default() };
                of[0].matmul_with(&of[1], Some(&of[2]), product)
            },
        },
        Case {
            name: "matrices",
            inputs: of(&[&[2, 20, 5], &[5, 13]]),
            run: |of, activation| {
                of[0].matmul_with(&of[1], None, MatMul { activation, ..MatMul::default() })
            },
        },
        Case {
            name: "depth in parts",
            inputs: of(&[&[20, 1040], &[1040, 13]]),
            run: |of, activation| {
                of[0].matmul_with(&of[1], None, MatMul { activation, ..MatMul::default() })
            },
        },
    ]
}

/// The dispatches of a call, and what it gave.
fn counted(gpu: &Wgpu, run: impl FnOnce() -> Result<Tensor>) -> (u64, Vec<f32>) {
    let before = gpu.profile();
    let y = run().unwrap();
    let dispatches = gpu.profile().since(&before).dispatches;
    (dispatches, y.to_vec::<f32>().unwrap())
}

fn check(class: Class, winograd: bool) {
    let Some(gpu) = adapter(class, winograd) else { return };
    let (device, plain) = (Device::new(gpu.clone()), Device::new(Reference::new()));
    for Case { name, inputs, run } in cases() {
        let on = |device: &Device| -> Vec<Tensor> {
            inputs.iter().map(|x| x.to(device).unwrap()).collect()
        };
        let (own, reference) = (on(&device), on(&plain));
        // Transformed weights are kept from then on.
        run(&own, Activation::None).unwrap();
        let (without, sums) = counted(&gpu, || run(&own, Activation::None));
        for activation in Activation::ALL {
            let (dispatches, got) = counted(&gpu, || run(&own, activation));
            let named = format!("{class:?}, {name}, {}", activation.name());
            assert_eq!(dispatches, without, "{named}");
            let expected = run(&reference, activation).unwrap().to_vec::<f32>().unwrap();
            let scale = sums.iter().chain(&expected).fold(0.0f32, |most, y| most.max(y.abs()));
            for (got, expected) in got.iter().zip(&expected) {
                let good = (got - expected).abs() <= TOLERANCE * scale;
                assert!(good, "{named}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn an_invocation_an_element() {
    check(Class::Simple, false);
}

#[test]
fn for_drivers_on_a_processor() {
    check(Class::Software, false);
}

#[test]
fn by_tiles() {
    check(Class::Tile(3), false);
}

#[test]
fn by_winograd() {
    check(Class::Software, true);
}

/// Sums that were rounded to f16 before the activation would often give the number beside.
#[test]
fn half_precision_is_rounded_once() {
    for class in [Class::Simple, Class::Software, Class::Tile(3)] {
        let Some(gpu) = adapter(class, false) else { return };
        let (device, plain) = (Device::new(gpu), Device::new(Reference::new()));
        let x = normal(&[1, 8, 8, 32], 0, DType::F16);
        let weights = normal(&[32, 1, 1, 32], 1, DType::F16);
        let conv = Conv2d { activation: Activation::Silu, ..Conv2d::default() };
        let run = |device: &Device| {
            let y = x.to(device)?.conv2d(&weights.to(device)?, None, conv)?;
            assert_eq!(y.dtype(), DType::F16);
            y.cast(DType::F32)?.to_vec::<f32>()
        };
        let (got, expected) = (run(&device).unwrap(), run(&plain).unwrap());
        let others = got.iter().zip(&expected).filter(|(got, expected)| got != expected).count();
        // A sum in f32 that is off by a digit may lie beside a tie.
        assert!(others <= expected.len() / 200, "{class:?}: {others} of {}", expected.len());
    }
}
