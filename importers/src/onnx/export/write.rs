//! Writing the file: one weight after another, so that they are never in memory all at once.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use striate_tensor::{HostValues, Tensor};

use super::ExportOptions;
use super::emit::{Data, Emitter, Initializer};
use crate::onnx::proto::{GraphProto, ModelProto, OpsetId, StringEntry, TensorProto, ValueInfo};
use crate::replace::replace;
use crate::{Error, Result};

/// Where weights in a file of their own begin: at a multiple of a page, so that programs can map them.
const PAGE_BYTES: u64 = 4096;

/// Numbers of fewer bytes always stand in the model itself: shapes hang on them.
const MIN_EXTERNAL_BYTES: u64 = 1024;

/// The keys of the fields that are written one by one: number and kind.
mod key {
    pub(super) const MODEL_GRAPH: u8 = 7 << 3 | 2;
    pub(super) const GRAPH_INITIALIZER: u8 = 5 << 3 | 2;
    pub(super) const TENSOR_RAW_DATA: u8 = 9 << 3 | 2;
}

/// A tensor ready to be written.
struct EncodedTensor<'a> {
    initializer: &'a Initializer,
    /// The message without the elements.
    header: Vec<u8>,
    bytes: u64,
    /// Where it is in the second file.
    offset: Option<u64>,
}

impl EncodedTensor<'_> {
    /// Bytes of the message.
    fn message(&self) -> u64 {
        let raw = match self.offset {
            Some(_) => 0,
            None => 1 + varint_bytes(self.bytes) + self.bytes,
        };
        self.header.len() as u64 + raw
    }
}

pub(super) fn write(
    path: &Path,
    name: &str,
    emit: &Emitter,
    (input, output): (Vec<ValueInfo>, Vec<ValueInfo>),
    options: &ExportOptions,
) -> Result<()> {
    let file = path.display().to_string();
    let total: u64 = emit.initializers.iter().map(bytes_of).sum();
    let beside = match total > options.inline_bytes {
        true => Some(beside(path, &file)?),
        false => None,
    };
    let location = beside.as_ref().map(|(_, location)| &**location);
    let pieces = pieces(&emit.initializers, location);
    let graph = GraphProto {
        node: emit.nodes.clone(),
        name: if name.is_empty() { "graph".into() } else { name.into() },
        initializer: vec![],
        input,
        output,
    };
    let graph = graph.encode_to_vec();
    let entry =
        |(key, value): (&String, &String)| StringEntry { key: key.clone(), value: value.clone() };
    let model = ModelProto {
        ir_version: ir_version(options.opset),
        producer_name: "striate".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: String::new(),
        graph: None,
        opset_import: vec![OpsetId { domain: String::new(), version: options.opset }],
        metadata_props: options.properties.iter().map(entry).collect(),
    };
    let model = model.encode_to_vec();
    let graph_bytes = graph.len() as u64
        + pieces.iter().map(|p| 1 + varint_bytes(p.message()) + p.message()).sum::<u64>();
    if graph_bytes + model.len() as u64 > i32::MAX as u64 - 16 {
        let reason = format!("{graph_bytes} bytes are more than a message of protobuf can have");
        return Err(super::unrepresentable(&file, reason));
    }
    let io = |e| Error::io(&file, "write", e);
    replace(path, |temporary| {
        let mut writer = BufWriter::new(temporary.as_file_mut());
        writer.write_all(&model).map_err(io)?;
        writer.write_all(&[key::MODEL_GRAPH]).map_err(io)?;
        writer.write_all(&varint(graph_bytes)).map_err(io)?;
        writer.write_all(&graph).map_err(io)?;
        for piece in &pieces {
            writer.write_all(&[key::GRAPH_INITIALIZER]).map_err(io)?;
            writer.write_all(&varint(piece.message())).map_err(io)?;
            writer.write_all(&piece.header).map_err(io)?;
            if piece.offset.is_none() {
                writer.write_all(&[key::TENSOR_RAW_DATA]).map_err(io)?;
                writer.write_all(&varint(piece.bytes)).map_err(io)?;
                writer.write_all(&elements(&file, piece.initializer)?).map_err(io)?;
            }
        }
        writer.flush().map_err(io)?;
        match &beside {
            // Last, so that whatever can fail has not failed: the model in its place means this one.
            Some((data, _)) => write_beside(data, &pieces),
            None => Ok(()),
        }
    })
}

/// The second file: its path, and its name for the first.
fn beside(path: &Path, file: &str) -> Result<(PathBuf, String)> {
    // Through a link the file that it points to is replaced, and the weights are looked for beside it.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = real.file_name().and_then(|name| name.to_str()) else {
        let reason = "its weights go into a second file, whose name must be Unicode".into();
        return Err(Error::Target { file: file.into(), reason });
    };
    let name = format!("{name}.data");
    Ok((real.with_file_name(&name), name))
}

