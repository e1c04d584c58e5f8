//! Classifying does exactly what the test of a training did, for each recipe and in every form that
//! stores a network.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use striate::image::augment::{CropPosition, MeanPatch, Recipe, Resize, Side, TestView};
use striate::image::loader::{BatchPosition, Loader, LoaderOptions, Purpose};
use striate::image::output::write_png;
use striate::image::{Augmenter, Dataset, FloatImage, Geometry, decode};
use striate::nn::Metadata;
use striate::prelude::*;
use striate::train::{Session, SessionData, SessionOptions, TrainOptions};

const CLASSES: usize = 3;
const MINI_BATCH: usize = 4;

/// A picture that is different everywhere: brighter to the right, below or in the middle, by class.
fn picture([rows, cols]: [usize; 2], channels: usize, class: usize, seed: usize) -> Image {
    let value = |i: usize| {
        let (row, col) = (i / channels / cols, i / channels % cols);
        let ramp = match class {
            0 => 160 * col / cols,
            1 => 160 * row / rows,
            _ => 160 - 160 * row.abs_diff(rows / 2) / rows - 100 * col.abs_diff(cols / 2) / cols,
        };
        (ramp + i * 37 % 53 + seed * 7 % 31) as u8
    };
    Image::new(rows, cols, channels, (0..rows * cols * channels).map(value).collect()).unwrap()
}

/// A folder of classes with pictures that are not square: larger than the network's image, smaller,
/// larger in one direction only, of even and of odd sides, and one of its very size.
fn pictures(folder: &Path, channels: usize, seed: usize) -> Vec<(PathBuf, usize)> {
    let sizes =
        [[30, 17], [17, 40], [9, 14], [6, 5], [25, 11], [13, 30], [13, 13], [14, 12], [1, 20]];
    let mut files = Vec::new();
    for class in 0..CLASSES {
        let folder = folder.join(format!("class {class}"));
        std::fs::create_dir_all(&folder).unwrap();
        for (number, size) in sizes.into_iter().enumerate() {
            let file = folder.join(format!("{number}.png"));
            // Some pictures have other channels than the network.
            let channels = if number % 4 == 3 { 4 - channels } else { channels };
            write_png(&file, &picture(size, channels, class, seed + number)).unwrap();
            files.push((file, class));
        }
    }
    files
}

fn spec(image: usize, net: usize, channels: usize) -> NetworkSpec {
    // Windows that end at the edge, for even and for odd sides.
    let size = 2 + net % 2;
    NetworkSpec::new([net, net, channels])
        .with_name("views")
        .with_image([image, image])
        .conv(conv2d(6, 3).relu())
        .max_pool(pool(size).stride(2))
        .full_connect(full_connect(12).relu().dropout(0.5))
        .full_connect(CLASSES)
}

fn recipes() -> Vec<(&'static str, Recipe)> {
    let named = Recipe::NAMES.map(|name| (name, Recipe::by_name(name).unwrap()));
    let plain = Recipe::default();
    let drawn = Recipe {
        side: Side::Drawn { min: 16, max: 24 },
        crop: CropPosition::Random,
        mean: MeanPatch::Elsewhere,
        turn: 10.0,
        invert: true,
        ..plain.clone()
    };
    let mirrored = Recipe { mirror: true, resize: Resize::Stretch, ..drawn.clone() };
    let stretched = Recipe { resize: Resize::Stretch, ..plain.clone() };
    let bare = Recipe { mean: MeanPatch::None, ..stretched.clone() };
    let others = [
        ("drawn sizes", drawn),
        ("drawn sizes, stretched and mirrored", mirrored),
        ("stretched", stretched),
        ("stretched, without a mean", bare),
        ("without a mean", Recipe { mean: MeanPatch::None, ..plain }),
    ];
    named.into_iter().chain(others).collect()
}

