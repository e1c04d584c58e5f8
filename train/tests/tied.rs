//! A trainer moves tied parameters, clones of one leaf, once and together.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_nn::{LayerParameters, Network, NetworkSpec, Seed};
use striate_tensor::{DType, Device, RandomKey, Reference, Tensor};
use striate_train::{TrainOptions, Trainer};

#[test]
fn tied_layers_stay_tied() {
    let device = Device::new(Reference::new());
    let spec = NetworkSpec::new([1, 1, 4]).full_connect(4).full_connect(4).full_connect(3);
    let fresh = spec.build(&device, Seed(1)).unwrap();
    let mut parameters = fresh.layer_parameters();
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
        let layers = trainer.network().layer_parameters();
        let values = |layer: usize| {
            let LayerParameters { weight, bias } = layers[layer].as_ref().unwrap();
            (weight.to_vec::<f32>().unwrap(), bias.to_vec::<f32>().unwrap())
        };
        assert_eq!(values(0), values(1));
        assert_ne!(values(0), (weight.to_vec().unwrap(), bias.to_vec().unwrap()));
        let infos = trainer.network().parameter_infos();
        let names = trainer.velocities().keys().map(|id| &infos[id.index()].name[..]);
        assert_eq!(names.collect::<Vec<_>>(), ["0.weight", "0.bias", "2.weight", "2.bias"]);
    }
}

#[test]
fn tied_layers_stay_tied_in_another_type_and_on_another_device() {
    let [device, other] = [(); 2].map(|()| Device::new(Reference::new()));
    let spec = NetworkSpec::new([1, 1, 3]).full_connect(3).full_connect(3);
    let fresh = spec.build(&device, Seed(1)).unwrap();
    let mut parameters = fresh.layer_parameters();
    let tied = parameters[0].clone().unwrap();
    let (weight, bias) = (tied.weight.require_grad(), tied.bias.require_grad());
    for layer in &mut parameters {
        *layer = Some(LayerParameters { weight: weight.clone(), bias: bias.clone() });
    }
    let leaves = |network: &Network| {
        let layers = network.layer_parameters().into_iter().flatten();
        let ids = layers.map(|layer| (layer.weight.leaf_id(), layer.bias.leaf_id()));
        ids.collect::<Vec<_>>()
    };
    let network = Network::new(spec.clone(), parameters.clone(), &device).unwrap();
    let half = network.cast(DType::F16).unwrap();
    let moved = Network::new(spec, parameters, &other).unwrap();
    for changed in [&half, &moved] {
        let ids = leaves(changed);
        assert_eq!(ids[0], ids[1]);
        assert!(ids[0].0.is_some() && ids[0].1.is_some());
        assert_ne!(ids[0], leaves(&network)[0], "a parameter of its own");
    }
    // Half-precision weights are widened, and then learn together.
    let mut trainer = Trainer::new(half, TrainOptions::default()).unwrap();
    let x = Tensor::ones([2, 1, 1, 3], &device).unwrap();
    let labels = Tensor::from_vec(vec![0u32, 1], [2], &device).unwrap();
    trainer.step(&x, &labels, 0, 1.0).unwrap();
    let layers = trainer.network().layer_parameters();
    let values = |layer: usize| layers[layer].as_ref().unwrap().weight.to_vec::<f32>().unwrap();
    assert_eq!(values(0), values(1));
    assert_ne!(values(0), weight.to_vec::<f32>().unwrap());
}
