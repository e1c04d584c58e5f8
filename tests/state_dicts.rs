//! State dicts of torchvision's networks, read from safetensors files, compute what PyTorch computes: the
//! recorded logits of `tests/zoo.rs`, by way of a file. And what a user does with such a file.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::torch::{Listed, Recorded, doubles};
use striate::importers::torch::{ElementOrder, state_dict};
use striate::importers::{self, PixelOptions, ReadOptions, WriteOptions, safetensors};
use striate::models;
use striate::prelude::*;

/// What torchvision divides pixels of 0 to 1 by.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Writes a state dict with PyTorch's names, shapes and order.
fn write(path: &Path, tensors: &[(Listed, Vec<f32>)]) {
    let device = Device::cpu(None).unwrap();
    let tensors: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(Listed(name, shape, _), values)| {
            let tensor = Tensor::from_vec(values.clone(), Shape::new(shape).unwrap(), &device);
            (name.as_str(), tensor.unwrap())
        })
        .collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
    safetensors::write_tensors(path, &tensors, &BTreeMap::new()).unwrap();
}

fn golden() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zoo/golden");
    let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|value| value == "1");
    assert!(!required || folder.is_dir(), "no golden values in {}", folder.display());
    folder.is_dir().then_some(folder)
}

/// A network of each family that is not large, for its layers' orders.
#[test]
fn files_compute_what_was_recorded() {
    let Some(folder) = golden() else { return };
    let device = Device::cpu(None).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    for name in [
        "squeezenet1_1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "shufflenet_v2_x1_0",
        "densenet121",
        "regnet_y_400mf",
        "efficientnet_b0",
        "googlenet",
        "convnext_tiny",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let recorded: Recorded = serde_json::from_str(&text).unwrap();
        let tensors = recorded.parameters.iter().cloned().map(|listed| {
            let values = if listed.2 == "zero" { vec![0.0] } else { recorded.values(&listed) };
            (listed, values)
        });
        let path = temporary.path().join("dict.safetensors");
        let tensors: Vec<_> = tensors.collect();
        write(&path, &tensors);
        check(&path, &folder, name, &device);
        std::fs::remove_file(&path).unwrap();
        // The same in PyTorch's own form, where that adds no family.
        if name == "squeezenet1_1" {
            let path = temporary.path().join("dict.pth");
            std::fs::write(&path, pth(&tensors)).unwrap();
            check(&path, &folder, name, &device);
        }
    }
}

/// The error of a file's logits, at most a ten thousandth of the largest.
fn check(path: &Path, golden: &Path, name: &str, device: &Device) -> f64 {
    let text = std::fs::read_to_string(golden.join(format!("{name}.json"))).unwrap();
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    // Recorded without the pixels of -1 to 1 that the published weights of some see.
    let (mean, std) = ([0.485, 0.456, 0.406], DEVIATION.map(f64::from));
    let (mean, std) = (Some(mean), Some(std));
    let pixels = PixelOptions { mean, std, ..PixelOptions::default() };
    let options = ReadOptions::default().pixels(pixels);
    let network = importers::read(path, device, &options).unwrap();
    // The networks of large pictures were recorded at a smaller size.
    let mut spec = network.spec().clone();
    spec.input = [recorded.size, recorded.size, 3];
    spec.image = [recorded.size; 2];
    let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
    let network = Network::of(spec, network.parameters().to_vec(), buffers, device).unwrap();
    // The file's network sees pixels of 0 to 255 less their mean.
    let images = recorded.images(2, recorded.size, device);
    let mut pixels = images.to_vec::<f32>().unwrap();
    for (place, pixel) in pixels.iter_mut().enumerate() {
        *pixel *= 255.0 * DEVIATION[place % 3];
    }
    let pixels = Tensor::from_vec(pixels, *images.shape(), device).unwrap();
    let logits = network.forward(&pixels).unwrap().to_vec::<f32>().unwrap();
    let golden = doubles(&golden.join(format!("{name}.logits.npy")));
    let scale = golden.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    let errors = logits.iter().zip(&golden).map(|(a, b)| (f64::from(*a) - b).abs() / scale);
    let worst = errors.fold(0.0, f64::max);
    assert!(worst <= 1e-4 && logits.len() == golden.len(), "{name}: {worst:e}");
    worst
}

