//! Named tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use striate_tensor::{DType, Device, HostTensor, Shape, SharedBytes, Tensor, TensorType};

use super::header::{Entry, Header};
use crate::options::check_dtype;
use crate::values::{Narrowing, Stored, load, non_finite_bytes, warn_non_finite};
use crate::{Error, Result};

/// A safetensors file: named tensors and text metadata.
///
/// The file is mapped, not read: a tensor in its own precision is made of the file's bytes in
/// place, where the device computes in host memory.
///
/// ```
/// use striate_importers::safetensors::{TensorFile, write_tensors};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.safetensors");
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [3], &device)?;
/// write_tensors(&path, &[("x", &x)], &Default::default())?;
///
/// let file = TensorFile::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["x"]);
/// assert_eq!(file.tensor("x", &device, None)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
/// # Ok(())
/// # }
/// ```
pub struct TensorFile {
    name: String,
    bytes: SharedBytes,
    header: Header,
}

impl TensorFile {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// Where it cannot be opened, or the header is at fault: not JSON, or tensors that overlap, leave
    /// gaps, reach beyond the file, or are not as long as their shapes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = map(path, &name)?;
        Self::from_bytes(bytes, name)
    }

    /// The same of bytes in memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open), where the header is at fault.
    pub fn from_bytes(bytes: SharedBytes, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let header = Header::parse(&name, bytes.bytes())?;
        Ok(TensorFile { name, bytes, header })
    }

    /// The names of the tensors, in the order of their data.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.iter().map(|t| t.name.as_str())
    }

    /// The text metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The shape of a tensor, where there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.header.find(name)?.shape)
    }

    /// A tensor of floats: f32 and f16 as they are, bf16 and f64 as f32; or all as `dtype`,
    /// rounded to the nearest where that has fewer bits.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none of this name, or it is not one of floats;
    /// [`Error::Tensor`] where the device has no memory for it.
    pub fn tensor(&self, name: &str, device: &Device, dtype: Option<DType>) -> Result<Tensor> {
        check_dtype(&self.name, dtype)?;
        let (entry, stored) = self.floats(name)?;
        let ty = self.ty(entry, dtype.unwrap_or(stored.dtype()))?;
        let bytes = self.data(entry);
        let at = |e| Error::tensor(&self.name, format!("tensor {name}"), e);
        if stored.is(ty.dtype) && cfg!(target_endian = "little") {
            let count = non_finite_bytes(bytes.bytes(), ty.dtype);
            warn_non_finite(&self.name, &format!("tensor {name}"), count, ty.count());
            return Tensor::from_shared(bytes, ty, device).map_err(at);
        }
        let (values, count) =
            load(ty.count(), stored, ty.dtype, Narrowing::Nearest, |piece, at| {
                piece.copy_from_slice(&bytes.bytes()[at..at + piece.len()]);
                Ok::<_, Error>(())
            })?;
        warn_non_finite(&self.name, &format!("tensor {name}"), count, ty.count());
        HostTensor::new(ty.shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(at)
    }

    /// The file's name in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.bytes().len()
    }

    /// A tensor of floats, or why there is none.
    pub(super) fn floats(&self, name: &str) -> Result<(&Entry, Stored)> {
        let place = format!("tensor {name}");
        let Some(entry) = self.header.find(name) else {
            let got = format!("{} others", self.header.tensors.len());
            return Err(Error::content(&self.name, place, "a tensor of this name", got));
        };
        let expected = "elements of type F32, F16, BF16 or F64";
        let wrong = || Error::content(&self.name, place, expected, entry.dtype.clone());
        Ok((entry, entry.stored().ok_or_else(wrong)?))
    }

    pub(super) fn ty(&self, entry: &Entry, dtype: DType) -> Result<TensorType> {
        let shape = Shape::new(&entry.shape);
        let shape =
            shape.map_err(|e| Error::tensor(&self.name, format!("tensor {}", entry.name), e))?;
        Ok(TensorType::new(shape, dtype))
    }

    pub(super) fn data(&self, entry: &Entry) -> SharedBytes {
        // Within the file, as the header was checked against its length.
        let empty = || SharedBytes::new(Arc::new([0u8; 0]));
        self.bytes.slice(entry.bytes.start, entry.bytes.len()).unwrap_or_else(empty)
    }
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorFile({}, {} tensors)", self.name, self.header.tensors.len())
    }
}

fn map(path: &Path, name: &str) -> Result<SharedBytes> {
    let file = File::open(path).map_err(|e| Error::io(name, "open", e))?;
    let metadata = file.metadata().map_err(|e| Error::io(name, "open", e))?;
    if metadata.is_dir() {
        let reason = "it is a directory".into();
        return Err(Error::NotAModel { file: name.into(), reason });
    }
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the mapped bytes must not change while they are borrowed. The map is private and
        // read-only, so this process changes nothing. Another process that writes into the file in
        // place can: then weights change under the network, which is a wrong answer (any bytes are
        // valid numbers); and one that shortens it makes the missing pages fault, which ends
        // this process by a signal. That is the price of not copying. Files that are replaced by a
        // rename, as all that this crate writes are, stay whole here until they are unmapped.
        let mapped = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) };
        if let Ok(mapped) = mapped {
            return Ok(SharedBytes::new(Arc::<Mmap>::new(mapped)));
        }
    }
    // A pipe, or a file system that cannot map.
    let bytes = std::fs::read(path).map_err(|e| Error::io(name, "read", e))?;
    Ok(SharedBytes::new(Arc::new(bytes)))
}
