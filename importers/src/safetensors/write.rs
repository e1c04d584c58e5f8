//! Writing safetensors files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use striate_tensor::{DType, Tensor};

use super::header::{LENGTH_BYTES, METADATA};
use crate::replace::replace;
use crate::values::{Narrowing, non_finite, store, warn_non_finite};
use crate::{Error, Result};

/// Data begins at a multiple of this, and so does each tensor whose size is one: what vector loads
/// and a cache line want.
const ALIGNMENT_BYTES: usize = 64;

/// Writes named tensors and text metadata, into a temporary file that then takes the target's place.
///
/// # Errors
/// [`Error::Target`] and [`Error::Io`] where the file cannot be written, [`Error::Tensor`] where
/// a device fails; then nothing has changed.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let tensors = tensors.iter().map(|(name, tensor)| Item::new(*name, tensor, tensor.dtype()));
    write_items(path.as_ref(), tensors.collect(), metadata)
}

/// A tensor to be written, and the type that it has in the file.
pub(super) struct Item<'a> {
    name: String,
    tensor: &'a Tensor,
    dtype: DType,
}

impl<'a> Item<'a> {
    pub(super) fn new(name: impl Into<String>, tensor: &'a Tensor, dtype: DType) -> Self {
        Item { name: name.into(), tensor, dtype }
    }

    fn bytes(&self) -> usize {
        self.tensor.shape().count() * self.dtype.size_bytes()
    }

    /// The power of two that divides the size, up to the alignment.
    fn alignment(&self) -> usize {
        1 << self.bytes().trailing_zeros().min(ALIGNMENT_BYTES.trailing_zeros())
    }
}

pub(super) fn write_items(
    path: &Path,
    mut items: Vec<Item<'_>>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let file = path.display().to_string();
    // The format allows no gaps between tensors. In the order of falling alignment of their sizes,
    // each begins at a multiple of its own: all large ones at a multiple of 64 bytes.
    items.sort_by_key(|item| std::cmp::Reverse(item.alignment()));
    let header = header(&items, metadata);
    replace(path, |temporary| {
        let io = |e| Error::io(&file, "write", e);
        // The bare file: errors of the wrapper name the temporary path, which nobody knows.
        let temporary = temporary.as_file_mut();
        temporary.write_all(&header).map_err(io)?;
        for item in &items {
            let place = format!("tensor {}", item.name);
            let host = item.tensor.to_host().map_err(|e| Error::tensor(&file, &place, e))?;
            let values = host.values();
            warn_non_finite(&file, &place, non_finite(values), values.len());
            let losses = store(values, item.dtype, Narrowing::Nearest, |piece, _| {
                temporary.write_all(piece).map_err(io)
            })?;
            losses.warn(&file, &place, values.len());
        }
        temporary.flush().map_err(io)
    })
}

/// The length and the JSON, padded with spaces to the alignment.
fn header(items: &[Item<'_>], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert(METADATA.into(), json!(metadata));
    }
    let mut start = 0;
    for item in items {
        let dtype = match item.dtype {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::U32 => "U32",
        };
        let end = start + item.bytes();
        let entry =
            json!({ "dtype": dtype, "shape": item.tensor.dims(), "data_offsets": [start, end] });
        entries.insert(item.name.clone(), entry);
        start = end;
    }
    let mut json = Value::Object(entries).to_string().into_bytes();
    let padded = (LENGTH_BYTES + json.len()).next_multiple_of(ALIGNMENT_BYTES) - LENGTH_BYTES;
    json.resize(padded, b' ');
    let mut header = (padded as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    header
}