/// A state dict in the form that `torch.save` had before PyTorch 1.6.
fn pth(tensors: &[(Listed, Vec<f32>)]) -> Vec<u8> {
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: usize| [b"J", &(number as i32).to_le_bytes()[..]].concat();
    let tuple = |all: &[usize]| {
        let all: Vec<u8> = all.iter().flat_map(|n| number(*n)).collect();
        [b"(", &all[..], b"t"].concat()
    };
    let mut bytes =
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}("
            .to_vec();
    for (key, (Listed(name, shape, _), values)) in tensors.iter().enumerate() {
        let steps = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let strides: Vec<usize> = (0..shape.len()).map(steps).collect();
        bytes.extend(text(name));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(text("storage"));
        bytes.extend(b"ctorch\nFloatStorage\n");
        bytes.extend([text(&key.to_string()), text("cpu"), number(values.len())].concat());
        bytes.extend(b"NtQK\0");
        bytes.extend([tuple(shape), tuple(&strides)].concat());
        bytes.extend(b"\x89}tR");
    }
    bytes.extend(b"u.\x80\x02](");
    bytes.extend((0..tensors.len()).flat_map(|key| text(&key.to_string())));
    bytes.extend(b"e.");
    for (_, values) in tensors {
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// torchvision's own files with weights by the formula (its state dicts as `torch.save` writes them, in the
/// folder `STRIATE_PTH`).
#[test]
#[ignore = "needs files of half a gigabyte"]
fn files_of_pytorch_compute_what_was_recorded() {
    let (Some(golden), Some(files)) = (golden(), std::env::var_os("STRIATE_PTH")) else { return };
    let device = Device::cpu(None).unwrap();
    let entries = std::fs::read_dir(files).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "pth")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        println!("{name} {:.1e}", check(path, &golden, name, &device));
    }
}

/// A head of another size, the count of batches, a wrapper's names, and older names: DenseNet's.
#[test]
fn other_heads_and_older_names_are_read() {
    let device = Device::cpu(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dict.safetensors");
    let spec = models::by_name("densenet121").unwrap().with_classes(7);
    let fresh = spec.build(&device, Seed(5)).unwrap();
    let mut tensors = Vec::new();
    for (numbers, tensor) in state_dict(&spec).unwrap().into_iter().enumerate() {
        let older = |name: &str| {
            ["norm1", "norm2", "conv1", "conv2"].into_iter().fold(name.to_owned(), |name, part| {
                let (kind, number) = part.split_at(4);
                name.replace(&format!(".{part}."), &format!(".{kind}.{number}."))
            })
        };
        let count = tensor.shape.iter().product();
        let values = (0..count).map(|i| ((i + numbers) % 17) as f32 / 64.0 + 0.1).collect();
        let name = format!("module.{}", older(&tensor.name));
        tensors.push((Listed(name, tensor.shape, String::new()), values));
    }
    tensors
        .push((Listed("module.n.num_batches_tracked".into(), vec![1], String::new()), vec![3.0]));
    write(&path, &tensors);
    let network = importers::read(&path, &device, &ReadOptions::default()).unwrap();
    assert_eq!(network.spec().classes(), 7);
    assert_eq!(network.parameters().len(), fresh.parameters().len());
    // A weight of the middle, element by element.
    let at = |name: &str| {
        let place = network.parameter_infos().iter().position(|info| info.name == name).unwrap();
        network.parameters()[place].to_vec::<f32>().unwrap()
    };
    let name = "features.denseblock2.denselayer3.conv2.weight";
    let (Listed(_, shape, _), values) = &tensors[tensors
        .iter()
        .position(|(Listed(n, ..), _)| n.ends_with("denseblock2.denselayer3.conv.2.weight"))
        .unwrap()];
    let order = ElementOrder { channels: shape[1], spatial: shape[2] * shape[3] };
    let expected: Vec<f32> = (0..values.len()).map(|ours| values[order.in_torch(ours)]).collect();
    assert_eq!(at(name), expected);

    // And as a file of our own.
    let own = folder.path().join("own.safetensors");
    importers::write(&own, &network, &WriteOptions::default()).unwrap();
    let again = importers::read(&own, &device, &ReadOptions::default()).unwrap();
    assert_eq!(again.spec(), network.spec());
    assert!(again.mean().is_some());
}
