//! Networks written as ONNX and read back: every kind of layer, names, properties, large files, errors.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_graph::{Graph, NoTensors};
use striate_importers::onnx::{ExportOptions, GraphNames, Model, export, export_graph};
use striate_importers::{Error, ReadOptions};
use striate_nn::{
    Activation, LayerKind, Metadata, Network, NetworkSpec, Seed, batch_norm, conv_transpose2d,
    conv2d, full_connect, group_norm, instance_norm, layer_norm, lrn, pad, pool, prelu, resize,
    squeeze_excite, upsample,
};
use striate_tensor::ops::{self, Axes, Coordinates, Interpolation, Nearest, UnaryKind};
use striate_tensor::{DType, Device, RandomKey, Reference, Shape, Tensor, TensorType};

fn device() -> Device {
    Device::new(Reference::new())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

fn random(shape: &[usize], stream: u64, device: &Device) -> Tensor {
    let shape = Shape::new(shape).unwrap();
    Tensor::uniform(shape, 0.2, 1.2, RandomKey::new(5, stream), device).unwrap()
}

fn assert_close(a: &Tensor, b: &Tensor, what: &str) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let (a, b) = (values(a), values(b));
    let scale = b.iter().filter(|v| v.is_finite()).fold(1e-3f32, |max, v| max.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * scale;
        assert!(same, "{what}: element {i}: {a} {b}, scale {scale}");
    }
}

/// Every parameter and statistic at random, so that no two channels are alike.
fn stirred(spec: &NetworkSpec, device: &Device) -> Network {
    let network = spec.build(device, Seed(3)).unwrap();
    let parameters = network.parameters().iter().enumerate();
    let parameters = parameters.map(|(i, p)| random(p.dims(), i as u64, device));
    let parameters = parameters.map(|p| p.affine(1.0, -0.6).unwrap()).collect();
    let buffers = network.buffers().iter().enumerate();
    let buffers = buffers.map(|(i, b)| random(b.value().dims(), 1000 + i as u64, device)).collect();
    network.with_tensors(parameters, buffers).unwrap()
}

/// Images channels-first; others as they are.
fn in_file(x: &Tensor) -> Tensor {
    match x.dims().len() {
        4 => x.permute([0, 3, 1, 2]).unwrap(),
        _ => x.clone(),
    }
}

fn read_back(path: &Path, x: &Tensor) -> Tensor {
    let model = Model::open(path).unwrap_or_else(|error| panic!("{error}"));
    let outputs = model.run(&[("input", in_file(x))], x.device());
    let mut outputs = outputs.unwrap_or_else(|error| panic!("{error}: {:?}", error));
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].0, "output");
    outputs.remove(0).1
}

/// Writes a network and compares what the file computes with what the network does, for 1 image and 3.
fn check(spec: &NetworkSpec, options: &ExportOptions) {
    let device = device();
    let what = format!("opset {}: {}", options.opset, spec.to_json().unwrap());
    let network = stirred(spec, &device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&path, &network, options).unwrap_or_else(|error| panic!("{what}: {error}"));
    for images in [1, 3] {
        let [rows, cols, channels] = spec.input;
        let x = random(&[images, rows, cols, channels], 77, &device);
        let y = network.forward(&x).unwrap();
        assert_close(&read_back(&path, &x), &in_file(&y), &what);
    }
}

fn start() -> NetworkSpec {
    NetworkSpec::new([5, 4, 4])
}

