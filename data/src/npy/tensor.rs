//! Tensors of any element type as `.npy` files.

use std::io::Read;
use std::path::Path;

use striate_tensor::{HostTensor, HostValues, Shape};

use super::{Accepts, MAX_BYTES, Raw, descr, in_c_order, open, read_raw, start};
use crate::output::write_whole;
use crate::{Error, Result};

/// Reads a `.npy` file as a tensor of the element type that it has: `float16`, `float32`, `float64`, `int8`,
/// `int32`, `int64`, `uint8`, `uint32` or `bool`, of either byte order; of at most [`MAX_BYTES`] of values.
/// An array in Fortran order is put into C order.
///
/// ```
/// use striate_data::npy;
/// use striate_tensor::{HostTensor, Shape};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.npy");
/// let x = HostTensor::new(Shape::new(&[3])?, vec![1i64, -2, 3])?;
/// npy::write_tensor(&path, &x)?;
/// assert_eq!(npy::read_tensor(&path)?, x);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`read_tensor_from`], and [`Error::Directory`] when it is a folder.
pub fn read_tensor(path: impl AsRef<Path>) -> Result<HostTensor> {
    let path = path.as_ref();
    read_tensor_from(open(path)?, path, MAX_BYTES)
}

/// Reads a tensor of at most `limit` bytes of values from anything, as [`read_from`](super::read_from) does.
///
/// # Errors
/// [`Error::Read`] when reading fails. [`Error::Npy`] when it is no such file, when it holds fewer or more
/// bytes than the shape says, elements that are not read, more axes than tensors have, or a truth value that
/// is neither 0 nor 1, and when it asks for more than the limit.
pub fn read_tensor_from(reader: impl Read, path: &Path, limit: u64) -> Result<HostTensor> {
    let Raw { header, data, .. } = read_raw(reader, path, limit, Accepts::All)?;
    let fail = |place, detail: striate_tensor::Error| {
        let detail = detail.to_string();
        Error::Npy { name: path.display().to_string(), place, detail }
    };
    let dtype = header.element.dtype;
    let mut data = match (header.fortran_order, dtype.size_bytes()) {
        (false, _) => data,
        (true, 1) => in_c_order(&data, &header.shape),
        (true, 2) => in_c_order(data.as_chunks::<2>().0, &header.shape).concat(),
        (true, 4) => in_c_order(data.as_chunks::<4>().0, &header.shape).concat(),
        (true, _) => in_c_order(data.as_chunks::<8>().0, &header.shape).concat(),
    };
    if header.element.big_endian != cfg!(target_endian = "big") {
        data.chunks_exact_mut(dtype.size_bytes()).for_each(<[u8]>::reverse);
    }
    let shape = Shape::new(&header.shape).map_err(|error| fail("shape", error))?;
    let mut values = HostValues::zeros(dtype, shape.count());
    values.bytes_mut().copy_from_slice(&data);
    HostTensor::new(shape, values).map_err(|error| fail("values", error))
}

/// Understands the bytes of a `.npy` file as a tensor. `name` is what messages call it.
///
/// # Errors
/// As [`read_tensor_from`].
pub fn parse_tensor(bytes: &[u8], name: &str) -> Result<HostTensor> {
    read_tensor_from(bytes, Path::new(name), u64::MAX)
}

/// Writes a tensor as a `.npy` file of its element type, in C order, whole or not at all.
///
/// # Errors
/// What [`crate::output::write_whole`] reports.
pub fn write_tensor(path: impl AsRef<Path>, tensor: &HostTensor) -> Result<()> {
    write_whole(path.as_ref(), &tensor_bytes(tensor))
}

/// The bytes of a `.npy` file, as [`write_tensor`] writes it.
pub fn tensor_bytes(tensor: &HostTensor) -> Vec<u8> {
    let values = tensor.values().bytes();
    let mut bytes = start(&descr(tensor.ty().dtype), tensor.shape().dims(), values.len());
    bytes.extend(values);
    bytes
}
