//! `.npy` files: arrays of numbers in numpy's format, read as and written from `f32` ([`read`]), or tensors
//! of any element type ([`read_tensor`]).

mod header;
mod tensor;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::f16;
use striate_tensor::DType;

use crate::output::write_whole;
use crate::{Error, FloatImage, Result};
use header::{Accepts, Element, Header, descr};
pub use tensor::{parse_tensor, read_tensor, read_tensor_from, tensor_bytes, write_tensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header accepted, in bytes. Those of plain arrays have about a hundred.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// The most bytes of values that [`read`] takes: 16 GiB.
pub const MAX_BYTES: u64 = 16 << 30;

/// An array as stored in a `.npy` file: values in C order (the last axis fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The length of each axis; no axis for a single number.
    pub shape: Vec<usize>,
    /// The values; as many as the axes multiply to.
    pub values: Vec<f32>,
}

impl Array {
    /// The array as a picture, when it has the axes `[rows, cols, channels]`, or `[rows, cols]` for
    /// one channel.
    ///
    /// # Errors
    /// [`Error::Npy`] for another number of axes, [`Error::NoPixels`] or [`Error::Channels`] for an
    /// axis of length 0.
    pub fn into_picture(self) -> Result<FloatImage> {
        match self.shape[..] {
            [rows, cols] => FloatImage::new(rows, cols, 1, self.values),
            [rows, cols, channels] => FloatImage::new(rows, cols, channels, self.values),
            _ => Err(Error::Npy {
                name: "array".to_owned(),
                place: "shape",
                detail: format!(
                    "a picture has the axes [rows, cols, channels], but this has {:?}",
                    self.shape
                ),
            }),
        }
    }
}

impl From<&FloatImage> for Array {
    fn from(image: &FloatImage) -> Self {
        Self { shape: image.shape().to_vec(), values: image.values().to_vec() }
    }
}

/// Reads a `.npy` file of `float16`, `float32` or `float64` of either byte order, or of `uint8`, as
/// `f32`; of at most [`MAX_BYTES`] of values. An array in Fortran order is put into C order.
///
/// # Errors
/// As [`read_from`], and [`Error::Directory`] when it is a folder.
pub fn read(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    read_from(open(path)?, path, MAX_BYTES)
}

fn open(path: &Path) -> Result<File> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    if file.metadata().map_err(read_error)?.is_dir() {
        let expected = "expected a .npy file";
        return Err(Error::Directory { path: path.to_owned(), expected });
    }
    Ok(file)
}

/// Reads a `.npy` file of at most `limit` bytes of values from anything. `path` is what messages
/// call it. No more is read than the header asks for, and a byte to see that nothing follows;
/// memory is taken as the bytes come.
///
/// # Errors
/// [`Error::Read`] when reading fails. [`Error::Npy`] when it is no such file, when it holds fewer
/// or more bytes than the shape says, elements that are not read, or a number beyond `f32`, and when
/// it asks for more than the limit.
pub fn read_from(reader: impl Read, path: &Path, limit: u64) -> Result<Array> {
    let Raw { header, count, data } = read_raw(reader, path, limit, Accepts::Floats)?;
    let values = numbers(&data, header.element, count).map_err(|(index, value)| {
        let detail = format!("value {index} is {value:e}, more than float32 can hold");
        Error::Npy { name: path.display().to_string(), place: "values", detail }
    })?;
    let values = match header.fortran_order {
        true => in_c_order(&values, &header.shape),
        false => values,
    };
    Ok(Array { shape: header.shape, values })
}

/// A file as it stands.
struct Raw {
    header: Header,
    /// How many elements there are.
    count: usize,
    /// Their bytes, as many as the header says.
    data: Vec<u8>,
}

fn read_raw(mut reader: impl Read, path: &Path, limit: u64, accepts: Accepts) -> Result<Raw> {
    let name = path.display().to_string();
    let fail = |place, detail: String| Error::Npy { name: name.clone(), place, detail };
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut read = |bytes: u64| {
        let mut buffer = Vec::new();
        let read = reader.by_ref().take(bytes).read_to_end(&mut buffer);
        read.map(|_| buffer).map_err(read_error)
    };
    let start = read(MAGIC.len() as u64 + 2)?;
    let Some(version) = start.strip_prefix(MAGIC) else {
        return Err(fail("first bytes", "not a .npy file (no \\x93NUMPY)".to_owned()));
    };
    let short = || fail("header", "the file ends within it".to_owned());
    let length_bytes = match *version {
        [1, _] => 2,
        [2 | 3, _] => 4,
        [version, _] => {
            return Err(fail("header", format!("version {version}, expected 1, 2 or 3")));
        }
        _ => return Err(short()),
    };
    let length = match read(length_bytes)?[..] {
        [a, b] => usize::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => return Err(short()),
    };
    if length > MAX_HEADER_BYTES {
        return Err(fail("header", format!("{length} bytes, at most {MAX_HEADER_BYTES} are read")));
    }
    let header = read(length as u64)?;
    if header.len() < length {
        return Err(short());
    }
    // Latin-1 in versions 1 and 2; what is read of it is ASCII.
    let header =
        std::str::from_utf8(&header).map_err(|_| fail("header", "not plain text".to_owned()))?;
    let header = Header::parse(header, accepts).map_err(|detail| fail("header", detail))?;

    let count = count(&header.shape);
    let length = count.and_then(|count| count.checked_mul(header.element.dtype.size_bytes()));
    let (Some(count), Some(length)) = (count, length) else {
        return Err(fail("shape", format!("{:?} is too large", header.shape)));
    };
    if length as u64 > limit {
        return Err(fail(
            "shape",
            format!("{:?} takes {length} bytes, more than the limit of {limit}", header.shape),
        ));
    }
    let data = read((length as u64).saturating_add(1))?;
    if data.len() != length {
        let found = match data.len() > length {
            true => "more".to_owned(),
            false => format!("only {}", data.len()),
        };
        return Err(fail(
            "values",
            format!("the shape {:?} takes {length} bytes, but {found} follow", header.shape),
        ));
    }
    Ok(Raw { header, count, data })
}

