//! Which files make a network of Caffe's, and what it sees.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

mod common;

use std::fs;

use common::caffe::{
    Blob, after, assert_near, blob, bytes, double_blob, full_connect, layer, model, network,
    number, numbers, old_blob, run, text, v1_layer, weights, write,
};
use common::plain::{Image, SIMPLE, convolve, whole};
use common::{chain, reference};
use striate_importers::{
    Format, ModelFile, PixelOptions, ReadOptions, WriteOptions, convert, inspect, read,
};
use striate_nn::{LayerKind, LayerSpec};
use striate_tensor::DType;

/// A definition as files for training have it: layers for both phases, losses, a second end.
const TRAINED: &str = "
name: 'trained'
layer { name: 'data' type: 'Data' top: 'data' top: 'label' include { phase: TRAIN }
  transform_param { mirror: true crop_size: 4 mean_value: 90 mean_value: 100 mean_value: 110 scale: 0.5 } }
layer { name: 'data' type: 'Data' top: 'data' top: 'label' include { phase: TEST } transform_param { crop_size: 4 } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc' inner_product_param { num_output: 2 } }
layer { name: 'noise' type: 'Dropout' bottom: 'fc' top: 'fc' include: { phase: TRAIN } }
layer { name: 'aside' type: 'InnerProduct' bottom: 'fc' top: 'aside' inner_product_param { num_output: 2 } }
layer { name: 'aside_loss' type: 'SoftmaxWithLoss' bottom: 'aside' bottom: 'label' top: 'aside_loss' loss_weight: 0.3 }
layer { name: 'last' type: 'ReLU' bottom: 'fc' top: 'last' exclude { stage: 'never' } }
layer { name: 'odd' type: 'Python' bottom: 'fc' top: 'odd' include { phase: TEST stage: 'never' } }
layer { name: 'accuracy' type: 'Accuracy' bottom: 'last' bottom: 'label' top: 'accuracy' include { phase: TEST } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'last' bottom: 'label' top: 'loss' }
";

#[test]
fn a_definition_for_training_is_taken_as_it_is_tested() {
    let (w, b) = (numbers(1, &[2, 48]), numbers(2, &[2]));
    let network = network(TRAINED, &[("fc", vec![w.clone(), b.clone()])]);
    assert_eq!(network.spec().name, "trained");
    let kinds: Vec<LayerKind> = network.spec().nodes.iter().map(|node| node.kind()).collect();
    assert_eq!(kinds, [LayerKind::FullConnect, LayerKind::Activation]);
    // The factor of pixels is part of the weights, and the mean is red first.
    let x = Image::random(3, [3, 4, 4]);
    let wanted = convolve(&x.map(|x| x * 0.5), &whole(2, [3, 4, 4], &w.1), &b.1, SIMPLE);
    assert_near(&run(&network, &x), &wanted.map(|x| x.max(0.0)), "trained");
    assert_eq!(network.mean().unwrap().to_vec::<f32>().unwrap()[..3], [110.0, 100.0, 90.0]);
    assert_eq!(network.spec().image, [5, 5]);
}

#[test]
fn what_is_done_to_pixels_before_other_layers_is_a_layer() {
    let layers = "layer { name: 'data' type: 'MemoryData' top: 'data' top: 'label'
          memory_data_param { batch_size: 1 channels: 3 height: 2 width: 2 } transform_param { scale: 0.25 } }\n"
        .to_owned()
        + &text("scale", "Scale", "data", "scale_param { bias_term: true }")
        + &text("fc", "InnerProduct", "scale", "inner_product_param { num_output: 2 bias_term: false }");
    let (scale, shift, w) = (numbers(1, &[3]), numbers(2, &[3]), numbers(3, &[2, 12]));
    let blobs = [("scale", vec![scale.clone(), shift.clone()]), ("fc", vec![w.clone()])];
    let network = network(&layers, &blobs);
    let x = Image::random(4, [3, 2, 2]);
    let seen = x.channels(|v, c| v * 0.25 * f64::from(scale.1[c]) + f64::from(shift.1[c]));
    let wanted = convolve(&seen, &whole(2, [3, 2, 2], &w.1), &[], SIMPLE);
    assert_near(&run(&network, &x), &wanted, "scale");
}

