//! Our own form: round trips, what another implementation reads, and what bad files get.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{chain, dump, golden_nets, names, reference, small, values};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use striate_importers::safetensors::{
    TensorFile, read, read_bytes, read_file, read_with, write, write_numbers_to, write_tensors,
};
use striate_importers::{Error, Format, ReadOptions, WriteOptions, ccv, inspect};
use striate_ops_cpu::Cpu;
use striate_tensor::{DType, Device, HostTensor, Shape, SharedBytes, Tensor, TensorType, f16};

fn bytes(owner: Vec<u8>) -> SharedBytes {
    SharedBytes::new(Arc::new(owner))
}

/// A file of this header and as many zeros of data.
fn file(json: &str, data: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

fn message(file: Vec<u8>) -> String {
    let options = ReadOptions::default();
    let text = chain(&read_bytes(bytes(file), "m", &reference(), &options).unwrap_err());
    assert!(text.starts_with("m: "), "{text}");
    text
}

#[test]
fn everything_of_a_network_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    for device in [reference(), Device::new(Cpu::new(Some(1)).unwrap())] {
        let network = small(&device);
        write(&path, &network, &WriteOptions::default()).unwrap();
        let back = read(&path, &device).unwrap();
        assert_eq!(back.spec(), network.spec());
        assert_eq!(back.metadata(), network.metadata());
        assert_eq!(values(&back), values(&network));

        let embedded = bytes(fs::read(&path).unwrap());
        let back = read_bytes(embedded, "embedded", &device, &ReadOptions::default()).unwrap();
        assert_eq!(values(&back), values(&network));
        // The mapped file may go while the network lives.
        let back = read(&path, &device).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(values(&back), values(&network));
    }
}

#[test]
fn precisions_are_kept_or_rounded_to_the_nearest() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let (full, half) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    let network = small(&device);
    write(&full, &network, &WriteOptions::default()).unwrap();
    write(&half, &network, &WriteOptions::default().dtype(DType::F16)).unwrap();
    let from_half = read(&half, &device).unwrap();
    let weight = |n: &striate_nn::Network| n.parameters()[0].clone();
    let expected: Vec<f16> =
        weight(&network).to_vec::<f32>().unwrap().iter().map(|v| f16::from_f32(*v)).collect();
    assert_eq!(weight(&from_half).to_vec::<f16>().unwrap(), expected);
    assert_eq!(from_half.mean().unwrap().dtype(), DType::F32);
    let asked = read_with(&full, &device, &ReadOptions::default().dtype(DType::F16)).unwrap();
    assert_eq!(values(&asked), values(&from_half));
    let wide = read_with(&half, &device, &ReadOptions::default().dtype(DType::F32)).unwrap();
    assert_eq!(weight(&wide).dtype(), DType::F32);
    assert_eq!(inspect(&half).unwrap().dtype(), Some(DType::F16));

    let stripped = folder.path().join("c.safetensors");
    write(&stripped, &network, &WriteOptions::default().strip(true)).unwrap();
    let metadata = read(&stripped, &device).unwrap().metadata().clone();
    assert_eq!(metadata, *network.metadata());
}

#[test]
fn ccvs_networks_go_through_our_form_unchanged() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    for (nets, name) in golden_nets() {
        for precision in ["f32", "f16"] {
            let theirs = nets.join(format!("{name}.{precision}.sqlite3"));
            let between = folder.path().join("x.safetensors");
            let ours = folder.path().join("x.sqlite3");
            let network = ccv::read(&theirs, &device).unwrap();
            write(&between, &network, &WriteOptions::default()).unwrap();
            let network = read(&between, &device).unwrap();
            ccv::write(&ours, &network, &WriteOptions::default()).unwrap();
            assert!(dump(&ours) == dump(&theirs), "{name} {precision}");
        }
    }
}

