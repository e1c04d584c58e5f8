//! Batch normalization in networks: what training puts out and records, what is remembered, and that
//! inference folds it without changing what it computes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::collections::BTreeMap;

use striate_nn::{
    BatchMoments, BatchNorm2d, Buffer, Context, Module, Network, NetworkSpec, Rates, Seed,
    Sequential, Sgd, batch_norm, conv2d, named_buffers, named_gradients, parameter_gradients, pool,
    require_grad, update_statistics,
};
use striate_tensor::{DType, Device, RandomKey, Reference, Tensor};

fn device() -> Device {
    Device::new(Reference::new())
}

fn random<const N: usize>(shape: [usize; N], stream: u64, device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, stream), device)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

fn training() -> Context {
    Context::training(RandomKey::new(5, 1))
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    assert!(scale > 0.0);
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance * scale, "{a} {b}, scale {scale}");
    }
}

/// Mean and biased variance of each channel, in double precision.
fn moments(x: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (x.len() / channels) as f64;
    let of = |channel: usize| x.iter().skip(channel).step_by(channels).map(|&v| f64::from(v));
    let means: Vec<f64> = (0..channels).map(|c| of(c).sum::<f64>() / count).collect();
    let variance = |c: usize| of(c).map(|v| (v - means[c]).powi(2)).sum::<f64>() / count;
    let variances = (0..channels).map(variance).collect();
    (means, variances)
}

/// A network with parameters and running statistics that are all their own.
fn trained(spec: &NetworkSpec, device: &Device) -> Network {
    let network = spec.build(device, Seed(3)).unwrap();
    let parameters = network.parameters().iter().enumerate().map(|(place, parameter)| {
        let noise =
            Tensor::uniform(*parameter.shape(), -0.3, 0.3, RandomKey::new(9, place as u64), device);
        parameter.add(&noise.unwrap()).unwrap()
    });
    let buffers = network.buffers().iter().enumerate().map(|(place, buffer)| {
        // Means about 0, variances from 0.5 to 1.5.
        let shape = *buffer.value().shape();
        let noise = Tensor::uniform(shape, -0.5, 0.5, RandomKey::new(8, place as u64), device);
        buffer.value().add(&noise.unwrap()).unwrap()
    });
    Network::of(spec.clone(), parameters.collect(), buffers.collect(), device).unwrap()
}

fn residual() -> NetworkSpec {
    let same = || conv2d(4, 3).padding(1).without_bias();
    NetworkSpec::new([8, 8, 3])
        .named("stem", |x| x.conv(same()).batch_norm().relu())
        .named("layer1", |x| {
            x.residual(|x| x.conv(same()).batch_norm().relu().conv(same()).batch_norm()).relu()
        })
        .max_pool(pool(2))
        .residual_with(
            |x| {
                x.conv(conv2d(6, 3).padding(1))
                    .batch_norm_with(batch_norm().momentum(0.3).epsilon(1e-3))
            },
            |x| x.conv(conv2d(6, 1).without_bias()).batch_norm(),
        )
        .relu()
        .global_avg_pool()
        .flatten()
        .dropout(0.2)
        .full_connect(3)
}

