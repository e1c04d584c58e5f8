//! Networks: the numbers against plain tensor ops and by hand, weights and inputs that do not fit.

use std::f32::consts::SQRT_2;

use striate_nn::{
    Error, LayerParameters, Metadata, Network, NetworkSpec, Seed, conv2d, full_connect, lrn, pool,
};
use striate_tensor::ops::{Conv2d, Lrn, MatMul, Pool2d};
use striate_tensor::{DType, Device, RandomKey, Reference, Result, Tensor, f16};

fn device() -> Device {
    Device::new(Reference::new())
}

fn random<const N: usize>(shape: [usize; N], stream: u64, device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, stream), device)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Every kind of layer, groups included.
fn every_kind() -> NetworkSpec {
    NetworkSpec::new([9, 7, 3])
        .conv(conv2d(8, 3).padding(1).relu())
        .lrn(lrn(5).groups(2).alpha(0.5))
        .max_pool(pool(3).stride(2))
        .conv(conv2d(6, 3).groups(2).padding(1))
        .avg_pool(pool(2).stride(1))
        .full_connect(full_connect(7).relu().dropout(0.5))
        .full_connect(4)
}

/// The same, op by op, nothing fused.
fn op_by_op(network: &Network, x: &Tensor) -> Result<Vec<Tensor>> {
    let layers = network.layer_parameters();
    let p: Vec<&LayerParameters> = layers.iter().flatten().collect();
    let conv = |x: &Tensor, p: &LayerParameters, groups| -> Result<Tensor> {
        let options = Conv2d { padding: [[1; 2]; 2], groups, ..Conv2d::default() };
        x.conv2d(&p.weight, None, options)?.add(&p.bias)
    };
    let full = |x: &Tensor, p: &LayerParameters| -> Result<Tensor> {
        let options = MatMul { transpose_b: true, ..MatMul::default() };
        x.matmul_with(&p.weight, None, options)?.add(&p.bias)
    };
    let mut all = vec![conv(x, p[0], 1)?.relu()?];
    all.push(all[0].lrn(Lrn { size: 5, kappa: 2.0, alpha: 0.5, beta: 0.75, groups: 2 })?);
    all.push(all[1].max_pool2d(Pool2d::square(3, 2, 0))?);
    all.push(conv(&all[2], p[1], 2)?);
    all.push(all[3].avg_pool2d(Pool2d::square(2, 1, 0))?);
    all.push(full(&all[4].flatten()?, p[2])?.relu()?);
    all.push(full(&all[5], p[3])?);
    Ok(all)
}

fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape());
    let [a, b] = [a, b].map(|t| t.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}")));
    let scale = b.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    assert!(scale > 0.0);
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() <= 1e-5 * scale, "{a} {b}, scale {scale}");
    }
}

