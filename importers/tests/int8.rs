//! Weights of 8 bits: what comes back, what is refused, and that batch norms fold on the way.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::collections::BTreeMap;

use common::{chain, reference, small};
use striate_importers::safetensors::{TensorFile, read, read_with, write, write_tensors};
use striate_importers::{Format, ModelFile, ReadOptions, WriteOptions, ccv, inspect};
use striate_nn::{Network, NetworkSpec, Seed, conv2d};
use striate_tensor::{DType, Tensor, f16};

fn in_int8() -> WriteOptions {
    WriteOptions::default().dtype(DType::I8)
}

/// Each weight of a network, with the scale that it is rounded by, and each other parameter.
fn parts(network: &Network) -> Vec<(Vec<f32>, Option<f32>)> {
    let infos = network.parameter_infos().iter().zip(network.parameters());
    infos
        .flat_map(|(info, tensor)| {
            let values = tensor.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
            let outputs = tensor.dims()[0];
            let is_weight = info.role == striate_nn::Role::Weight;
            let row = values.len() / outputs;
            let parts: Vec<_> = values
                .chunks(row)
                .map(|row| {
                    let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    (row.to_vec(), is_weight.then_some(largest / 127.0))
                })
                .collect();
            parts
        })
        .collect()
}

#[test]
fn weights_come_back_to_a_step_of_their_channel_and_its_sum_to_half_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let device = reference();
    let network = small(&device);
    write(&path, &network, &in_int8()).unwrap();
    let back = read(&path, &device).unwrap();
    assert_eq!((back.spec(), back.metadata()), (network.spec(), network.metadata()));
    assert_eq!(back.mean().unwrap().to_vec::<f32>(), network.mean().unwrap().to_vec::<f32>());
    for ((got, _), (wanted, step)) in parts(&back).iter().zip(parts(&network)) {
        if let Some(step) = step {
            let off: f32 = got.iter().zip(&wanted).map(|(got, wanted)| got - wanted).sum();
            assert!(off.abs() <= step * 0.51, "{off} {step}");
        }
        for (got, wanted) in got.iter().zip(wanted) {
            match step {
                Some(step) => assert!((got - wanted).abs() <= step * 1.0001, "{got} {wanted}"),
                None => assert_eq!(*got, f16::from_f32(wanted).to_f32()),
            }
        }
    }
    // What was rounded once is rounded to the same integers.
    let again = folder.path().join("again.safetensors");
    write(&again, &back, &in_int8()).unwrap();
    let integers = |path| {
        let file = TensorFile::open(path).unwrap();
        file.stored("layers.3.weight", &device).unwrap().to_vec::<i8>().unwrap()
    };
    assert_eq!(integers(&again), integers(&path));
    let seen = inspect(&path).unwrap();
    assert_eq!((seen.format, seen.dtype()), (Format::Safetensors, Some(DType::I8)));
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.dtype("layers.0.weight"), Some(DType::I8));
    assert_eq!(file.shape("layers.0.weight.scale"), Some(&[8][..]));
    let half = read_with(&path, &device, &ReadOptions::default().dtype(DType::F16)).unwrap();
    assert!(half.parameters().iter().all(|parameter| parameter.dtype() == DType::F16));
}

/// A channel of zeros has the scale 0, and stays one.
#[test]
fn zeros_stay_zeros_and_what_is_not_finite_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let device = reference();
    let spec = NetworkSpec::new([4, 4, 1]).full_connect(2);
    let network = |first: f32| {
        let mut weights = vec![0.0f32; 32];
        weights[0] = first;
        let weight = Tensor::from_vec(weights, [2, 16], &device).unwrap();
        let bias = Tensor::zeros([2], &device).unwrap();
        Network::of(spec.clone(), vec![weight, bias], vec![], &device).unwrap()
    };
    write(&path, &network(-3.0), &in_int8()).unwrap();
    let back = read(&path, &device).unwrap().parameters()[0].to_vec::<f32>().unwrap();
    assert_eq!(back[0], -3.0);
    assert!(back[1..].iter().all(|weight| *weight == 0.0));
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let other = folder.path().join("bad.safetensors");
        let text = chain(&write(&other, &network(bad), &in_int8()).unwrap_err());
        assert!(text.contains("layers.0.weight") && text.contains("finite weights"), "{text}");
        assert!(!other.exists());
    }
}