/// The probabilities that testing computes: the augmenter's views, in its batches.
fn tested(network: &Network, recipe: &Recipe, test: &Dataset) -> Vec<Vec<f32>> {
    let spec = network.spec();
    let [rows, cols, channels] = spec.input;
    let geometry = Geometry { image: spec.image, net: [rows, cols], channels, scan_scale: 1 };
    let mean = network.mean().map(|mean| {
        FloatImage::new(spec.image[0], spec.image[1], channels, mean.to_vec::<f32>().unwrap())
    });
    // Colours play no part in a test.
    let recipe = Recipe { color_gain: 0.0, ..recipe.clone() };
    let augmenter =
        Augmenter::new(&recipe, &geometry, mean.transpose().unwrap().as_ref(), None).unwrap();
    let options = LoaderOptions { batch: MINI_BATCH, workers: 1, ..LoaderOptions::default() };
    let loader =
        Loader::new(Arc::new(test.clone()), Arc::new(augmenter), Purpose::Test, options).unwrap();
    let mut all = Vec::new();
    for batch in loader.batches(BatchPosition::default(), 1).unwrap() {
        let batch = batch.unwrap();
        let images = Tensor::from_vec(batch.images.clone(), batch.shape(), network.device());
        let logits = network.forward(&images.unwrap()).unwrap();
        let values = logits.softmax(1).unwrap().to_vec::<f32>().unwrap();
        all.extend(values.chunks(CLASSES).map(<[f32]>::to_vec));
    }
    all
}

/// Each form that a network can be stored in, made from what a training left: its name, the file.
fn forms(folder: &Path, device: &Device) -> Vec<PathBuf> {
    let path = |name: &str| folder.join(name);
    let convert = |from: &str, to: &str, strip: bool| {
        let options = WriteOptions::default().strip(strip);
        importers::convert(path(from), path(to), device, &options).unwrap();
    };
    for strip in [false, true] {
        let name = |form: &str| format!("{}{form}", if strip { "stripped-" } else { "" });
        convert("m.sqlite3", &name("a.safetensors"), strip);
        convert("m.sqlite3", &name("b.sqlite3"), strip);
        convert(&name("a.safetensors"), &name("c.sqlite3"), strip);
        convert(&name("c.sqlite3"), &name("d.safetensors"), strip);
        convert(&name("c.sqlite3"), &name("e.sqlite3"), strip);
    }
    let mut files = vec![path("m.sqlite3"), path("m.best.safetensors")];
    for name in ["a.safetensors", "b.sqlite3", "c.sqlite3", "d.safetensors", "e.sqlite3"] {
        files.extend([path(name), path(&format!("stripped-{name}"))]);
    }
    files
}

fn trained(
    folder: &Path,
    spec: &NetworkSpec,
    recipe: &Recipe,
    sets: (Dataset, Dataset),
    device: &Device,
) -> Session {
    let mut train = TrainOptions { mini_batch: MINI_BATCH, max_epoch: 1, ..Default::default() };
    train.weights.rate = 1e-4;
    train.biases.rate = 1e-4;
    let options = SessionOptions { train, recipe: recipe.clone(), ..SessionOptions::default() };
    let working = folder.join("m.sqlite3");
    let mut session =
        Session::open(working, spec, SessionData::new(sets.0).test(sets.1), options, device)
            .unwrap();
    session.run(&mut (), &AtomicBool::new(false)).unwrap();
    session
}