#[test]
fn the_reference_implementation_reads_what_we_write() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let network = small(&device);
    write(&path, &network, &WriteOptions::default()).unwrap();
    let content = fs::read(&path).unwrap();
    let theirs = SafeTensors::deserialize(&content).unwrap();
    let mean = theirs.tensor("mean").unwrap();
    assert_eq!((mean.dtype(), mean.shape()), (Dtype::F32, &[19, 19, 3][..]));
    let expected = network.mean().unwrap().to_host().unwrap();
    assert_eq!(mean.data(), expected.values().bytes());
    let count = 2 * network.layer_parameters().iter().flatten().count() + 1;
    assert_eq!(theirs.len(), count);
    // Data begin at a multiple of 64, and so does what is as large as one.
    for (name, tensor) in theirs.tensors() {
        let at = tensor.data().as_ptr() as usize - content.as_ptr() as usize;
        let size = tensor.data().len();
        let alignment = 1usize << size.trailing_zeros().min(6);
        assert_eq!(at % alignment, 0, "{name}");
    }
    let (_, header) = SafeTensors::read_metadata(&content).unwrap();
    assert!(header.metadata().as_ref().unwrap().contains_key("striate.spec"));
}

#[test]
fn we_read_what_the_reference_implementation_writes() {
    let device = reference();
    let floats: Vec<u8> = [1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.5f64, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (bf16, whole) = ([0x80u8, 0x3f], [1u8; 8]);
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let tensors = [
        ("floats", view(Dtype::F32, &[2, 1], &floats)),
        ("doubles", view(Dtype::F64, &[3], &doubles)),
        ("bf16", view(Dtype::BF16, &[1], &bf16)),
        ("whole", view(Dtype::I64, &[], &whole)),
        ("empty", view(Dtype::F32, &[0, 4], &[])),
    ];
    let content = safetensors::serialize(tensors, None).unwrap();
    let file = TensorFile::from_bytes(bytes(content), "f").unwrap();
    let get = |name: &str| file.tensor(name, &device, None).unwrap();
    assert_eq!(get("floats").dims(), [2, 1]);
    assert_eq!(get("floats").to_vec::<f32>().unwrap(), [1.0, -2.0]);
    assert_eq!(get("doubles").to_vec::<f32>().unwrap(), [0.5, 3.0, 4.0]);
    assert_eq!(get("bf16").to_vec::<f32>().unwrap(), [1.0]);
    assert_eq!(get("empty").dims(), [0, 4]);
    let text = |name: &str| chain(&file.tensor(name, &device, None).unwrap_err());
    assert!(
        text("whole")
            .contains("f: tensor whole: expected elements of type F32, F16, BF16 or F64, got I64")
    );
    assert!(text("none").contains("tensor none: expected a tensor of this name, got 5 others"));
    let stored = |name: &str| file.stored(name, &device).unwrap();
    assert_eq!(stored("whole").to_vec::<i64>().unwrap(), [0x0101_0101_0101_0101]);
    assert_eq!(stored("doubles").to_vec::<f64>().unwrap(), [0.5, 3.0, 4.0]);
    assert_eq!(stored("bf16").to_vec::<f32>().unwrap(), [1.0]);
    assert_eq!([file.dtype("bf16"), file.dtype("none")], [Some(DType::F32), None]);
}

/// A tensor of any bits; truth values are among them.
fn any_bits(dtype: DType, shape: &[usize], words: &[u64]) -> HostTensor {
    let shape = Shape::new(shape).unwrap();
    let mut tensor = HostTensor::zeros(&TensorType::new(shape, dtype));
    let mut bits = words.iter().cycle().flat_map(|word| word.to_le_bytes());
    for byte in tensor.values_mut().bytes_mut() {
        let bits = bits.next().unwrap_or_default();
        *byte = if dtype == DType::Bool { bits & 1 } else { bits };
    }
    tensor
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(48)
    })]

    #[test]
    fn every_element_type_comes_back_as_written(
        dims in prop::collection::vec(0usize..5, 0..4),
        words in prop::collection::vec(any::<u64>(), 1..40),
    ) {
        let device = reference();
        let hosts: Vec<(&str, HostTensor)> = (DType::ALL.iter())
            .map(|dtype| (dtype.name(), any_bits(*dtype, &dims, &words)))
            .collect();
        let named: Vec<(&str, &HostTensor)> = hosts.iter().map(|(n, host)| (*n, host)).collect();
        let mut written = Vec::new();
        write_numbers_to(&mut written, "x", &named, &BTreeMap::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        fs::write(&path, &written).unwrap();
        let theirs = SafeTensors::deserialize(&written).unwrap();
        let files =
            [TensorFile::open(&path), TensorFile::from_bytes(bytes(written.clone()), "x")];
        for file in files.into_iter().map(Result::unwrap) {
            for (name, host) in &hosts {
                prop_assert_eq!(file.dtype(name), Some(host.ty().dtype));
                let got = file.stored(name, &device).unwrap().to_host().unwrap();
                prop_assert_eq!(got.ty(), host.ty());
                prop_assert_eq!(got.values().bytes(), host.values().bytes());
                prop_assert_eq!(theirs.tensor(name).unwrap().data(), host.values().bytes());
            }
        }
    }
}

