//! ONNX models.

use std::sync::OnceLock;

use striate_importers::ReadOptions;
use striate_importers::onnx::{Extent, Model, RunOptions};
use striate_tensor::{DType, Device, Reference, Tensor};

use super::printed;

/// Where extents are open, so many; fixed ones above are not run.
const USUAL: usize = 3;

/// Elements of an input, and bytes of activations: more is only compiled.
const MAX_ELEMENTS: usize = 1 << 14;
const MAX_BYTES: u64 = 16 << 20;

/// An ONNX model: read, made a network where it is one, run on zeros where its inputs are small. What it
/// gives the second time, from its compiled form, is what it gave the first time.
pub fn onnx(bytes: &[u8]) {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(|| Device::new(Reference::new()));
    let model = match Model::from_reader(bytes, "input.onnx") {
        Ok(model) => model,
        Err(error) => return printed(&error),
    };
    if let Err(error) = model.to_network(device, &ReadOptions::default()) {
        printed(&error);
    }
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let extents = port.extents.as_deref().unwrap_or(&[]);
        let dims: Vec<usize> = extents
            .iter()
            .map(|extent| match extent {
                Extent::Fixed(extent) => *extent,
                Extent::Open(_) => USUAL,
            })
            .collect();
        let count = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
        if count.is_none_or(|count| count > MAX_ELEMENTS) {
            return;
        }
        let dtype = DType::ALL.iter().find(|dtype| dtype.name() == port.element);
        let zeros = Tensor::zeros(&dims[..], device);
        let Ok(tensor) = zeros.and_then(|x| x.cast(dtype.copied().unwrap_or(DType::F32))) else {
            return;
        };
        inputs.push((port.name.clone(), tensor));
    }
    let inputs: Vec<(&str, Tensor)> =
        inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect();
    let options = RunOptions::new().memory_limit(MAX_BYTES);
    let run = || model.run_with(&inputs, device, &options);
    match (run(), run()) {
        (Ok(first), Ok(second)) => {
            for ((name, first), (_, second)) in first.iter().zip(&second) {
                let bytes = |tensor: &Tensor| tensor.to_host().unwrap().values().bytes().to_vec();
                assert_eq!(bytes(first), bytes(second), "{name}");
            }
        }
        (Err(error), Err(_)) => printed(&error),
        (first, _) => panic!("once {first:?}, once not"),
    }
}
