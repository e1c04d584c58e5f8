//! Weights stored in 8 bits: integers of -127 to 127, and a scale for each output channel. They are
//! widened where they are read, and computed with as floats; with levels beside them, as integers where the
//! device can.

use striate_tensor::ops::{Levels, int8_weights};
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor, f16};

use super::file::TensorFile;
use crate::options::ReadOptions;
use crate::state_dict::StateDict;
use crate::values::{Counts, Narrowing, narrow};
use crate::{Error, Result};

/// The tensor that has the scales of a tensor's output channels, `[out]` f32.
pub(super) fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// The tensor that has what the input of a tensor's layer is rounded to, `[2]` f32: the scale, and the level
/// of 0.
pub(super) fn levels_name(name: &str) -> String {
    format!("{name}.levels")
}

/// A tensor of levels.
pub(super) fn levels_tensor(file: &str, name: &str, levels: &Levels) -> Result<HostTensor> {
    let failed = |e| Error::tensor(file, format!("tensor {}", levels_name(name)), e);
    let shape = Shape::new(&[2]).map_err(failed)?;
    HostTensor::new(shape, vec![levels.scale, f32::from(levels.zero)]).map_err(failed)
}

/// What the input of a tensor's layer is rounded to; nothing where the file does not say it.
pub(super) fn levels(file: &TensorFile, name: &str) -> Result<Option<Levels>> {
    let stored = levels_name(name);
    let Some(dims) = file.shape(&stored) else { return Ok(None) };
    let place = format!("tensor {stored}");
    let wrong =
        |expected: &str, got: String| Err(Error::content(file.file(), &*place, expected, got));
    if dims != [2] {
        let (expected, got) = (vec![2], dims.to_vec());
        return Err(Error::Shape { file: file.file().into(), place, expected, got });
    }
    if !is_stored(file, name) {
        let dtype = file.dtype(name).map_or("none", |dtype| dtype.name());
        return wrong("levels for weights of 8 bits", format!("weights of {dtype}"));
    }
    if file.dtype(&stored) != Some(DType::F32) {
        let dtype = file.dtype(&stored).map_or("another type", |dtype| dtype.name());
        return wrong("a scale and the level of 0, f32", dtype.into());
    }
    let numbers = file.numbers(&stored)?;
    let Some(&[scale, zero]) = numbers.values().as_slice::<f32>() else {
        return wrong("a scale and the level of 0, f32", "others".into());
    };
    let levels = Levels { scale, zero: zero as u8 };
    match f32::from(levels.zero) == zero && levels.check("levels").is_ok() {
        true => Ok(Some(levels)),
        false => wrong("a scale above 0 and a level of 0 to 255", format!("{scale} and {zero}")),
    }
}

/// Whether a tensor is stored so.
pub(super) fn is_stored(file: &TensorFile, name: &str) -> bool {
    file.dtype(name) == Some(DType::I8)
}

/// Refuses a tensor of another shape than its layer has, or without its scales.
pub(super) fn check(file: &TensorFile, name: &str, wanted: &Shape) -> Result<DType> {
    let shape = |name: &str, expected: &[usize]| match file.shape(name) {
        Some(dims) if dims == expected => Ok(()),
        Some(dims) => Err(Error::Shape {
            file: file.file().into(),
            place: format!("tensor {name}"),
            expected: expected.to_vec(),
            got: dims.to_vec(),
        }),
        None => {
            let expected = "the scales of a tensor of 8 bits, f32";
            Err(Error::content(file.file(), format!("tensor {name}"), expected, "none"))
        }
    };
    shape(name, wanted.dims())?;
    shape(&scale_name(name), &wanted.dims()[..1.min(wanted.dims().len())])?;
    Ok(DType::I8)
}

/// Reads a tensor whose shape was [checked](check): f32, or f16 where the options ask for it.
pub(super) fn load(
    file: &TensorFile,
    name: &str,
    shape: &Shape,
    device: &Device,
    options: &ReadOptions,
) -> Result<Tensor> {
    let place = format!("tensor {name}");
    let failed = |e| Error::tensor(file.file(), &*place, e);
    let wrong = || Error::content(file.file(), &*place, "integers of 8 bits", "others");
    let integers = file.host(name)?;
    let HostValues::I8(integers) = integers.values() else { return Err(wrong()) };
    let scales = file.numbers(&scale_name(name))?;
    let HostValues::F32(scales) = scales.values() else { return Err(wrong()) };

    let row = (integers.len() / scales.len().max(1)).max(1);
    let mut wide = Vec::with_capacity(integers.len());
    for (integers, scale) in integers.chunks(row).zip(scales) {
        wide.extend(integers.iter().map(|&integer| f32::from(integer) * scale));
    }
    let dtype = options.dtype.unwrap_or(DType::F32);
    let (values, counts) = match dtype {
        DType::F16 => {
            let mut half = vec![f16::ZERO; wide.len()];
            narrow(&wide, Narrowing::Nearest, &mut half);
            let is_finite = |i: usize| half[i].is_finite();
            let counts = Counts::of(wide.len(), is_finite, |i| f64::from(wide[i]));
            (HostValues::F16(half), counts)
        }
        _ => {
            let counts = Counts::of(wide.len(), |i| wide[i].is_finite(), |i| f64::from(wide[i]));
            (HostValues::F32(wide), counts)
        }
    };
    file.report(name, dtype, options, counts)?;
    HostTensor::new(*shape, values).and_then(|host| Tensor::from_host(host, device)).map_err(failed)
}

/// A tensor of weights `[out, …]` as integers, and the scales of its output channels.
pub(super) fn quantize(file: &str, name: &str, tensor: &Tensor) -> Result<[HostTensor; 2]> {
    let place = format!("tensor {name}");
    let failed = |e| Error::tensor(file, &*place, e);
    let shape = *tensor.shape();
    let host = tensor.cast(DType::F32).and_then(|tensor| tensor.to_host()).map_err(failed)?;
    let HostValues::F32(values) = host.values() else {
        return Err(Error::content(file, place, "weights of floats", "others"));
    };
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        let expected = "finite weights, which alone 8 bits can hold";
        return Err(Error::content(file, place, expected, value.to_string()));
    }
    let outputs = shape.dims().first().copied().unwrap_or(1);
    let (integers, scales) = int8_weights(values, outputs);
    let scales = HostTensor::new(Shape::new(&[scales.len()]).map_err(failed)?, scales);
    let integers = HostTensor::new(shape, HostValues::I8(integers));
    Ok([integers.map_err(failed)?, scales.map_err(failed)?])
}