#[test]
fn what_has_no_element_type_here_is_named() {
    let device = reference();
    let json = r#"{"a":{"dtype":"U16","shape":[1],"data_offsets":[0,2]},
        "b":{"dtype":"BOOL","shape":[2],"data_offsets":[2,4]}}"#;
    let mut content = file(json, 4);
    if let Some(last) = content.last_mut() {
        *last = 2;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, &content).unwrap();
    for file in [TensorFile::open(&path), TensorFile::from_bytes(bytes(content.clone()), "x")] {
        let file = file.unwrap();
        let text = |name: &str| chain(&file.stored(name, &device).unwrap_err());
        assert!(text("a").contains("U8, BOOL or BF16, got U16"), "{}", text("a"));
        assert!(text("b").contains("0 or 1, got 2 at element 1"), "{}", text("b"));
        assert_eq!(file.dtype("a"), None);
    }
}

#[test]
fn tensors_at_odd_addresses_are_copied() {
    for device in [reference(), Device::new(Cpu::new(Some(1)).unwrap())] {
        let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
            "b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}"#;
        let mut content = file(json, 1);
        content.extend([2.5f32, -1.0].iter().flat_map(|v| v.to_le_bytes()));
        let file = TensorFile::from_bytes(bytes(content), "f").unwrap();
        let b = file.tensor("b", &device, None).unwrap();
        assert_eq!(b.to_vec::<f32>().unwrap(), [2.5, -1.0]);
    }
}