#[test]
fn forward_is_its_layers_one_by_one() {
    let device = device();
    let mut network = every_kind().build(&device, Seed(3)).unwrap();
    // Biases that are not zero, so that a forgotten one shows.
    let parameters = network.layer_parameters().into_iter().enumerate().map(|(i, p)| {
        p.map(|p| LayerParameters {
            bias: random([p.bias.dims()[0]], i as u64, &device),
            weight: p.weight,
        })
    });
    network = Network::new(every_kind(), parameters.collect(), &device).unwrap();
    let x = random([2, 9, 7, 3], 99, &device);
    let expected = op_by_op(&network, &x).unwrap();

    assert_close(&network.forward(&x).unwrap(), &expected[6]);
    let mut seen = Vec::new();
    let last = network
        .activations(&x, |layer, activation| {
            assert_close(activation, &expected[layer]);
            seen.push(layer);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    assert_close(&last, &expected[6]);

    // Any cut gives the same as the whole.
    for cut in 0..=7 {
        let first = network.forward_layers(0..cut, &x).unwrap();
        let rest = network.forward_layers(cut..7, &first).unwrap();
        assert_close(&rest, &expected[6]);
    }
    // A full connect takes a batch that is flat already, and one that is not.
    let flat = expected[4].flatten().unwrap();
    assert_close(&network.forward_layers(5..6, &flat).unwrap(), &expected[5]);
}

/// Two pixels, one kernel: 1·2 + 3·(-1) + 0.5 = -0.5, cut to 0; 2·2 + 3·1 + 0.5 = 7.5. Then two
/// outputs: 10·0 + 1·7.5 - 1 = 6.5 and 0·0 - 2·7.5 + 1 = -14, which stays.
#[test]
fn forward_by_hand() {
    let device = device();
    let spec = NetworkSpec::new([1, 2, 2]).conv(conv2d(1, 1).relu()).full_connect(2);
    let tensor =
        |values: &[f32], shape: &[usize]| Tensor::from_vec(values.to_vec(), shape, &device);
    let parameters = vec![
        Some(LayerParameters {
            weight: tensor(&[2.0, 3.0], &[1, 1, 1, 2]).unwrap(),
            bias: tensor(&[0.5], &[1]).unwrap(),
        }),
        Some(LayerParameters {
            weight: tensor(&[10.0, 1.0, 0.0, -2.0], &[2, 2]).unwrap(),
            bias: tensor(&[-1.0, 1.0], &[2]).unwrap(),
        }),
    ];
    let network = Network::new(spec, parameters, &device).unwrap();
    let x = tensor(&[1.0, -1.0, 2.0, 1.0], &[1, 1, 2, 2]).unwrap();
    assert_eq!(network.forward(&x).unwrap().to_vec::<f32>().unwrap(), [6.5, -14.0]);

    // All these numbers are exact in half precision.
    let half = network.cast(DType::F16).unwrap();
    assert_eq!(half.parameters()[0].dtype(), DType::F16);
    let y = half.forward(&x).unwrap();
    assert_eq!(y.dtype(), DType::F32);
    assert_eq!(y.to_vec::<f32>().unwrap(), [6.5, -14.0]);
    let y = half.forward(&x.cast(DType::F16).unwrap()).unwrap();
    assert_eq!(y.to_vec::<f16>().unwrap(), [6.5, -14.0].map(f16::from_f32));
    // 9 parameters of 4 and of 2 bytes.
    assert_eq!((network.summary().bytes, half.summary().bytes), (36, 18));
    assert!(network.cast(DType::U32).is_err());
}

#[test]
fn convolutions_run_over_larger_images() {
    let device = device();
    let network = every_kind().build(&device, Seed(3)).unwrap();
    let whole = random([1, 13, 11, 3], 5, &device);
    let y = network.forward_layers(0..5, &whole).unwrap();
    let shapes = network.spec().shapes_for([13, 11, 3]).unwrap();
    let [rows, cols, channels] = shapes[4].output;
    assert_eq!(y.dims(), [1, rows, cols, channels]);

    let message = network.forward(&whole).unwrap_err().to_string();
    assert_eq!(message, "network: expected images [n, 9, 7, 3], got [1, 13, 11, 3]");
    let message = network.forward_layers(0..7, &whole).unwrap_err().to_string();
    assert!(
        message.starts_with("layer 5 (full-connect): expected [n, 3, 2, 6] or [n, 36], got [1, "),
        "{message}"
    );
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_the_place() {
    let device = device();
    let network = every_kind().build(&device, Seed(3)).unwrap();
    for shape in [&[9, 7, 3][..], &[1, 9, 7, 4], &[1, 7, 9, 3], &[], &[1, 9, 7, 3, 1]] {
        let x = Tensor::zeros(shape, &device).unwrap();
        assert!(matches!(network.forward(&x), Err(Error::Network { .. })), "{shape:?}");
        assert!(network.forward_layers(0..7, &x).is_err(), "{shape:?}");
    }
    let x = Tensor::zeros([1, 9, 7, 4], &device).unwrap();
    let error = network.forward_layers(0..1, &x).unwrap_err();
    let message = chain(&error);
    assert!(message.starts_with("layer 0 (conv): conv2d: expected weights"), "{message}");
    // The shapes are there as values too.
    let Error::Op { source, .. } = &error else { panic!("another error: {error:?}") };
    let striate_tensor::Error::Shape { got, .. } = &**source else {
        panic!("another error: {error:?}");
    };
    assert_eq!(got.shapes()[0].dims(), [8, 3, 3, 3], "{got}");
    let labels = Tensor::full([1, 9, 7, 3], 0.0, DType::U32, &device).unwrap();
    assert!(matches!(network.forward(&labels), Err(Error::Op { layer: 0, .. })));

    let x = Tensor::zeros([1, 9, 7, 3], &device).unwrap();
    let message = network.forward_layers(3..8, &x).unwrap_err().to_string();
    assert_eq!(message, "network: expected a range of its 7 layers, got 3..8");
    let reversed = std::ops::Range { start: 2, end: 1 };
    assert!(matches!(network.forward_layers(reversed, &x), Err(Error::Range { .. })));
    // No images are no error.
    let none = Tensor::zeros([0, 9, 7, 3], &device).unwrap();
    assert_eq!(network.forward(&none).unwrap().dims(), [0, 4]);

    let stop = network.activations(&x, |layer, _| match layer {
        2 => Err(Error::visit("enough")),
        _ => Ok(()),
    });
    assert_eq!(stop.unwrap_err().to_string(), "enough");
}

#[test]
fn weights_that_do_not_fit_are_refused_with_the_place() {
    let device = device();
    let spec =
        NetworkSpec::new([4, 4, 3]).conv(conv2d(4, 3).relu()).max_pool(pool(2)).full_connect(2);
    let good = spec.build(&device, Seed(0)).unwrap().layer_parameters();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, &device).unwrap();
    let bad = |layer: usize, entry: Option<LayerParameters>| {
        let mut parameters = good.clone();
        parameters[layer] = entry;
        Network::new(spec.clone(), parameters, &device).unwrap_err().to_string()
    };
    let entry = |weight: &[usize], bias: &[usize]| {
        Some(LayerParameters { weight: zeros(weight), bias: zeros(bias) })
    };
    assert_eq!(
        bad(0, entry(&[4, 3, 3, 4], &[4])),
        "layer 0 (conv): expected weights [4, 3, 3, 3] of f32 or f16, got f32[4, 3, 3, 4]"
    );
    assert_eq!(
        bad(2, entry(&[2, 4], &[3])),
        "layer 2 (full-connect): expected biases [2] of f32 or f16, got f32[3]"
    );
    assert_eq!(
        bad(2, None),
        "layer 2 (full-connect): expected weights [2, 4] and biases [2], got none"
    );
    assert_eq!(bad(1, entry(&[1], &[1])), "layer 1 (max-pool): expected no weights, got f32[1]");
    let labels = Tensor::full([2, 4], 0.0, DType::U32, &device).unwrap();
    let message = bad(2, Some(LayerParameters { weight: labels, bias: zeros(&[2]) }));
    assert!(message.ends_with("of f32 or f16, got u32[2, 4]"), "{message}");
    let message = Network::new(spec.clone(), good[..2].to_vec(), &device).unwrap_err().to_string();
    assert_eq!(message, "network: expected weights for 3 layers, got for 2");

    // Weights on another device are brought along.
    let other = Device::new(Reference::new());
    let network = Network::new(spec, good, &other).unwrap();
    assert!(network.layer_parameters()[0].as_ref().unwrap().weight.device().is(&other));
    let x = Tensor::zeros([1, 4, 4, 3], &other).unwrap();
    network.forward(&x).unwrap();
}

#[test]
fn the_mean_is_as_large_as_the_whole_image() {
    let device = device();
    let spec = every_kind().with_image([11, 9]);
    let network = spec.build(&device, Seed(1)).unwrap();
    assert!(network.mean().is_none());
    let small = Tensor::zeros([9, 7, 3], &device).unwrap();
    let message = network.clone().with_mean(small).unwrap_err().to_string();
    assert_eq!(message, "network: expected a mean image of f32[11x9x3], got f32[9, 7, 3]");
    let half = Tensor::full([11, 9, 3], 0.0, DType::F16, &device).unwrap();
    assert!(network.clone().with_mean(half).is_err());
    let mean = Tensor::zeros([11, 9, 3], &device).unwrap();
    let network = network.with_mean(mean).unwrap();
    // It outlives a change of the weights' type, in its own.
    let mean = network.cast(DType::F16).unwrap().mean().unwrap().dtype();
    assert_eq!(mean, DType::F32);
}

#[test]
fn fresh_weights_are_ccvs() {
    let device = device();
    let spec = NetworkSpec::new([8, 8, 4])
        .conv(conv2d(32, 3).groups(2).bias(1.0).relu())
        .full_connect(full_connect(10).bias(-2.0));
    let network = spec.build(&device, Seed(7)).unwrap();
    // Fan in: 3 · 3 · 4 / 2 for the convolution, 6 · 6 · 32 for the full connect.
    for (layer, fan_in, count, bias) in [(0, 18.0f32, 32.0, 1.0), (1, 1152.0, 10.0, -2.0)] {
        let parameters = network.layer_parameters()[layer].clone().unwrap();
        let weights = parameters.weight.to_vec::<f32>().unwrap();
        let bound = SQRT_2 / (fan_in + count).sqrt();
        let n = weights.len() as f32;
        let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
        assert!(largest <= bound * 1.000_001 && largest > 0.97 * bound, "{largest} {bound}");
        // The variance of a uniform distribution is a third of its bound squared.
        let variance = weights.iter().map(|w| w * w).sum::<f32>() / n;
        assert!((variance * 3.0 / (bound * bound) - 1.0).abs() < 0.2, "{variance} {bound}");
        let biases = parameters.bias.to_vec::<f32>().unwrap();
        assert!(biases.iter().all(|&b| b == bias));
    }
    let weights = |seed: u64| {
        let network = spec.build(&device, Seed(seed)).unwrap();
        network.layer_parameters()[1].as_ref().unwrap().weight.to_vec::<f32>().unwrap()
    };
    assert_eq!(weights(7), weights(7));
    assert_ne!(weights(7), weights(8));
}

#[test]
fn metadata_is_kebab_case_json_without_what_is_not_there() {
    let metadata = Metadata { note: Some("digits".into()), ..Metadata::default() };
    let json = serde_json::to_string(&metadata).unwrap();
    assert_eq!(json, r#"{"note":"digits"}"#);
    assert_eq!(serde_json::from_str::<Metadata>(&json).unwrap(), metadata);
    assert_eq!(serde_json::from_str::<Metadata>("{}").unwrap(), Metadata::default());
}

/// What a program prints of an error: its message and those of its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A message that repeats that of its source would stand twice in the chain.
#[test]
fn no_message_repeats_that_of_its_source() {
    let device = device();
    let network = every_kind().build(&device, Seed(3)).unwrap();
    let x = Tensor::zeros([1, 9, 7, 4], &device).unwrap();
    let op = network.forward_layers(0..1, &x).unwrap_err();
    let tensor = Error::from(x.reshape([5]).unwrap_err());
    let json = striate_nn::NetworkSpec::from_json("{").unwrap_err();
    let visit = Error::visit("enough");
    let layer = network.forward_layers(5..6, &x).unwrap_err();
    for error in [op, tensor, json, visit, layer] {
        let mut above: Option<&dyn std::error::Error> = None;
        let errors = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        for error in errors {
            if let Some(above) = above.replace(error) {
                let (above, message) = (above.to_string(), error.to_string());
                assert!(!above.contains(&message), "`{above}` repeats `{message}`");
            }
        }
    }
}
