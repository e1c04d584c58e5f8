//! One tensor in a safetensors file, by the library's own reader and writer.

use std::collections::BTreeMap;

use striate::importers::safetensors::{TensorFile, write_numbers_to};
use striate::tensor::{HostTensor, Shape};

use crate::error::{Error, Result};

/// The shape and the numbers of the tensor `name`, or of the only one; `file` stands for the file in
/// messages.
///
/// # Errors
/// Where there is none, or it is none of floats or bytes, or a number is too large for an f32.
pub(crate) fn read(tensors: &TensorFile, file: &str, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let names: Vec<&str> = tensors.names().collect();
    let name = match names[..] {
        _ if names.contains(&name) => name,
        [only] => only,
        _ => {
            return Err(Error::message(format!(
                "{file}: expected a tensor called `{name}`, or only one; it holds {}",
                names.len()
            )));
        }
    };
    let host = tensors.numbers(name)?;
    tensors.check_unchanged()?;
    let shape = host.shape().dims().to_vec();
    Ok((shape, host.into_values().into_vec().unwrap_or_default()))
}

/// The bytes of a file with one tensor.
///
/// # Errors
/// Where the shape has another number of elements.
pub(crate) fn bytes(file: &str, name: &str, shape: &[usize], values: Vec<f32>) -> Result<Vec<u8>> {
    let host = Shape::new(shape).and_then(|shape| HostTensor::new(shape, values))?;
    let mut bytes = Vec::new();
    write_numbers_to(&mut bytes, file, &[(name, &host)], &BTreeMap::new())?;
    Ok(bytes)
}