#[test]
fn networks_that_do_not_fit_their_specification_are_refused() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    write(&path, &small(&device), &WriteOptions::default()).unwrap();
    let good = TensorFile::open(&path).unwrap();
    let metadata = good.metadata().clone();
    let tensors: BTreeMap<String, Tensor> =
        good.names().map(|n| (n.to_string(), good.tensor(n, &device, None).unwrap())).collect();
    type Change<'a> = &'a dyn Fn(&mut BTreeMap<String, Tensor>, &mut BTreeMap<String, String>);
    let after = |change: Change<'_>| {
        let (mut tensors, mut metadata) = (tensors.clone(), metadata.clone());
        change(&mut tensors, &mut metadata);
        let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let path = folder.path().join("y.safetensors");
        write_tensors(&path, &named, &metadata).unwrap();
        let text = chain(&read(&path, &device).unwrap_err());
        assert!(text.contains("y.safetensors"), "{text}");
        if !text.contains("mean") {
            assert_eq!(chain(&inspect(&path).unwrap_err()), text);
        }
        text
    };
    let flat = |n: usize| Tensor::from_vec(vec![0.0f32; n], [n], &device).unwrap();
    let whole = Tensor::from_vec(vec![0u32; 8], [8], &device).unwrap();
    let cases: [(Change<'_>, &str); 11] = [
        (
            &|t, _| drop(t.remove("layers.3.bias")),
            "tensor layers.3.bias: expected a tensor of this name",
        ),
        (
            &|t, _| drop(t.insert("layers.3.bias".into(), flat(7))),
            "tensor layers.3.bias: expected the shape [8], got [7]",
        ),
        (
            &|t, _| drop(t.insert("layers.3.bias".into(), whole.clone())),
            "expected elements of type F32, F16, BF16 or F64, got U32",
        ),
        (
            &|t, _| drop(t.insert("layers.9.bias".into(), flat(7))),
            "tensor layers.9.bias: expected only weights",
        ),
        (
            &|t, _| drop(t.insert("mean".into(), flat(7))),
            "tensor mean: expected the shape [19, 19, 3], got [7]",
        ),
        (
            &|_, m| drop(m.remove("striate.spec")),
            "metadata striate.spec: expected the network's specification, got none",
        ),
        (
            &|_, m| drop(m.insert("striate.spec".into(), "{".into())),
            "metadata striate.spec: expected the network's specification in JSON: ",
        ),
        (
            &|_, m| drop(m.insert("striate.metadata".into(), "3".into())),
            "metadata striate.metadata: expected labels",
        ),
        (
            &|_, m| drop(m.insert("striate.format".into(), "2".into())),
            "update Striate to read newer), got 2",
        ),
        (&|_, m| drop(m.insert("striate.format".into(), "x".into())), "metadata striate.format"),
        (
            &|_, m| {
                drop(m.insert(
                    "striate.spec".into(),
                    m["striate.spec"].replace("\"stride\":2", "\"stride\":0"),
                ))
            },
            "layer 0 (conv)",
        ),
    ];
    for (change, expected) in cases {
        let text = after(change);
        assert!(text.contains(expected), "expected: {expected}\n  got: {text}");
    }
    // Others than weights, such as the state of a training, are passed over.
    let named: Vec<(String, Tensor)> =
        tensors.into_iter().chain([("train.momentum.0".to_string(), flat(3))]).collect();
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(n, t)| (n.as_str(), t)).collect();
    write_tensors(&path, &named, &metadata).unwrap();
    read(&path, &device).unwrap();
    assert_eq!(inspect(&path).unwrap().training_state, ["train.momentum.0"]);
}

#[test]
fn bad_files_are_named() {
    assert!(message(vec![]).contains("a file of 0 bytes"));
    assert!(message(u64::MAX.to_le_bytes().to_vec()).contains("at most 32000000 bytes"));
    assert!(message(file("{}", 0)).contains("metadata striate.spec: expected the network's specification, or the tensors of torchvision's"));
    assert!(message(file("{", 0)).contains("header: expected JSON"));
    let one = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert!(
        message(file(one, 7))
            .contains("tensor x: expected data_offsets that rise, within the 7 bytes")
    );
    assert!(message(file(one, 8)).contains("got neither it, nor such tensors: x, …"));
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| chain(&TensorFile::open(path).unwrap_err());
    assert!(open(folder.path()).contains("directory"));
    assert!(open(&folder.path().join("no")).contains("cannot open"));
    let empty = folder.path().join("empty.safetensors");
    fs::write(&empty, b"").unwrap();
    assert!(open(&empty).contains("it is empty"));
    assert!(chain(&inspect(&empty).unwrap_err()).contains("it is empty"));
    assert_eq!(names(folder.path()), ["empty.safetensors"]);
}

#[test]
fn the_format_is_recognised_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let device = reference();
    let path = folder.path().join("x.safetensors");
    write(&path, &small(&device), &WriteOptions::default()).unwrap();
    let renamed = folder.path().join("x.sqlite3");
    fs::rename(&path, &renamed).unwrap();
    assert_eq!(inspect(&renamed).unwrap().format, Format::Safetensors);
    striate_importers::read(&renamed, &device, &ReadOptions::default()).unwrap();
}

