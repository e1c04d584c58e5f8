//! Networks whose activations are kept in half precision, beside the same networks in f32.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::devices;
use striate::nn::{Network, Seed};
use striate::tensor::{DType, Device, RandomKey, Tensor};
use striate::{DeviceByName, models};

/// What the option's help says: of the largest output's magnitude.
const TOLERANCE: f32 = 1e-2;

/// Compares the outputs for some input, and the classes where the first is clearly ahead.
fn check(network: Network, images: usize) {
    let device = network.device().clone();
    let name = network.spec().name.clone();
    let [rows, cols, channels] = network.spec().input;
    let shape = [images, rows, cols, channels];
    let x = Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(3, 1 << 40), &device).unwrap();
    let peak = network.peak_bytes(images).unwrap();
    let expected = network.forward(&x).unwrap();
    let half = network.with_precision(DType::F16).unwrap();
    assert!(half.peak_bytes(images).unwrap() < peak, "{name}: activations take less memory");
    let got = half.forward(&x).unwrap();
    assert_eq!(got.ty(), expected.ty());
    let classes = *expected.dims().last().unwrap();
    let [expected, got] = [expected, got].map(|y| y.to_vec::<f32>().unwrap());
    assert_ne!(expected, got, "{name}: it is computed otherwise");
    for (expected, got) in expected.chunks(classes).zip(got.chunks(classes)) {
        let scale = expected.iter().fold(0.0f32, |most, y| most.max(y.abs()));
        for (y, expected) in got.iter().zip(expected) {
            assert!((y - expected).abs() <= TOLERANCE * scale, "{name}: {y}, not {expected}");
        }
        let first = |of: &[f32]| (0..classes).max_by(|&a, &b| of[a].total_cmp(&of[b])).unwrap();
        let best = first(expected);
        let others = (0..classes).filter(|class| *class != best).map(|class| expected[class]);
        if expected[best] - others.fold(f32::MIN, f32::max) > 2.0 * TOLERANCE * scale {
            assert_eq!(first(got), best, "{name}");
        }
    }
}

#[test]
fn embedded_models_are_close_in_half_precision() {
    for device in devices() {
        check(striate::digits_model(&device).unwrap(), 3);
    }
    #[cfg(feature = "embedded-photos")]
    check(striate::photo_model(&Device::cpu(None).unwrap()).unwrap(), 1);
}

/// Joins, batch normalization that is folded and such that is not, attention to channels, groups,
/// layer normalization.
#[test]
fn families_are_close_in_half_precision() {
    let cpu = Device::cpu(None).unwrap();
    for name in
        ["alexnet", "resnet18", "densenet121", "regnet-y-400mf", "googlenet", "convnext-tiny"]
    {
        let spec = models::by_name(name).unwrap();
        check(spec.build(&cpu, Seed(4)).unwrap(), 1);
    }
}

#[test]
fn other_types_are_refused() {
    let network = striate::digits_model(&Device::cpu(None).unwrap()).unwrap();
    let error = network.with_precision(DType::U32).unwrap_err().to_string();
    assert!(error.contains("f32 or f16") && error.contains("u32"), "{error}");
}