/// Networks with every kind of layer, in the forms that are written differently.
fn cases() -> Vec<NetworkSpec> {
    let same = |count| conv2d(count, 3).padding(1);
    let by = |factor: [f32; 2], interpolation| striate_nn::ResizeSpec {
        to: striate_nn::Target::Factor(factor),
        interpolation,
        coordinates: Coordinates::PytorchHalfPixel,
        ..resize(1)
    };
    let mut cases = vec![
        start().conv(conv2d(6, [2, 3]).stride([2, 1]).padding([[1, 0], [0, 2]]).groups(2)),
        start().conv(conv2d(3, 2).dilation([1, 2]).without_bias().relu()),
        start().conv_transpose(
            conv_transpose2d(6, 3).stride([2, 3]).padding(1).output_padding([1, 2]).groups(2),
        ),
        start().conv_transpose(
            conv_transpose2d(2, [2, 3]).dilation(2).padding([[1, 0], [0, 2]]).without_bias(),
        ),
        start().max_pool(pool(2).ceil()),
        start().max_pool(pool([3, 2]).stride([2, 1]).padding([[1, 0], [0, 1]])),
        start().max_pool(pool(3).stride(2).padding(1).ceil()),
        start().avg_pool(pool(3).stride(2).padding(1)),
        start().avg_pool(pool(3).stride(2).padding(1).count_padding()),
        start().avg_pool(pool(2).padding([[1, 0], [0, 1]]).ceil()),
        start().avg_pool(pool(3).stride(2).padding([[1, 0], [1, 0]]).count_padding().ceil()),
        start().global_avg_pool(),
        start().global_max_pool().flatten(),
        start().lrn(lrn(3).alpha(0.5)),
        start().lrn(lrn(2).alpha(0.5).groups(2).kappa(1.0).beta(0.5)),
        start().lrn(lrn(5).alpha(0.5).groups(4)),
        start().lrn(lrn(1).alpha(0.5)),
        start().conv(same(3)).batch_norm(),
        start().batch_norm_with(batch_norm().epsilon(0.1)).full_connect(2),
        start().full_connect(3).batch_norm(),
        start().flatten().batch_norm().full_connect(3),
        start().flatten().relu().layer_norm(layer_norm()).full_connect(3),
        start().flatten().group_norm(group_norm(4)),
        start().flatten().instance_norm(instance_norm()),
        start().flatten().layer_scale(1.0).prelu().full_connect(2),
        start().conv(same(6)).layer_norm(layer_norm().epsilon(1e-2)).conv(same(2)),
        start().layer_norm(layer_norm()).relu().layer_norm(layer_norm()),
        start().full_connect(5).layer_norm(layer_norm().epsilon(0.1)),
        start().conv(same(6)).group_norm(group_norm(3)).conv(same(2)),
        start().group_norm(group_norm(1).epsilon(0.1)),
        start().conv(same(3)).instance_norm(instance_norm()),
        start().layer_scale(0.25).full_connect(3).layer_scale(-1.0),
        start().full_connect(full_connect(3).relu().dropout(0.3)),
        start().full_connect(full_connect(3).without_bias()),
        start().flatten(),
        start().conv(same(2)).stochastic_depth(0.4),
        start().full_connect(6).channel_shuffle(3).full_connect(2),
        start().channel_shuffle(2),
        start().channel_shuffle(2).conv(same(4).groups(2)).channels(1..3),
        start().channel_shuffle(2).full_connect(3),
        start().channel_shuffle(2).batch_norm().relu(),
        start().adaptive_avg_pool([2, 3]),
        start().adaptive_avg_pool([5, 4]),
        start().adaptive_avg_pool([5, 2]),
        start().adaptive_avg_pool(1).flatten(),
        start().adaptive_avg_pool([7, 9]),
        start().adaptive_max_pool([2, 3]),
        start().adaptive_max_pool([1, 2]),
        start().upsample(2),
        start().resize(upsample([1, 3]).linear().align_corners()),
        start().resize(resize([3, 6]).cubic()),
        start().resize(resize(3).area()),
        start().resize(resize([7, 3])),
        start().resize(by([1.5, 0.6], Interpolation::Linear)),
        start().resize(by([0.7, 2.5], Interpolation::Nearest(Nearest::PreferCeil))),
        start().resize(by([2.0, 3.0], Interpolation::Nearest(Nearest::PreferFloor))),
        start().resize(striate_nn::ResizeSpec {
            exclude_outside: true,
            ..by([2.0, 2.0], Interpolation::Cubic { coefficient: -0.5 })
        }),
        start().resize(striate_nn::ResizeSpec {
            exclude_outside: true,
            ..by([2.0, 1.5], Interpolation::Linear)
        }),
        start().pad(pad(1)),
        start().pad(pad([[0, 1], [2, 0]]).value(0.5)),
        start().pad(pad([2, 1]).reflect()),
        start().pad(pad([9, 1]).reflect()),
        start().pad(pad([1, 3]).edge()),
        start().pad(pad([[0, 0], [4, 5]]).wrap()),
        start().conv(same(3)).prelu(),
        start().conv(same(3)).prelu_with(prelu().shared().initial(0.1)),
        start().full_connect(3).prelu(),
        start().depth_to_space(2),
        start().conv(same(18)).pixel_shuffle(3).conv(same(2)),
        start().max_pool(pool([2, 1]).stride(1)).space_to_depth(2).conv(conv2d(3, 1)),
        start().max_pool(pool([2, 1]).stride(1)).pixel_unshuffle(2).full_connect(2),
        start().full_connect(5).channels(0..2),
        start().flatten().channels(3..40),
        start().conv(same(4)).squeeze_excite(squeeze_excite(4, 2)),
        start().conv(same(2)).dropout(0.4),
        start().conv(same(4)).sigmoid().residual(|x| x.conv(same(4)).relu()).relu(),
        start().residual_with(|x| x.conv(same(2)), |x| x.conv(conv2d(2, 1))).relu(),
        start().branches(|b| {
            b.path(|x| x).path(|x| x.global_avg_pool().conv(conv2d(4, 1)).sigmoid()).multiply()
        }),
        start().branches(|b| b.path(|x| x).path(|x| x.channel_shuffle(2)).add()),
        start().branches(|b| b.path(|x| x.layer_norm(layer_norm())).path(|x| x).add()),
        start().branches(|b| {
            b.path(|x| x.layer_norm(layer_norm())).path(|x| x.global_max_pool()).multiply()
        }),
        start()
            .branches(|b| b.path(|x| x.conv(same(2))).path(|x| x).path(|x| x.relu()).concatenate()),
        start().branches(|b| b.path(|x| x.full_connect(2)).path(|x| x.flatten()).concatenate()),
        start().branches(|b| b.path(|x| x.flatten()).path(|x| x.flatten().sigmoid()).add()),
        start()
            .branches(|b| b.path(|x| x.flatten()).path(|x| x.channel_shuffle(2).flatten()).add()),
    ];
    let more = [
        UnaryKind::LeakyRelu { slope: 0.2 },
        UnaryKind::Elu { alpha: 0.7 },
        UnaryKind::Affine { scale: 1.0, shift: -0.5 },
        UnaryKind::Powf { exponent: 1.5 },
        UnaryKind::Clamp { min: f32::NEG_INFINITY, max: 2.5 },
        UnaryKind::Clamp { min: 0.3, max: f32::INFINITY },
        UnaryKind::RELU6,
    ];
    for kind in UnaryKind::ALL.iter().copied().chain(more) {
        cases.push(start().activation(Activation::new(kind)));
    }
    cases
}

