//! State dicts of torchvision's real sizes, recognised by names and shapes. The files are sparse:
//! nothing but their headers takes space, and no weight is read.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{chain, reference};
use striate_importers::{Format, ReadOptions, inspect, read};
use striate_nn::LayerSpec;
use striate_tensor::DType;

type Named = Vec<(String, Vec<usize>)>;

/// Names and shapes as torchvision writes them; `features` gives number, outputs and kernel.
fn state_dict(
    features: &[(usize, usize, usize)],
    pooled: usize,
    classifier: [usize; 3],
    classes: usize,
) -> Named {
    let mut dict = Named::new();
    let mut push = |prefix: String, weight: Vec<usize>| {
        dict.push((format!("{prefix}.bias"), weight[..1].to_vec()));
        dict.push((format!("{prefix}.weight"), weight));
    };
    let mut channels = 3;
    for &(number, count, kernel) in features {
        push(format!("features.{number}"), vec![count, channels, kernel, kernel]);
        channels = count;
    }
    let mut inputs = channels * pooled * pooled;
    for (number, outputs) in classifier.into_iter().zip([4096, 4096, classes]) {
        push(format!("classifier.{number}"), vec![outputs, inputs]);
        inputs = outputs;
    }
    dict
}

fn alexnet(classes: usize) -> Named {
    let features = [(0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)];
    state_dict(&features, 6, [1, 4, 6], classes)
}

/// As in torchvision's table: outputs, 0 for a pooling layer.
fn vgg(configuration: &[usize]) -> Named {
    let mut number = 0;
    let mut features = Vec::new();
    for &count in configuration {
        if count > 0 {
            features.push((number, count, 3));
        }
        number += if count > 0 { 2 } else { 1 };
    }
    state_dict(&features, 7, [0, 3, 6], 1000)
}

const VGG11: &[usize] = &[64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0];
const VGG13: &[usize] = &[64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0];
const VGG16: &[usize] =
    &[64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];
const VGG19: &[usize] =
    &[64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0];

fn write(folder: &Path, dtype: &str, dict: &[(String, Vec<usize>)]) -> PathBuf {
    let size = if dtype == "F16" { 2 } else { 4 };
    let mut end = 0;
    let mut entries = Vec::new();
    for (name, shape) in dict {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let json = format!("{{{}}}", entries.join(","));
    let path = folder.join("dict.safetensors");
    let mut file = File::create(&path).unwrap();
    file.write_all(&(json.len() as u64).to_le_bytes()).unwrap();
    file.write_all(json.as_bytes()).unwrap();
    file.set_len((8 + json.len() + end) as u64).unwrap();
    path
}

#[test]
fn the_five_networks_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        // Parameters as torchvision's documentation counts them.
        (alexnet(1000), "alexnet-2014", 61_100_840),
        (vgg(VGG11), "vgg11", 132_863_336),
        (vgg(VGG13), "vgg13", 133_047_848),
        (vgg(VGG16), "vgg16", 138_357_544),
        (vgg(VGG19), "vgg19", 143_667_240),
    ];
    for (dict, name, parameters) in cases {
        for (stored, dtype) in [("F32", DType::F32), ("F16", DType::F16)] {
            let inspection = inspect(write(folder.path(), stored, &dict)).unwrap();
            assert_eq!(inspection.format, Format::Torchvision);
            assert_eq!(inspection.spec.name, name);
            assert_eq!(inspection.parameters(), parameters, "{name}");
            assert_eq!(inspection.dtype(), Some(dtype));
            assert!(inspection.mean);
            assert_eq!(inspection.metadata.labels.unwrap()[0], "tench");
            assert_eq!(inspection.metadata.protocol.as_deref(), Some("tested"));
        }
    }
}

#[test]
fn other_classes_are_fine() {
    let folder = tempfile::tempdir().unwrap();
    let inspection = inspect(write(folder.path(), "F32", &alexnet(7))).unwrap();
    assert_eq!(inspection.spec.classes(), 7);
    assert_eq!(inspection.metadata.labels, None);
}

#[test]
fn other_state_dicts_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let message = |dict: &[(String, Vec<usize>)]| {
        let path = write(folder.path(), "F32", dict);
        let text = chain(&inspect(&path).unwrap_err());
        let read = read(&path, &reference(), &ReadOptions::default());
        assert_eq!(chain(&read.unwrap_err()), text);
        assert!(text.contains("dict.safetensors"), "{text}");
        text
    };
    let mut missing = vgg(VGG16);
    missing.retain(|(name, _)| name != "features.28.bias");
    let text = message(&missing);
    assert!(
        text.contains("those of torchvision's vgg16, the nearest, got missing: features.28.bias"),
        "{text}"
    );

    let mut extra = alexnet(1000);
    extra.push(("head.weight".into(), vec![3]));
    let text = message(&extra);
    assert!(text.contains("torchvision's alexnet, the nearest, got extra: head.weight"), "{text}");

    let mut shape = vgg(VGG11);
    shape.iter_mut().find(|(name, _)| name == "features.0.weight").unwrap().1 = vec![64, 1, 3, 3];
    let text = message(&shape);
    assert!(
        text.contains("shapes: features.0.weight [64, 1, 3, 3] instead of [64, 3, 3, 3]"),
        "{text}"
    );

    let mut bn = vgg(VGG11);
    bn.push(("features.1.running_mean".into(), vec![64]));
    let text = message(&bn);
    assert!(text.contains("vgg11, the nearest, got extra: features.1.running_mean"), "{text}");

    let classless = alexnet(0);
    assert!(message(&classless).contains("dict.safetensors: "));

    let text = message(&[("layer1.0.conv1.weight".into(), vec![64, 64, 3, 3])]);
    assert!(text.contains("those of torchvision's resnet18, the nearest, got missing"), "{text}");
    let text = message(&[("stem.weight".into(), vec![64, 3, 3, 3])]);
    assert!(text.contains("nor such tensors: stem.weight"), "{text}");
}

