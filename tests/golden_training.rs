//! Our gradients and steps of training beside ccv's: those in `tests/fixtures/ccv` always, all that were
//! recorded where they are beside the repository (`STRIATE_REQUIRE_GOLDEN=1` makes their absence a
//! failure).

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use common::{Golden, assert_close, devices, recorded};
use striate::nn::{self, Rates, named_gradients, require_grad};
use striate::prelude::*;
use striate::train::{TrainOptions, Trainer};

/// The two networks that ccv trained, with the labels of the two examples.
const CASES: [(&str, [u32; 2]); 2] = [("tiny", [3, 7]), ("tiny2", [2, 5])];

/// The networks of each set of values, on each device.
fn each_case(mut test: impl FnMut(&Golden, &Device, &str, [u32; 2])) {
    for golden in Golden::all() {
        for device in devices() {
            for (name, labels) in CASES.iter().filter(|(name, _)| golden.nets().contains(name)) {
                test(&golden, &device, name, *labels);
            }
        }
    }
}

fn network(golden: &Golden, name: &str, device: &Device) -> Network {
    let file = golden.path(format!("nets/{name}.f32.sqlite3"));
    importers::read(file, device, &ReadOptions::default()).unwrap()
}

/// The examples: A is made by a formula, B from a photo.
fn examples(golden: &Golden, name: &str, inputs: &[&str], network: &Network) -> Tensor {
    let [rows, cols, channels] = network.spec().input;
    let file = |input| golden.path(format!("nets/{name}.{input}.input.npy"));
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
    each_case(|golden, device, name, [label, _]| {
        let mut network = network(golden, name, device);
        require_grad(&mut network);
        let x = examples(golden, name, &["formula"], &network);
        let logits = network.forward(&x).unwrap();

        let softmax = logits.detach().softmax(1).unwrap().to_vec::<f32>().unwrap();
        let ccv = recorded(golden.path(format!("train/{name}.train.A.softmax.npy")));
        assert_close(&format!("{name} softmax"), &softmax, &ccv);

        let loss = nn::loss::cross_entropy(&logits, &labels(&[label], device)).unwrap();
        drop(logits);
        let gradients = named_gradients(&network, loss.backward().unwrap());
        assert_eq!(gradients.len(), nn::named_parameters(&network).len());
        let mut compared = 0;
        for (parameter, gradient) in &gradients {
            let file = format!("train/{name}.train.A.negdelta.{}.npy", recorded_name(parameter));
            if let Some(ccv) = golden.recorded(&file) {
                assert_close(&file, &negative(gradient), &ccv);
                compared += 1;
            }
        }
        // The fixtures lack the weights of the largest layer alone.
        assert!(compared + 1 >= gradients.len(), "{name}: {compared} gradients compared");
    });
}

#[test]
fn gradients_of_activations_are_ccvs_where_an_output_is_positive() {
    each_case(|golden, device, name, [label, _]| {
        let network = network(golden, name, device);
        let x = examples(golden, name, &["formula"], &network);
        let layers = network.spec().nodes.len();
        let mut compared = 0;
        for layer in 0..layers - 1 {
            let file = format!("train/{name}.train.A.negdact.L{layer:02}.npy");
            let Some(ccv) = golden.recorded(&file) else { continue };
            compared += 1;
            let activation = network.forward_layers(0..layer + 1, &x).unwrap().require_grad();
            let logits = network.forward_layers(layer + 1..layers, &activation).unwrap();
            let loss = nn::loss::cross_entropy(&logits, &labels(&[label], device)).unwrap();
            let gradients = loss.backward().unwrap();
            let ours = negative(gradients.get(&activation).unwrap());
            // Where it is 0, ccv has what a ReLU or a tie of maxima leaves, which reaches no weight.
            let positive = activation.to_vec::<f32>().unwrap().into_iter().map(|a| a > 0.0);
            let pairs = ours.iter().zip(&ccv).zip(positive).filter(|(_, positive)| *positive);
            let (ours, ccv): (Vec<f32>, Vec<f32>) = pairs.map(|((&a, &b), _)| (a, b)).unzip();
            assert!(!ours.is_empty(), "{file}");
            assert_close(&file, &ours, &ccv);
        }
        // The fixtures lack the first two, the largest.
        assert!(compared + 3 >= layers, "{name}: {compared} layers compared");
    });
}

#[test]
fn two_steps_of_gradient_descent_are_ccvs() {
    each_case(|golden, device, name, both| {
        let network = network(golden, name, device);
        let x = examples(golden, name, &["formula", "dex"], &network);
        let options = TrainOptions {
            mini_batch: 2,
            weights: Rates { rate: 1e-4, momentum: 0.9, decay: 0.0005 },
            biases: Rates { rate: 2e-4, momentum: 0.8, decay: 0.0001 },
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(network, options).unwrap();
        let mut compared = 0;
        for step in [1, 2] {
            trainer.step(&x, &labels(&both, device), step - 1, 1.0).unwrap();
            let parameters = nn::named_parameters(trainer.network()).into_iter();
            for ((parameter, value), velocity) in parameters.zip(trainer.velocities().values()) {
                let recorded_name = recorded_name(&parameter);
                let prefix = format!("train/{name}.train.step{step}");
                let file = format!("{prefix}.{recorded_name}.npy");
                if let Some(ccv) = golden.recorded(&file) {
                    assert_close(&file, &value.to_vec::<f32>().unwrap(), &ccv);
                    compared += 1;
                }
                let file = format!("{prefix}.velocity.{recorded_name}.npy");
                if let Some(ccv) = golden.recorded(&file) {
                    assert_close(&file, &velocity.to_vec::<f32>().unwrap(), &ccv);
                    compared += 1;
                }
            }
        }
        // The fixtures have the second step, which the first one is in, but for the largest layer.
        let parameters = trainer.velocities().len();
        assert!(compared + 2 >= 2 * parameters, "{name}: {compared} tensors compared");
    });
}
