//! Writing safetensors files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use striate_tensor::{DType, HostTensor, HostValues, Tensor, TensorType};

use super::header::{LENGTH_BYTES, METADATA, name_of};
use crate::limits::{MAX_HEADER_BYTES, MAX_TENSORS};
use crate::replace::replace;
use crate::values::{Narrowing, Report, store};
use crate::{Error, Result};

/// Data begins at a multiple of this, and so does each tensor whose size is one: what vector loads
/// and a cache line want.
const ALIGNMENT_BYTES: usize = 64;

/// Writes named tensors and text metadata, into a temporary file that then takes the target's place.
///
/// # Errors
/// [`Error::Content`] where a name stands twice or is taken by the format;
/// [`Error::Target`] and [`Error::Io`] where the file cannot be written, [`Error::Tensor`] where
/// a device fails; then nothing has changed.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let tensors =
        tensors.iter().map(|(name, tensor)| Item::new(*name, (*tensor).into(), tensor.dtype()));
    write_items(path.as_ref(), tensors.collect(), metadata, false)
}

/// Writes named tensors of host memory and text metadata as a safetensors file, from one end to the
/// other, into anything that takes bytes; `name` stands for it in messages.
///
/// # Errors
/// [`Error::Content`] where a name stands twice or is taken by the format, [`Error::Io`] where
/// writing fails.
pub fn write_numbers_to(
    writer: &mut dyn Write,
    name: &str,
    tensors: &[(&str, &HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let items = tensors
        .iter()
        .map(|(name, tensor)| Item::new(*name, Numbers::Host(tensor), tensor.values().dtype()));
    let items = in_order(items.collect());
    let header = header(name, &items, metadata)?;
    write_all(writer, name, &header, &items, false)
}

/// Where a tensor to be written is.
pub(super) enum Numbers<'a> {
    /// On a device.
    Device(&'a Tensor),
    /// In host memory.
    Host(&'a HostTensor),
}

impl<'a> From<&'a Tensor> for Numbers<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Numbers::Device(tensor)
    }
}

/// A tensor to be written, and the type that it has in the file.
pub(super) struct Item<'a> {
    name: String,
    numbers: Numbers<'a>,
    ty: TensorType,
}

impl<'a> Item<'a> {
    pub(super) fn new(name: impl Into<String>, numbers: Numbers<'a>, dtype: DType) -> Self {
        let shape = match &numbers {
            Numbers::Device(tensor) => *tensor.shape(),
            Numbers::Host(host) => *host.shape(),
        };
        Item { name: name.into(), numbers, ty: TensorType::new(shape, dtype) }
    }

    fn bytes(&self) -> usize {
        self.ty.size_bytes()
    }

    /// The power of two that divides the size, up to the alignment.
    fn alignment(&self) -> usize {
        1 << self.bytes().trailing_zeros().min(ALIGNMENT_BYTES.trailing_zeros())
    }

    /// The values, copied where they are on a device.
    fn values(&self, file: &str, place: &str) -> Result<Cow<'a, HostValues>> {
        match self.numbers {
            Numbers::Host(host) => Ok(Cow::Borrowed(host.values())),
            Numbers::Device(tensor) => {
                let host = tensor.to_host().map_err(|e| Error::tensor(file, place, e))?;
                Ok(Cow::Owned(host.into_values()))
            }
        }
    }
}

pub(super) fn write_items(
    path: &Path,
    items: Vec<Item<'_>>,
    metadata: &BTreeMap<String, String>,
    allow_overflow: bool,
) -> Result<()> {
    let file = path.display().to_string();
    let items = in_order(items);
    let header = header(&file, &items, metadata)?;
    replace(path, |temporary| {
        // The bare file: errors of the wrapper name the temporary path, which nobody knows.
        write_all(temporary.as_file_mut(), &file, &header, &items, allow_overflow)
    })
}

/// The format allows no gaps between tensors. In the order of falling alignment of their sizes,
/// each begins at a multiple of its own: all large ones at a multiple of 64 bytes.
fn in_order(mut items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    items.sort_by_key(|item| std::cmp::Reverse(item.alignment()));
    items
}

fn write_all(
    writer: &mut dyn Write,
    file: &str,
    header: &[u8],
    items: &[Item<'_>],
    allow_overflow: bool,
) -> Result<()> {
    let io = |e| Error::io(file, "write", e);
    writer.write_all(header).map_err(io)?;
    for item in items {
        let place = &format!("tensor {}", item.name);
        let values = item.values(file, place)?;
        let (dims, dtype) = (item.ty.shape.dims(), item.ty.dtype);
        let put = |piece: &[u8], _| writer.write_all(piece).map_err(io);
        let counts = store(&values, dtype, Narrowing::Nearest, put)?;
        Report { file, place, dims, dtype, allow_overflow }.check(counts)?;
    }
    writer.flush().map_err(io)
}

/// The length and the JSON, padded with spaces to the alignment.
fn header(file: &str, items: &[Item<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    if items.len() > MAX_TENSORS {
        let expected = format!("at most {MAX_TENSORS} tensors");
        return Err(Error::content(file, "header", expected, items.len().to_string()));
    }
    let mut names = HashSet::new();
    if let Some(item) = items.iter().find(|i| i.name == METADATA || !names.insert(&i.name)) {
        let place = format!("tensor {}", item.name);
        let expected = format!("a name that no other tensor has, other than {METADATA}");
        return Err(Error::content(file, place, expected, "this one"));
    }
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert(METADATA.into(), json!(metadata));
    }
    let mut start = 0;
    for item in items {
        let dtype = name_of(item.ty.dtype);
        let end = start + item.bytes() as u64;
        let entry =
            json!({ "dtype": dtype, "shape": item.ty.shape.dims(), "data_offsets": [start, end] });
        entries.insert(item.name.clone(), entry);
        start = end;
    }
    let mut json = Value::Object(entries).to_string().into_bytes();
    let padded = (LENGTH_BYTES + json.len()).next_multiple_of(ALIGNMENT_BYTES) - LENGTH_BYTES;
    // What is written can be read again.
    if padded as u64 > MAX_HEADER_BYTES {
        let expected = format!("names and metadata of at most {MAX_HEADER_BYTES} bytes");
        return Err(Error::content(file, "header", expected, format!("{padded} bytes")));
    }
    json.resize(padded, b' ');
    let mut header = (padded as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}