#[test]
fn training_normalizes_by_the_batch() {
    let device = device();
    let spec =
        NetworkSpec::new([3, 2, 2]).batch_norm_with(batch_norm().epsilon(1e-3).momentum(0.2));
    let parameters = vec![
        Tensor::from_vec(vec![2.0f32, -1.5], [2], &device).unwrap(),
        Tensor::from_vec(vec![0.25f32, 3.0], [2], &device).unwrap(),
    ];
    let running = vec![0.5f32, -1.0, 2.0, 0.75];
    let buffers = vec![Tensor::from_vec(running.clone(), [2, 2], &device).unwrap()];
    let mut network = Network::of(spec, parameters, buffers, &device).unwrap();
    let infos = network.buffer_infos();
    assert_eq!((infos[0].layer, infos[0].shape.dims(), infos[0].momentum), (0, &[2, 2][..], 0.2));
    let x = random([4, 3, 2, 2], 1, &device);
    let (means, variances) = moments(&values(&x), 2);
    let (scale, shift) = ([2.0, -1.5], [0.25, 3.0]);
    let by_hand = |means: &[f64], variances: &[f64]| -> Vec<f32> {
        let normalized = values(&x).into_iter().enumerate().map(|(place, v)| {
            let c = place % 2;
            let y = (f64::from(v) - means[c]) / (variances[c] + 1e-3).sqrt() * scale[c] + shift[c];
            y as f32
        });
        normalized.collect()
    };

    let cx = training();
    let y = network.forward_with(&x, &cx).unwrap();
    assert_close(&values(&y), &by_hand(&means, &variances), 1e-6);
    let records = cx.take_records();
    assert!(cx.take_records().is_empty());
    let [record] = &records[..] else { panic!("{} records", records.len()) };
    assert_eq!(
        (record.buffer, record.count, record.momentum),
        (network.buffers()[0].key(), 24, 0.2)
    );
    let expected: Vec<f32> = means.iter().chain(&variances).map(|&v| v as f32).collect();
    assert_close(&values(&record.moments), &expected, 1e-6);
    assert!(!record.moments.is_tracked());

    // A forward pass changes nothing; inference takes what is stored.
    assert_eq!(values(network.buffers()[0].value()), running);
    let stored = by_hand(&[0.5, -1.0], &[2.0, 0.75]);
    assert_close(&values(&network.forward(&x).unwrap()), &stored, 1e-6);
    let inference = Context::inference();
    assert_close(&values(&network.forward_with(&x, &inference).unwrap()), &stored, 1e-6);
    assert!(inference.take_records().is_empty());

    // running = 0.8 · running + 0.2 · batch, of the variance the unbiased one.
    update_statistics(&mut network, &records).unwrap();
    let batch = means.iter().copied().chain(variances.iter().map(|v| v * 24.0 / 23.0));
    let updated: Vec<f32> =
        running.iter().zip(batch).map(|(&r, b)| (0.8 * f64::from(r) + 0.2 * b) as f32).collect();
    let now = values(network.buffers()[0].value());
    assert_close(&now, &updated, 1e-6);
    // What was classified before is forgotten.
    let [means, variances] = [0, 2].map(|row| [f64::from(now[row]), f64::from(now[row + 1])]);
    assert_close(&values(&network.forward(&x).unwrap()), &by_hand(&means, &variances), 1e-6);
}

#[test]
fn one_value_a_channel_and_foreign_records_change_nothing() {
    let device = device();
    let mut network = NetworkSpec::new([1, 1, 2]).batch_norm().build(&device, Seed(1)).unwrap();
    let before = values(network.buffers()[0].value());
    assert_eq!(before, [0.0, 0.0, 1.0, 1.0]);
    let cx = training();
    network.forward_with(&random([1, 1, 1, 2], 1, &device), &cx).unwrap();
    let records = cx.take_records();
    assert_eq!(records[0].count, 1);
    update_statistics(&mut network, &records).unwrap();
    network.forward_with(&Tensor::zeros([0, 1, 1, 2], &device).unwrap(), &cx).unwrap();
    update_statistics(&mut network, &cx.take_records()).unwrap();
    assert_eq!(values(network.buffers()[0].value()), before);
    let other = NetworkSpec::new([1, 1, 2]).batch_norm().build(&device, Seed(1)).unwrap();
    other.forward_with(&random([4, 1, 1, 2], 1, &device), &cx).unwrap();
    let records = cx.take_records();
    assert_eq!(records[0].count, 4);
    update_statistics(&mut network, &records).unwrap();
    assert_eq!(values(network.buffers()[0].value()), before);
    // A clone has the same buffers, and keeps values of its own.
    let mut clone = other.clone();
    update_statistics(&mut clone, &records).unwrap();
    assert_ne!(values(clone.buffers()[0].value()), before);
    assert_eq!(values(other.buffers()[0].value()), before);
}

