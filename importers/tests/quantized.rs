//! Networks that compute with integers of 8 bits: what is stored of them, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::collections::BTreeMap;

use common::{chain, reference, small};
use striate_importers::safetensors::{TensorFile, read, write, write_tensors};
use striate_importers::{WriteOptions, inspect};
use striate_nn::{Calibration, Network, ParameterId};
use striate_tensor::ops::Levels;
use striate_tensor::{DType, Device, Tensor};

/// A network, calibrated with pictures of one value.
fn quantized(device: &Device) -> Network {
    let network = small(device);
    let [rows, cols, channels] = network.spec().input;
    let mut calibration = Calibration::new(&network, 1.0).unwrap();
    for value in [-1.0, 0.5, 2.0] {
        let x = Tensor::full([1, rows, cols, channels], value, DType::F32, device).unwrap();
        calibration.observe(&x).unwrap();
    }
    let levels = calibration.finish();
    network.with_levels(levels).unwrap()
}

#[test]
fn levels_come_back_and_stay_unless_floats_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let device = reference();
    let network = quantized(&device);
    assert!(network.levels().len() > 1);
    write(path("a.safetensors"), &network, &WriteOptions::default()).unwrap();
    let back = read(path("a.safetensors"), &device).unwrap();
    assert_eq!(back.levels(), network.levels());
    // Once more, to the same bytes.
    write(path("b.safetensors"), &back, &WriteOptions::default()).unwrap();
    let again = read(path("b.safetensors"), &device).unwrap();
    assert_eq!(again.levels(), network.levels());
    let [rows, cols, channels] = network.spec().input;
    let x = Tensor::full([2, rows, cols, channels], 0.75, DType::F32, &device).unwrap();
    let outputs = |network: &Network| network.forward(&x).unwrap().to_vec::<f32>().unwrap();
    let scale = outputs(&network).iter().fold(0.0f32, |scale, y| scale.max(y.abs()));
    for (a, b) in outputs(&back).iter().zip(outputs(&again)) {
        assert!((a - b).abs() <= 1e-3 * scale, "{a} {b}");
    }
    let floats = WriteOptions::default().dtype(DType::F32);
    write(path("c.safetensors"), &back, &floats).unwrap();
    assert!(!read(path("c.safetensors"), &device).unwrap().is_quantized());
}

#[test]
fn levels_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let device = reference();
    write(&path, &quantized(&device), &WriteOptions::default()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let metadata: BTreeMap<String, String> = file.metadata().clone();
    let tensors: Vec<(String, Tensor)> =
        file.names().map(|name| (name.to_owned(), file.stored(name, &device).unwrap())).collect();
    let levels = tensors.iter().map(|(name, _)| name.as_str()).find(|n| n.ends_with(".levels"));
    let levels = levels.unwrap().to_owned();
    let weights = levels.strip_suffix(".levels").unwrap();
    let refused = |name: &str, other: Tensor, what: &str| {
        let changed: Vec<(&str, &Tensor)> =
            tensors.iter().map(|(n, t)| (n.as_str(), if n == name { &other } else { t })).collect();
        let path = folder.path().join("other.safetensors");
        write_tensors(&path, &changed, &metadata).unwrap();
        let text = chain(&read(&path, &device).unwrap_err());
        assert!(text.contains(&levels) && text.contains(what), "{text}");
        assert_eq!(chain(&inspect(&path).unwrap_err()), text);
    };
    let numbers =
        |values: &[f32]| Tensor::from_vec(values.to_vec(), [values.len()], &device).unwrap();
    refused(&levels, numbers(&[0.1, 3.0, 1.0]), "[3]");
    for wrong in [[0.0, 3.0], [-1.0, 3.0], [f32::NAN, 3.0], [0.1, 3.5], [0.1, 256.0], [0.1, -1.0]] {
        refused(&levels, numbers(&wrong), "a scale above 0 and a level of 0 to 255");
    }
    refused(&levels, numbers(&[0.1, 3.0]).cast(DType::F16).unwrap(), "f16");
    let shape = file.shape(weights).unwrap().to_vec();
    refused(weights, Tensor::zeros(&shape[..], &device).unwrap(), "weights of f32");
}

#[test]
fn levels_are_for_weights_and_for_inference() {
    let device = reference();
    let levels =
        |id: u32, scale: f32| BTreeMap::from([(ParameterId(id), Levels { scale, zero: 0 })]);
    assert!(small(&device).with_levels(levels(99, 1.0)).is_err(), "no such parameter");
    assert!(small(&device).with_levels(levels(1, 1.0)).is_err(), "a bias");
    assert!(small(&device).with_levels(levels(0, 0.0)).is_err(), "no scale");
    let network = quantized(&device);
    assert!(Calibration::new(&network, 1.0).is_err(), "calibrated already");
    let [rows, cols, channels] = network.spec().input;
    let x = Tensor::zeros([1, rows, cols, channels], &device).unwrap();
    let training = striate_nn::Context::training(striate_tensor::RandomKey::new(1, 2));
    let text = network.forward_with(&x, &training).unwrap_err().to_string();
    assert!(text.contains("integers of 8 bits"), "{text}");
}