#[test]
fn every_kind_of_layer_computes_the_same_in_the_file() {
    let mut kinds = BTreeSet::new();
    for spec in cases() {
        kinds.extend(spec.nodes.iter().map(|node| node.kind().name()));
        check(&spec, &ExportOptions::new());
    }
    // A user's own op has no form there.
    let others = LayerKind::ALL.iter().filter(|&&kind| kind != LayerKind::Custom);
    let all: BTreeSet<&str> = others.map(|kind| kind.name()).collect();
    assert_eq!(kinds, all);
}

#[test]
fn other_opsets_compute_the_same() {
    let kinds = [UnaryKind::Gelu, UnaryKind::GeluErf, UnaryKind::Mish, UnaryKind::HardSwish];
    for opset in [13, 14, 16, 18, 20, 22] {
        let options = ExportOptions::new().opset(opset);
        for kind in kinds {
            check(&start().activation(Activation::new(kind)), &options);
        }
        check(&start().layer_norm(layer_norm()).relu(), &options);
        check(&start().flatten().layer_norm(layer_norm()).full_connect(2), &options);
    }
}

fn layers() -> impl Strategy<Value = Vec<(u8, usize)>> {
    prop::collection::vec((0u8..26, 1usize..4), 1..7)
}

/// Of the norms in networks at random. A norm after a pool or another norm may divide by a spread near
/// zero, and so make the roundings of what comes before it a hundred times as large; the default epsilon
/// stands among the cases above.
const EPSILON: f32 = 0.1;