#[test]
fn names_are_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let device = reference();
    let x = Tensor::from_vec(vec![1.0f32, 2.0], [2], &device).unwrap();
    for names in [["a", "a"], ["a", "__metadata__"]] {
        let path = folder.path().join("x.safetensors");
        let error = write_tensors(&path, &names.map(|name| (name, &x)), &BTreeMap::new());
        let text = chain(&error.unwrap_err());
        assert!(text.contains(&format!("tensor {}: expected a name", names[1])), "{text}");
        assert!(!path.exists());
    }
}

#[test]
fn numbers_of_any_kind_are_read_and_written() {
    let host = HostTensor::new(Shape::new(&[2, 2]).unwrap(), vec![1.0f32, -2.5, 3.0, 0.0]).unwrap();
    let mut content = Vec::new();
    let texts = BTreeMap::from([("key".to_string(), "text".to_string())]);
    write_numbers_to(&mut content, "x", &[("a", &host)], &texts).unwrap();
    assert_eq!(SafeTensors::deserialize(&content).unwrap().tensor("a").unwrap().shape(), [2, 2]);
    let file = TensorFile::from_bytes(bytes(content), "x").unwrap();
    assert_eq!(file.numbers("a").unwrap(), host);
    assert_eq!(file.metadata(), &texts);
    let json = r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},
        "b":{"dtype":"I8","shape":[1],"data_offsets":[3,4]}}"#;
    let mut content = self::file(json, 0);
    content.extend([0, 7, 255, 1]);
    let file = TensorFile::from_bytes(bytes(content), "x").unwrap();
    let values = file.numbers("a").unwrap().into_values().into_vec::<f32>().unwrap();
    assert_eq!(values, [0.0, 7.0, 255.0]);
    assert!(chain(&file.numbers("b").unwrap_err()).contains("F64 or U8, got I8"));
}

/// A file that another program writes in place while it is read.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let device = reference();
    let path = folder.path().join("x.safetensors");
    let large = Tensor::from_vec(vec![1.5f32; 3 << 20], [3 << 20], &device).unwrap();
    write_tensors(&path, &[("large", &large)], &BTreeMap::new()).unwrap();

    let opened = TensorFile::open(&path).unwrap();
    let tensor = |file: &TensorFile| file.tensor("large", &device, None);
    assert!(tensor(&opened).unwrap().to_vec::<f32>().unwrap().iter().all(|v| *v == 1.5));
    opened.check_unchanged().unwrap();
    // Shorter: no part of it is made up, and nothing ends the process.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(matches!(tensor(&opened).unwrap_err(), Error::Changed { .. }));
    assert!(matches!(opened.check_unchanged().unwrap_err(), Error::Changed { .. }));

    // Replaced by a rename: what was opened is read.
    let other = folder.path().join("y.safetensors");
    write_tensors(&path, &[("large", &large)], &BTreeMap::new()).unwrap();
    write_tensors(&other, &[("small", &large)], &BTreeMap::new()).unwrap();
    let opened = TensorFile::open(&path).unwrap();
    if fs::rename(&other, &path).is_ok() {
        tensor(&opened).unwrap();
        opened.check_unchanged().unwrap();
    }
}

#[test]
fn a_mapped_file_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::new(Cpu::new(Some(1)).unwrap());
    let path = folder.path().join("x.safetensors");
    write(&path, &small(&device), &WriteOptions::default()).unwrap();
    // SAFETY: nobody else knows of the file.
    let mapped = unsafe { TensorFile::map(&path) }.unwrap();
    let network = read_file(&mapped, &device, &ReadOptions::default()).unwrap();
    assert_eq!(values(&network), values(&read(&path, &device).unwrap()));
}
