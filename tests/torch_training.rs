//! Optimizers, losses and schedules beside what PyTorch computes: `tests/fixtures/torch/training.py` has
//! recorded it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use striate::nn::loss::{CrossEntropyOptions, binary_cross_entropy, cross_entropy_with, mse};
use striate::nn::{
    FullConnect, Method, NetworkSpec, Optimizer, ParameterId, Rates, full_connect,
    named_parameters, require_grad,
};
use striate::prelude::*;
use striate::train::{Clip, Plateau, Schedule, TrainOptions, Trainer};

fn recorded<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch");
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let far = (f64::from(*got) - want).abs();
        assert!(far <= tolerance * want.abs().max(0.1), "{what}: {got} where torch has {want}");
    }
}

#[derive(Deserialize)]
struct Optimizers {
    shape: [usize; 2],
    first: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    cases: Vec<OptimizerCase>,
}

#[derive(Deserialize)]
struct OptimizerCase {
    method: Method,
    rates: Rates,
    clip: Option<Clip>,
    values: Vec<Vec<f64>>,
}

fn tensor(values: &[f64], shape: &[usize], device: &Device) -> Tensor {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_vec(values, shape, device).unwrap()
}

#[test]
fn optimizers_step_as_torchs_do() {
    let device = Device::cpu(Some(1)).unwrap();
    let table: Optimizers = recorded("optimizers.json");
    assert_eq!(table.cases.len(), 14);
    for case in table.cases.iter().filter(|case| case.clip.is_none()) {
        let w = tensor(&table.first, &table.shape, &device);
        let mut module = FullConnect::from_tensors(w, None, false);
        require_grad(&mut module);
        let mut optimizer = Optimizer::new(case.method);
        for (step, (gradient, want)) in table.gradients.iter().zip(&case.values).enumerate() {
            let rate = case.rates.rate * if step >= 6 { 0.25 } else { 1.0 };
            let gradient = tensor(gradient, &table.shape, &device);
            let gradients = [(ParameterId(0), gradient)].into();
            optimizer.step(&mut module, &gradients, |_| Rates { rate, ..case.rates }).unwrap();
            let got = module.weight().to_vec::<f32>().unwrap();
            let what = format!("{:?} {:?}, step {step}", case.method, case.rates);
            assert_close(&what, &got, want, 2e-5);
        }
        assert_eq!(optimizer.state().steps, 12);
    }
}

/// A network whose gradient is what a test asks for: of `x · w` with the recorded gradient as `x`, for two
/// samples, half of it each.
#[test]
fn trainers_clip_as_torch_does() {
    let device = Device::cpu(Some(1)).unwrap();
    let table: Optimizers = recorded("optimizers.json");
    let cases: Vec<_> = table.cases.iter().filter(|case| case.clip.is_some()).collect();
    assert_eq!(cases.len(), 2);
    for case in cases {
        for sgd_frequency in [1, 2] {
            let options = TrainOptions {
                optimizer: case.method,
                weights: case.rates,
                biases: case.rates,
                clip: case.clip,
                sgd_frequency,
                ..TrainOptions::default()
            };
            // Cross-entropy gives no gradients that one may choose: the clipping is looked at by its bound.
            let spec = NetworkSpec::new([1, 1, 5]).full_connect(full_connect(3));
            let network = spec.build(&device, Seed(1)).unwrap();
            let mut trainer = Trainer::new(network, options.clone()).unwrap();
            let before: Vec<Tensor> = trainer.network().parameters().to_vec();
            let before: Vec<Vec<f32>> =
                before.iter().map(|tensor| tensor.to_vec::<f32>().unwrap()).collect();
            for iteration in 0..sgd_frequency as u64 {
                let images = Tensor::full([2, 1, 1, 5], 40.0, DType::F32, &device).unwrap();
                let labels = Tensor::from_vec(vec![0u32, 1], [2], &device).unwrap();
                trainer.step(&images, &labels, iteration, 1.0).unwrap();
            }
            // Of the first step: w - rate · (g + decay · w), so that g is known.
            let Rates { rate, decay, .. } = case.rates;
            let mut gradient = Vec::new();
            for (now, before) in named_parameters(trainer.network()).iter().zip(&before) {
                for (now, before) in now.1.to_vec::<f32>().unwrap().iter().zip(before) {
                    gradient.push(f64::from((before - now) / rate - decay * before));
                }
            }
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let most = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
            match case.clip {
                Some(Clip::Norm { most }) => assert!((norm / most - 1.0).abs() < 1e-3, "{norm}"),
                Some(Clip::Value { most: bound }) => {
                    assert!((most / f64::from(bound) - 1.0).abs() < 1e-3, "{most}");
                }
                None => unreachable!("these have a bound"),
            }
        }
    }
}

