//! The Rust of README.md: what stands in each of its fences stands in a function here as well, so that it
//! compiles, runs and does what the text says.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first failure")]

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// At the top.
#[cfg(feature = "embedded-photos")]
fn a_photo_by_the_embedded_model() -> Outcome<()> {
    use striate::prelude::*;

    let device = Device::auto()?;
    let classifier = Classifier::new(striate::photo_model(&device)?)?;
    for class in classifier.classify(&image::open("samples/cat.png")?)?.top(5) {
        println!("{class}");
    }
    Ok(())
}

#[cfg(feature = "embedded-photos")]
#[test]
fn the_photo_at_the_top_is_named() {
    a_photo_by_the_embedded_model().unwrap();
}

/// Under "Training".
fn trained(
    mut network: striate::nn::Network,
    images: striate::tensor::Tensor,
    labels: striate::tensor::Tensor,
    seed: u64,
    steps: u64,
) -> Outcome<striate::nn::Network> {
    use striate::nn::{self, Rates, Sgd, parameter_gradients, require_grad};
    use striate::prelude::*;

    require_grad(&mut network);
    let mut sgd = Sgd::new();
    let rates = Rates { rate: 0.01, momentum: 0.9, decay: 0.0005 };
    for step in 0..steps {
        let context = Context::training(RandomKey::new(seed, step));
        let logits = network.forward_with(&images, &context)?;
        let loss = nn::loss::cross_entropy(&logits, &labels)?;
        let gradients = parameter_gradients(&network, loss.backward()?);
        sgd.step(&mut network, &gradients, |_| rates.step(1.0))?;
    }
    Ok(network)
}

/// The first under "From Rust".
fn a_photo_is_classified() -> Outcome<()> {
    use striate::prelude::*;

    let device = Device::auto()?;
    let network =
        importers::read("image-net-2012-vgg-d.sqlite3", &device, &ReadOptions::default())?;
    let ranks = Classifier::new(network)?.classify(&image::open("dex.png")?)?;
    for class in ranks.top(5) {
        println!("{class}");
    }
    Ok(())
}

/// The second under "From Rust".
fn a_network_of_ones_own() -> Outcome<striate::nn::Network> {
    use striate::prelude::*;

    let spec = NetworkSpec::new([28, 28, 1])
        .conv(conv2d(20, 5))
        .relu()
        .max_pool(pool(2).stride(2))
        .conv(conv2d(50, 5))
        .relu()
        .max_pool(pool(2).stride(2))
        .full_connect(500)
        .relu()
        .dropout(0.5)
        .full_connect(10);
    println!("{}", spec.verify(10)?.summary());
    let network = spec.build(&Device::auto()?, Seed(7))?;
    Ok(network)
}

/// Without white space, which rustfmt sets.
fn packed(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn every_fence_of_rust_is_compiled_here() {
    let (readme, here) = (include_str!("../README.md"), packed(include_str!("readme.rs")));
    let fences: Vec<&str> = readme
        .split("\n```rust\n")
        .skip(1)
        .map(|after| after.split_once("\n```\n").unwrap().0)
        .collect();
    assert_eq!(fences.len(), 4);
    for fence in fences {
        assert!(here.contains(&packed(fence)), "not in tests/readme.rs:\n{fence}");
    }
}

#[test]
fn the_training_applies_dropout() {
    use striate::nn::{self, Rates, Sgd, named_parameters, parameter_gradients, require_grad};
    use striate::prelude::*;

    let device = Device::cpu(None).unwrap();
    let spec = NetworkSpec::new([8, 8, 1]).full_connect(64).relu().dropout(0.5).full_connect(10);
    let network = || spec.build(&device, Seed(7)).unwrap();
    let images = Tensor::ones([4, 8, 8, 1], &device).unwrap();
    let labels = Tensor::from_vec(vec![1u32, 2, 3, 4], [4], &device).unwrap();
    let values = |network: &Network| -> Vec<Vec<f32>> {
        named_parameters(network).iter().map(|(_, p)| p.to_vec::<f32>().unwrap()).collect()
    };
    let step = |context: &Context| {
        let mut network = network();
        require_grad(&mut network);
        let logits = network.forward_with(&images, context).unwrap();
        let loss = nn::loss::cross_entropy(&logits, &labels).unwrap();
        let gradients = parameter_gradients(&network, loss.backward().unwrap());
        let rates = Rates { rate: 0.01, momentum: 0.9, decay: 0.0005 };
        Sgd::new().step(&mut network, &gradients, |_| rates.step(1.0)).unwrap();
        network
    };
    let readme = trained(network(), images.clone(), labels.clone(), 3, 1).unwrap();
    let with_dropout = step(&Context::training(RandomKey::new(3, 0)));
    assert_eq!(values(&readme), values(&with_dropout));
    assert_ne!(values(&readme), values(&step(&Context::inference())));

    // Each step drops others: two steps are not one step twice.
    let two = trained(network(), images.clone(), labels.clone(), 3, 2).unwrap();
    assert_ne!(values(&readme), values(&two));
}

#[test]
fn the_network_of_ones_own_is_built() {
    let network = a_network_of_ones_own().unwrap();
    assert_eq!((network.spec().input, network.spec().classes()), ([28, 28, 1], 10));
}

#[test]
fn the_file_that_is_not_there_is_named() {
    let error = a_photo_is_classified().unwrap_err();
    assert!(error.to_string().contains("image-net-2012-vgg-d.sqlite3"), "{error}");
}
