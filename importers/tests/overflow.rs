//! Weights that are finite in a file and that a narrower type has no place for.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::path::Path;

use common::{chain, names, reference, small};
use striate_importers::safetensors::TensorFile;
use striate_importers::{Error, Overflow, ReadOptions, WriteOptions, convert, read, write};
use striate_nn::{LayerParameters, Network};
use striate_tensor::{DType, SharedBytes, Tensor};

/// A network with one weight beyond f16, at `[3, 2, 1, 0]` of layer 3.
fn large() -> Network {
    let device = reference();
    let good = small(&device);
    let mut parameters = good.layer_parameters();
    let layer = parameters[3].clone().unwrap();
    let mut values = layer.weight.to_vec::<f32>().unwrap();
    let dims = layer.weight.dims().to_vec();
    values[((3 * dims[1] + 2) * dims[2] + 1) * dims[3]] = -1e5;
    let weight = Tensor::from_vec(values, layer.weight.dims(), &device).unwrap();
    parameters[3] = Some(LayerParameters { weight, bias: layer.bias });
    Network::new(good.spec().clone(), parameters, &device).unwrap()
}

fn overflow(error: Error) -> (String, Overflow) {
    let text = chain(&error);
    assert!(!text.contains("not finite"), "{text}");
    match error {
        Error::Overflow { place, overflow, .. } => {
            assert!(text.contains("for f16, which ends at 65504: the first is -100000"), "{text}");
            (place, overflow)
        }
        other => panic!("{other}"),
    }
}

fn file(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    write(&path, &large(), &WriteOptions::default()).unwrap();
    path
}

#[test]
fn reading_as_f16_says_which_value_is_too_large() {
    let (folder, device) = (tempfile::tempdir().unwrap(), reference());
    for (name, place) in [
        ("x.safetensors", "tensor layers.3.weight"),
        ("x.sqlite3", "layer_data, layer 3, column weight"),
    ] {
        let path = file(folder.path(), name);
        let options = ReadOptions::default().dtype(DType::F16);
        let (got, overflow) = overflow(read(&path, &device, &options).unwrap_err());
        assert_eq!(got, place);
        assert_eq!((overflow.index.as_slice(), overflow.count), (&[3, 2, 1, 0][..], 1));
        assert_eq!((overflow.value, overflow.dtype), (-1e5, DType::F16));
        // Whoever wants the infinities gets them.
        let network = read(&path, &device, &options.allow_overflow(true)).unwrap();
        let weight = network.layer_parameters()[3].clone().unwrap().weight;
        let weight = weight.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(weight.iter().filter(|v| v.is_infinite()).count(), 1);
        // As stored, nothing is wrong with it.
        read(&path, &device, &ReadOptions::default()).unwrap();
    }
}

#[test]
fn converting_to_f16_is_refused_and_writes_nothing() {
    let (folder, device) = (tempfile::tempdir().unwrap(), reference());
    file(folder.path(), "x.safetensors");
    file(folder.path(), "x.sqlite3");
    let before = names(folder.path());
    let half = WriteOptions::default().dtype(DType::F16);
    for from in ["x.safetensors", "x.sqlite3"] {
        for to in ["y.safetensors", "y.sqlite3", "x.safetensors", "x.sqlite3"] {
            let (from, to) = (folder.path().join(from), folder.path().join(to));
            let (place, overflow) = overflow(convert(from, &to, &device, &half).unwrap_err());
            assert!(place.contains("3"), "{place}");
            assert_eq!(overflow.index, [3, 2, 1, 0]);
        }
    }
    assert_eq!(names(folder.path()), before);
    let to = folder.path().join("y.sqlite3");
    convert(folder.path().join("x.sqlite3"), &to, &device, &half.clone().allow_overflow(true))
        .unwrap();
    // These infinities are the file's own.
    read(&to, &device, &ReadOptions::default().dtype(DType::F32)).unwrap();
}

#[test]
fn a_double_beyond_f32_is_named_as_such() {
    let json = r#"{"a":{"dtype":"F64","shape":[2,2],"data_offsets":[0,32]},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]}}"#;
    let mut content = (json.len() as u64).to_le_bytes().to_vec();
    content.extend(json.as_bytes());
    content.extend([1.0f64, f64::NAN, 2.0, 1e300].iter().flat_map(|v| v.to_le_bytes()));
    // 1 and 2^127.
    content.extend([0x80, 0x3f, 0x00, 0x7f]);
    let bytes = SharedBytes::new(std::sync::Arc::new(content));
    let file = TensorFile::from_bytes(bytes, "m").unwrap();
    let device = reference();
    for dtype in [None, Some(DType::F32)] {
        let text = chain(&file.tensor("a", &device, dtype).unwrap_err());
        let expected = "m: tensor a: 1 of 4 values is too large for f32, which ends at 3.4028235e38: \
                        the first is 1e300 at [1, 1]";
        assert_eq!(text, expected);
    }
    assert!(chain(&file.numbers("a").unwrap_err()).contains("1e300 at [1, 1]"));
    let wide = file.tensor("b", &device, None).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(wide, [1.0, 2f32.powi(127)]);
    let text = chain(&file.tensor("b", &device, Some(DType::F16)).unwrap_err());
    assert!(text.contains("too large for f16") && text.contains("at [1]"), "{text}");
}