/// A buffer that stands in two places of a module is one: both get the new value, in the order of the
/// records.
#[test]
fn clones_of_a_buffer_stay_one() {
    let device = device();
    let norm = BatchNorm2d::new(batch_norm(), 2, &device).unwrap();
    let mut module = Sequential::new().then(norm.clone()).then(norm);
    let x = random([4, 3, 2], 1, &device);
    let cx = training();
    module.forward(&x, &cx).unwrap();
    let records = cx.take_records();
    assert_eq!(records.len(), 2);
    update_statistics(&mut module, &records).unwrap();
    let buffers: Vec<(String, Buffer)> = named_buffers(&module);
    assert_eq!((buffers[0].0.as_str(), buffers[1].0.as_str()), ("0.running", "1.running"));
    let [first, second] = [0, 1].map(|place: usize| values(buffers[place].1.value()));
    assert_eq!(first, second);
    let (means, _) = moments(&values(&x), 2);
    // The second batch is normalized: its mean is 0.
    assert!((f64::from(first[0]) - 0.9 * 0.1 * means[0]).abs() < 1e-6, "{first:?} {means:?}");
}

/// Inference may fold batch normalization into the convolution before it.
#[test]
fn inference_computes_the_same_folded_or_not() {
    let device = device();
    let network = trained(&residual(), &device);
    let x = random([3, 8, 8, 3], 4, &device);
    let folded = network.forward(&x).unwrap();
    let plain = network.activations(&x, |_, _| Ok(())).unwrap();
    assert_close(&values(&folded), &values(&plain), 1e-5);
    // Twice the same bits, and from any cut on.
    assert_eq!(bits(&network.forward(&x).unwrap()), bits(&folded));
    for cut in network.spec().cuts().unwrap() {
        let first = network.forward_layers(0..cut + 1, &x).unwrap();
        let rest = network.forward_layers(cut + 1..network.spec().nodes.len(), &first).unwrap();
        assert_close(&values(&rest), &values(&plain), 1e-5);
    }
    // Parameters of which a gradient is wanted are not folded away.
    let mut tracked = network.clone();
    require_grad(&mut tracked);
    let y = tracked.forward(&x).unwrap();
    assert_close(&values(&y), &values(&plain), 1e-5);
    let gradients = parameter_gradients(&tracked, y.sum_all().unwrap().backward().unwrap());
    assert_eq!(gradients.len(), network.parameters().len());
    let half = network.cast(DType::F16).unwrap();
    assert_close(&values(&half.forward(&x).unwrap()), &values(&plain), 5e-3);
    assert_eq!(half.buffers()[0].value().dtype(), DType::F32);
}

/// What was computed of parameters before a step is out of date after it.
#[test]
fn a_step_between_two_classifications_counts() {
    let device = device();
    let mut network = trained(&residual(), &device);
    let x = random([2, 8, 8, 3], 4, &device);
    let before = network.forward(&x).unwrap();
    let untouched = network.clone();
    require_grad(&mut network);
    let cx = training();
    let loss = network.forward_with(&x, &cx).unwrap().square().unwrap().mean_all().unwrap();
    let gradients = parameter_gradients(&network, loss.backward().unwrap());
    let rates = Rates { rate: 0.5, momentum: 0.9, decay: 0.0 };
    Sgd::new().step(&mut network, &gradients, |_| rates.step(1.0)).unwrap();
    let stepped = striate_tensor::no_grad(|| network.forward(&x).unwrap());
    let fresh = |network: &Network| {
        let parameters = network.parameters().iter().map(Tensor::detach).collect();
        let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
        Network::of(network.spec().clone(), parameters, buffers, &device)
            .unwrap()
            .forward(&x)
            .unwrap()
    };
    assert_ne!(bits(&stepped), bits(&before));
    assert_eq!(bits(&stepped), bits(&fresh(&network)));
    update_statistics(&mut network, &cx.take_records()).unwrap();
    let updated = striate_tensor::no_grad(|| network.forward(&x).unwrap());
    assert_ne!(bits(&updated), bits(&stepped));
    assert_eq!(bits(&updated), bits(&fresh(&network)));
    // A clone of before keeps what it had.
    assert_eq!(bits(&untouched.forward(&x).unwrap()), bits(&before));
}

