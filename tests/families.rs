//! A network of each family of the catalogue trains: two steps at its smallest input, saved between them
//! and resumed, are the bits of two steps without. One that is ignored takes a step of every network:
//!
//!     cargo test --release --test families -- --ignored --nocapture

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]
#![allow(clippy::print_stdout, reason = "what each network is, with --nocapture")]

use striate::importers::safetensors::{Training, read_training, write_training};
use striate::models;
use striate::nn::{Network, NetworkSpec, Seed, named_buffers};
use striate::prelude::*;
use striate::tensor::RandomKey;
use striate::train::{TrainOptions, Trainer};

const CLASSES: usize = 5;

/// The network for the smallest square pictures that its layers can see, of `least` pixels a side or more.
fn smallest(name: &str, least: usize) -> NetworkSpec {
    let spec = models::by_name(name).unwrap().with_classes(CLASSES);
    let channels = spec.input[2];
    let sized = |side: usize| NetworkSpec {
        input: [side, side, channels],
        image: [side, side],
        ..spec.clone()
    };
    let fits = |side: &usize| sized(*side).verify(CLASSES).is_ok();
    sized((least.min(spec.input[0])..=spec.input[0]).find(fits).unwrap())
}

fn options() -> TrainOptions {
    let mut options = TrainOptions::default();
    (options.weights.rate, options.biases.rate) = (1e-4, 1e-4);
    options
}

fn step(trainer: &mut Trainer, iteration: u64) {
    let [rows, cols, channels] = trainer.network().spec().input;
    let device = trainer.network().device().clone();
    let key = RandomKey::new(5, iteration);
    let images = Tensor::uniform([2, rows, cols, channels], -1.0, 1.0, key, &device).unwrap();
    let labels = Tensor::from_vec(vec![1u32, 3], [2], &device).unwrap();
    let report = trainer.step(&images, &labels, iteration, 1.0).unwrap();
    assert!(report.loss_sum.is_finite());
}

/// The bits of all parameters, buffers and velocities.
fn bits(trainer: &Trainer) -> Vec<u32> {
    let network: &Network = trainer.network();
    let buffers = named_buffers(network).into_iter().map(|(_, buffer)| buffer.value().clone());
    let velocities = trainer.velocities().values().cloned();
    let all = network.parameters().iter().cloned().chain(buffers).chain(velocities);
    all.flat_map(|tensor| tensor.to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
}

fn trains(name: &str) {
    let device = Device::cpu(Some(2)).unwrap();
    let spec = smallest(name, 1);
    let fresh = || Trainer::new(spec.build(&device, Seed(3)).unwrap(), options()).unwrap();
    let mut whole = fresh();
    let before = bits(&whole);
    step(&mut whole, 0);
    step(&mut whole, 1);
    let after = bits(&whole);
    assert_ne!(before, after, "{name}");
    drop(whole);

    let mut first = fresh();
    step(&mut first, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let training =
        Training { state: first.state(), texts: [("next".to_owned(), "1".to_owned())].into() };
    write_training(&path, first.network(), &training).unwrap();
    drop(first);
    let (network, training) = read_training(&path, &device).unwrap();
    let training = training.unwrap();
    assert_eq!(training.texts["next"], "1");
    assert_eq!(network.spec(), &spec);
    let mut second = Trainer::resumed_with(network, training.state, options()).unwrap();
    step(&mut second, 1);
    assert!(bits(&second) == after, "{name}: a resumed training has other bits");
}

macro_rules! families {
    ($($test:ident $name:literal;)*) => {$(
        #[test]
        fn $test() {
            trains($name);
        }
    )*};
}

families! {
    alexnet_trains "alexnet";
    alexnet_2014_trains "alexnet-2014";
    caffenet_trains "caffenet";
    mattnet_trains "mattnet-a";
    vgg_trains "vgg-a";
    vgg_with_batch_norm_trains "vgg11-bn";
    lenet_trains "lenet";
    googlenet_trains "googlenet";
    googlenet_2014_trains "googlenet-2014";
    overfeat_trains "overfeat-fast";
    network_in_network_trains "nin-cifar10";
    resnet_trains "resnet18";
    cifar_resnet_trains "resnet20";
    zfnet_trains "zfnet";
    squeezenet_trains "squeezenet1-1";
    densenet_trains "densenet121";
    inception_trains "inception-v3-no-aux";
    mobilenet_v1_trains "mobilenet-v1";
    mobilenet_v2_trains "mobilenet-v2";
    mobilenet_v3_trains "mobilenet-v3-small";
    shufflenet_v2_trains "shufflenet-v2-x0-5";
    mnasnet_trains "mnasnet0-5";
    efficientnet_trains "efficientnet-b0";
    efficientnet_v2_trains "efficientnet-v2-s";
    efficientnet_lite_trains "efficientnet-lite0";
    regnet_trains "regnet-y-400mf";
    convnext_trains "convnext-tiny";
}

/// Layers whose parameters meet what they are multiplied by have to bring both to one type.
#[test]
fn half_precision_parameters_give_nearly_the_same() {
    let device = Device::cpu(Some(2)).unwrap();
    for name in ["convnext-tiny", "efficientnet-b0", "mobilenet-v3-small", "regnet-y-400mf"] {
        let spec = smallest(name, 33);
        let [rows, cols, channels] = spec.input;
        let network = spec.build(&device, Seed(3)).unwrap();
        let key = RandomKey::new(5, 0);
        let x = Tensor::uniform([2, rows, cols, channels], -1.0, 1.0, key, &device).unwrap();
        let whole = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
        let half = network.cast(DType::F16).unwrap().forward(&x).unwrap();
        let half = half.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
        let scale = whole.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (whole, half) in whole.iter().zip(&half) {
            assert!((whole - half).abs() <= 0.02 * scale, "{name}: {whole} and {half}");
        }
    }
}

/// More parameters than this are gigabytes with gradients and velocities.
const MOST_PARAMETERS: u64 = 300_000_000;

/// Every network makes sense, and takes a step at its smallest input.
#[test]
#[ignore = "it takes minutes"]
fn every_network_takes_a_step() {
    let device = Device::cpu(None).unwrap();
    for model in models::all() {
        let start = std::time::Instant::now();
        let whole = model.spec();
        let summary = whole.verify(model.classes).unwrap().summary();
        // Normalized by two values a channel, gradients of the deepest networks have no bounds.
        let spec = smallest(model.name, 33);
        let side = spec.input[0];
        let trained = if summary.parameters > MOST_PARAMETERS {
            "not trained".to_owned()
        } else {
            let network = spec.build(&device, Seed(3)).unwrap();
            let mut trainer = Trainer::new(network, options()).unwrap();
            step(&mut trainer, 0);
            format!("a step at {side}x{side}")
        };
        println!(
            "{:24} {:>11} parameters {:>7.3} G products at {}, {trained}, {:.1} s",
            model.name,
            summary.parameters,
            summary.macs as f64 / 1e9,
            whole.input[0],
            start.elapsed().as_secs_f64()
        );
    }
}
