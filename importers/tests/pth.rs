//! Files of PyTorch's (`tests/fixtures/torch/checkpoints.py` wrote them): both forms, views, element types,
//! checkpoints, pickled modules, TorchScript, and files that ask for harm.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{chain, reference};
use striate_importers::pth::TensorFile;
use striate_importers::{Error, Format, ModelFile, ReadOptions, inspect, read};
use striate_tensor::DType;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch/pth").join(name)
}

fn values(file: &TensorFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name, &reference(), Some(DType::F32)).unwrap();
    assert_eq!(Some(tensor.dims()), file.shape(name), "{name}");
    tensor.to_vec().unwrap()
}

/// The elements of a storage at these places.
fn eighths(places: impl IntoIterator<Item = i32>) -> Vec<f32> {
    places.into_iter().map(|place| place as f32 / 8.0).collect()
}

#[test]
fn both_forms_and_every_protocol_hold_the_same() {
    for name in [
        "plain.pth",
        "plain.legacy.pth",
        "protocol-4.pth",
        "protocol-4.legacy.pth",
        "protocol-5.pth",
        "deflated.pth",
    ] {
        let file = TensorFile::open(fixture(name)).unwrap();
        let names: Vec<&str> = file.names().collect();
        assert_eq!(names.len(), 15, "{name}");
        assert_eq!(names[..3], ["conv.weight", "conv.bias", "tied.weight"]);
        assert_eq!((file.key(), file.other_keys().count()), ("", 0));
        assert_eq!(file.shape("conv.weight"), Some(&[4, 3, 3, 3][..]));
        assert_eq!(values(&file, "conv.weight"), eighths(0..108), "{name}");
        assert_eq!(values(&file, "conv.bias"), eighths(7..11));
        assert_eq!(values(&file, "tied.weight"), eighths(0..108));
        assert_eq!(values(&file, "half"), eighths(-2..3));
        assert_eq!(values(&file, "bfloat"), eighths(-2..4));
        assert_eq!(values(&file, "double"), eighths(1..4));
        assert_eq!(values(&file, "scalar"), eighths(9..10));
        assert_eq!(file.shape("empty"), Some(&[0, 3][..]));
        assert!(values(&file, "empty").is_empty());
        // Views: row by row, whatever the order of their storage.
        let transposed = (0..6).flat_map(|col| (0..4).map(move |row| 100 + row * 6 + col));
        assert_eq!(values(&file, "transposed"), eighths(transposed), "{name}");
        assert_eq!(values(&file, "cut"), eighths([107, 109, 111, 113, 115, 117]));
        assert_eq!(values(&file, "repeated"), eighths([100, 101, 102, 100, 101, 102]));
        assert_eq!(values(&file, "channels_last"), eighths(0..24));
        // Halves stay what they are, unless they are asked for as another type.
        for (tensor, dtype) in
            [("half", DType::F16), ("bfloat", DType::F32), ("double", DType::F32)]
        {
            assert_eq!(file.tensor(tensor, &reference(), None).unwrap().dtype(), dtype);
        }
        assert_eq!(file.element_type("bfloat"), Some("bfloat16"));
        assert_eq!(file.element_type("bn.num_batches_tracked"), Some("int64"));
        assert_eq!(file.element_type("yes"), Some("bool"));
        let error = file.tensor("bytes", &reference(), None).unwrap_err();
        let text = chain(&error);
        assert!(text.contains("tensor bytes") && text.contains("got uint8"), "{text}");
        let text = chain(&file.tensor("conv", &reference(), None).unwrap_err());
        assert!(text.contains("tensor conv: expected a tensor of this name"), "{text}");
    }
}

#[test]
fn the_order_of_bytes_is_that_of_the_file() {
    let file = TensorFile::open(fixture("big-endian.pth")).unwrap();
    assert_eq!(values(&file, "conv.weight"), eighths(0..6));
    assert_eq!(values(&file, "conv.bias"), eighths(7..9));
}

#[test]
fn a_checkpoint_gives_the_state_dict_that_is_meant_or_asked_for() {
    let path = fixture("checkpoint.pth");
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.key(), "model");
    // What an optimizer keeps has numbers for names.
    assert_eq!(file.other_keys().collect::<Vec<_>>(), ["", "ema.module"]);
    assert_eq!(file.names().collect::<Vec<_>>(), ["module.weight", "module.bias"]);
    assert_eq!(values(&file, "module.weight"), eighths(0..6));

    let average = TensorFile::open_key(&path, "ema.module").unwrap();
    assert_eq!(values(&average, "weight"), eighths(1000..1006));
    let text = chain(&TensorFile::open_key(&path, "teacher").unwrap_err());
    assert!(text.contains("state dict \"teacher\""), "{text}");
    assert!(text.contains("\"model\"") && text.contains("\"ema.module\""), "{text}");

    let nested = TensorFile::open(fixture("nested.legacy.pth")).unwrap();
    assert_eq!(nested.key(), "state_dict");
    assert_eq!(values(&nested, "weight"), eighths(0..6));
    assert_eq!(values(&nested, "bias"), eighths(50..52));
}