#[test]
fn a_recomputed_pass_is_the_same_and_records_once() {
    let device = device();
    let mut network = trained(&residual(), &device);
    require_grad(&mut network);
    let x = random([3, 8, 8, 3], 4, &device);
    let pass = |recomputed: bool| {
        let cx = training();
        let outputs = match recomputed {
            true => network.forward_recomputed(&x, &cx).unwrap(),
            false => network.forward_outputs(&x, &cx).unwrap(),
        };
        let y = outputs[0].clone();
        let before = cx.take_records();
        let loss = y.square().unwrap().mean_all().unwrap();
        let gradients = named_gradients(&network, loss.backward().unwrap());
        assert!(cx.take_records().is_empty(), "the backward pass recorded again");
        let mut updated = network.clone();
        update_statistics(&mut updated, &before).unwrap();
        let buffers: Vec<Vec<u32>> =
            updated.buffers().iter().map(|buffer| bits(buffer.value())).collect();
        let gradients: BTreeMap<String, Vec<u32>> =
            gradients.into_iter().map(|(name, gradient)| (name, bits(&gradient))).collect();
        (bits(&y), before.len(), gradients, buffers)
    };
    let (plain, recomputed) = (pass(false), pass(true));
    assert_eq!(plain.1, 5);
    assert_eq!(plain.2.len(), network.parameters().len());
    assert_eq!(plain, recomputed);
    // Nothing is recorded in inference, recomputed or not.
    let cx = Context::inference();
    let y = network.forward_recomputed(&x, &cx).unwrap();
    assert!(cx.take_records().is_empty());
    assert_eq!(bits(&y[0]), bits(&network.forward_outputs(&x, &cx).unwrap()[0]));
}

#[test]
fn shards_together_are_the_whole_batch() {
    let device = device();
    let network = NetworkSpec::new([2, 3, 3]).batch_norm().build(&device, Seed(1)).unwrap();
    let x = random([7, 2, 3, 3], 4, &device);
    let x = x.affine(3.0, 10.0).unwrap();
    let of = |images: std::ops::Range<usize>| -> BatchMoments {
        let cx = training();
        let shard = x.slice(&[images, 0..2, 0..3, 0..3]).unwrap();
        network.forward_with(&shard, &cx).unwrap();
        cx.take_records().remove(0)
    };
    let whole = of(0..7);
    let merged = of(0..2).merge(&of(2..3)).unwrap().merge(&of(3..7)).unwrap();
    assert_eq!(
        (merged.count, merged.buffer, merged.momentum),
        (whole.count, whole.buffer, whole.momentum)
    );
    assert_close(&values(&merged.moments), &values(&whole.moments), 1e-6);
    let (means, variances) = moments(&values(&x), 3);
    let exact: Vec<f32> = means.iter().chain(&variances).map(|&v| v as f32).collect();
    assert_close(&values(&merged.moments), &exact, 1e-6);
    // Shards without images change nothing, on either side.
    for (a, b) in [(of(0..0), of(0..7)), (of(0..7), of(0..0))] {
        let merged = a.merge(&b).unwrap();
        assert_eq!((merged.count, bits(&merged.moments)), (whole.count, bits(&whole.moments)));
    }
    assert_eq!(of(0..0).merge(&of(0..0)).unwrap().count, 0);
    let other = NetworkSpec::new([2, 3, 2]).batch_norm().build(&device, Seed(1)).unwrap();
    let cx = training();
    other.forward_with(&random([1, 2, 3, 2], 1, &device), &cx).unwrap();
    let message = whole.merge(&cx.take_records()[0]).unwrap_err().to_string();
    assert!(message.contains("expected statistics [2, 3], got [2, 2]"), "{message}");
}