#[test]
fn an_even_mean_image_is_one_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let device = reference();
    let spec = NetworkSpec::new([4, 4, 3]).with_image([6, 5]).full_connect(2);
    let mean = [1.0f32, 2.0, 3.0].repeat(30);
    let mean = Tensor::from_vec(mean, [6, 5, 3], &device).unwrap();
    let network = spec.build(&device, Seed(1)).unwrap().with_mean(mean.clone()).unwrap();
    write(&path, &network, &in_int8()).unwrap();
    assert_eq!(TensorFile::open(&path).unwrap().shape("mean"), Some(&[1, 1, 3][..]));
    let back = read(&path, &device).unwrap();
    assert_eq!(back.mean().unwrap().to_vec::<f32>().unwrap(), mean.to_vec::<f32>().unwrap());
}

#[test]
fn batch_norms_fold_into_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let device = reference();
    let spec = NetworkSpec::new([6, 6, 3])
        .named("conv", |x| x.conv(conv2d(4, 3).without_bias()))
        .named("bn", NetworkSpec::batch_norm)
        .relu()
        .named("fc", |x| x.full_connect(3));
    let network = spec.build(&device, Seed(5)).unwrap();
    write(path("in.safetensors"), &network, &WriteOptions::default()).unwrap();
    let options = in_int8().fold_batch_norms(true);
    let file = ModelFile::open(path("in.safetensors")).unwrap();
    file.convert(path("out.safetensors"), &device, &options).unwrap();
    let file = TensorFile::open(path("out.safetensors")).unwrap();
    let names: Vec<&str> = file.names().collect();
    assert!(names.contains(&"conv.bias") && !names.iter().any(|name| name.contains("bn")));
    let x = Tensor::full([1, 6, 6, 3], 0.5, DType::F32, &device).unwrap();
    let run = |name: &str| {
        let network = read(path(name), &device).unwrap();
        network.forward(&x).unwrap().to_vec::<f32>().unwrap()
    };
    let (got, wanted) = (run("out.safetensors"), run("in.safetensors"));
    let scale = wanted.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 0.03 * scale));
    assert_ne!(got, wanted);
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let device = reference();
    write(&path, &small(&device), &in_int8()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let metadata: BTreeMap<String, String> = file.metadata().clone();
    let tensors: Vec<(String, Tensor)> =
        file.names().map(|name| (name.to_owned(), file.stored(name, &device).unwrap())).collect();
    let with = |change: &dyn Fn(&str, &Tensor) -> Option<Tensor>| {
        let changed: Vec<(String, Tensor)> = tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.clone(), change(name, tensor)?)))
            .collect();
        let refs: Vec<(&str, &Tensor)> = changed.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let other = folder.path().join("other.safetensors");
        write_tensors(&other, &refs, &metadata).unwrap();
        let inspected = chain(&inspect(&other).unwrap_err());
        let text = chain(&read(&other, &device).unwrap_err());
        assert_eq!(inspected, text);
        text
    };
    let scale = "layers.0.weight.scale";
    let text = with(&|name, tensor| (name != scale).then(|| tensor.clone()));
    assert!(text.contains(scale) && text.contains("got none"), "{text}");
    let text = with(&|name, tensor| match name == scale {
        true => Some(Tensor::zeros([7], &device).unwrap()),
        false => Some(tensor.clone()),
    });
    assert!(text.contains(scale) && text.contains("[8]") && text.contains("[7]"), "{text}");
    let text = with(&|name, tensor| match name == "layers.0.weight" {
        true => Some(tensor.reshape([8 * 27]).unwrap()),
        false => Some(tensor.clone()),
    });
    assert!(text.contains("layers.0.weight") && text.contains("[8, 3, 3, 3]"), "{text}");
    // ccv's form has no place for them.
    let text = chain(
        &ccv::write(folder.path().join("x.sqlite3"), &small(&device), &in_int8()).unwrap_err(),
    );
    assert!(text.contains("f32 or f16"), "{text}");
}
