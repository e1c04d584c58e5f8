//! Our networks beside what PyTorch computes in double precision for torchvision's, with the same
//! weights: logits, and a step of training. Weights follow a formula (`tests/common/torch.rs`). All that
//! was recorded is compared with where it is beside the repository, in `../shared/zoo`
//! (`STRIATE_REQUIRE_GOLDEN=1` makes its absence a failure); two small networks of our own are in
//! `tests/fixtures/zoo`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]
#![allow(clippy::print_stdout, reason = "how far off each is, with --nocapture")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::devices;
use common::torch::{Held, Place, Recorded, doubles, without_dropout};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use striate::nn::{self, Rates, Sgd, parameter_gradients, require_grad, update_statistics};
use striate::prelude::*;
use striate::tensor::DeviceKind;

/// How far a logit may be off, of the largest one (or of 1 where all are smaller).
const LOGITS: f64 = 1e-4;

/// The least limit of a step's errors; twice PyTorch's own in single precision where that is more.
const STEP: f64 = 1e-4;

/// Of the largest gradient's norm: smaller gradients are measured by this.
const SMALL: f64 = 1e-3;

/// The limit on a GPU where PyTorch's own error is beyond [`STEP`]: there a gradient jumps where rounding
/// moves a ReLU or a maximum to its other side, and devices that round otherwise jump elsewhere. Two
/// such places were found in GoogLeNet's step: errors are 1e-5 without, 1.2e-3 with one (as PyTorch has
/// it), 3e-3 to 4e-3 with the other.
const JUMP: f64 = 5e-3;

/// The rate of the step.
const RATE: f32 = 0.01;

/// The most that the loss after the step may be off, relative.
const LOSS_AFTER: f64 = 1e-2;

/// A step of training as it was recorded: stochastic gradient descent, on four images with the labels 1
/// to 4.
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

impl Step {
    /// How far the loss after the step may be off where gradients may be off by `limit`: by as much, or
    /// by what such gradients change in it, `rate · limit · Σ norm²` to first order.
    fn limit_after(&self, limit: f64) -> f64 {
        let squares: f64 = self.gradients.values().map(|(_, norm, _)| norm * norm).sum();
        let carried = f64::from(RATE) * limit * squares / self.loss_after.max(1.0);
        limit.max(carried.min(LOSS_AFTER))
    }
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
    let spec = without_dropout(spec.clone(), step.train_size);
    for device in devices() {
        let limit = match device.info().kind {
            DeviceKind::Cpu => STEP.max(2.0 * step.f32_error),
            _ if step.f32_error > STEP => JUMP.max(2.0 * step.f32_error),
            _ => STEP,
        };
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

        let rates = Rates { rate: RATE, momentum: 0.0, decay: 0.0 };
        Sgd::new().step(&mut network, &gradients, |_| rates.step(1.0)).unwrap();
        let after = f64::from(loss_of(&network).0.to_scalar::<f32>().unwrap());
        let error = (after - step.loss_after).abs() / step.loss_after.max(1.0);
        assert!(error <= step.limit_after(limit), "{what}, loss after: {error:e}");
        println!(
            "{what}: step off by {worst:.1e}, the limit is {limit:.1e}; loss after by {error:.1e}"
        );
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

/// Two small networks, whose values stand in the repository: `make.py` there computes them.
fn fixtures() -> [(&'static str, NetworkSpec); 2] {
    [("residual", residual()), ("inception", inception())]
}

fn residual() -> NetworkSpec {
    let conv = |count, stride| conv2d(count, 3).stride(stride).padding(1).without_bias();
    let main = |x: NetworkSpec, width, stride| {
        x.named("conv1", |x| x.conv(conv(width, stride)))
            .named("bn1", NetworkSpec::batch_norm)
            .relu()
            .named("conv2", |x| x.conv(conv(width, 1)))
            .named("bn2", NetworkSpec::batch_norm)
    };
    let shortcut = conv2d(16, 1).stride(2).without_bias();
    NetworkSpec::new([16, 16, 3])
        .named("conv1", |x| x.conv(conv(8, 1)))
        .named("bn1", NetworkSpec::batch_norm)
        .relu()
        .max_pool(pool(3).stride(2).padding(1).first_maximum())
        .named("layer1.0", |x| x.residual(|x| main(x, 8, 1)).relu())
        .named("layer2.0", |x| {
            let downsample = |x: NetworkSpec| x.conv(shortcut).batch_norm();
            x.residual_with(|x| main(x, 16, 2), |x| x.named("downsample", downsample)).relu()
        })
        .global_avg_pool()
        .named("fc", |x| x.full_connect(10))
}

fn inception() -> NetworkSpec {
    let basic = |x: NetworkSpec, count, size: usize| {
        let conv = conv2d(count, size).padding(size / 2).without_bias();
        let norm = nn::batch_norm().epsilon(0.001);
        x.named("conv", |x| x.conv(conv)).named("bn", |x| x.batch_norm_with(norm)).relu()
    };
    let two = |x: NetworkSpec, reduce, count, size| {
        x.named("0", |x| basic(x, reduce, 1)).named("1", |x| basic(x, count, size))
    };
    let pooled = |x: NetworkSpec| {
        x.max_pool(pool(3).stride(1).padding(1).first_maximum()).named("1", |x| basic(x, 4, 1))
    };
    let branches = |x: NetworkSpec| {
        x.branches(|b| {
            b.path(|x| x.named("branch1", |x| basic(x, 4, 1)))
                .path(|x| x.named("branch2", |x| two(x, 4, 6, 3)))
                .path(|x| x.named("branch3", |x| two(x, 3, 4, 5)))
                .path(|x| x.named("branch4", pooled))
                .concatenate()
        })
    };
    NetworkSpec::new([16, 16, 3])
        .named("conv1", |x| basic(x, 8, 3))
        .max_pool(pool(3).stride(2).ceil().first_maximum())
        .named("inception", branches)
        .named("conv2", |x| x.conv(conv2d(6, 3).stride(2).padding(1)))
        .relu()
        .max_pool(pool(2).stride(2).first_maximum())
        .flatten()
        .named("classifier", |x| x.full_connect(12).relu().full_connect(10))
}

#[test]
fn small_networks_are_as_numpy_computes_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zoo");
    for (name, spec) in fixtures() {
        compare(&folder, name, &spec);
        compare_step(&folder, name, &spec);
    }
}

/// Without the names of nodes, tensors are found by their places.
#[test]
fn small_networks_are_the_same_by_places() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zoo");
    let mut spec = residual();
    let sources = spec.sources().unwrap();
    for (node, sources) in spec.nodes.iter_mut().zip(sources) {
        node.name.clear();
        let names = sources.iter().map(|source| source.map_or("input".into(), |s| s.to_string()));
        node.inputs = nn::Inputs::Of(names.collect());
    }
    compare(&folder, "residual", &spec);
}

/// Numbers that the formula's description gives.
#[test]
fn the_formula_is_the_recorded_one() {
    let first = |name, seed| common::torch::numbers(name, seed).take(4).collect::<Vec<_>>();
    let input =
        [-0.8043633699417114, 0.30472075939178467, -0.5927515029907227, -0.45111072063446045];
    assert_eq!(first("input", 0), input);
    let weights =
        [0.5312649011611938, -0.9374969005584717, 0.074737548828125, -0.30474531650543213];
    assert_eq!(first("conv1.weight", 7), weights);
}