/// The module computes what the layer does.
#[test]
fn the_module_is_the_layer() {
    let device = device();
    let spec = NetworkSpec::new([3, 3, 2]).batch_norm();
    let network = trained(&spec, &device);
    let [scale, shift] = [0, 1].map(|id: usize| network.parameters()[id].clone());
    let running = network.buffers()[0].value().clone();
    let mut module = BatchNorm2d::from_tensors(batch_norm(), scale, shift, running);
    let x = random([4, 3, 3, 2], 6, &device);
    let (own, layers) = (training(), training());
    let y = module.forward(&x, &own).unwrap();
    assert_eq!(bits(&y), bits(&network.forward_with(&x, &layers).unwrap()));
    let (own, layers) = (own.take_records(), layers.take_records());
    assert_eq!((own[0].count, own[0].momentum), (layers[0].count, layers[0].momentum));
    assert_eq!(bits(&own[0].moments), bits(&layers[0].moments));
    update_statistics(&mut module, &own).unwrap();
    let mut network = network;
    update_statistics(&mut network, &layers).unwrap();
    assert_eq!(bits(module.running()), bits(network.buffers()[0].value()));
    let inference = Context::inference();
    let y = module.forward(&x, &inference).unwrap();
    assert_eq!(bits(&y), bits(&network.forward(&x).unwrap()));
}

/// For good: fewer layers, the same outputs; a norm that is not the only reader of its convolution, or
/// that follows a ReLU, stays.
#[test]
fn folding_for_good_keeps_the_function() {
    let device = device();
    let chain = NetworkSpec::new([9, 7, 3])
        .conv(conv2d(6, 3).without_bias())
        .batch_norm()
        .relu()
        .conv(conv2d(6, 3).groups(6).padding(1))
        .batch_norm()
        .residual(|x| x.conv(conv2d(6, 3).padding(1).without_bias()).batch_norm().relu())
        .full_connect(4);
    let named = NetworkSpec::new([8, 8, 3])
        .named("stem", |x| x.conv(conv2d(4, 3).padding(1)))
        .named("bn", NetworkSpec::batch_norm)
        .named("block", |x| {
            x.residual_with(
                |x| x.conv(conv2d(5, 1).relu()).batch_norm().conv(conv2d(5, 1)).batch_norm(),
                |x| x.conv(conv2d(5, 1).without_bias()).batch_norm(),
            )
        })
        .global_avg_pool()
        .full_connect(3);
    // The sum sees the convolution as well as its norm.
    let shared = NetworkSpec::new([6, 6, 2])
        .conv(conv2d(3, 3).padding(1))
        .residual(NetworkSpec::batch_norm)
        .full_connect(2);
    // Layer scales, with and without a bias before them.
    let scaled = NetworkSpec::new([6, 6, 2])
        .residual(|x| x.conv(conv2d(2, 3).padding(1)).layer_scale(0.3))
        .residual(|x| x.conv(conv2d(2, 1).without_bias()).layer_scale(-2.0))
        .full_connect(2);
    for (spec, norms) in [(chain, 0), (named, 1), (shared, 1), (scaled, 0)] {
        let network = trained(&spec, &device);
        let folded = network.fold_batch_norms().unwrap();
        let is_norm = |node: &&striate_nn::Node| node.kind().name() == "batch-norm";
        assert_eq!(folded.spec().nodes.iter().filter(is_norm).count(), norms);
        assert!(folded.spec().nodes.iter().all(|node| node.kind().name() != "scale"));
        assert_eq!(folded.spec().image, spec.image);
        let [rows, cols, channels] = spec.input;
        let x = random([2, rows, cols, channels], 4, &device);
        let (got, wanted) = (folded.forward(&x).unwrap(), network.forward(&x).unwrap());
        assert_close(&values(&got), &values(&wanted), 1e-5);
        // Nothing is left to fold, and it is stored as any other.
        let again = folded.fold_batch_norms().unwrap();
        assert_eq!(again.spec(), folded.spec());
        let json = folded.spec().to_json().unwrap();
        assert_eq!(&NetworkSpec::from_json(&json).unwrap(), folded.spec());
    }
}
