//! Our gradients and steps of training beside ccv's, where its recorded values are at hand.
//!
//! The folder is not part of this repository. Without it these tests pass, unless
//! `STRIATE_REQUIRE_GOLDEN=1` says that it must be there.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::path::Path;

use common::{assert_close, devices, golden, recorded};
use striate::nn::{self, Rates, named_gradients, require_grad};
use striate::prelude::*;
use striate::train::{TrainOptions, Trainer};

/// The two networks that ccv trained, with the labels of the two examples.
const CASES: [(&str, [u32; 2]); 2] = [("tiny", [3, 7]), ("tiny2", [2, 5])];

fn network(golden: &Path, name: &str, device: &Device) -> Network {
    let file = golden.join(format!("nets/{name}.f32.sqlite3"));
    importers::read(file, device, &ReadOptions::default()).unwrap()
}

/// The examples: A is made by a formula, B from a photo.
fn examples(golden: &Path, name: &str, inputs: &[&str], network: &Network) -> Tensor {
    let [rows, cols, channels] = network.spec().input;
    let file = |input| golden.join(format!("nets/{name}.{input}.input.npy"));
    let values = inputs.iter().flat_map(|input| recorded(file(input))).collect();
    Tensor::from_vec(values, [inputs.len(), rows, cols, channels], network.device()).unwrap()
}

fn labels(labels: &[u32], device: &Device) -> Tensor {
    Tensor::from_vec(labels.to_vec(), [labels.len()], device).unwrap()
}

fn negative(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap().into_iter().map(|v| -v).collect()
}

/// The name of what ccv recorded of a parameter: `0.weight` is `L00.w`.
fn recorded_name(parameter: &str) -> String {
    let (layer, kind) = parameter.split_once('.').unwrap();
    let kind = if kind == "weight" { "w" } else { kind };
    format!("L{:02}.{kind}", layer.parse::<usize>().unwrap())
}

#[test]
fn gradients_of_weights_are_ccvs() {
    let Some(golden) = golden() else { return };
    for (device, (name, [label, _])) in devices().iter().flat_map(|d| CASES.map(|c| (d, c))) {
        let mut network = network(&golden, name, device);
        require_grad(&mut network);
        let x = examples(&golden, name, &["formula"], &network);
        let logits = network.forward(&x).unwrap();

        let softmax = logits.detach().softmax(1).unwrap().to_vec::<f32>().unwrap();
        let ccv = recorded(golden.join(format!("train/{name}.train.A.softmax.npy")));
        assert_close(&format!("{name} softmax"), &softmax, &ccv);

        let loss = nn::loss::cross_entropy(&logits, &labels(&[label], device)).unwrap();
        drop(logits);
        let gradients = named_gradients(&network, loss.backward().unwrap());
        assert_eq!(gradients.len(), nn::named_parameters(&network).len());
        for (parameter, gradient) in &gradients {
            let file = format!("train/{name}.train.A.negdelta.{}.npy", recorded_name(parameter));
            assert_close(&file, &negative(gradient), &recorded(golden.join(&file)));
        }
    }
}

#[test]
fn gradients_of_activations_are_ccvs_where_an_output_is_positive() {
    let Some(golden) = golden() else { return };
    for (device, (name, [label, _])) in devices().iter().flat_map(|d| CASES.map(|c| (d, c))) {
        let network = network(&golden, name, device);
        let x = examples(&golden, name, &["formula"], &network);
        let layers = network.spec().layers.len();
        for layer in 0..layers - 1 {
            let activation = network.forward_layers(0..layer + 1, &x).unwrap().require_grad();
            let logits = network.forward_layers(layer + 1..layers, &activation).unwrap();
            let loss = nn::loss::cross_entropy(&logits, &labels(&[label], device)).unwrap();
            let gradients = loss.backward().unwrap();
            let ours = negative(gradients.get(&activation).unwrap());
            let file = format!("train/{name}.train.A.negdact.L{layer:02}.npy");
            let ccv = recorded(golden.join(&file));
            // Where it is 0, ccv has what a ReLU or a tie of maxima leaves, which reaches no weight.
            let positive = activation.to_vec::<f32>().unwrap().into_iter().map(|a| a > 0.0);
            let pairs = ours.iter().zip(&ccv).zip(positive).filter(|(_, positive)| *positive);
            let (ours, ccv): (Vec<f32>, Vec<f32>) = pairs.map(|((&a, &b), _)| (a, b)).unzip();
            assert!(!ours.is_empty(), "{file}");
            assert_close(&file, &ours, &ccv);
        }
    }
}

#[test]
fn two_steps_of_gradient_descent_are_ccvs() {
    let Some(golden) = golden() else { return };
    for (device, (name, both)) in devices().iter().flat_map(|d| CASES.map(|c| (d, c))) {
        let network = network(&golden, name, device);
        let x = examples(&golden, name, &["formula", "dex"], &network);
        let options = TrainOptions {
            mini_batch: 2,
            weights: Rates { rate: 1e-4, momentum: 0.9, decay: 0.0005 },
            biases: Rates { rate: 2e-4, momentum: 0.8, decay: 0.0001 },
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(network, options).unwrap();
        for step in [1, 2] {
            trainer.step(&x, &labels(&both, device), step - 1, 1.0).unwrap();
            for (parameter, value) in nn::named_parameters(trainer.network()) {
                let recorded_name = recorded_name(&parameter);
                let file = format!("train/{name}.train.step{step}.{recorded_name}.npy");
                let ccv = recorded(golden.join(&file));
                assert_close(&file, &value.to_vec::<f32>().unwrap(), &ccv);
                let file = format!("train/{name}.train.step{step}.velocity.{recorded_name}.npy");
                let ccv = recorded(golden.join(&file));
                let velocity = trainer.velocities()[&parameter].to_vec::<f32>().unwrap();
                assert_close(&file, &velocity, &ccv);
            }
        }
    }
}