/// A network of such layers, as far as they fit each other.
fn network(layers: &[(u8, usize)]) -> NetworkSpec {
    let mut spec = NetworkSpec::new([9, 7, 4]);
    for &(kind, n) in layers {
        let before = spec.clone();
        spec = match kind {
            0 => spec.conv(conv2d(4 * n, 3).padding(1).groups(n.min(2))),
            1 => spec.conv(conv2d(4, [n, 1]).stride([1, n]).relu()),
            2 => spec.max_pool(pool(n + 1).stride(n).ceil()),
            3 => spec.avg_pool(pool(n + 1).stride(2).padding(1).ceil()),
            4 => spec.avg_pool(pool(3).stride(n).padding(1).count_padding().ceil()),
            5 => spec.batch_norm_with(batch_norm().epsilon(EPSILON)),
            6 => spec.layer_norm(layer_norm().epsilon(EPSILON)),
            7 => spec.group_norm(group_norm(2).epsilon(EPSILON)),
            8 => spec.instance_norm(instance_norm().epsilon(EPSILON)),
            9 => spec.lrn(lrn(n + 1).alpha(0.5).groups(2)),
            10 => spec.channel_shuffle(2),
            11 => spec.space_to_depth(n.min(2)),
            12 => spec.conv(conv2d(16, 1)).pixel_shuffle(2),
            13 => spec.flatten(),
            14 => spec.full_connect(4 * n),
            15 => spec.residual(|x| x.relu().channel_shuffle(2)),
            16 => spec.branches(|b| b.path(|x| x).path(|x| x.sigmoid()).concatenate()),
            17 => spec.branches(|b| {
                b.path(|x| x).path(|x| x.layer_norm(layer_norm().epsilon(EPSILON))).add()
            }),
            18 => spec.squeeze_excite(squeeze_excite(4, 2)),
            19 => spec.adaptive_avg_pool([n, 3]),
            20 => spec.adaptive_max_pool([n + 1, 2]),
            21 => spec.resize(resize([n + 3, 5]).cubic()),
            22 => spec.pad(pad([n, 1]).reflect()),
            23 => spec.layer_scale(0.5).prelu(),
            24 => spec.channels(0..4),
            _ => spec.branches(|b| b.path(|x| x.global_avg_pool()).path(|x| x).multiply()),
        };
        if spec.shapes().is_err() {
            spec = before;
        }
    }
    spec
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(150)
    })]

    #[test]
    fn networks_at_random_compute_the_same_in_the_file(layers in layers()) {
        let spec = network(&layers);
        if !spec.nodes.is_empty() {
            check(&spec, &ExportOptions::new());
        }
    }
}

