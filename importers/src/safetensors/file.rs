//! Named tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use striate_tensor::{
    DType, Device, HostTensor, HostValues, Shape, SharedBytes, Tensor, TensorType,
};

use super::header::{Entry, Header, name_of};
use crate::options::{ReadOptions, check_dtype};
use crate::source::{Beside, Source};
use crate::state_dict::{Fill, StateDict};
use crate::values::{
    Counts, Narrowing, Report, Stored, count_bytes, load_as_stored, load_parallel,
};
use crate::{Error, Format, Result};

/// A safetensors file: named tensors and text metadata.
///
/// Opening reads the header alone. Each tensor is read when it is asked for, by several threads where
/// it is large, straight into the memory that the device takes over.
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
    data: Data,
    header: Header,
    /// Of a file that was opened.
    beside: Option<Beside>,
}

/// Where the bytes of a file are.
enum Data {
    /// In an open file, from which they are read.
    File(Arc<Source>),
    /// In memory, where a device may use them in place.
    Memory(SharedBytes),
}

impl TensorFile {
    /// Opens a file and checks its header. What is no regular file, such as a pipe, is copied to a
    /// temporary one first.
    ///
    /// # Errors
    /// Where it cannot be opened, or the header is at fault: not JSON, or tensors that overlap, leave
    /// gaps, reach beyond the file, or are not as long as their shapes; or more than
    /// [`MAX_TENSORS`](crate::MAX_TENSORS) tensors or
    /// [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Arc::new(Source::expect(path.as_ref(), Format::Safetensors)?))
    }

    /// The tensors of an open file.
    pub(crate) fn of(source: Arc<Source>) -> Result<Self> {
        let name = source.name().to_owned();
        if let Some(bytes) = source.in_memory() {
            return Self::from_bytes(bytes.clone(), name);
        }
        let read = |bytes: &mut [u8], at| source.read_exact_at(bytes, at);
        let header = Header::read(&name, source.bytes(), read)?;
        let beside = source.beside();
        Ok(TensorFile { name, data: Data::File(source), header, beside })
    }

    /// Maps a file into memory and checks its header. A device that computes in host memory uses the
    /// tensors in place, so they are never copied, and processes that map one file share its memory.
    ///
    /// Where the file cannot be mapped, it is opened as by [`open`](Self::open).
    ///
    /// # Safety
    /// Nobody may write the file or make it shorter as long as this `TensorFile` or a tensor made of it
    /// lives. A write in place changes weights under the network; a page that is no longer in the file
    /// ends the process by a signal. A file that is replaced by a rename, as all that this crate writes
    /// are, stays whole.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<Self> {
        let source = Source::expect(path.as_ref(), Format::Safetensors)?;
        let mapped = source.file().and_then(|file| {
            // SAFETY: the caller's promise is that of the map: the bytes do not change.
            unsafe { map_file(file) }
        });
        match mapped {
            Some(mapped) => {
                let bytes = SharedBytes::new(Arc::<Mmap>::new(mapped));
                let file = Self::from_bytes(bytes, source.name())?;
                Ok(TensorFile { beside: source.beside(), ..file })
            }
            None => Self::of(Arc::new(source)),
        }
    }

    /// A file whose content is in memory, such as one that is embedded in a program; `name` stands for
    /// the file in messages. A device that computes in host memory uses the tensors in place.
    ///
    /// # Errors
    /// As [`open`](Self::open), where the header is at fault.
    pub fn from_bytes(bytes: SharedBytes, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let all = bytes.bytes();
        let header =
            Header::read(&name, all.len() as u64, |bytes, at| copy(&name, all, bytes, at))?;
        Ok(TensorFile { name, data: Data::Memory(bytes), header, beside: None })
    }

    /// The names of the tensors, in the order of their data.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.iter().map(|t| t.name.as_str())
    }

    /// The text metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// A text of the header, by its key.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.metadata().get(key).map(String::as_str)
    }

    /// The shape of a tensor, where there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.header.find(name)?.shape)
    }

    /// The element type that [`stored`](Self::stored) gives a tensor, where there is one of this name and
    /// Striate has its type.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        let entry = self.header.find(name)?;
        entry.dtype().or(entry.stored().map(Stored::dtype))
    }

    /// A tensor of the element type that it has in the file: f32, f16, f64, integers and truth values; bf16
    /// as f32, which holds it exactly.
    ///
    /// ```
    /// use striate_importers::safetensors::{TensorFile, write_tensors};
    /// use striate_tensor::{DType, Device, Reference, Tensor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("x.safetensors");
    /// let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1i64, -2], [2], &device)?;
    /// write_tensors(&path, &[("x", &x)], &Default::default())?;
    ///
    /// let file = TensorFile::open(&path)?;
    /// assert_eq!(file.dtype("x"), Some(DType::I64));
    /// assert_eq!(file.stored("x", &device)?.to_vec::<i64>()?, [1, -2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Content`] where there is none of this name, or it is of a type that Striate has not (U16, for
    /// example); others as [`tensor`](Self::tensor).
    pub fn stored(&self, name: &str, device: &Device) -> Result<Tensor> {
        let entry = self.find(name)?;
        if let Some(stored) = entry.stored()
            && entry.dtype() != Some(DType::F64)
        {
            return self.floats_as(entry, stored, stored.dtype(), false, device);
        }
        let at = |e| Error::tensor(&self.name, format!("tensor {name}"), e);
        let Some(dtype) = entry.dtype() else {
            let names: Vec<&str> = DType::ALL.iter().map(|dtype| name_of(*dtype)).collect();
            let expected = format!("elements of type {} or BF16", names.join(", "));
            return Err(self.wrong_type(entry, &expected));
        };
        let ty = self.ty(entry, dtype)?;
        if let Some(bytes) = self.shared(entry).filter(|_| cfg!(target_endian = "little")) {
            self.report_of(entry, dtype, true, count_bytes(bytes.bytes(), dtype))?;
            return Tensor::from_shared(bytes, ty, device).map_err(at);
        }
        self.check_address_space(entry)?;
        let (values, counts) =
            load_as_stored(ty.count(), dtype, |bytes, at| self.read(entry, bytes, at))?;
        self.report_of(entry, dtype, true, counts)?;
        HostTensor::new(ty.shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(at)
    }

    /// A tensor of floats: f32 and f16 as they are, bf16 and f64 as f32; or all as `dtype`,
    /// rounded to the nearest where that has fewer bits.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none of this name, or it is not one of floats;
    /// [`Error::Overflow`] where a value is too large for the type; [`Error::Io`] and
    /// [`Error::Changed`] where the file cannot be read; [`Error::Tensor`] where the device has no
    /// memory for it.
    pub fn tensor(&self, name: &str, device: &Device, dtype: Option<DType>) -> Result<Tensor> {
        self.tensor_with(name, device, &ReadOptions::default().dtype(dtype))
    }

    /// As [`tensor`](Self::tensor), with all options.
    pub(super) fn tensor_with(
        &self,
        name: &str,
        device: &Device,
        options: &ReadOptions,
    ) -> Result<Tensor> {
        check_dtype(&self.name, options.dtype)?;
        let (entry, stored) = self.floats(name)?;
        let dtype = options.dtype.unwrap_or(stored.dtype());
        self.floats_as(entry, stored, dtype, options.allow_overflow, device)
    }

    fn floats_as(
        &self,
        entry: &Entry,
        stored: Stored,
        dtype: DType,
        allow_overflow: bool,
        device: &Device,
    ) -> Result<Tensor> {
        let ty = self.ty(entry, dtype)?;
        let at = |e| Error::tensor(&self.name, format!("tensor {}", entry.name), e);
        if stored.is(ty.dtype)
            && cfg!(target_endian = "little")
            && let Some(bytes) = self.shared(entry)
        {
            let counts = count_bytes(bytes.bytes(), ty.dtype);
            self.report_of(entry, ty.dtype, allow_overflow, counts)?;
            return Tensor::from_shared(bytes, ty, device).map_err(at);
        }
        let values = self.load(entry, stored, ty.dtype, allow_overflow)?;
        HostTensor::new(ty.shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(at)
    }

    /// A tensor of floats or of bytes (U8), as f32 in host memory.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn numbers(&self, name: &str) -> Result<HostTensor> {
        let entry = self.find(name)?;
        let stored = match entry.dtype.as_str() {
            "U8" => Some(Stored::U8),
            _ => entry.stored(),
        };
        let Some(stored) = stored else {
            return Err(self.wrong_type(entry, "elements of type F32, F16, BF16, F64 or U8"));
        };
        let ty = self.ty(entry, DType::F32)?;
        let values = self.load(entry, stored, ty.dtype, false)?;
        let host = HostTensor::new(ty.shape, values);
        host.map_err(|e| Error::tensor(&self.name, format!("tensor {name}"), e))
    }

    /// A tensor of any type that Striate has, as it is stored, in host memory.
    pub(super) fn host(&self, name: &str) -> Result<HostTensor> {
        let entry = self.find(name)?;
        let Some(dtype) = entry.dtype() else {
            return Err(self.wrong_type(entry, "elements of a type that tensors have"));
        };
        let ty = self.ty(entry, dtype)?;
        self.check_address_space(entry)?;
        let read = |bytes: &mut [u8], at| self.read(entry, bytes, at);
        let (values, _) = load_as_stored(ty.count(), dtype, read)?;
        let host = HostTensor::new(ty.shape, values);
        host.map_err(|e| Error::tensor(&self.name, format!("tensor {name}"), e))
    }

    /// Refuses what was read, where another program has written the file since it was opened.
    ///
    /// # Errors
    /// [`Error::Changed`] then, and [`Error::Io`] where that cannot be told.
    pub fn check_unchanged(&self) -> Result<()> {
        match &self.data {
            Data::File(source) => source.check_unchanged(),
            Data::Memory(_) => Ok(()),
        }
    }

    /// The file's name in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn size(&self) -> u64 {
        match &self.data {
            Data::File(source) => source.bytes(),
            Data::Memory(bytes) => bytes.bytes().len() as u64,
        }
    }

    fn find(&self, name: &str) -> Result<&Entry> {
        self.header.find(name).ok_or_else(|| {
            let others = self.header.tensors.len();
            // What wraps a network gives its tensors' names a beginning of its own.
            let longer = self.names().find(|n| n.ends_with(&format!(".{name}")));
            let got = match longer {
                Some(longer) => format!("{others} others, among them {longer}"),
                None => format!("{others} others"),
            };
            Error::content(&self.name, format!("tensor {name}"), "a tensor of this name", got)
        })
    }

    fn wrong_type(&self, entry: &Entry, expected: &str) -> Error {
        let place = format!("tensor {}", entry.name);
        Error::content(&self.name, place, expected, entry.dtype.clone())
    }

    /// A tensor of floats, or why there is none.
    fn floats(&self, name: &str) -> Result<(&Entry, Stored)> {
        let entry = self.find(name)?;
        let stored = entry.stored();
        let expected = "elements of type F32, F16, BF16 or F64";
        Ok((entry, stored.ok_or_else(|| self.wrong_type(entry, expected))?))
    }

    fn ty(&self, entry: &Entry, dtype: DType) -> Result<TensorType> {
        let shape = Shape::new(&entry.shape);
        let shape =
            shape.map_err(|e| Error::tensor(&self.name, format!("tensor {}", entry.name), e))?;
        Ok(TensorType::new(shape, dtype))
    }

    /// The values of a tensor, rounded to the nearest.
    fn load(
        &self,
        entry: &Entry,
        stored: Stored,
        dtype: DType,
        allow_overflow: bool,
    ) -> Result<HostValues> {
        let count = self.ty(entry, dtype)?.count();
        self.check_address_space(entry)?;
        let fill = |piece: &mut [u8], at: usize| self.read(entry, piece, at);
        let (values, counts) =
            load_parallel(&self.name, count, stored, dtype, Narrowing::Nearest, fill)?;
        self.report_of(entry, dtype, allow_overflow, counts)?;
        Ok(values)
    }

    fn check_address_space(&self, entry: &Entry) -> Result<()> {
        let bytes = entry.bytes.end - entry.bytes.start;
        if usize::try_from(bytes).is_ok() {
            return Ok(());
        }
        let place = format!("tensor {}", entry.name);
        let expected = format!("at most {} bytes, which this machine can address", usize::MAX);
        Err(Error::content(&self.name, place, expected, bytes.to_string()))
    }

    /// Warns of values that are not finite, and refuses those that have become so.
    fn report_of(
        &self,
        entry: &Entry,
        dtype: DType,
        allow_overflow: bool,
        counts: Counts,
    ) -> Result<()> {
        let place = &format!("tensor {}", entry.name);
        let (file, dims) = (&self.name, &entry.shape);
        Report { file, place, dims, dtype, allow_overflow }.check(counts)
    }

    /// Copies bytes of a tensor from the place `at` in it.
    fn read(&self, entry: &Entry, bytes: &mut [u8], at: usize) -> Result<()> {
        let at = entry.bytes.start + at as u64;
        match &self.data {
            Data::File(source) => source.read_exact_at(bytes, at),
            Data::Memory(all) => copy(&self.name, all.bytes(), bytes, at),
        }
    }

    /// A tensor's bytes in place, where the file is in memory.
    fn shared(&self, entry: &Entry) -> Option<SharedBytes> {
        let Data::Memory(all) = &self.data else { return None };
        let start = usize::try_from(entry.bytes.start).ok()?;
        let len = usize::try_from(entry.bytes.end - entry.bytes.start).ok()?;
        all.slice(start, len)
    }
}

