//! ONNX models that classify as they are: beside the same models as networks of layers, and models that are
//! no network of layers.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::path::{Path, PathBuf};

use striate::Occlusion;
use striate::graph::{Graph, NoTensors, NodeOp};
use striate::importers::onnx::{
    ExportOptions, GraphNames, ImageModel, Model, export, export_graph,
};
use striate::importers::{AnyModel, ModelFile, PixelOptions, read};
use striate::nn::Metadata;
use striate::prelude::*;
use striate::tensor::TensorType;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn device() -> Device {
    Device::cpu(Some(2)).unwrap()
}

/// A picture that is different everywhere.
fn picture(rows: usize, cols: usize, channels: usize, seed: usize) -> Image {
    let value = |i: usize| (i * 37 + i / 7 * seed * 11 + seed * 59) as u8;
    Image::new(rows, cols, channels, (0..rows * cols * channels).map(value).collect()).unwrap()
}

fn pictures() -> Vec<Image> {
    [(20, 30, 1), (31, 17, 2), (24, 24, 3)].map(|(r, c, seed)| picture(r, c, 3, seed)).into()
}

fn as_it_is(path: &Path, options: &ReadOptions) -> Classifier {
    let model = ImageModel::new(Model::open(path).unwrap(), &device(), options).unwrap();
    Classifier::of_model(model).unwrap()
}

fn confidences(classifier: &Classifier, images: &[Image]) -> Vec<f32> {
    let images: Vec<&Image> = images.iter().collect();
    let ranks = classifier.classify_batch(&images).unwrap();
    ranks.iter().flat_map(|ranks| ranks.confidences().to_vec()).collect()
}

fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-5, "{what}: {ours}, {theirs}");
    }
}

/// The probabilities, labels and view of a file, as a network of layers and as it is.
fn assert_same_both_ways(path: &Path, options: &ReadOptions) {
    let layers = Classifier::new(read(path, &device(), options).unwrap()).unwrap();
    let whole = as_it_is(path, options);
    assert!(layers.network().is_some() && whole.network().is_none());
    assert_eq!(layers.classes(), whole.classes());
    assert_eq!(layers.tested_view(), whole.tested_view());
    assert_eq!(layers.current_protocol(), whole.current_protocol());
    for protocol in [Protocol::Tested, Protocol::Centre, Protocol::Alex, Protocol::Caffe] {
        let [layers, whole] = [&layers, &whole].map(|one| one.clone().protocol(protocol));
        let (ours, theirs) = (confidences(&whole, &pictures()), confidences(&layers, &pictures()));
        assert_close(&ours, &theirs, &format!("{} {protocol}", path.display()));
        let [a, b] = [&layers, &whole].map(|one| one.classify(&pictures()[0]).unwrap().top(1));
        assert_eq!(a[0].label, b[0].label);
    }
}

#[test]
fn a_model_of_layers_gives_the_same_as_it_is() {
    let device = device();
    let spec = NetworkSpec::new([9, 8, 3]).with_image([11, 12]).with_name("own");
    let spec = spec.conv(conv2d(5, 3)).relu().max_pool(pool(2).stride(2)).full_connect(4);
    let mean: Vec<f32> = (0..11 * 12 * 3).map(|i| 90.0 + (i % 37) as f32).collect();
    let mean = Tensor::from_vec(mean, [11, 12, 3], &device).unwrap();
    let labels = Some(["a", "b", "c", "d"].map(String::from).to_vec());
    let protocol = Some("centre".into());
    let metadata = Metadata { labels, protocol, ..Metadata::default() };
    let network = spec.build(&device, Seed(3)).unwrap().with_metadata(metadata);
    let network = network.with_mean(mean).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.onnx");
    for options in [
        ExportOptions::new(),
        ExportOptions::new().fixed_batch(true),
        ExportOptions::new().with_mean(true),
    ] {
        export(&path, &network, &options).unwrap();
        // No layer subtracts the mean image.
        if !options.with_mean {
            assert_same_both_ways(&path, &ReadOptions::default());
        }
        let whole = as_it_is(&path, &ReadOptions::default());
        assert_eq!(
            whole.classify(&pictures()[0]).unwrap().top(4)[0].label.as_deref().map(str::len),
            Some(1)
        );
        let ours = confidences(&whole, &pictures());
        let own = confidences(&Classifier::new(network.clone()).unwrap(), &pictures());
        assert_close(&ours, &own, "the network that was exported");
        // It says itself what is done to pixels.
        let pixels = PixelOptions { bgr: true, ..PixelOptions::default() };
        let options = ReadOptions::default().pixels(pixels);
        assert!(ImageModel::new(Model::open(&path).unwrap(), &device, &options).is_err());
    }

    for name in ["residual.onnx", "mobile.onnx"] {
        assert_same_both_ways(&fixture(name), &ReadOptions::default());
    }
    let (mean, std) = (Some([104.0, 117.0, 123.0]), Some([58.0, 57.0, 57.5]));
    for pixels in [
        PixelOptions { bgr: true, ..PixelOptions::default() },
        PixelOptions { range: Some(255.0), mean, std, bgr: true },
        PixelOptions { range: Some(1.0), ..PixelOptions::default() },
    ] {
        assert_same_both_ways(&fixture("residual.onnx"), &ReadOptions::default().pixels(pixels));
    }
}