#[test]
fn classifying_misses_what_testing_missed_with_each_recipe_and_in_each_form() {
    let device = Device::cpu(Some(1)).unwrap();
    for (channels, image, net) in [(1, 16, 12), (3, 16, 13)] {
        let folder = tempfile::tempdir().unwrap();
        let _ = pictures(&folder.path().join("train"), channels, 1);
        let files = pictures(&folder.path().join("test"), channels, 5);
        let open = |name: &str| Dataset::open(folder.path().join(name)).unwrap();
        for (name, recipe) in recipes() {
            let models = tempfile::tempdir().unwrap();
            let spec = spec(image, net, channels);
            let sets = (open("train"), open("test"));
            let session = trained(models.path(), &spec, &recipe, sets, &device);
            let report = session.history().epochs[0].test.unwrap();
            let expected = tested(session.network(), &recipe, &open("test"));
            drop(session);

            for file in forms(models.path(), &device) {
                let what = format!("{name}, {channels} channels, {}", file.display());
                let network = importers::read(&file, &device, &ReadOptions::default()).unwrap();
                let labels = network.metadata().labels.clone().unwrap();
                assert_eq!(labels, ["class 0", "class 1", "class 2"], "{what}");
                let classifier = Classifier::new(network).unwrap();
                assert_eq!(classifier.current_protocol(), Protocol::Tested, "{what}");
                let images: Vec<_> =
                    files.iter().map(|(file, _)| decode::open(file).unwrap()).collect();
                let ranks = classifier.classify_batch(&images.iter().collect::<Vec<_>>()).unwrap();
                for ((ranks, expected), image) in ranks.iter().zip(&expected).zip(&images) {
                    // Full-connect layers round otherwise for many pictures together.
                    let pairs = ranks.confidences().iter().zip(expected);
                    assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-5), "{what}");
                    // One at a time it is the same bits.
                    let alone = classifier.classify(image).unwrap();
                    assert_eq!(alone.confidences(), expected, "{what}");
                }
                let misses =
                    ranks.iter().zip(&files).filter(|(r, (_, class))| r.top(1)[0].id != *class);
                assert_eq!(misses.count() as u64, report.misses, "{what}");
            }
        }
    }
}