/// The numbers as `f32`, or the index and value of the first one that is finite and beyond it.
fn numbers(
    data: &[u8],
    element: Element,
    count: usize,
) -> std::result::Result<Vec<f32>, (usize, f64)> {
    fn all<const N: usize>(data: &[u8], big: bool, number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let little = |&(mut bytes): &[u8; N]| {
            if big {
                bytes.reverse();
            }
            number(bytes)
        };
        data.as_chunks::<N>().0.iter().map(little).collect()
    }
    let big = element.big_endian;
    Ok(match element.dtype {
        DType::F16 => all(data, big, |b| f16::from_le_bytes(b).to_f32()),
        DType::F32 => all(data, big, f32::from_le_bytes),
        DType::F64 => {
            let mut values = Vec::with_capacity(count);
            for (index, &chunk) in data.as_chunks::<8>().0.iter().enumerate() {
                let wide = if big { f64::from_be_bytes(chunk) } else { f64::from_le_bytes(chunk) };
                if wide.is_finite() && !(wide as f32).is_finite() {
                    return Err((index, wide));
                }
                values.push(wide as f32);
            }
            values
        }
        // Bytes; others are not accepted.
        _ => data.iter().map(|&v| f32::from(v)).collect(),
    })
}

/// Values whose first axis is the fastest, put so that the last one is.
fn in_c_order<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    // The step in memory of each axis.
    let mut steps = Vec::with_capacity(shape.len());
    let mut step = 1;
    for &axis in shape {
        steps.push(step);
        step *= axis;
    }
    let mut place = vec![0; shape.len()];
    let mut at = 0;
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        ordered.push(values[at]);
        for axis in (0..shape.len()).rev() {
            place[axis] += 1;
            at += steps[axis];
            if place[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis];
            place[axis] = 0;
        }
    }
    ordered
}

/// Writes a `.npy` file of little-endian `float32`, C order, whole or not at all.
///
/// # Errors
/// [`Error::Npy`] when the values are not as many as the shape says, and what
/// [`crate::output::write_whole`] reports.
pub fn write(path: impl AsRef<Path>, array: &Array) -> Result<()> {
    let path = path.as_ref();
    let expected = count(&array.shape);
    if expected != Some(array.values.len()) {
        return Err(Error::Npy {
            name: path.display().to_string(),
            place: "values",
            detail: format!(
                "an array of shape {:?} cannot have {} values",
                array.shape,
                array.values.len()
            ),
        });
    }
    write_whole(path, &serialise(array))
}

/// The bytes of a `.npy` file, as [`write()`] writes it.
///
/// # Errors
/// [`Error::Npy`] when the values are not as many as the shape says.
pub fn bytes(array: &Array) -> Result<Vec<u8>> {
    if count(&array.shape) != Some(array.values.len()) {
        let (shape, values) = (&array.shape, array.values.len());
        let detail = format!("an array of shape {shape:?} cannot have {values} values");
        return Err(Error::Npy { name: "array".to_owned(), place: "values", detail });
    }
    Ok(serialise(array))
}

/// The bytes of a `.npy` file.
fn serialise(array: &Array) -> Vec<u8> {
    let mut bytes = start("<f4", &array.shape, array.values.len() * 4);
    for value in &array.values {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// The bytes of a `.npy` file before its values, with room for `more`: version 1.0 (2.0 where the header is
/// too long for it).
fn start(descr: &str, shape: &[usize], more: usize) -> Vec<u8> {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    // A tuple of one has a comma, others may have.
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}), }}");
    let before = if header.len() + 64 < usize::from(u16::MAX) { 10 } else { 12 };
    // Padded with spaces and ended by a new line, so that the values are aligned to 64 bytes.
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    header.push_str(&" ".repeat(length - header.len() - 1));
    header.push('\n');

    let mut bytes = Vec::with_capacity(before + length + more);
    bytes.extend(MAGIC);
    if before == 10 {
        bytes.extend([1, 0]);
        bytes.extend((length as u16).to_le_bytes());
    } else {
        bytes.extend([2, 0]);
        bytes.extend((length as u32).to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes
}

/// Understands the bytes of a `.npy` file. `name` is what messages call it.
///
/// # Errors
/// As [`read_from`].
pub fn parse(bytes: &[u8], name: &str) -> Result<Array> {
    read_from(bytes, Path::new(name), u64::MAX)
}

/// The product of the axes, 1 for none.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis))
}

#[cfg(test)]
mod tests;