/// How the model of [`odd`] ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Logits,
    Softmax,
    /// `[n, classes, 1, 1]` in the file.
    Image,
    SoftmaxImage,
    /// `[n, classes, 1]`.
    Three,
}

/// Writes a model that is no network of layers: rows are subtracted from their mean over the image.
fn odd(path: &Path, end: End, options: &ExportOptions) {
    let device = device();
    let count = if options.fixed_batch { 1 } else { 2 };
    let mut graph = Graph::new();
    let shape = Shape::new(&[count, 8, 7, 3]).unwrap();
    let x = graph.input("image", TensorType::f32(shape));
    let mean = |axes: &[usize], keep_axes: bool| ops::Reduce {
        kind: ops::ReduceKind::Mean,
        axes: ops::Axes::new(axes).unwrap(),
        keep_axes,
    };
    let rows = graph.push("rows", mean(&[1], true), &[x]).unwrap();
    let less = ops::Binary { kind: ops::BinaryKind::Sub };
    let less = graph.push("less", less, &[x, rows]).unwrap();
    let soft = graph.push("soft", ops::Softmax { axis: 3, log: false }, &[less]).unwrap();
    let pooled = graph.push("pooled", mean(&[1, 2], false), &[soft]).unwrap();
    let weight: Vec<f32> = (0..15).map(|i| (i * 7 % 11) as f32 - 4.0).collect();
    let weight = graph.constant(Tensor::from_vec(weight, [3, 5], &device).unwrap());
    let mut y = graph.push("head", ops::MatMul::default(), &[pooled, weight]).unwrap();
    let shape: Option<&[usize]> = match end {
        End::Logits | End::Softmax => None,
        End::Image | End::SoftmaxImage => Some(&[count, 1, 1, 5]),
        End::Three => Some(&[count, 5, 1]),
    };
    if let Some(dims) = shape {
        let reshape = NodeOp::Reshape(Shape::new(dims).unwrap());
        y = graph.push_node("reshaped", reshape, &[y], false).unwrap();
    }
    if matches!(end, End::Softmax | End::SoftmaxImage) {
        let axis = if end == End::Softmax { 1 } else { 3 };
        y = graph.push("probabilities", ops::Softmax { axis, log: false }, &[y]).unwrap();
    }
    graph.output("classes", y);
    export_graph(path, &graph, &NoTensors, &GraphNames::default(), options).unwrap();
}

#[test]
fn a_model_that_is_no_network_of_layers_classifies_whatever_its_end() {
    let device = device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.onnx");
    // The whole picture of 8 x 7 is 10 x 8: nothing is resized.
    let image = picture(10, 8, 3, 5);
    let seen = |row: usize, col: usize, c: usize| {
        let pixel = f32::from(image.values()[((row + 1) * 8 + col) * 3 + c]) / 255.0;
        (pixel - [0.485, 0.456, 0.406][c]) / [0.229, 0.224, 0.225][c]
    };
    let mut x = Vec::new();
    for c in 0..3 {
        for row in 0..8 {
            x.extend((0..7).map(|col| seen(row, col, c)));
        }
    }
    let x = Tensor::from_vec(x, [1, 3, 8, 7], &device).unwrap();
    odd(&path, End::Logits, &ExportOptions::new());
    let logits = Model::open(&path).unwrap().run(&[("image", x)], &device).unwrap();
    let expected = logits[0].1.softmax(1).unwrap().to_vec::<f32>().unwrap();
    assert!(expected.iter().any(|p| (p - 0.2).abs() > 0.05), "{expected:?}");

    for end in [End::Logits, End::Softmax, End::Image, End::SoftmaxImage] {
        for fixed_batch in [false, true] {
            odd(&path, end, &ExportOptions::new().fixed_batch(fixed_batch));
            let file = ModelFile::open(&path).unwrap();
            let error = file.read(&device, &ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains("ReduceMean") && error.contains("`classify`"), "{error}");
            let model = file.read_any(&device, &ReadOptions::default()).unwrap();
            let AnyModel::Onnx(model) = model else { panic!("{end:?}: layers") };
            assert_eq!(
                model.is_probabilities(),
                matches!(end, End::Softmax | End::SoftmaxImage),
                "{end:?}"
            );
            assert_eq!((model.classes(), model.input()), (5, [8, 7, 3]));
            let classifier = Classifier::of_model(model).unwrap();
            let all = vec![image.clone(), picture(31, 17, 3, 2), image.clone()];
            let got = confidences(&classifier, &all);
            assert_close(&got[..5], &expected, &format!("{end:?}"));
            assert_close(&got[10..], &expected, &format!("{end:?}"));
            let sum: f32 = got[5..10].iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            // More views than run at once.
            let many = classifier.clone().protocol(Protocol::Alex);
            assert_eq!(confidences(&many, &all).len(), 15);
            let map = classifier.occlusion(&image, &Occlusion::default(), |_, _| ()).unwrap();
            assert!(
                (map.confidence - got.iter().take(5).fold(0.0f32, |a, &b| a.max(b))).abs() < 1e-5
            );
            assert!(classifier.features(&image).is_err());
        }
    }
}