#[test]
fn names_that_a_wrapper_begins_are_those_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |dict: Named, beginning: &str| -> Named {
        dict.into_iter().map(|(name, shape)| (format!("{beginning}{name}"), shape)).collect()
    };
    for beginning in
        ["module.", "_orig_mod.", "model.", "backbone.", "state_dict.", "state_dict.module.model."]
    {
        let path = write(folder.path(), "F32", &begin(alexnet(7), beginning));
        let inspection = inspect(&path).unwrap();
        assert_eq!((inspection.spec.classes(), inspection.parameters()), (7, 57_032_519));
        assert_eq!(inspection.metadata.note.as_deref(), inspect_plain(&folder).as_deref());
    }
    // All of them, or the difference is told.
    let mut some = begin(alexnet(7), "module.");
    some[0].0 = "features.0.bias".into();
    let text = chain(&inspect(write(folder.path(), "F32", &some)).unwrap_err());
    assert!(text.contains("the nearest, got missing: ") && text.contains("module."), "{text}");
}

/// The note of the same network without a wrapper.
fn inspect_plain(folder: &tempfile::TempDir) -> Option<String> {
    inspect(write(folder.path(), "F32", &alexnet(7))).unwrap().metadata.note
}

/// Every network of torchvision that this crate knows by its nodes' names.
#[test]
fn state_dicts_of_all_families_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let mut recognised = 0;
    for model in striate_models::all() {
        let spec = model.spec();
        let is_torchvisions = model.description.contains("torchvision's");
        let is_named = spec.nodes.iter().all(|node| !node.name.is_empty());
        let is_alexnet = model.name.starts_with("alexnet");
        let is_lite = model.name.starts_with("efficientnet-lite");
        if !is_named || is_alexnet || !(is_torchvisions || is_lite) {
            continue;
        }
        let spec = spec.with_classes(9);
        let tensors = striate_importers::torch::state_dict(&spec).unwrap();
        let dict: Named = tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
        let inspection = inspect(write(folder.path(), "F32", &dict)).unwrap();
        let mut spec = spec;
        if is_lite {
            // timm sees some of them at other sizes than their authors, with pads for these.
            (spec.input, spec.image) = (inspection.spec.input, inspection.spec.image);
            let nodes = spec.nodes.iter_mut().zip(&inspection.spec.nodes);
            for (own, other) in nodes {
                if let (LayerSpec::Conv(own), LayerSpec::Conv(other)) =
                    (&mut own.layer, &other.layer)
                {
                    own.padding = other.padding;
                }
            }
        }
        assert_eq!(inspection.spec, spec, "{}", model.name);
        assert_eq!(inspection.parameters() as u64, spec.summary().unwrap().parameters);
        recognised += 1;
    }
    assert!(recognised > 60, "{recognised}");
}

/// The names of `efficientnet_pytorch`, whose blocks are counted through.
#[test]
fn flat_blocks_are_those_of_the_stages() {
    let folder = tempfile::tempdir().unwrap();
    let spec = striate_models::by_name("efficientnet_lite0").unwrap().with_classes(9);
    let tensors = striate_importers::torch::state_dict(&spec).unwrap();
    let mut blocks: Vec<String> = Vec::new();
    let mut dict = Named::new();
    for tensor in tensors {
        let (owner, leaf) = tensor.name.rsplit_once('.').unwrap();
        let name = match owner.strip_prefix("blocks.").and_then(|rest| rest.rsplit_once('.')) {
            Some((place, part)) => {
                if !blocks.iter().any(|known| known == place) {
                    blocks.push(place.to_owned());
                }
                let parts = match place {
                    "0.0" => [
                        ("conv_dw", "_depthwise_conv"),
                        ("bn1", "_bn1"),
                        ("conv_pw", "_project_conv"),
                        ("bn2", "_bn2"),
                        ("", ""),
                        ("", ""),
                    ],
                    _ => [
                        ("conv_pw", "_expand_conv"),
                        ("bn1", "_bn0"),
                        ("conv_dw", "_depthwise_conv"),
                        ("bn2", "_bn1"),
                        ("conv_pwl", "_project_conv"),
                        ("bn3", "_bn2"),
                    ],
                };
                let other = parts.iter().find(|(own, _)| *own == part).unwrap().1;
                format!("_blocks.{}.{other}", blocks.len() - 1)
            }
            None => match owner {
                "bn1" => "_bn0".into(),
                "bn2" => "_bn1".into(),
                "classifier" => "_fc".into(),
                other => format!("_{other}"),
            },
        };
        dict.push((format!("{name}.{leaf}"), tensor.shape));
    }
    assert_eq!(blocks.len(), 16);
    let inspection = inspect(write(folder.path(), "F32", &dict)).unwrap();
    assert_eq!(inspection.spec, spec);
}

/// ConvNeXt's 1x1 convolutions are matrices in PyTorch, and its factors have extents of 1.
#[test]
fn shapes_may_lack_extents_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let spec = striate_models::by_name("convnext_tiny").unwrap();
    let tensors = striate_importers::torch::state_dict(&spec).unwrap();
    let mut dict: Named = tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    for (name, shape) in &mut dict {
        if name.ends_with(".layer_scale") {
            shape.extend([1, 1]);
        } else if shape.ends_with(&[1, 1]) {
            shape.truncate(2);
        }
    }
    let inspection = inspect(write(folder.path(), "F32", &dict)).unwrap();
    assert_eq!(inspection.spec.name, "convnext-tiny");
}
