//! Networks with a user's own ops as layers, in files: read with a registry, and refused without one.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;
#[path = "common/ops.rs"]
mod ops;

use std::path::PathBuf;

use common::{chain, reference, values};
use ops::{Softsign, registry};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_importers::onnx::{ExportOptions, export};
use striate_importers::safetensors::{Training, read_training_with, write_training};
use striate_importers::{ModelFile, ReadOptions, WriteOptions, ccv, inspect, read, write};
use striate_nn::{
    Context, CustomSpec, LayerSpec, Network, NetworkSpec, Rates, Seed, Sgd, conv2d,
    parameter_gradients, require_grad,
};
use striate_ops_cpu::Cpu;
use striate_tensor::ops::{CustomOp, CustomOps};
use striate_tensor::{DType, Device, HostTensor, RandomKey, Result, Tensor, TensorType, no_grad};

/// A residual block that ends in an op which sees both of its paths.
fn spec() -> NetworkSpec {
    NetworkSpec::new([6, 6, 3])
        .conv(conv2d(4, 3).padding(1))
        .batch_norm()
        .custom(Softsign { scale: 2.0 })
        .residual(|x| x.conv(conv2d(4, 3).padding(1)).batch_norm())
        .branches(|b| b.path(|x| x.conv(conv2d(4, 1))).path(|x| x).custom(Softsign { scale: 0.5 }))
        .global_avg_pool()
        .full_connect(3)
}

