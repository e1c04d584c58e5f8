//! Modules: the same numbers as the network of the same layers, names, training and inference.

use striate_nn::init::Initializer;
use striate_nn::{
    AvgPool2d, Context, Conv2d, Dropout, Flatten, FullConnect, Lrn, MaxPool2d, Module, NetworkSpec,
    Relu, Seed, Sequential, conv2d, full_connect, loss, lrn, named_parameters, pool,
};
use striate_tensor::{Device, RandomKey, Reference, Shape, Tensor};

fn device() -> Device {
    Device::new(Reference::new())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_sequence_of_layers_is_the_network_of_them() {
    let device = device();
    let spec = NetworkSpec::new([8, 8, 2])
        .conv(conv2d(4, 3).groups(2).relu())
        .lrn(lrn(3))
        .max_pool(pool(2))
        .conv(conv2d(4, 1))
        .avg_pool(pool(3).stride(1))
        .full_connect(full_connect(6).relu().dropout(0.5))
        .full_connect(3);
    let network = spec.build(&device, Seed(5)).unwrap();
    let key = |layer| Seed(5).init_key(layer);
    let modules = Sequential::new()
        .then(Conv2d::new(conv2d(4, 3).groups(2).relu(), 2, key(0), &device).unwrap())
        .then(Lrn(lrn(3)))
        .then(MaxPool2d(pool(2)))
        .then(Conv2d::new(conv2d(4, 1), 4, key(3), &device).unwrap())
        .then(AvgPool2d(pool(3).stride(1)))
        .then(FullConnect::new(full_connect(6).relu().dropout(0.5), 4, key(5), &device).unwrap())
        .then(FullConnect::new(3, 6, key(6), &device).unwrap());
    let x = Tensor::uniform([2, 8, 8, 2], -1.0, 1.0, RandomKey::new(2, 0), &device).unwrap();
    let inference = Context::inference();
    let expected = values(&network.forward(&x).unwrap());
    assert_eq!(values(&modules.forward(&x, &inference).unwrap()), expected);
    // A network is a module too, and names its parameters by layer as a sequence does.
    assert_eq!(values(&Module::forward(&network, &x, &inference).unwrap()), expected);
    let names = |module: &dyn Module| -> Vec<String> {
        named_parameters(module).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&network), names(&modules));
    assert_eq!(names(&network)[..3], ["0.weight", "0.bias", "3.weight"]);
    let nested = Sequential::new().then(Flatten).then(modules);
    assert_eq!(names(&nested)[0], "1.0.weight");
    assert_eq!((nested.len(), nested.is_empty(), Sequential::new().is_empty()), (2, false, true));
    assert_eq!(values(&Sequential::new().forward(&x, &inference).unwrap()), values(&x));
}

#[test]
fn a_network_among_modules_explains_itself() {
    let device = device();
    let network = NetworkSpec::new([2, 2, 1]).full_connect(2).build(&device, Seed(0)).unwrap();
    let x = Tensor::zeros([1, 3, 3, 1], &device).unwrap();
    let message =
        Sequential::new().then(network).forward(&x, &Context::inference()).unwrap_err().to_string();
    assert_eq!(message, "network: expected images [n, 2, 2, 1], got [1, 3, 3, 1]");
}

#[test]
fn dropout_is_for_training() {
    let device = device();
    let x = Tensor::ones([1000], &device).unwrap();
    let dropout = Dropout::new(0.25).unwrap();
    assert_eq!(values(&dropout.forward(&x, &Context::inference()).unwrap()), vec![1.0; 1000]);

    let pass = Context::training(RandomKey::new(1, 10));
    let first = values(&dropout.forward(&x, &pass).unwrap());
    let zeros = first.iter().filter(|&&v| v == 0.0).count();
    assert!((200..300).contains(&zeros), "{zeros}");
    assert!(first.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
    // Another layer of the pass drops others; the same pass again drops the same.
    assert_ne!(values(&dropout.forward(&x, &pass).unwrap()), first);
    let again = Context::training(RandomKey::new(1, 10));
    assert_eq!(values(&dropout.forward(&x, &again).unwrap()), first);
    let next = Context::training(RandomKey::new(1, 11));
    assert_ne!(values(&dropout.forward(&x, &next).unwrap()), first);

    assert_eq!(Context::inference().next_key(), None);
    assert!(pass.is_training() && !Context::inference().is_training());
    for rate in [-0.1, 1.0, f32::NAN] {
        assert!(Dropout::new(rate).is_err());
    }
    assert_eq!(values(&Dropout::new(0.0).unwrap().forward(&x, &pass).unwrap()), vec![1.0; 1000]);
}

#[test]
fn relu_and_flatten() {
    let device = device();
    let x = Tensor::from_vec(vec![-1.0f32, 2.0, -3.0, 4.0], [1, 2, 2], &device).unwrap();
    let inference = Context::inference();
    assert_eq!(values(&Relu.forward(&x, &inference).unwrap()), [0.0, 2.0, 0.0, 4.0]);
    assert_eq!(Flatten.forward(&x, &inference).unwrap().dims(), [1, 4]);
}

#[test]
fn constructors_refuse_what_does_not_fit() {
    let device = device();
    let key = RandomKey::default();
    assert!(Conv2d::new(conv2d(4, 3).groups(2).relu(), 3, key, &device).is_err());
    assert!(Conv2d::new(conv2d(4, 3).groups(0).relu(), 3, key, &device).is_err());
    assert!(Conv2d::new(conv2d(4, 0).relu(), 3, key, &device).is_err());
    assert!(FullConnect::new(4, 0, key, &device).is_err());
    assert!(FullConnect::new(full_connect(4).dropout(1.5), 4, key, &device).is_err());
}

/// Fan in 3 · 3 · 4 = 36 and fan out 3 · 3 · 64 = 576, as PyTorch counts `[64, 4, 3, 3]`.
#[test]
fn initializers_have_their_variances() {
    let device = device();
    let shape = Shape::new(&[64, 3, 3, 4]).unwrap();
    for (initializer, variance) in [
        (Initializer::Ccv { gain: 1.5 }, 1.5 * 1.5 / (36.0 + 64.0) / 3.0),
        (Initializer::KaimingUniform, 2.0 / 36.0),
        (Initializer::KaimingNormal, 2.0 / 36.0),
        (Initializer::XavierUniform, 2.0 / (36.0 + 576.0)),
        (Initializer::XavierNormal, 2.0 / (36.0 + 576.0)),
    ] {
        let weights = initializer.weights(&shape, RandomKey::new(3, 1), &device).unwrap();
        let weights = values(&weights);
        let measured = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
        assert!((measured / variance - 1.0).abs() < 0.1, "{initializer:?} {measured} {variance}");
    }
}

/// Two classes at even odds cost ln 2; a sure one costs nothing.
#[test]
fn cross_entropy_is_a_mean() {
    let device = device();
    let logits = Tensor::from_vec(vec![0.0f32, 0.0, 100.0, 0.0], [2, 2], &device).unwrap();
    let labels = Tensor::from_vec(vec![1u32, 0], [2], &device).unwrap();
    let loss = loss::cross_entropy(&logits, &labels).unwrap();
    let loss = loss.to_scalar::<f32>().unwrap();
    assert!((loss - std::f32::consts::LN_2 / 2.0).abs() < 1e-6, "{loss}");
}