impl StateDict for TensorFile {
    fn file(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> u64 {
        self.size()
    }

    fn beside(&self) -> Option<Beside> {
        self.beside.clone()
    }

    fn format(&self) -> Format {
        Format::Torchvision
    }

    fn all_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.names())
    }

    fn dims(&self, name: &str) -> Option<&[usize]> {
        self.shape(name)
    }

    fn stored(&self, name: &str) -> Result<Stored> {
        Ok(self.floats(name)?.1)
    }

    fn fill(&self, name: &str) -> Result<Fill<'_>> {
        let entry = self.find(name)?;
        Ok(Box::new(move |bytes, at| self.read(entry, bytes, at)))
    }

    fn check(&self) -> Result<()> {
        self.check_unchanged()
    }

    /// In place, where the file is in memory.
    fn load(&self, name: &str, device: &Device, options: &ReadOptions) -> Result<Tensor> {
        self.tensor_with(name, device, options)
    }
}

/// Copies bytes of a file in memory.
fn copy(name: &str, all: &[u8], bytes: &mut [u8], at: u64) -> Result<()> {
    let from = usize::try_from(at).ok().and_then(|at| all.get(at..)?.get(..bytes.len()));
    match from {
        Some(from) => {
            bytes.copy_from_slice(from);
            Ok(())
        }
        // The header was checked against the length: these bytes are no longer the same.
        None => Err(Error::Changed { file: name.into() }),
    }
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorFile({}, {} tensors)", self.name, self.header.tensors.len())
    }
}

/// Maps a file, where the system can.
///
/// # Safety
/// As [`TensorFile::map`].
unsafe fn map_file(file: &File) -> Option<Mmap> {
    // SAFETY: nobody changes the file, as the caller promises; and the map is private and read-only, so
    // this process changes nothing either.
    unsafe { memmap2::MmapOptions::new().map_copy_read_only(file) }.ok()
}
