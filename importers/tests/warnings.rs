//! What is worth a warning: weights that are not finite, and what a format loses.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::path::Path;
use std::sync::Mutex;

use common::{reference, small};
use log::{LevelFilter, Log, Metadata, Record};
use striate_importers::{ReadOptions, WriteOptions, ccv, pth, read, write};
use striate_nn::{LayerParameters, Network};
use striate_tensor::{DType, Tensor};

struct Collect(Mutex<Vec<String>>);

impl Log for Collect {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        if record.level() <= log::Level::Warn {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

static COLLECT: Collect = Collect(Mutex::new(Vec::new()));

fn taken() -> Vec<String> {
    std::mem::take(&mut *COLLECT.0.lock().unwrap())
}

/// What PyTorch's checkpoints hold beside the state dict that is read, and what they ask to be executed.
fn of_checkpoints() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch/pth");
    let path = fixtures.join("checkpoint.pth");
    pth::TensorFile::open(&path).unwrap();
    let expected = format!(
        "{}: it holds several state dicts: \"model\" (2 tensors) is read; others are at its top \
         (1 tensors), \"ema.module\" (2 tensors)",
        path.display()
    );
    assert_eq!(taken(), [expected]);
    // Who asks is not told.
    pth::TensorFile::open_key(&path, "ema.module").unwrap();
    assert!(taken().is_empty());
    pth::TensorFile::open(fixtures.join("harm.pth")).unwrap();
    let told = taken();
    assert!(told[0].contains("hook is left out: it is what posix.system (offset "), "{told:?}");
    assert!(told[1].contains("in Python executes posix.system (offset "), "{told:?}");
}

/// One test, because there is one logger.
#[test]
fn warnings_name_the_file_the_layer_and_the_count() {
    log::set_logger(&COLLECT).unwrap();
    log::set_max_level(LevelFilter::Warn);
    of_checkpoints();
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let good = small(&device);
    let mut parameters = good.layer_parameters();
    let last = parameters[6].as_ref().unwrap();
    let bias = Tensor::from_vec(vec![f32::NAN, f32::INFINITY, 70_000.0, 1.0], [4], &device);
    parameters[6] = Some(LayerParameters { weight: last.weight.clone(), bias: bias.unwrap() });
    let network = Network::new(good.spec().clone(), parameters, &device).unwrap();

    for (name, layer) in [
        ("x.sqlite3", "layer_data, layer 6, column bias"),
        ("x.safetensors", "tensor layers.6.bias"),
    ] {
        let path = folder.path().join(name);
        write(&path, &network, &WriteOptions::default()).unwrap();
        assert!(taken().iter().any(|w| w.contains("2 of 4 values are not finite")), "{name}");
        read(&path, &device, &ReadOptions::default()).unwrap();
        let file = path.display();
        let expected = format!("{file}: {layer}: 2 of 4 values are not finite (NaN or infinite)");
        assert_eq!(taken(), [expected]);
        // What only the conversion makes infinite is refused, or said to be so.
        let half = WriteOptions::default().dtype(DType::F16);
        write(&path, &network, &half).unwrap_err();
        taken();
        write(&path, &network, &half.allow_overflow(true)).unwrap();
        let warnings = taken();
        let overflow = "1 of 4 values is too large for f16, which ends at 65504: the first is 70000 \
                        at [2]; they became infinite";
        assert!(warnings.iter().any(|w| w.contains(overflow)), "{name} {warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("2 of 4 values are not finite")), "{name}");
    }

    // A good network in ccv's form keeps its labels: there is nothing to warn of.
    let path = folder.path().join("y.sqlite3");
    for strip in [false, true] {
        ccv::write(&path, &good, &WriteOptions::default().strip(strip)).unwrap();
        assert!(taken().iter().all(|w| !w.contains("labels")));
        assert_eq!(ccv::read(&path, &device).unwrap().metadata(), good.metadata());
        assert!(taken().is_empty());
    }
}