#[test]
fn old_files_and_new_ones_say_the_same() {
    let definition = "name: 'old' input: 'data' input_shape { dim: 1 dim: 3 dim: 5 dim: 5 }
        layers { name: 'conv1' type: CONVOLUTION bottom: 'data' top: 'conv1' blobs_lr: 1
                 convolution_param { num_output: 2 kernel_size: 3 } }
        layers { name: 'relu1' type: RELU bottom: 'conv1' top: 'conv1' }
        layers { name: 'fc' type: INNER_PRODUCT bottom: 'conv1' top: 'fc' inner_product_param { num_output: 4 } }
        layers { name: 'prob' type: SOFTMAX bottom: 'fc' top: 'prob' }";
    let conv = [numbers(1, &[2, 3, 3, 3]), numbers(2, &[2])];
    let fc = [numbers(3, &[4, 18]), numbers(4, &[4])];
    let wanted = |x: &Image| {
        let x = convolve(x, &conv[0], &conv[1].1, SIMPLE).map(|x| x.max(0.0));
        convolve(&x, &whole(4, [2, 3, 3], &fc[0].1), &fc[1].1, SIMPLE)
    };
    let x = Image::random(5, [3, 5, 5]);
    let of = |form: fn(&Blob) -> Vec<u8>, blobs: &[Blob]| -> Vec<Vec<u8>> {
        blobs.iter().map(form).collect()
    };
    let old = model(
        "old",
        &[
            v1_layer("conv1", 4, &of(old_blob, &conv), &[]),
            v1_layer("fc", 14, &of(old_blob, &fc), &[]),
        ],
    );
    let new = [
        layer("conv1", "Convolution", &of(blob, &conv), &[]),
        layer("fc", "", &of(double_blob, &fc), &[]),
    ];
    for file in [old, model("new", &new)] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), definition, &file);
        let network = read(&path, &reference(), &ReadOptions::default()).unwrap();
        assert_near(&run(&network, &x), &wanted(&x), "old and new");
        let inspection = inspect(&path).unwrap();
        assert_eq!(inspection.format, Format::Caffe);
        assert_eq!(inspection.parameters(), 2 * 27 + 2 + 4 * 18 + 4);
        assert!(inspection.mean);
        let note = inspection.metadata.note.unwrap();
        assert_eq!(note, "imported from a Caffe model");
        assert_eq!(inspection.metadata.protocol.as_deref(), Some("tested"));
    }
}

/// A caffemodel that says itself what its layers are.
fn own_definition(parameters: &[u8]) -> Vec<u8> {
    let data = [
        bytes(4, b"data"),
        bytes(4, b"label"),
        // For training alone, as the network was when it was stored.
        bytes(8, &number(1, 0)),
        parameters.to_vec(),
    ];
    let fc = [bytes(3, b"data"), bytes(4, b"fc"), bytes(117, &number(1, 2))].concat();
    let blobs = [blob(&numbers(1, &[2, 27])), blob(&numbers(2, &[2]))];
    let loss = [bytes(3, b"fc"), bytes(3, b"label"), bytes(4, b"loss")].concat();
    model(
        "own",
        &[
            layer("data", "Data", &[], &data.concat()),
            layer("fc", "InnerProduct", &blobs, &fc),
            layer("loss", "SoftmaxWithLoss", &[], &loss),
        ],
    )
}

