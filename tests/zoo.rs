//! Our networks beside what PyTorch computes in double precision for torchvision's, with the same
//! weights: logits, and a step of training. Weights follow a formula (`tests/common/torch.rs`). All that
//! was recorded is compared with where it is beside the repository, in `../shared/zoo`
//! (`STRIATE_REQUIRE_GOLDEN=1` makes its absence a failure); two small networks of our own are in
//! `tests/fixtures/zoo`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::devices;
use common::torch::{Held, Place, Recorded, doubles, without_dropout};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use striate::nn::{self, Rates, Sgd, parameter_gradients, require_grad, update_statistics};
use striate::prelude::*;

/// How far a logit may be off, of the largest one (or of 1 where all are smaller).
const LOGITS: f64 = 1e-4;

/// The least limit of a step's errors; twice PyTorch's own in single precision where that is more.
const STEP: f64 = 1e-4;

/// Of the largest gradient's norm: smaller gradients are measured by this.
const SMALL: f64 = 1e-3;

/// A step of training as it was recorded: stochastic gradient descent at a rate of 0.01, on four images
/// with the labels 1 to 4.
#[derive(Deserialize)]
struct Step {
    train_size: usize,
    loss: f64,
    loss_after: f64,
    /// What PyTorch is off in single precision, by the measure of this test.
    f32_error: f64,
    /// Of each parameter's gradient the sum, the norm and the first values.
    gradients: BTreeMap<String, (f64, f64, Vec<f64>)>,
    /// Of running statistics after the step the sum and the first values.
    running: BTreeMap<String, (f64, Vec<f64>)>,
}

/// The recorded values, where they are there.
fn golden() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zoo/golden");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|value| value == "1");
    assert!(!required, "the golden values are required and {} is not there", folder.display());
    None
}

fn json<T: DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a network of ours with what `folder` has under a name.
fn compare(folder: &Path, name: &str, spec: &NetworkSpec) {
    let recorded: Recorded = json(&folder.join(format!("{name}.json")));
    assert_eq!(spec.input[..2], [recorded.size; 2], "{name}");
    let golden = doubles(&folder.join(format!("{name}.logits.npy")));
    for device in devices() {
        let what = format!("{name} as {} on {}", spec.name, device.info().name);
        let (network, _) = recorded.network(spec.clone(), &device);
        let images = recorded.images(2, recorded.size, &device);
        let logits = network.forward(&images).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(logits.len(), golden.len(), "{what}");
        let scale = golden.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        let worst = logits.iter().zip(&golden).map(|(a, b)| (f64::from(*a) - b).abs() / scale);
        let worst = worst.fold(0.0, f64::max);
        println!("{what}: logits off by {worst:.1e} of {scale:.2}");
        assert!(worst <= LOGITS, "{what}: {worst:e}");
    }
}

/// Compares a step of training.
fn compare_step(folder: &Path, name: &str, spec: &NetworkSpec) {
    let recorded: Recorded = json(&folder.join(format!("{name}.json")));
    let step: Step = json(&folder.join(format!("{name}.train.json")));
    let limit = STEP.max(2.0 * step.f32_error);
    let spec = without_dropout(spec.clone(), step.train_size);
    for device in devices() {
        let what = format!("{name} on {}", device.info().name);
        let check = |of: &str, error: f64| {
            assert!(error <= limit, "{what}, {of}: {error:e}, the limit is {limit:e}");
            error
        };
        let (mut network, held) = recorded.network(spec.clone(), &device);
        require_grad(&mut network);
        let images = recorded.images(4, step.train_size, &device);
        let labels = Tensor::from_vec(vec![1u32, 2, 3, 4], [4], &device).unwrap();
        let loss_of = |network: &Network| {
            let cx = Context::training(RandomKey::new(1, 0));
            let logits = network.forward_with(&images, &cx).unwrap();
            (nn::loss::cross_entropy(&logits, &labels).unwrap(), cx.take_records())
        };

        let (loss, records) = loss_of(&network);
        let ours = f64::from(loss.to_scalar::<f32>().unwrap());
        let mut worst = check("loss", (ours - step.loss).abs() / step.loss.max(1.0));
        let gradients = parameter_gradients(&network, loss.backward().unwrap());
        assert_eq!(gradients.len(), step.gradients.len(), "{what}");
        let largest = step.gradients.values().fold(0.0f64, |most, (_, norm, _)| most.max(*norm));
        for Held { torch, place, order } in &held {
            let Place::Parameter(index) = *place else { continue };
            let gradient = &gradients[&nn::ParameterId(index as u32)];
            let gradient = order.to_torch(&gradient.to_vec::<f32>().unwrap());
            let (sum, norm, first) = &step.gradients[&torch.0];
            let scale = norm.max(SMALL * largest);
            let ours = gradient.iter().map(|value| f64::from(*value));
            let our_sum: f64 = ours.clone().sum();
            let our_norm = ours.clone().map(|value| value * value).sum::<f64>().sqrt();
            let mut errors = vec![
                (our_norm - norm).abs() / scale,
                (our_sum - sum).abs() / (gradient.len() as f64).sqrt() / scale,
            ];
            errors.extend(ours.zip(first).map(|(ours, golden)| (ours - golden).abs() / scale));
            worst = errors.into_iter().fold(worst, |w, error| w.max(check(&torch.0, error)));
        }

        update_statistics(&mut network, &records).unwrap();
        let buffers: Vec<Vec<f32>> = nn::named_buffers(&network)
            .iter()
            .map(|(_, buffer)| buffer.value().to_vec::<f32>().unwrap())
            .collect();
        for Held { torch, place, .. } in &held {
            let Place::Buffer(index, row) = *place else { continue };
            let channels = buffers[index].len() / 2;
            let ours = &buffers[index][row * channels..][..channels];
            let (sum, first) = &step.running[&torch.0];
            // By the mean of all channels, or by 1.
            let scale = (sum / channels as f64).abs().max(1.0);
            let our_sum: f64 = ours.iter().map(|value| f64::from(*value)).sum();
            let error = (our_sum - sum).abs() / (channels as f64).sqrt() / scale;
            worst = worst.max(check(&torch.0, error));
            for (ours, golden) in ours.iter().zip(first) {
                let error = (f64::from(*ours) - golden).abs() / golden.abs().max(scale);
                worst = worst.max(check(&torch.0, error));
            }
        }

        let rates = Rates { rate: 0.01, momentum: 0.0, decay: 0.0 };
        Sgd::new().step(&mut network, &gradients, |_| rates.step(1.0)).unwrap();
        let after = f64::from(loss_of(&network).0.to_scalar::<f32>().unwrap());
        worst = worst.max(check("loss after", (after - step.loss_after).abs() / step.loss_after.max(1.0)));
        println!("{what}: step off by {worst:.1e}, the limit is {limit:.1e}");
    }
}

