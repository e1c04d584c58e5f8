//! Our outputs beside what ccv itself computed, where its recorded outputs are at hand.
//!
//! The folder is not part of this repository. Without it these tests pass, unless
//! `STRIATE_REQUIRE_GOLDEN=1` says that it must be there.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::path::{Path, PathBuf};

use common::{assert_close, devices, formula, golden, recorded};
use striate::prelude::*;
use striate::tensor::DeviceKind;

/// Ranks are the same wherever confidences differ by more than 1e-4.
#[track_caller]
fn assert_ranks(what: &str, ranks: &Ranks, top: &Path) {
    let text = std::fs::read_to_string(top).unwrap();
    let expected: Vec<usize> = text
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(expected.len() >= 5, "{what}: {text}");
    for (ours, &theirs) in ranks.top(expected.len()).iter().zip(&expected) {
        let difference = (ours.confidence - ranks.confidences()[theirs]).abs();
        assert!(ours.id == theirs || difference <= 1e-4, "{what}: {} for {theirs}", ours.id);
    }
}

const TINY: [&str; 3] = ["tiny", "tiny2", "tiny-nolrn"];

#[test]
fn activations_of_the_tiny_networks_are_ccvs() {
    let Some(golden) = golden() else { return };
    for (device, name) in devices().iter().flat_map(|d| TINY.map(|name| (d, name))) {
        let file = golden.join(format!("nets/{name}.f32.sqlite3"));
        let network = importers::read(&file, device, &ReadOptions::default()).unwrap();
        for input in ["formula", "dex"] {
            let [rows, cols, channels] = network.spec().input;
            let x = recorded(golden.join(format!("nets/{name}.{input}.input.npy")));
            let x = Tensor::from_vec(x, [1, rows, cols, channels], device).unwrap();
            let visit = |layer, activation: &Tensor| {
                let what = format!("{name}.{input}.L{layer:02}");
                let ccv = recorded(golden.join(format!("nets/{what}.npy")));
                assert_close(&what, &activation.to_vec::<f32>()?, &ccv);
                Ok(())
            };
            network.activations(&x, visit).unwrap();
        }
    }
}

#[test]
fn logits_of_half_precision_files_are_ccvs() {
    let Some(golden) = golden() else { return };
    for (device, name) in devices().iter().flat_map(|d| TINY.map(|name| (d, name))) {
        let file = golden.join(format!("nets/{name}.f16.sqlite3"));
        for dtype in [None, Some(DType::F32)] {
            let options = ReadOptions { dtype };
            let network = importers::read(&file, device, &options).unwrap();
            let [rows, cols, channels] = network.spec().input;
            let x = recorded(golden.join(format!("nets/{name}.formula.input.npy")));
            let x = Tensor::from_vec(x, [1, rows, cols, channels], device).unwrap();
            let logits = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
            let ccv = recorded(golden.join(format!("nets/{name}.f16.formula.logits.npy")));
            assert_close(&format!("{name} {dtype:?}"), &logits, &ccv);
        }
    }
}

/// The ten views of the picture, and the first five of them, which ccv classifies with where it is
/// told not to mirror.
fn assert_classifies(classifier: &Classifier, image: &Image, prefix: &Path) {
    let file = |suffix: &str| PathBuf::from(format!("{}.{suffix}", prefix.display()));
    let what = prefix.file_name().unwrap().to_string_lossy().into_owned();
    let logits = classifier.view_logits(image).unwrap();
    let ranks = classifier.classify(image).unwrap();
    let features = file("classify1.patchfeatures.npy");
    if features.exists() {
        let ours = classifier.features(image).unwrap();
        let ours: Vec<f32> = ours.iter().flat_map(|t| t.to_vec::<f32>().unwrap()).collect();
        assert_close(&format!("{what} features"), &ours, &recorded(features));
    }
    let ccv = recorded(file("classify1.patchlogits.npy"));
    assert_close(&format!("{what} logits"), &logits.to_vec::<f32>().unwrap(), &ccv);
    let ccv = recorded(file("classify1.prob.npy"));
    assert_close(&format!("{what} probabilities"), ranks.confidences(), &ccv);
    assert_ranks(&what, &ranks, &file("classify1.top.txt"));

    let unmirrored = file("classify0.prob.npy");
    if unmirrored.exists() {
        let five = logits.narrow(0, 0..5).unwrap();
        let ccv = recorded(file("classify0.patchlogits.npy"));
        assert_close(&format!("{what} five logits"), &five.to_vec::<f32>().unwrap(), &ccv);
        let mean = five.softmax(1).unwrap().mean(&[0]).unwrap().to_vec::<f32>().unwrap();
        assert_close(&format!("{what} five probabilities"), &mean, &recorded(unmirrored));
    }
}

