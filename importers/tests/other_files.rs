//! What is given for a model and is none, and models that come out of pipes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use common::{chain, reference, small, small_ccv, values};
use striate_importers::{
    Format, ModelFile, ReadOptions, WriteOptions, inspect, read, safetensors, write,
};
use striate_nn::{LayerSpec, NetworkSpec, lrn};
use striate_tensor::DType;

#[test]
fn what_is_no_model_is_told_for_every_extension() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str); 12] = [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><head><title>404</title>", "an HTML page"),
        (b"{\"error\":\"Repository not found\"}", "a JSON text"),
        (b"Entry not found", "a text: \"Entry not found\""),
        (b"\x80\x02}q\0.", "pickle"),
        (b"\x1f\x8b\x08\x08\0\0\0\0", "gzip"),
        (b"\x93NUMPY\x01\0v\0{'descr': '<f4'", "numpy"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a JPEG picture"),
        (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "nothing but zeros"),
        (b"", "it is empty"),
    ];
    for (content, expected) in cases {
        for extension in ["safetensors", "sqlite3", "bin", "pt", "onnx"] {
            let path = folder.path().join(format!("x.{extension}"));
            fs::write(&path, content).unwrap();
            let text = chain(&inspect(&path).unwrap_err());
            assert!(text.contains(expected), "{extension}: expected {expected}, got: {text}");
            assert!(!text.contains("length of"), "{text}");
            let error = read(&path, &reference(), &ReadOptions::default()).unwrap_err();
            assert_eq!(chain(&error), text);
        }
        let error = ModelFile::from_reader(content, "standard input").unwrap_err();
        let text = chain(&error);
        assert!(text.starts_with("standard input: ") && text.contains(expected), "{text}");
    }
    let text = chain(&inspect(folder.path()).unwrap_err());
    assert!(text.contains("it is a directory"), "{text}");
}

#[test]
fn a_file_that_is_cut_off_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    safetensors::write(&path, &small(&reference()), &WriteOptions::default()).unwrap();
    let whole = fs::read(&path).unwrap();
    for keep in [9, 100, whole.len() - 1] {
        for extension in ["safetensors", "bin"] {
            let path = folder.path().join(format!("cut.{extension}"));
            fs::write(&path, &whole[..keep]).unwrap();
            let text = chain(&inspect(&path).unwrap_err());
            let cut = text.contains("cut off") || text.contains("within the");
            assert!(cut, "{keep} {extension}: {text}");
        }
    }
}

/// Of both kinds, with their networks.
fn models(folder: &std::path::Path) -> [PathBuf; 2] {
    let path = folder.join("x.safetensors");
    write(&path, &small(&reference()), &WriteOptions::default()).unwrap();
    [path, small_ccv(folder, DType::F32)]
}

#[test]
fn a_model_comes_out_of_a_reader() {
    let (folder, device) = (tempfile::tempdir().unwrap(), reference());
    for path in models(folder.path()) {
        let model = ModelFile::from_reader(fs::File::open(&path).unwrap(), "a pipe").unwrap();
        let expected = read(&path, &device, &ReadOptions::default()).unwrap();
        let got = model.read(&device, &ReadOptions::default()).unwrap();
        assert_eq!(values(&got), values(&expected));
        let inspection = model.inspect().unwrap();
        assert_eq!(inspection.file, "a pipe");
        assert_eq!(inspection.bytes, fs::metadata(&path).unwrap().len());
        let mut bytes = Vec::new();
        model.bytes().read_to_end(&mut bytes).unwrap();
        assert!(bytes == fs::read(&path).unwrap());
        assert!(model.training_notes().unwrap().is_empty());
        let out = folder.path().join("out.safetensors");
        model.convert(&out, &device, &WriteOptions::default()).unwrap();
        assert_eq!(inspect(&out).unwrap().format, Format::Safetensors);
    }
}

/// As `inspect <(cat MODEL)` of a shell gives it: a name that can be opened and read once.
#[cfg(target_os = "linux")]
#[test]
fn a_named_pipe_is_read_once_and_rightly() {
    use std::os::fd::AsRawFd;
    let (folder, device) = (tempfile::tempdir().unwrap(), reference());
    for path in models(folder.path()) {
        let content = fs::read(&path).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, &content).unwrap();
        });
        let name = format!("/dev/fd/{}", reader.as_raw_fd());
        let network = read(&name, &device, &ReadOptions::default());
        drop(reader);
        thread.join().unwrap();
        let expected = read(&path, &device, &ReadOptions::default()).unwrap();
        assert_eq!(values(&network.unwrap()), values(&expected));
    }
    let text = chain(&inspect("/dev/zero").unwrap_err());
    assert!(text.contains("nothing but zeros"), "{text}");
    assert!(chain(&inspect("/dev/null").unwrap_err()).contains("it is empty"));
}

/// A network whose spec has more layers than any, in both forms.
#[test]
fn layers_are_limited() {
    use std::collections::BTreeMap;
    let folder = tempfile::tempdir().unwrap();
    let spec = |layers: usize| {
        let mut spec = NetworkSpec::new([1, 1, 1]);
        spec.nodes = vec![LayerSpec::Lrn(lrn(1)).into(); layers];
        serde_json::to_string(&spec).unwrap()
    };
    let path = folder.path().join("x.safetensors");
    let message = |spec: String| {
        let texts = [("striate.format", "1".to_string()), ("striate.spec", spec)];
        let texts: BTreeMap<String, String> =
            texts.into_iter().map(|(key, text)| (key.to_string(), text)).collect();
        safetensors::write_tensors(&path, &[], &texts).unwrap();
        chain(&inspect(&path).unwrap_err())
    };
    let text = message(spec(striate_importers::MAX_LAYERS + 1));
    assert!(text.contains("expected at most 10000 layers, got 10001"), "{text}");
    let text = message(" ".repeat(striate_importers::MAX_SPEC_BYTES + 1));
    assert!(text.contains("expected a specification of at most 4000000 bytes"), "{text}");
}