/// By the options, by the open file, and not for files of other kinds.
#[test]
fn a_key_goes_all_the_way() {
    let path = fixture("checkpoint.pth");
    let options = ReadOptions::default().checkpoint_key("teacher");
    let text = chain(&read(&path, &reference(), &options).unwrap_err());
    assert!(text.contains("state dict \"teacher\""), "{text}");
    let model = ModelFile::open(&path).unwrap();
    assert_eq!(model.format(), Format::Pth);
    let names = |model: &ModelFile| -> Vec<String> {
        model.tensors().unwrap().unwrap().into_iter().map(|tensor| tensor.name).collect()
    };
    assert_eq!(names(&model), ["module.weight", "module.bias"]);
    let model = model.with_checkpoint_key(Some("ema.module".into())).unwrap();
    assert_eq!(names(&model), ["weight", "bias"]);
    let text = chain(&model.inspect().unwrap_err());
    assert!(text.contains("torchvision's networks"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let ccv = common::small_ccv(folder.path(), DType::F32);
    assert!(ModelFile::open(&ccv).unwrap().tensors().unwrap().is_none());
    let error = read(&ccv, &reference(), &options).unwrap_err();
    assert!(chain(&error).contains("checkpoint of PyTorch's"), "{error}");
    assert!(ModelFile::open(&ccv).unwrap().with_checkpoint_key(Some("a".into())).is_err());
}

#[test]
fn parameters_are_tensors_and_what_is_not_known_is_left_out() {
    let file = TensorFile::open(fixture("parameters.pth")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["parameter", "odd", "unsigned"]);
    assert_eq!(values(&file, "parameter"), eighths(0..4));
    assert_eq!(values(&file, "odd"), eighths(4..7));
    assert_eq!(file.element_type("unsigned"), Some("uint16"));
}

/// The tensors of modules that were pickled whole: what a state dict of theirs would hold.
#[test]
fn modules_give_their_tensors() {
    let names = [
        "features.0.weight",
        "features.0.bias",
        "features.1.weight",
        "features.1.bias",
        "features.1.running_mean",
        "features.1.running_var",
        "features.1.num_batches_tracked",
        "head.weight",
        "head.bias",
    ];
    let file = TensorFile::open(fixture("module.pth")).unwrap();
    assert_eq!(
        {
            let mut found: Vec<&str> = file.names().collect();
            found.sort_unstable();
            found
        },
        {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        }
    );
    let script = TensorFile::open(fixture("script.pt")).unwrap();
    // TorchScript does not tell a buffer that is not saved from the others.
    assert_eq!(script.names().count(), names.len() + 1);
    for file in [&file, &script] {
        assert_eq!(values(file, "features.0.weight"), eighths(0..108));
        assert_eq!(values(file, "head.bias"), eighths(5..7));
        assert_eq!(file.other_keys().count(), 0);
        assert_eq!(values(file, "features.1.running_var"), [1.0; 4]);
    }
    let legacy = TensorFile::open(fixture("module.legacy.pth")).unwrap();
    assert_eq!(values(&legacy, "weight"), eighths(0..6));
}

/// What would be executed by Python is not, and is told by name and place.
#[test]
fn nothing_is_executed() {
    // What it would make.
    let mark = Path::new("/tmp/executed-by-a-pickle");
    let file = TensorFile::open(fixture("harm.pth")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["w"]);
    assert_eq!(values(&file, "w"), eighths(0..4));
    for name in ["harm-all.pth", "harm.legacy.pth"] {
        let text = chain(&TensorFile::open(fixture(name)).unwrap_err());
        assert!(text.contains("posix.system") && text.contains(name), "{text}");
        assert!(text.contains("torch.save(model.state_dict(), FILE)"), "{text}");
    }
    assert!(!mark.exists());
}

#[test]
fn what_is_no_network_known_here_is_told() {
    let text = chain(&inspect(fixture("plain.pth")).unwrap_err());
    assert!(text.contains("plain.pth: tensors: expected the tensors of torchvision's"), "{text}");
    assert!(text.contains("conv.weight"), "{text}");
    // Families, not each of their networks.
    assert!(text.contains("regnet_y, resnet, resnext, shufflenet_v2, squeezenet"), "{text}");
    assert_eq!(
        chain(&read(fixture("plain.pth"), &reference(), &ReadOptions::default()).unwrap_err()),
        text
    );
}

#[test]
fn archives_of_other_programs_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    // The member of an archive of numpy's, empty.
    let name = b"a.npy";
    let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0".to_vec();
    bytes.extend(name);
    let directory = bytes.len() as u32;
    bytes.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0");
    bytes.extend([0; 16]);
    bytes.extend(name);
    let size = bytes.len() as u32 - directory;
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend(size.to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0; 2]);
    fs::write(&path, &bytes).unwrap();
    let error = inspect(&path).unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, Error::NotAModel { .. }), "{text}");
    assert!(text.contains("numpy.savez") && text.contains("a.npy"), "{text}");
    // Cut off, the directory at its end is missing.
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let text = chain(&inspect(&path).unwrap_err());
    assert!(text.contains("torch.save") && text.contains("cut off"), "{text}");
}

/// Every end that is cut off is an error that names the file, in both forms.
#[test]
fn a_file_that_is_cut_off_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    for name in ["plain.pth", "plain.legacy.pth", "checkpoint.pth"] {
        let whole = fs::read(fixture(name)).unwrap();
        for keep in (40..whole.len()).step_by(37).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..keep]).unwrap();
            let text = chain(&TensorFile::open(&path).unwrap_err());
            assert!(text.contains("cut.pth: "), "{keep}: {text}");
        }
    }
}