#[test]
fn what_is_no_classifier_is_refused_by_name() {
    let device = device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.onnx");
    let refused = |options: &ReadOptions| {
        let file = ModelFile::open(&path).unwrap();
        file.read_any(&device, options).unwrap_err().to_string()
    };
    odd(&path, End::Three, &ExportOptions::new());
    let error = refused(&ReadOptions::default());
    assert!(error.contains("odd.onnx: outputs") && error.contains("classes"), "{error}");

    odd(&path, End::Logits, &ExportOptions::new());
    let error = refused(&ReadOptions::default().dtype(DType::F16));
    assert!(error.contains("weights") && error.contains("f32") && error.contains("f16"), "{error}");
    let pixels = PixelOptions { std: Some([0.0; 3]), ..PixelOptions::default() };
    assert!(refused(&ReadOptions::default().pixels(pixels)).contains("deviations above 0"));
    let model = Model::open(&path).unwrap();
    let model = ImageModel::new(model, &device, &ReadOptions::default()).unwrap();
    let error = model.with_size([9, 7]).unwrap_err().to_string();
    assert!(error.contains("8 x 7") && error.contains("9 x 7"), "{error}");
    assert!(model.with_size([8, 7]).is_ok());
    assert!(model.clone().with_precision(DType::I8).is_err());
    let zeros = Tensor::zeros([1, 7, 8, 3], &device).unwrap();
    assert!(model.forward(&zeros).unwrap_err().to_string().contains("[n, 8, 7, 3]"));
    let half = model.clone().with_precision(DType::F16).unwrap();
    let half = Classifier::of_model(half).unwrap();
    let full = Classifier::of_model(model).unwrap();
    let [a, b] = [&half, &full].map(|one| confidences(one, &pictures()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.02), "{a:?} {b:?}");
    for protocol in [Protocol::CcvCpu, Protocol::CcvGpu] {
        let error = full.clone().protocol(protocol).classify(&pictures()[0]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(protocol.name()) && text.contains("odd.onnx"), "{text}");
    }

    for (name, part) in [("places.onnx", "2 inputs"), ("branches.onnx", "of another shape")] {
        let file = ModelFile::open(fixture(name)).unwrap();
        let error = file.read_any(&device, &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    }
    // Two images at once, and a picture of bytes.
    for (name, part) in [("pixelwise.onnx", "one image, or any number"), ("picture.onnx", "floats")]
    {
        let model = Model::open(fixture(name)).unwrap();
        let error = ImageModel::new(model, &device, &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// A convolution over the whole image is a layer, and its output an image of one pixel.
#[test]
fn classes_may_be_the_channels_of_one_pixel() {
    let device = device();
    let spec = NetworkSpec::new([5, 5, 3]).conv(conv2d(4, 5));
    // A protocol that needs layers is not taken.
    let metadata = Metadata { protocol: Some("ccv-cpu".into()), ..Metadata::default() };
    let network = spec.build(&device, Seed(2)).unwrap().with_metadata(metadata);
    assert!(matches!(Classifier::new(network.clone()), Err(striate::Error::NotAClassifier { .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pixel.onnx");
    export(&path, &network, &ExportOptions::new()).unwrap();
    let file = ModelFile::open(&path).unwrap();
    let model = file.read_any(&device, &ReadOptions::default()).unwrap();
    assert!(matches!(model, AnyModel::Onnx(_)));
    let classifier = Classifier::of_model(model).unwrap();
    assert_eq!(classifier.current_protocol(), Protocol::Tested);
    let got = confidences(&classifier, &pictures());
    assert_eq!(got.len(), 12);
    let sum: f32 = got.iter().sum();
    assert!((sum - 3.0).abs() < 1e-5, "{sum}");
}

/// Without a graphics processor this says so and passes; with `STRIATE_REQUIRE_GPU=1` it fails.
#[test]
fn a_gpu_gives_what_the_cpu_gives() {
    let gpu = match Device::by_name("gpu", &DeviceOptions::default()) {
        Ok(gpu) => gpu,
        Err(error) => {
            let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required || cfg!(not(feature = "gpu")), "{error}");
            println!("skipped: {error}");
            return;
        }
    };
    for name in ["attention.onnx", "attention_one.onnx"] {
        let [ours, theirs] = [&gpu, &device()].map(|device| {
            let options = ReadOptions::default();
            let model = ModelFile::open(fixture(name)).unwrap().read_any(device, &options);
            confidences(&Classifier::of_model(model.unwrap()).unwrap(), &pictures())
        });
        assert_close(&ours, &theirs, name);
    }
}