#[test]
fn the_definition_is_the_one_given_or_beside_the_file_or_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.caffemodel");
    let image = |path: &std::path::Path| inspect(path).map(|inspection| inspection.spec.input);
    // Without extents there is no network.
    fs::write(&path, own_definition(&[])).unwrap();
    let message = chain(&image(&path).unwrap_err());
    assert!(message.contains("deploy.prototxt") && message.contains("--prototxt"), "{message}");
    // The file's own layers.
    fs::write(&path, own_definition(&bytes(100, &number(3, 3)))).unwrap();
    assert_eq!(image(&path).unwrap(), [3, 3, 3]);
    // The only one in the folder, then that of the usual name, then that of the file's name.
    let named = |name: &str, rows: usize, cols: usize| {
        let fc = text("fc", "InnerProduct", "data", "inner_product_param { num_output: 2 }");
        let definition = after([27 / rows / cols, rows, cols], &fc);
        fs::write(folder.path().join(name), definition).unwrap();
    };
    named("train_val.prototxt", 1, 9);
    assert_eq!(image(&path).unwrap(), [1, 9, 3]);
    named("other.prototxt", 3, 1);
    assert_eq!(image(&path).unwrap(), [3, 3, 3]);
    named("deploy.prototxt", 9, 1);
    assert_eq!(image(&path).unwrap(), [9, 1, 3]);
    named("own.prototxt", 3, 9);
    assert_eq!(image(&path).unwrap(), [3, 9, 1]);
    // What is given goes first.
    let other = folder.path().join("other.prototxt");
    let file = ModelFile::open(&path).unwrap().with_prototxt(Some(other.clone())).unwrap();
    assert_eq!(file.inspect().unwrap().spec.input, [3, 1, 9]);
    let options = ReadOptions::default().prototxt(folder.path().join("train_val.prototxt"));
    assert_eq!(file.read(&reference(), &options).unwrap().spec().input, [1, 9, 3]);
    // Through a pipe nothing is beside the file.
    let bytes = fs::read(&path).unwrap();
    let piped = ModelFile::from_reader(&bytes[..], "pipe").unwrap();
    assert_eq!(piped.inspect().unwrap().spec.input, [3, 3, 3]);
    assert_eq!(piped.with_prototxt(Some(other)).unwrap().inspect().unwrap().spec.input, [3, 1, 9]);

    let text = chain(&ModelFile::open(folder.path().join("own.prototxt")).unwrap_err());
    assert!(text.contains("name the .caffemodel"), "{text}");
    fs::write(folder.path().join("own.prototxt"), "net: 'train_val.prototxt'").unwrap();
    assert!(chain(&image(&path).unwrap_err()).contains("with layers; name another as --prototxt"));
}

#[test]
fn files_of_other_kinds_have_no_definition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    striate_importers::write(&path, &common::small(&reference()), &WriteOptions::default())
        .unwrap();
    for options in
        [ReadOptions::default().prototxt("a.prototxt"), ReadOptions::default().mean_file("a")]
    {
        let text = chain(&read(&path, &reference(), &options).unwrap_err());
        assert!(text.contains("x.safetensors") && text.contains("a caffemodel"), "{text}");
    }
    let text =
        chain(&ModelFile::open(&path).unwrap().with_mean_file(Some("m".into())).unwrap_err());
    assert!(text.contains("mean image m"), "{text}");
}