/// Compares those of these networks that were recorded: torchvision's name and ours, and whether it must
/// be there.
fn compare_recorded(networks: &[(&str, &str, bool)]) {
    let Some(folder) = golden() else { return };
    for &(name, ours, required) in networks {
        if required || folder.join(format!("{name}.json")).exists() {
            compare(&folder, name, &models::by_name(ours).unwrap());
        }
    }
}

/// As [`compare_recorded`], for steps of training.
fn compare_recorded_steps(networks: &[(&str, &str, bool)]) {
    let Some(folder) = golden() else { return };
    for &(name, ours, required) in networks {
        if required || folder.join(format!("{name}.train.json")).exists() {
            compare_step(&folder, name, &models::by_name(ours).unwrap());
        }
    }
}

#[test]
fn googlenet_is_torchvisions() {
    compare_recorded(&[("googlenet", "googlenet-no-aux", true)]);
}

#[test]
fn residual_networks_are_torchvisions() {
    compare_recorded(&[("resnet18", "resnet18", true), ("resnet34", "resnet34", false)]);
}

#[test]
fn vgg_with_batch_norm_is_torchvisions() {
    compare_recorded(&[
        ("vgg11_bn", "vgg11-bn", true),
        ("vgg13_bn", "vgg13-bn", false),
        ("vgg16_bn", "vgg16-bn", false),
        ("vgg19_bn", "vgg19-bn", false),
    ]);
}

#[test]
fn vgg_is_torchvisions() {
    compare_recorded(&[
        ("vgg11", "vgg11", false),
        ("vgg13", "vgg13", false),
        ("vgg16", "vgg16", true),
        ("vgg19", "vgg19", false),
    ]);
}

/// By names, and by places.
#[test]
fn alexnet_is_torchvisions() {
    compare_recorded(&[
        ("alexnet", "alexnet-torchvision", true),
        ("alexnet", "alexnet-2014", true),
    ]);
}

#[test]
fn steps_of_residual_networks_are_torchvisions() {
    compare_recorded_steps(&[("resnet18", "resnet18", true), ("resnet34", "resnet34", false)]);
}

#[test]
fn steps_of_googlenet_are_torchvisions() {
    compare_recorded_steps(&[("googlenet", "googlenet-no-aux", true)]);
}

/// Numbers that the formula's description gives.
#[test]
fn the_formula_is_the_recorded_one() {
    let first = |name, seed| common::torch::numbers(name, seed).take(4).collect::<Vec<_>>();
    let input = [-0.8043633699417114, 0.30472075939178467, -0.5927515029907227, -0.45111072063446045];
    assert_eq!(first("input", 0), input);
    let weights = [0.5312649011611938, -0.9374969005584717, 0.074737548828125, -0.30474531650543213];
    assert_eq!(first("conv1.weight", 7), weights);
}
