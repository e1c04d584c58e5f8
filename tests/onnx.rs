//! ONNX models on the devices that they run on, beside what onnxruntime makes of them.
//!
//! Without a graphics processor that test says so and passes; with `STRIATE_REQUIRE_GPU=1` it fails.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::path::Path;

use striate::importers::onnx::{Model, RunOptions};
use striate::importers::safetensors::TensorFile;
use striate::prelude::*;
use striate::tensor::ops::Algorithm;

/// Runs every fixture, with and without Winograd.
fn check(device: &Device) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let stored = TensorFile::open(path.with_extension("safetensors")).unwrap();
        let of = |prefix: &str| -> Vec<(String, Tensor)> {
            let names = stored.names().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
            let tensor = |(full, name): (&str, &str)| {
                (name.to_owned(), stored.stored(full, device).unwrap())
            };
            names.map(tensor).collect()
        };
        let inputs = of("input/");
        let inputs: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect();
        let model = Model::open(&path).unwrap();
        for algorithm in [Algorithm::Auto, Algorithm::Direct] {
            let options = RunOptions::new().algorithm(algorithm);
            let made = model.run_with(&inputs, device, &options).unwrap();
            for (name, theirs) in of("output/") {
                let (_, ours) = made.iter().find(|(made, _)| *made == name).unwrap();
                assert_eq!((ours.dims(), ours.dtype()), (theirs.dims(), theirs.dtype()), "{name}");
                if theirs.dtype() != DType::F32 {
                    let (ours, theirs) = (ours.to_host().unwrap(), theirs.to_host().unwrap());
                    assert_eq!(ours, theirs, "{}: {name}", path.display());
                    continue;
                }
                let (ours, theirs) =
                    (ours.to_vec::<f32>().unwrap(), theirs.to_vec::<f32>().unwrap());
                let scale = theirs.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    let off = (ours - theirs).abs();
                    assert!(off <= 1e-5 * scale, "{}: {name}: off {off}", path.display());
                }
            }
        }
        checked += 1;
    }
    assert!(checked >= 13, "{checked} fixtures");
}

#[test]
fn models_run_on_the_cpu() {
    check(&Device::cpu(Some(2)).unwrap());
}

#[test]
fn models_run_on_the_gpu() {
    match Device::by_name("gpu", &DeviceOptions::default()) {
        Ok(gpu) => check(&gpu),
        Err(error) => {
            let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "STRIATE_REQUIRE_GPU is set, and {error}");
            println!("skipped: {error}");
        }
    }
}