#[test]
fn the_mean_image_is_blue_green_red_in_the_file() {
    let definition = after([3, 2, 2], &full_connect(2));
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &definition, &weights(&[("fc", vec![numbers(1, &[2, 12])])]));
    let mean = |options: &ReadOptions| {
        let network = read(&path, &reference(), options).unwrap();
        let mean = network.mean().unwrap();
        assert_eq!(mean.shape().dims()[..2], network.spec().image);
        (network.spec().image, mean.to_vec::<f32>().unwrap())
    };
    let usual = mean(&ReadOptions::default());
    assert_eq!((usual.0, &usual.1[..3]), ([3, 3], &[123.0, 117.0, 104.0][..]));

    let file = folder.path().join("mean.binaryproto");
    let values: Vec<f32> = (0..36).map(|v| v as f32).collect();
    fs::write(&file, old_blob(&(vec![1, 3, 3, 4], values))).unwrap();
    let own = mean(&ReadOptions::default().mean_file(&file));
    assert_eq!(own.0, [3, 4]);
    assert_eq!(own.1[..6], [24.0, 12.0, 0.0, 25.0, 13.0, 1.0]);
    fs::write(&file, blob(&(vec![3, 1, 1], vec![1.0, 2.0, 3.0]))).unwrap();
    let one = mean(&ReadOptions::default().mean_file(&file));
    assert_eq!((one.0, &one.1[24..]), ([3, 3], &[3.0, 2.0, 1.0][..]));

    let failed = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let options = ReadOptions::default().mean_file(&file);
        let text = chain(&read(&path, &reference(), &options).unwrap_err());
        assert!(text.contains("mean.binaryproto") && text.contains(what), "{text}");
    };
    failed(b"", "a mean image");
    failed(b"\xff\xff", "a mean image");
    failed(&blob(&(vec![1, 2, 2], vec![0.0; 4])), "expected 3 channels");
    failed(&blob(&(vec![3, 1, 2], vec![0.0; 6])), "at least the 2x2 pixels");
    failed(&blob(&(vec![3, 2, 3], vec![0.0; 6])), "numbers, got 6");
    failed(&blob(&(vec![3, 1, 1], vec![0.0, f32::NAN, 0.0])), "a finite mean");
    failed(&blob(&(vec![3, 1 << 20, 1 << 20], vec![])), "an image of at most");

    // Pixels that another program prepared: red first, to 1.
    let pixels = PixelOptions { range: Some(1.0), ..PixelOptions::default() };
    let network = read(&path, &reference(), &ReadOptions::default().pixels(pixels)).unwrap();
    let x = Image::random(2, [3, 2, 2]);
    let turned = Image::of([3, 2, 2], |c, y, z| x.at(2 - c, y as isize, z as isize) / 255.0);
    let w = whole(2, [3, 2, 2], &numbers(1, &[2, 12]).1);
    assert_near(&run(&network, &x), &convolve(&turned, &w, &[], SIMPLE), "pixels");
    let both = ReadOptions::default().pixels(pixels).mean_file(&file);
    assert!(read(&path, &reference(), &both).is_err());
}

#[test]
fn a_network_of_caffes_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    let (w, b) = (numbers(1, &[2, 3, 3, 3]), numbers(2, &[2]));
    let conv = "convolution_param { num_output: 2 kernel_size: 3 }";
    let layers = text("a/conv", "Convolution", "data", conv);
    let path =
        write(folder.path(), &after([3, 5, 5], &layers), &weights(&[("a/conv", vec![w, b])]));
    let converted = folder.path().join("own.safetensors");
    convert(&path, &converted, &reference(), &WriteOptions::default()).unwrap();
    let device = reference();
    let first = read(&path, &device, &ReadOptions::default()).unwrap();
    let second = read(&converted, &device, &ReadOptions::default()).unwrap();
    assert_eq!(first.spec(), second.spec());
    assert_eq!(first.spec().nodes[0].name, "a.conv");
    assert_eq!(first.metadata(), second.metadata());
    let x = Image::random(5, [3, 5, 5]);
    assert_eq!(run(&first, &x), run(&second, &x));
    let half = read(&path, &device, &ReadOptions::default().dtype(DType::F16)).unwrap();
    assert!(matches!(half.spec().nodes[0].layer, LayerSpec::Conv(_)));
    let (half, whole) = (run(&half, &x), run(&first, &x));
    let apart = half.values.iter().zip(&whole.values).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f64::max);
    assert!(apart > 0.0 && apart < 1e-2, "half precision is apart by {apart}");
    let text = chain(
        &striate_importers::write("x.caffemodel", &first, &WriteOptions::default()).unwrap_err(),
    );
    assert!(text.contains("its extension says no format"), "{text}");
}
