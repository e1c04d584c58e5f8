//! Our outputs beside what ccv itself computed: a part of it is in `tests/fixtures/ccv`, and is always
//! compared with; all of it is compared with where it is beside the repository, in
//! `../shared/ccv-golden` (`STRIATE_REQUIRE_GOLDEN=1` makes its absence a failure).

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::path::{Path, PathBuf};

use common::{Golden, assert_close, devices, formula, recorded};
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

/// The small networks, of each set of values and on each device.
fn each_net(mut test: impl FnMut(&Golden, &Device, &str)) {
    for golden in Golden::all() {
        for device in devices() {
            golden.nets().iter().for_each(|name| test(&golden, &device, name));
        }
    }
}

#[test]
fn the_fixtures_are_what_was_recorded() {
    let Some(whole) = Golden::whole() else { return };
    let fixtures = Golden::fixtures();
    for folder in ["nets", "train", "big"] {
        for entry in std::fs::read_dir(fixtures.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            let recorded = whole.path(folder).join(path.file_name().unwrap());
            let same = std::fs::read(&path).unwrap() == std::fs::read(recorded).unwrap();
            assert!(same, "{}", path.display());
        }
    }
    // In another form here, but the same pixels.
    assert!(fixtures.pictures()[0] == whole.pictures()[0]);
}

#[test]
fn activations_of_the_tiny_networks_are_ccvs() {
    each_net(|golden, device, name| {
        let file = golden.path(format!("nets/{name}.f32.sqlite3"));
        let network = importers::read(&file, device, &ReadOptions::default()).unwrap();
        let mut compared = 0;
        for input in ["formula", "dex"] {
            let [rows, cols, channels] = network.spec().input;
            let x = recorded(golden.path(format!("nets/{name}.{input}.input.npy")));
            let x = Tensor::from_vec(x, [1, rows, cols, channels], device).unwrap();
            let visit = |layer, activation: &Tensor| {
                let what = format!("{name}.{input}.L{layer:02}");
                if let Some(ccv) = golden.recorded(&format!("nets/{what}.npy")) {
                    assert_close(&what, &activation.to_vec::<f32>()?, &ccv);
                    compared += 1;
                }
                Ok(())
            };
            network.activations(&x, visit).unwrap();
        }
        // The fixtures have every layer for one input, and the last one for the other.
        assert!(compared > network.spec().nodes.len(), "{name}: {compared} layers compared");
    });
}

#[test]
fn logits_of_half_precision_files_are_ccvs() {
    each_net(|golden, device, name| {
        let file = golden.path(format!("nets/{name}.f16.sqlite3"));
        for dtype in [None, Some(DType::F32)] {
            let options = ReadOptions::default().dtype(dtype);
            let network = importers::read(&file, device, &options).unwrap();
            let [rows, cols, channels] = network.spec().input;
            let x = recorded(golden.path(format!("nets/{name}.formula.input.npy")));
            let x = Tensor::from_vec(x, [1, rows, cols, channels], device).unwrap();
            let logits = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
            let ccv = recorded(golden.path(format!("nets/{name}.f16.formula.logits.npy")));
            assert_close(&format!("{name} {dtype:?}"), &logits, &ccv);
        }
    });
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
    let all = file("classify1.patchlogits.npy");
    if all.exists() {
        assert_close(&format!("{what} logits"), &logits.to_vec::<f32>().unwrap(), &recorded(all));
    }
    let ccv = recorded(file("classify1.prob.npy"));
    assert_close(&format!("{what} probabilities"), ranks.confidences(), &ccv);
    assert_ranks(&what, &ranks, &file("classify1.top.txt"));

    let unmirrored = file("classify0.prob.npy");
    if unmirrored.exists() {
        let five = logits.narrow(0, 0..5).unwrap();
        let ccv = recorded(file("classify0.patchlogits.npy"));
        assert_close(&format!("{what} five logits"), &five.to_vec::<f32>().unwrap(), &ccv);
        let mean = five.softmax(1).unwrap().mean([0]).unwrap().to_vec::<f32>().unwrap();
        assert_close(&format!("{what} five probabilities"), &mean, &recorded(unmirrored));
    }
}

#[test]
fn the_tiny_networks_classify_pictures_as_ccv() {
    each_net(|golden, device, name| {
        let file = golden.path(format!("nets/{name}.f32.sqlite3"));
        let network = importers::read(&file, device, &ReadOptions::default()).unwrap();
        let classifier = Classifier::new(network).unwrap().protocol(Protocol::CcvCpu);
        for (picture, image) in golden.pictures() {
            assert_classifies(&classifier, &image, &golden.path(format!("nets/{name}.{picture}")));
        }
    });
}

/// One of the classic networks, with formula weights, on every device.
fn classic(index: usize) {
    let golden = Golden::most();
    let (ours, ccv, formula) = formula::RECORDED[index];
    for device in devices() {
        let what = format!("{ours} on {}", device.info().name);
        let spec = models::by_name(ours).unwrap();
        let network = formula::network(spec, formula, &device).unwrap();
        let big = golden.path("big");

        let x = formula::input(network.spec(), &device).unwrap();
        let layers = network.spec().nodes.len();
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

        let (_, image) = golden.pictures().remove(0);
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