fn cpu() -> Device {
    Device::new(Cpu::new(Some(2)).unwrap())
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Some steps of gradient descent; the losses.
fn train(network: &mut Network, steps: u64) -> Vec<f32> {
    let device = network.device().clone();
    let x = Tensor::uniform([9, 6, 6, 3], -1.0, 1.0, RandomKey::new(3, 1), &device).unwrap();
    let labels = Tensor::from_vec((0..9u32).map(|i| i % 3).collect(), [9], &device).unwrap();
    let mut sgd = Sgd::new();
    let mut losses = Vec::new();
    for step in 0..steps {
        require_grad(network);
        let cx = Context::training(RandomKey::new(5, step));
        let y = network.forward_with(&x, &cx).unwrap();
        let loss = striate_nn::loss::cross_entropy(&y, &labels).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        let gradients = parameter_gradients(network, loss.backward().unwrap());
        let rates = Rates { rate: 0.2, momentum: 0.0, decay: 0.0 };
        sgd.step(network, &gradients, |_| rates.step(1.0)).unwrap();
    }
    losses
}

struct Saved {
    _folder: tempfile::TempDir,
    path: PathBuf,
    network: Network,
}

/// A trained network in a file.
fn saved(device: &Device) -> Saved {
    let mut network = spec().build(device, Seed(7)).unwrap();
    let losses = train(&mut network, 30);
    assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    write(&path, &network, &WriteOptions::default()).unwrap();
    Saved { _folder: folder, path, network }
}

#[test]
fn a_trained_network_comes_back_with_the_registry_to_the_bit() {
    let device = cpu();
    let Saved { path, network, .. } = &saved(&device);
    let x = Tensor::uniform([2, 6, 6, 3], -1.0, 1.0, RandomKey::new(3, 2), &device).unwrap();
    for ops in [registry(), spec().custom_ops()] {
        let options = ReadOptions::default().custom_ops(ops.clone());
        let file = ModelFile::open(path).unwrap();
        let mut back = file.read(&device, &options).unwrap();
        assert_eq!((back.spec(), back.spec().missing_op()), (network.spec(), None));
        assert_eq!(values(&back), values(network));
        let [own, other] =
            [network, &back].map(|network| no_grad(|| bits(&network.forward(&x).unwrap())));
        assert_eq!(own, other);
        assert_eq!(train(&mut back, 2), train(&mut network.clone(), 2));
        let same = file.with_custom_ops(ops).read(&device, &ReadOptions::default()).unwrap();
        assert_eq!(values(&same), values(network));
    }
    // Activations of half precision, and the state of a training.
    let half = network.clone().with_precision(DType::F16).unwrap().forward(&x).unwrap();
    let whole = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 0.02 * a.abs().max(1.0);
    assert!(whole.iter().zip(&half.to_vec::<f32>().unwrap()).all(near), "{whole:?} {half:?}");
    let training = Training { texts: [("a".into(), "b".into())].into(), ..Training::default() };
    write_training(path, network, &training).unwrap();
    let options = ReadOptions::default().custom_ops(registry());
    let (back, state) = read_training_with(path, &device, &options).unwrap();
    assert_eq!((values(&back), state.unwrap().texts), (values(network), training.texts));
}

#[test]
fn without_the_registry_a_file_names_its_ops_and_shows_its_layers() {
    let device = reference();
    let Saved { path, network, .. } = &saved(&cpu());
    let refused = |ops: CustomOps| {
        let options = ReadOptions::default().custom_ops(ops);
        let text = chain(&read(path, &device, &options).unwrap_err());
        text.replace(&path.display().to_string(), "m")
    };
    assert_eq!(
        refused(CustomOps::new()),
        "m: the network is not possible: layer 2 (custom): expected the custom op `softsign`, version \
         1, from a registry (NetworkSpec::with_custom_ops, or ReadOptions::custom_ops where a file is \
         read), got none"
    );
    let other = CustomOps::new().with_op(Bytes { parameters: vec![], version: 1 });
    assert_eq!(
        refused(other),
        "m: the network is not possible: layer 2 (custom): custom op `softsign`, version 1: the name is \
         not registered; the registry has `bytes` 1"
    );
    let [known, unknown] = [
        ModelFile::open(path).unwrap().with_custom_ops(registry()).inspect().unwrap(),
        inspect(path).unwrap(),
    ];
    assert_eq!((known.spec.missing_op(), unknown.spec.missing_op()), (None, Some(2)));
    assert_eq!(known.layers, unknown.layers);
    assert_eq!(unknown.parameters() as u64, network.spec().summary().unwrap().parameters);
    assert_eq!(&unknown.spec, network.spec());
    // What a file's parameters are is the constructor's to judge.
    let short = CustomOps::new().with_constructor("softsign", 1, |bytes| match bytes {
        [] => Ok(Softsign { scale: 0.0 }),
        _ => Err(striate_tensor::Error::parameter("softsign", "parameters", "none", bytes.len())),
    });
    let text = refused(short);
    assert!(text.ends_with("layer 2 (custom): softsign: parameters must be none, got 4"), "{text}");
}

#[test]
fn other_forms_refuse_the_op_by_name() {
    let network = spec().build(&reference(), Seed(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.sqlite3");
    let text = chain(&ccv::write(&path, &network, &WriteOptions::default()).unwrap_err());
    assert!(text.contains("ccv"), "{text}");
    let chained = NetworkSpec::new([6, 6, 3])
        .conv(conv2d(4, 3).relu())
        .custom(Softsign { scale: 1.0 })
        .full_connect(3);
    let network = chained.build(&reference(), Seed(1)).unwrap();
    let text = chain(&ccv::write(&path, &network, &WriteOptions::default()).unwrap_err());
    assert!(text.contains("layer 1 (custom)"), "{text}");
    let path = folder.path().join("m.onnx");
    let text = chain(&export(&path, &network, &ExportOptions::new()).unwrap_err());
    assert!(text.contains("node `1` (softsign): it has no form in ONNX"), "{text}");
    assert!(!path.exists());
}

/// An op of any parameters.
#[derive(Debug)]
struct Bytes {
    parameters: Vec<u8>,
    version: u32,
}

impl CustomOp for Bytes {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn parameters(&self) -> Vec<u8> {
        self.parameters.clone()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        Ok(inputs[0].clone())
    }
}

#[test]
fn more_parameters_than_a_file_holds_are_refused_when_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let bytes = |parameters| Bytes { parameters: vec![1; parameters], version: 1 };
    let spec = NetworkSpec::new([2, 2, 1]).custom(bytes((1 << 20) + 1)).full_connect(2);
    let text = spec.build(&reference(), Seed(1)).unwrap_err().to_string();
    assert!(text.contains("layer 0 (custom): expected at most 1048576 bytes"), "{text}");
    let spec = NetworkSpec::new([2, 2, 1]).custom(bytes(1 << 20)).custom(bytes(1 << 20));
    let network = spec.full_connect(2).build(&reference(), Seed(1)).unwrap();
    let text = write(&path, &network, &WriteOptions::default()).unwrap_err().to_string();
    assert!(text.contains("a specification of at most 4000000 bytes"), "{text}");
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn json_keeps_version_and_parameters(
        parameters in prop::collection::vec(any::<u8>(), 0..200),
        version in any::<u32>(),
    ) {
        let op = || Bytes { parameters: parameters.clone(), version };
        let spec = NetworkSpec::new([4, 4, 1]).custom(op()).full_connect(2);
        let read = NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap();
        prop_assert_eq!(&read, &spec);
        let LayerSpec::Custom(custom) = &read.nodes[0].layer else { panic!("another layer") };
        prop_assert_eq!((custom.version(), custom.parameters()), (version, &parameters[..]));
        let ops = CustomOps::new().with_constructor("bytes", version, move |bytes| {
            Ok(Bytes { parameters: bytes.to_vec(), version })
        });
        let made = read.with_custom_ops(&ops).unwrap();
        prop_assert_eq!(made.shapes().unwrap(), spec.shapes().unwrap());
        prop_assert_eq!(made.nodes[0].layer.clone(), LayerSpec::Custom(CustomSpec::from(op())));
    }

    #[test]
    fn any_text_of_parameters_is_read_or_refused(text in "[0-9a-fA-F]{0,9}|.{0,9}") {
        let layer = serde_json::json!({
            "kind": "custom", "op": "softsign", "version": 1, "parameters": text,
        });
        let json = serde_json::json!({ "input": [4, 4, 1], "layers": [layer] }).to_string();
        if let Ok(spec) = NetworkSpec::from_json(&json) {
            let is_made = spec.with_custom_ops(&registry()).is_ok();
            prop_assert_eq!(is_made, text.len() == 8);
        }
    }
}
