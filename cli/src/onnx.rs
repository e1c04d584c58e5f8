//! What commands share that run ONNX models as they are.

use std::collections::BTreeMap;

use striate::importers::onnx::{Extent, Model, Port};
use striate::tensor::{DType, Device, HostTensor, RandomKey, Shape, Tensor, TensorType};

use crate::error::{Error, Result};
use crate::output::{self, Table};

/// Rows and cols where a file leaves them open.
const USUAL: usize = 224;

/// The stream of random numbers for inputs.
const STREAM: u64 = 1 << 33;

/// An input of random numbers from 0 to 1 for each that the model takes (integers are 0). What the file
/// leaves open is `batch` on the first axis, and 224 on others.
pub(crate) fn inputs(
    model: &Model,
    batch: usize,
    seed: u64,
    device: &Device,
) -> Result<Vec<(String, Tensor)>> {
    let mut inputs = Vec::with_capacity(model.inputs().len());
    for (place, port) in model.inputs().iter().enumerate() {
        let Some(extents) = &port.extents else {
            let (file, name) = (model.name(), &port.name);
            return Err(Error::message(format!(
                "{file}: the shape of input `{name}` is not known"
            )));
        };
        let dims: Vec<usize> = extents
            .iter()
            .enumerate()
            .map(|(axis, extent)| match extent {
                Extent::Fixed(extent) => *extent,
                Extent::Open(_) if axis == 0 => batch,
                Extent::Open(_) => USUAL,
            })
            .collect();
        let key = RandomKey::new(seed, STREAM + place as u64);
        let dtype = DType::ALL.iter().find(|dtype| dtype.name() == port.element);
        let tensor = match dtype {
            Some(DType::F32) | None => Tensor::uniform(&dims[..], 0.0, 1.0, key, device)?,
            Some(dtype) => {
                let ty = TensorType::new(Shape::new(&dims)?, *dtype);
                Tensor::from_host(HostTensor::zeros(&ty), device)?
            }
        };
        inputs.push((port.name.clone(), tensor));
    }
    Ok(inputs)
}

/// Inputs or outputs by name, for JSON.
pub(crate) fn by_name(ports: &[Port]) -> BTreeMap<&str, String> {
    ports.iter().map(|port| (&*port.name, port.to_string())).collect()
}

/// What a model takes and gives, for people.
pub(crate) fn table(model: &Model) -> Table {
    let mut rows = output::table(&["", "name", "type"], &[]);
    for (kind, ports) in [("input", model.inputs()), ("output", model.outputs())] {
        for port in ports {
            rows.add_row([kind, &*port.name, &*port.to_string()]);
        }
    }
    rows
}

/// Inputs as a run takes them.
pub(crate) fn borrowed(inputs: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect()
}