#[derive(Deserialize)]
struct Losses {
    shape: [usize; 2],
    logits: Vec<f64>,
    labels: Vec<u32>,
    cases: Vec<LossCase>,
    x: Vec<f64>,
    z: Vec<f64>,
    binary: Vec<Plain>,
    mse: Plain,
}

#[derive(Deserialize)]
struct LossCase {
    smoothing: f32,
    weights: Option<Vec<f64>>,
    ignored: Option<u32>,
    loss: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Plain {
    #[serde(default)]
    weight: Option<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

/// A loss and its gradient in what it is of.
fn checked(
    what: &str,
    x: &Tensor,
    loss: impl Fn(&Tensor) -> striate::tensor::Result<Tensor>,
    [want]: [(f64, &[f64]); 1],
) {
    let x = x.clone().require_grad();
    let loss = loss(&x).unwrap();
    assert_close(what, &[loss.to_scalar::<f32>().unwrap()], &[want.0], 1e-5);
    let gradients = loss.backward().unwrap();
    assert_close(what, &gradients.get(&x).unwrap().to_vec::<f32>().unwrap(), want.1, 1e-5);
}

#[test]
fn losses_are_torchs() {
    let device = Device::cpu(Some(1)).unwrap();
    let table: Losses = recorded("losses.json");
    let logits = tensor(&table.logits, &table.shape, &device);
    let labels = Tensor::from_vec(table.labels.clone(), [table.labels.len()], &device).unwrap();
    assert_eq!(table.cases.len(), 6);
    for case in &table.cases {
        let LossCase { smoothing, ignored, .. } = *case;
        let weights = case.weights.as_ref().map(|w| tensor(w, &[w.len()], &device));
        let options = CrossEntropyOptions { smoothing, weights: weights.as_ref(), ignored };
        let what = format!("{options:?}");
        let loss = |x: &Tensor| cross_entropy_with(x, &labels, options);
        checked(&what, &logits, loss, [(case.loss, &case.gradient)]);
    }
    let x = tensor(&table.x, &[table.x.len()], &device);
    let z = tensor(&table.z, &[table.z.len()], &device);
    for case in &table.binary {
        let loss = |x: &Tensor| binary_cross_entropy(x, &z, case.weight.unwrap_or(1.0));
        checked("binary", &x, loss, [(case.loss, &case.gradient)]);
    }
    let (x, z) = (x.narrow(0, 0..12).unwrap(), z.narrow(0, 0..12).unwrap());
    checked("mse", &x, |x| mse(x, &z), [(table.mse.loss, &table.mse.gradient)]);
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Schedules {
    epochs: u64,
    per_epoch: u64,
    cases: Vec<ScheduleCase>,
    plateau: PlateauCase,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ScheduleCase {
    schedule: Schedule,
    /// Whether PyTorch changes it between epochs alone.
    by_epoch: bool,
    factors: Vec<f64>,
}

#[derive(Deserialize)]
struct PlateauCase {
    decay: striate::train::Decay,
    losses: Vec<f64>,
    factors: Vec<f64>,
}

#[test]
fn schedules_are_torchs() {
    let table: Schedules = recorded("schedules.json");
    let Schedules { epochs, per_epoch, .. } = table;
    assert_eq!(table.cases.len(), 9);
    for ScheduleCase { schedule, by_epoch, factors } in table.cases {
        for (iteration, want) in (0u64..).zip(factors) {
            // Within epochs ours may go on where PyTorch waits.
            if by_epoch && !iteration.is_multiple_of(per_epoch) {
                continue;
            }
            let got = schedule.step_factor(iteration, per_epoch, epochs);
            assert!((got - want).abs() < 1e-9, "{schedule:?}, step {iteration}: {got} {want}");
        }
    }
    let PlateauCase { decay, losses, factors } = table.plateau;
    let mut plateau = Plateau::default();
    for (loss, want) in losses.into_iter().zip(factors) {
        plateau.see(&decay, loss);
        assert!((plateau.factor - want).abs() < 1e-12, "{plateau:?} {want}");
    }
}