fn write_beside(path: &Path, pieces: &[EncodedTensor<'_>]) -> Result<()> {
    let file = path.display().to_string();
    let io = |e| Error::io(&file, "write", e);
    replace(path, |temporary| {
        let mut writer = BufWriter::new(temporary.as_file_mut());
        let mut at = 0;
        for piece in pieces {
            let Some(offset) = piece.offset else { continue };
            writer.write_all(&vec![0; (offset - at) as usize]).map_err(io)?;
            writer.write_all(&elements(&file, piece.initializer)?).map_err(io)?;
            at = offset + piece.bytes;
        }
        writer.flush().map_err(io)
    })
}

/// The version of the file's own form that came with an opset.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..15 => 7,
        15..19 => 8,
        19..21 => 9,
        _ => 10,
    }
}

fn bytes_of(initializer: &Initializer) -> u64 {
    let count: usize = initializer.dims.iter().product();
    count as u64 * initializer.elem.size_bytes() as u64
}

fn pieces<'a>(initializers: &'a [Initializer], location: Option<&str>) -> Vec<EncodedTensor<'a>> {
    let mut end = 0u64;
    let piece = |initializer: &'a Initializer| {
        let bytes = bytes_of(initializer);
        let offset = location.filter(|_| bytes >= MIN_EXTERNAL_BYTES).map(|_| {
            let offset = end.next_multiple_of(PAGE_BYTES);
            end = offset + bytes;
            offset
        });
        let mut tensor = TensorProto {
            dims: initializer.dims.iter().map(|&extent| extent as i64).collect(),
            data_type: initializer.elem.code(),
            name: initializer.name.clone(),
            ..TensorProto::default()
        };
        if let (Some(location), Some(offset)) = (location, offset) {
            let entries = [
                ("location", location.to_owned()),
                ("offset", offset.to_string()),
                ("length", bytes.to_string()),
            ];
            let entry = |(key, value): (&str, String)| StringEntry { key: key.into(), value };
            tensor.external_data = entries.map(entry).into();
            tensor.data_location = 1;
        }
        EncodedTensor { initializer, header: tensor.encode_to_vec(), bytes, offset }
    };
    initializers.iter().map(piece).collect()
}

/// The elements of a tensor, from the lowest byte.
fn elements<'a>(file: &str, initializer: &'a Initializer) -> Result<Cow<'a, [u8]>> {
    let (tensor, range, extents, order) = match &initializer.data {
        Data::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        Data::Tensor { tensor, range, extents, order } => (tensor, range, extents, order),
    };
    let values = host(file, &initializer.name, tensor)?;
    let size = initializer.elem.size_bytes();
    let bytes = values.bytes();
    let wrong = || {
        let place = format!("tensor {}", initializer.name);
        let expected = format!("{} elements", extents.iter().product::<usize>());
        Error::content(file, place, expected, format!("{} bytes", bytes.len()))
    };
    let bytes = bytes.get(range.start * size..range.end * size).ok_or_else(wrong)?;
    if bytes.len() as u64 != bytes_of(initializer) {
        return Err(wrong());
    }
    let mut moved = match size {
        1 => permuted::<1>(bytes, extents, order),
        2 => permuted::<2>(bytes, extents, order),
        4 => permuted::<4>(bytes, extents, order),
        _ => permuted::<8>(bytes, extents, order),
    };
    if cfg!(target_endian = "big") {
        moved.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    Ok(Cow::Owned(moved))
}

fn host(file: &str, name: &str, tensor: &Tensor) -> Result<HostValues> {
    let host = tensor.to_host().map_err(|e| Error::tensor(file, format!("tensor {name}"), e))?;
    Ok(host.into_values())
}

/// Elements of axes of these extents, with the axes in another order.
fn permuted<const SIZE: usize>(bytes: &[u8], extents: &[usize], order: &[usize]) -> Vec<u8> {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    if order.is_sorted() {
        return bytes.to_vec();
    }
    let mut strides = vec![1; extents.len()];
    for axis in (1..extents.len()).rev() {
        strides[axis - 1] = strides[axis] * extents[axis];
    }
    let (mut outer, inner) = (order.to_vec(), order.last().copied().unwrap_or(0));
    outer.pop();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = vec![0usize; outer.len()];
    let mut base = 0;
    loop {
        let line = (0..extents[inner]).map(|i| elements[base + i * strides[inner]]);
        out.extend(line.flatten());
        // The next place, the last axis first.
        let moves = (0..outer.len()).rev().any(|axis| {
            at[axis] += 1;
            base += strides[outer[axis]];
            if at[axis] < extents[outer[axis]] {
                return true;
            }
            base -= strides[outer[axis]] * at[axis];
            at[axis] = 0;
            false
        });
        if !moves {
            return out;
        }
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint_bytes(value: u64) -> u64 {
    varint(value).len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_put_in_another_order() {
        let bytes: Vec<u8> = (0..24).collect();
        assert_eq!(permuted::<1>(&bytes, &[2, 3, 4], &[0, 1, 2]), bytes);
        let moved = permuted::<1>(&bytes, &[2, 3, 4], &[2, 0, 1]);
        assert_eq!(moved[..7], [0, 4, 8, 12, 16, 20, 1]);
        let moved = permuted::<2>(&bytes, &[3, 4], &[1, 0]);
        assert_eq!(moved[..8], [0, 1, 8, 9, 16, 17, 2, 3]);
        assert_eq!(permuted::<4>(&[1, 2, 3, 4], &[], &[]), [1, 2, 3, 4]);
    }

    #[test]
    fn numbers_are_those_of_protobuf() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint_bytes(u64::MAX), 10);
    }
}