/// ccv's sizes, where `alex` and `caffe` take 256 and the mean image is stretched.
#[test]
fn the_classic_square_is_recorded() {
    let device = Device::cpu(Some(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spec = NetworkSpec::new([225, 225, 3])
        .with_image([257, 257])
        .conv(conv2d(2, 7).stride(8).padding(3).relu())
        .full_connect(CLASSES);
    let _ = pictures(&folder.path().join("set"), 3, 1);
    let open = || Dataset::open(folder.path().join("set")).unwrap();
    for (name, size) in [("caffe", [256, 256]), ("plain", [257, 257])] {
        let recipe = Recipe::by_name(name).unwrap();
        let models = tempfile::tempdir().unwrap();
        let session = trained(models.path(), &spec, &recipe, (open(), open()), &device);
        let expected = tested(session.network(), &recipe, &open());
        drop(session);
        let file = models.path().join("m.best.safetensors");
        let network = importers::read(file, &device, &ReadOptions::default()).unwrap();
        let view = network.metadata().view.as_ref().unwrap().to_string();
        assert_eq!(view.parse::<TestView>().unwrap().size, size, "{view}");
        let classifier = Classifier::new(network).unwrap();
        for (index, expected) in expected.iter().enumerate() {
            let image = open().load(index, &Default::default()).unwrap();
            let got = classifier.classify(&image).unwrap();
            assert_eq!(got.confidences(), expected, "{name}, picture {index}");
        }
    }
}

/// Pictures that are held in memory (as those of IDX and CIFAR files are), exported as PNG files.
#[test]
fn exported_pictures_are_ranked_as_in_memory() {
    let device = Device::cpu(Some(1)).unwrap();
    for channels in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let class = |i: usize| i % CLASSES;
        let images: Vec<Image> =
            (0..20).map(|i| picture([16, 16], channels, class(i), i)).collect();
        let labels: Vec<u32> = (0..20).map(|i| class(i) as u32).collect();
        let set = Dataset::from_images(images.clone(), labels).unwrap();
        let recipe = Recipe::by_name("ccv").unwrap();
        let spec = spec(16, 13, channels);
        let sets = (set.clone(), set.clone());
        let session = trained(folder.path(), &spec, &recipe, sets, &device);
        let report = session.history().epochs[0].test.unwrap();
        let expected = tested(session.network(), &recipe, &set);
        let classifier = Classifier::new(session.network().clone()).unwrap();
        let mut misses = 0;
        for (i, (image, expected)) in images.iter().zip(&expected).enumerate() {
            let file = folder.path().join("x.png");
            write_png(&file, image).unwrap();
            let ranks = classifier.classify(&decode::open(&file).unwrap()).unwrap();
            assert_eq!(ranks.confidences(), expected, "picture {i}");
            misses += u64::from(ranks.top(1)[0].id != class(i));
        }
        assert_eq!(misses, report.misses);
    }
}

/// A network of full-connect layers alone can be trained, and so it can be classified with.
#[test]
fn a_network_without_a_convolution_is_classified_as_it_was_tested() {
    let device = Device::cpu(Some(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = pictures(&folder.path().join("set"), 1, 3);
    let set = || Dataset::open(folder.path().join("set")).unwrap();
    let spec =
        NetworkSpec::new([12, 12, 1]).full_connect(full_connect(8).relu()).full_connect(CLASSES);
    let recipe = Recipe::by_name("caffe").unwrap();
    let session = trained(folder.path(), &spec, &recipe, (set(), set()), &device);
    let expected = tested(session.network(), &recipe, &set());
    let network = session.network().clone();
    let classifier = Classifier::new(network.clone()).unwrap();
    for ((file, _), expected) in files.iter().zip(&expected) {
        let image = decode::open(file).unwrap();
        assert_eq!(classifier.classify(&image).unwrap().confidences(), expected);
    }
    // Nor does it need a record of its training.
    let bare = Classifier::new(network.with_metadata(Metadata::default())).unwrap();
    assert_eq!(bare.current_protocol(), Protocol::Tested);
    let image = decode::open(&files[0].0).unwrap();
    assert_eq!(bare.classify(&image).unwrap().confidences().len(), CLASSES);
    let error = bare.protocol(Protocol::CcvCpu).classify(&image).unwrap_err().to_string();
    assert!(error.contains("a convolution, for the protocol ccv-cpu"), "{error}");
}

#[test]
fn models_that_record_nothing_or_what_is_not_known_get_the_plain_view() {
    let device = Device::cpu(Some(1)).unwrap();
    let network = spec(16, 12, 1).build(&device, Seed(1)).unwrap();
    let with = |protocol: Option<&str>, view: Option<&str>| {
        let metadata = Metadata {
            protocol: protocol.map(Into::into),
            view: view.map(|view| view.parse().unwrap()),
            ..Metadata::default()
        };
        Classifier::new(network.clone().with_metadata(metadata)).unwrap().current_protocol()
    };
    let view = r#"{"resize":"cover","size":[16,16],"crop":"centre","mean":"plain"}"#;
    assert_eq!(with(None, None), Protocol::Tested);
    assert_eq!(with(None, Some(view)), Protocol::Tested);
    assert_eq!(with(Some("tested"), Some(view)), Protocol::Tested);
    // Whoever says so himself is heard.
    assert_eq!(with(Some("alex"), Some(view)), Protocol::Alex);
    assert_eq!(with(Some("of the future"), Some(view)), Protocol::Tested);
    // As ccv's own files are read.
    assert_eq!(with(Some("ccv-cpu"), None), Protocol::CcvCpu);
    for later in [
        r#"{"resize":"warp","size":[16,16],"crop":"centre","mean":"plain"}"#,
        r#"{"resize":"cover","size":[16,16],"crop":"centre","mean":"plain","more":1}"#,
        r#"{"resize":"cover","size":[11,16],"crop":"centre","mean":"plain"}"#,
        r#"{"resize":"stretch","size":[16,1000000],"crop":"centre","mean":"plain"}"#,
        "7",
    ] {
        assert_eq!(with(Some("tested"), Some(later)), Protocol::Tested, "{later}");
    }
    let classifier = Classifier::new(network).unwrap();
    let words = classifier.protocol_in_words();
    assert!(words.starts_with("tested: the centre of the picture resized to cover"), "{words}");
    let words = classifier.protocol(Protocol::CcvCpu).protocol_in_words();
    assert!(words.starts_with("ccv-cpu: convolutions once"), "{words}");
}
