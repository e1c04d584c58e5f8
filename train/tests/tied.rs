//! A trainer moves tied parameters, clones of one leaf, once and together.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_nn::{LayerParameters, Network, NetworkSpec, Seed};
use striate_tensor::{Device, RandomKey, Reference, Tensor};
use striate_train::{TrainOptions, Trainer};

#[test]
fn tied_layers_stay_tied() {
    let device = Device::new(Reference::new());
    let spec = NetworkSpec::new([1, 1, 4]).full_connect(4).full_connect(4).full_connect(3);
    let fresh = spec.build(&device, Seed(1)).unwrap();
    let mut parameters = fresh.parameters().to_vec();
    let tied = parameters[0].clone().unwrap();
    let (weight, bias) = (tied.weight.require_grad(), tied.bias.require_grad());
    for layer in &mut parameters[..2] {
        *layer = Some(LayerParameters { weight: weight.clone(), bias: bias.clone() });
    }
    for sgd_frequency in [1, 2] {
        let network = Network::new(spec.clone(), parameters.clone(), &device).unwrap();
        let options = TrainOptions { sgd_frequency, ..TrainOptions::default() };
        let mut trainer = Trainer::new(network, options).unwrap();
        for step in 0..4 {
            let x = Tensor::uniform([5, 1, 1, 4], -1.0, 1.0, RandomKey::new(2, step), &device);
            let labels = Tensor::from_vec(vec![0u32, 1, 2, 0, 1], [5], &device).unwrap();
            trainer.step(&x.unwrap(), &labels, step, 1.0).unwrap();
        }
        let layers = trainer.network().parameters();
        let values = |layer: usize| {
            let LayerParameters { weight, bias } = layers[layer].as_ref().unwrap();
            (weight.to_vec::<f32>().unwrap(), bias.to_vec::<f32>().unwrap())
        };
        assert_eq!(values(0), values(1));
        assert_ne!(values(0), (weight.to_vec().unwrap(), bias.to_vec().unwrap()));
        let names: Vec<_> = trainer.velocities().keys().collect();
        assert_eq!(names, ["0.bias", "0.weight", "2.bias", "2.weight"]);
    }
}