/// As another program would read it: weights by their names and shapes, the batch by its own.
#[test]
fn the_file_says_what_it_holds() {
    let device = device();
    let spec = NetworkSpec::new([6, 6, 3])
        .with_name("two layers")
        .named("stem", |x| x.conv(conv2d(4, 3).groups(1)).relu())
        .full_connect(5);
    let labels = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
    let metadata = Metadata { labels: Some(labels), ..Metadata::default() };
    let mean = Tensor::full([6, 6, 3], 2.5, DType::F32, &device).unwrap();
    let network = stirred(&spec, &device).with_metadata(metadata).with_mean(mean).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&path, &network, &ExportOptions::new()).unwrap();
    let model = Model::open(&path).unwrap();
    assert_eq!(model.opset(), 17);
    assert!(model.producer().starts_with("striate "));
    assert_eq!(model.inputs()[0].to_string(), "f32 [batch, 3, 6, 6]");
    assert_eq!(model.outputs()[0].to_string(), "f32 [batch, 5]");
    let operators: Vec<String> = model.operators().into_keys().collect();
    assert_eq!(operators, ["Conv", "Flatten", "Gemm", "Relu"]);
    let text = |key: &str| {
        let found = model.metadata().iter().find(|(known, _)| known == key);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    assert_eq!(NetworkSpec::from_json(&text("striate.spec")).unwrap(), spec);
    assert!(text("striate.metadata").contains("labels"));
    assert_eq!(text("striate.mean"), r#"{"shape":[6,6,3],"channels":[2.5,2.5,2.5]}"#);
    assert_eq!(text("striate.format"), "1");
    let bytes = std::fs::read(&path).unwrap();
    for name in ["stem.0.weight", "stem.0.bias", "layers.2.weight", "layers.2.bias"] {
        assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

/// Files of other programs are taken for torchvision's: what it does to pixels must not come on top of our own
/// mean image.
#[test]
fn a_network_that_was_exported_is_read_as_it_was() {
    let device = device();
    let spec = NetworkSpec::new([6, 6, 3])
        .with_name("cats and dogs")
        .with_image([7, 8])
        .conv(conv2d(4, 3).padding(1).without_bias())
        .batch_norm()
        .relu()
        .full_connect(2);
    let metadata = Metadata {
        labels: Some(vec!["cat".into(), "dog".into()]),
        protocol: Some("ten crops".into()),
        note: Some("of a test".into()),
        ..Metadata::default()
    };
    let plain = stirred(&spec, &device).with_metadata(metadata);
    let full = |shape: [usize; 3]| Tensor::full(shape, 2.5, DType::F32, &device).unwrap();
    let means = [None, Some(full([7, 8, 3])), Some(random(&[7, 8, 3], 9, &device))];
    let x = random(&[2, 6, 6, 3], 1, &device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    for mean in means {
        let network = match &mean {
            Some(mean) => plain.clone().with_mean(mean.clone()).unwrap(),
            None => plain.clone(),
        };
        export(&path, &network, &ExportOptions::new()).unwrap();
        let read = striate_importers::read(&path, &device, &ReadOptions::default()).unwrap();
        assert_close(&read.forward(&x).unwrap(), &network.forward(&x).unwrap(), "read again");
        assert_eq!(read.mean().map(values), mean.as_ref().map(values));
        assert_eq!(read.metadata(), network.metadata());
        assert_eq!((read.spec().image, &read.spec().name), ([7, 8], &spec.name));
        let told = striate_importers::inspect(&path).unwrap();
        assert_eq!((told.mean, &told.metadata), (mean.is_some(), network.metadata()));
    }
}

/// Properties that do not fit each other are an error that names them.
#[test]
fn properties_that_do_not_fit_are_refused() {
    let device = device();
    let spec = NetworkSpec::new([4, 4, 3]).conv(conv2d(2, 3)).full_connect(3);
    let mean = Tensor::full([4, 4, 3], 2.5, DType::F32, &device).unwrap();
    let network = stirred(&spec, &device).with_mean(mean).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&path, &network, &ExportOptions::new()).unwrap();
    let good = std::fs::read(&path).unwrap();
    for (text, other, named) in [
        ("[2.5,2.5,2.5]", "[2.5,2.5,2.,]", "striate.mean"),
        ("[2.5,2.5,2.5]", "[2.5,2.5    ]", "2 numbers for [4, 4, 3]"),
        (r#""shape":[4,4,3]"#, r#""shape":[4,9,3]"#, "3 numbers for [4, 9, 3]"),
        (r#""image":[4,4]"#, r#""image":[4,1]"#, "striate.mean"),
        ("striate.format\x12\x011", "striate.format\x12\x012", "update Striate"),
    ] {
        let text = text.as_bytes();
        let at = good.windows(text.len()).position(|part| part == text).expect(named);
        let mut bad = good.clone();
        bad[at..at + text.len()].copy_from_slice(other.as_bytes());
        std::fs::write(&path, bad).unwrap();
        let refused = striate_importers::read(&path, &device, &ReadOptions::default());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}

#[test]
fn the_mean_image_is_subtracted_where_it_is_asked_for() {
    let device = device();
    let spec = NetworkSpec::new([4, 4, 3]).with_image([7, 6]).conv(conv2d(2, 3)).full_connect(3);
    let network = stirred(&spec, &device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let options = ExportOptions::new().with_mean(true);
    let refused = export(&path, &network, &options).unwrap_err().to_string();
    assert!(refused.contains("no mean image") && !path.exists(), "{refused}");
    let x = random(&[2, 4, 4, 3], 1, &device);
    for mean in
        [random(&[7, 6, 3], 2, &device), Tensor::full([7, 6, 3], 0.5, DType::F32, &device).unwrap()]
    {
        let network = network.clone().with_mean(mean.clone()).unwrap();
        export(&path, &network, &options).unwrap();
        let centre = mean.slice(&[1..5, 1..5, 0..3]).unwrap();
        let y = network.forward(&x.sub(&centre).unwrap()).unwrap();
        assert_close(&read_back(&path, &x), &y, "with the mean");
    }
}

#[test]
fn large_weights_go_into_a_second_file() {
    let device = device();
    let spec = start().conv(conv2d(8, 3).padding(1)).batch_norm().relu().full_connect(40);
    let network = stirred(&spec, &device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&path, &network, &ExportOptions::new().inline_bytes(100)).unwrap();
    let data = folder.path().join("x.onnx.data");
    assert!(std::fs::metadata(&data).unwrap().len() >= 5 * 4 * 8 * 40 * 4);
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
    let x = random(&[3, 5, 4, 4], 1, &device);
    assert_close(&read_back(&path, &x), &network.forward(&x).unwrap(), "two files");
    export(&path, &network, &ExportOptions::new()).unwrap();
    std::fs::remove_file(&data).unwrap();
    assert_close(&read_back(&path, &x), &network.forward(&x).unwrap(), "one file");
}

#[test]
fn half_precision_stays_half_precision() {
    let device = device();
    let spec = start()
        .conv(conv2d(8, 3).padding(1).without_bias())
        .batch_norm()
        .relu()
        .layer_scale(0.5)
        .prelu()
        .full_connect(40);
    let network = stirred(&spec, &device);
    let folder = tempfile::tempdir().unwrap();
    let [whole, half] = ["whole.onnx", "half.onnx"].map(|name| folder.path().join(name));
    export(&whole, &network, &ExportOptions::new()).unwrap();
    let network = network.cast(DType::F16).unwrap();
    export(&half, &network, &ExportOptions::new()).unwrap();
    let [whole, half_bytes] = [&whole, &half].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(half_bytes < whole * 6 / 10, "{half_bytes} of {whole}");
    let x = random(&[3, 5, 4, 4], 1, &device);
    assert_close(&read_back(&half, &x), &network.forward(&x).unwrap(), "half precision");
}

/// Ops that no layer has, and several inputs and outputs.
#[test]
fn graphs_are_written_under_their_own_names() {
    let device = device();
    let ty = |dims: &[usize]| TensorType::f32(Shape::new(dims).unwrap());
    let mut graph = Graph::new();
    let a = graph.input("a", ty(&[2, 3, 4]));
    let b = graph.input("b", ty(&[4, 5]));
    let product = graph.push("product", ops::MatMul::default(), &[a, b]).unwrap();
    let axes = Axes::new(&[2]).unwrap();
    let kind = ops::ReduceKind::Sum;
    let sum = ops::Reduce { kind, axes, keep_axes: true };
    let sum = graph.push("sum", sum, &[product]).unwrap();
    let less = ops::Binary { kind: ops::BinaryKind::Sub };
    let less = graph.push("less", less, &[product, sum]).unwrap();
    let turned = graph.push("turned", ops::Permute { order: vec![2, 0, 1] }, &[less]).unwrap();
    let soft = graph.push("soft", ops::Softmax { axis: 0, log: false }, &[turned]).unwrap();
    let kind = ops::CompareKind::Gt;
    let is_more = graph.push("is_more", ops::Compare { kind }, &[soft, turned]).unwrap();
    let chosen = graph.push("chosen", ops::Select, &[is_more, soft, turned]).unwrap();
    let flip = ops::Flip { axes: Axes::new(&[1]).unwrap() };
    let flipped = graph.push("flipped", flip, &[chosen]).unwrap();
    let sums = ops::CumulativeSum { axis: 2, exclusive: true, reverse: true };
    let sums = graph.push("sums", sums, &[flipped]).unwrap();
    graph.output("sums", sums);
    graph.output("again", sums);
    graph.output("first", product);
    graph.output("itself", a);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let (names, options) = (GraphNames::default(), ExportOptions::new().fixed_batch(true));
    export_graph(&path, &graph, &NoTensors, &names, &options).unwrap();
    let [x, y] = [random(&[2, 3, 4], 1, &device), random(&[4, 5], 2, &device)];
    let model = Model::open(&path).unwrap();
    let made = model.run(&[("a", x.clone()), ("b", y.clone())], &device).unwrap();
    let plan = striate_graph::Plan::new(graph);
    let expected = plan.run(&[&x, &y], &NoTensors, &mut striate_graph::Run::default()).unwrap();
    for ((name, made), expected) in made.iter().zip(&expected.values) {
        assert_close(made, expected, name);
    }
    assert_eq!(made.len(), 4);
}

#[test]
fn what_has_no_form_is_refused_by_name_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    std::fs::write(&path, b"as it was").unwrap();
    let ty = |dims: &[usize]| TensorType::f32(Shape::new(dims).unwrap());
    let refused = |graph: &Graph, options: &ExportOptions| {
        let names = GraphNames::default();
        let error = export_graph(&path, graph, &NoTensors, &names, options).unwrap_err();
        assert!(matches!(error, Error::Unrepresentable { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was");
        error.to_string()
    };
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[3, 4]));
    let y = graph.push("statistics", ops::Moments, &[x]).unwrap();
    graph.output("y", y);
    let text = refused(&graph, &ExportOptions::new());
    assert!(text.contains("`statistics`") && text.contains("moments"), "{text}");
    assert!(refused(&graph, &ExportOptions::new().opset(12)).contains("opsets 13 to 22"));

    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[3, 4]));
    let y = graph.push("some", ops::Slice { ranges: vec![0..2, 0..4] }, &[x]).unwrap();
    graph.output("y", y);
    assert!(refused(&graph, &ExportOptions::new()).contains("`some`"));
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[3, 4]));
    graph.output("x", x);
    assert!(refused(&graph, &ExportOptions::new()).contains("a name of its own"));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}