#[test]
fn the_tiny_networks_classify_pictures_as_ccv() {
    let Some(golden) = golden() else { return };
    for (device, name) in devices().iter().flat_map(|d| TINY.map(|name| (d, name))) {
        let file = golden.join(format!("nets/{name}.f32.sqlite3"));
        let network = importers::read(&file, device, &ReadOptions::default()).unwrap();
        let classifier = Classifier::new(network).unwrap().protocol(Protocol::CcvCpu);
        for picture in ["dex", "box"] {
            let image = image::open(golden.join(format!("samples/{picture}.png"))).unwrap();
            assert_classifies(&classifier, &image, &golden.join(format!("nets/{name}.{picture}")));
        }
    }
}

/// One of the classic networks, with formula weights, on every device.
fn classic(index: usize) {
    let Some(golden) = golden() else { return };
    let (ours, ccv, formula) = formula::RECORDED[index];
    for device in devices() {
        let what = format!("{ours} on {}", device.info().name);
        let spec = models::by_name(ours).unwrap();
        let network = formula::network(spec, formula, &device).unwrap();
        let big = golden.join("big");

        let x = formula::input(network.spec(), &device).unwrap();
        let layers = network.spec().layers.len();
        let probes = recorded(big.join(format!("{ccv}.formula.probe.npy")));
        assert_eq!(probes.len(), layers * 64);
        let logits = network
            .activations(&x, |layer, activation| {
                let values = activation.to_vec::<f32>()?;
                let probe: Vec<f32> = (0..64).map(|j| values[j * values.len() / 64]).collect();
                assert_close(&format!("{what} layer {layer}"), &probe, &probes[layer * 64..][..64]);
                Ok(())
            })
            .unwrap();
        let logits = logits.to_vec::<f32>().unwrap();
        assert_close(&what, &logits, &recorded(big.join(format!("{ccv}.formula.logits.npy"))));

        let image = image::open(golden.join("samples/dex.png")).unwrap();
        let classifier = Classifier::new(network).unwrap().protocol(Protocol::CcvCpu);
        let prefix = big.join(format!("{ccv}.dex"));
        if device.info().kind != DeviceKind::Cpu {
            // The software GPU takes its time: the ten views once, all the way.
            let ranks = classifier.classify(&image).unwrap();
            let file = |suffix: &str| PathBuf::from(format!("{}.{suffix}", prefix.display()));
            assert_close(&what, ranks.confidences(), &recorded(file("classify1.prob.npy")));
            assert_ranks(&what, &ranks, &file("classify1.top.txt"));
            continue;
        }
        assert_classifies(&classifier, &image, &prefix);
        // The centre view is how the recorded `dex` input was formed.
        let centre = classifier.protocol(Protocol::Centre);
        let logits = centre.view_logits(&image).unwrap().to_vec::<f32>().unwrap();
        assert_close(&what, &logits, &recorded(big.join(format!("{ccv}.dex.logits.npy"))));
    }
}

#[test]
fn alexnet_is_ccvs() {
    classic(0);
}

#[test]
fn mattnet_is_ccvs() {
    classic(1);
}

#[test]
fn vgg_d_is_ccvs() {
    classic(2);
}
