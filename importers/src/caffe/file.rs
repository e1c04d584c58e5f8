//! Reading a `.caffemodel`: its layers, and where their weights are.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use striate_tensor::DType;

use super::proto::{BlobHeader, Layer, Net, V1Layer};
use crate::limits::check_layers;
use crate::source::Source;
use crate::values::{Counts, PIECE_BYTES, Report};
use crate::wire::{Field, Wire};
use crate::{Error, Result};

/// Axes of an array: Caffe has no more.
const MAX_AXES: usize = 32;

/// The numbers of the fields that are read one by one.
mod field {
    pub(super) const NET_V1_LAYER: u32 = 2;
    pub(super) const NET_LAYER: u32 = 100;
    pub(super) const V1_LAYER_BLOB: u32 = 6;
    pub(super) const LAYER_BLOB: u32 = 7;
    pub(super) const BLOB_DATA: u32 = 5;
    pub(super) const BLOB_DIFF: u32 = 6;
    pub(super) const BLOB_DOUBLE_DATA: u32 = 8;
    pub(super) const BLOB_DOUBLE_DIFF: u32 = 9;
}

/// A file that is open: everything but the numbers, which stay in it.
pub(super) struct File {
    pub(super) source: Arc<Source>,
    pub(super) net: Net,
    blobs: HashMap<String, Vec<Blob>>,
}

/// An array in a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Blob {
    /// Its extents, where the file has them.
    pub(super) shape: Option<Vec<usize>>,
    pub(super) count: usize,
    /// Its elements have 8 bytes.
    double: bool,
    runs: Vec<Run>,
}

/// Elements at a constant distance from each other.
#[derive(Clone, Debug)]
struct Run {
    /// Where the first element is.
    at: u64,
    count: usize,
    /// Bytes from one element to the next: more than an element has where each has a key of its own.
    step: u64,
}

impl File {
    pub(super) fn read(source: Arc<Source>) -> Result<Self> {
        let (mut net, mut blobs) = (Net::default(), HashMap::new());
        let mut header = Vec::new();
        let mut wire = Wire::new(&source, 0, source.bytes());
        let mut layers = 0;
        while let Some(field) = wire.field()? {
            let of_blobs = match (field.number, field.wire_type) {
                (field::NET_V1_LAYER, 2) => field::V1_LAYER_BLOB,
                (field::NET_LAYER, 2) => field::LAYER_BLOB,
                _ => {
                    header.extend_from_slice(&wire.bytes(field.begin, field.end)?);
                    continue;
                }
            };
            layers += 1;
            check_layers(source.name(), "layers", layers)?;
            let place = format!("layer {layers}");
            let (bytes, own) = layer(&source, &field, of_blobs, &place)?;
            let failed = |e| Error::parse(source.name(), &*place, "a layer", e);
            let name = if of_blobs == field::LAYER_BLOB {
                let layer = Layer::decode(bytes).map_err(failed)?;
                net.layer.push(layer);
                net.layer.last().map(|layer| layer.name().to_owned())
            } else {
                let layer = V1Layer::decode(bytes).map_err(failed)?;
                net.v1.push(layer);
                net.v1.last().and_then(|layer| layer.name.clone())
            };
            if !own.is_empty() {
                blobs.insert(name.unwrap_or_default(), own);
            }
        }
        net.merge(Bytes::from(header))
            .map_err(|e| Error::parse(source.name(), "header", "a network of Caffe's", e))?;
        source.check_unchanged()?;
        if layers == 0 {
            let reason = "it is no caffemodel: no layers are in it";
            return Err(Error::not_a_model(source.name(), reason));
        }
        Ok(File { source, net, blobs })
    }

    /// The arrays of a layer.
    pub(super) fn blobs(&self, layer: &str) -> &[Blob] {
        self.blobs.get(layer).map_or(&[], Vec::as_slice)
    }

    /// The numbers of an array; `place` names it in messages.
    pub(super) fn load(&self, blob: &Blob, place: &str, allow_overflow: bool) -> Result<Vec<f32>> {
        let name = self.source.name();
        let mut values = Vec::new();
        values.try_reserve_exact(blob.count).map_err(|_| {
            let expected = "fewer numbers than there is memory for";
            Error::content(name, place, expected, blob.count.to_string())
        })?;
        let mut counts = Counts::default();
        for run in &blob.runs {
            counts = counts.and(self.load_run(run, blob.double, &mut values)?);
        }
        let dims = blob.shape.clone().unwrap_or_else(|| vec![blob.count]);
        // Numbers that were not finite before are counted when the tensor is made.
        let counts = Counts { non_finite: 0, ..counts };
        let dtype = DType::F32;
        Report { file: name, place, dims: &dims, dtype, allow_overflow }.check(counts)?;
        Ok(values)
    }

    fn load_run(&self, run: &Run, double: bool, values: &mut Vec<f32>) -> Result<Counts> {
        let step = run.step as usize;
        let at_once = (PIECE_BYTES / step.max(1)).max(1);
        let mut counts = Counts::default();
        let mut buffer = Vec::new();
        for first in (0..run.count).step_by(at_once) {
            let count = at_once.min(run.count - first);
            let size = if double { 8 } else { 4 };
            // No key follows the last element.
            buffer.resize((count - 1) * step + size, 0);
            self.source.read_exact_at(&mut buffer, run.at + first as u64 * run.step)?;
            let elements = buffer.chunks(step).map(|bytes| &bytes[..size]);
            if !double {
                values.extend(elements.map(|e| e.try_into().map_or(0.0, f32::from_le_bytes)));
                continue;
            }
            for element in elements {
                let wide = element.try_into().map_or(0.0, f64::from_le_bytes);
                let narrow = wide as f32;
                if !narrow.is_finite() {
                    let own = Counts::of(1, |_| false, |_| wide).after(values.len());
                    counts = counts.and(own);
                }
                values.push(narrow);
            }
        }
        Ok(counts)
    }
}

/// A layer without its arrays, and these.
fn layer(source: &Source, field: &Field, blobs: u32, place: &str) -> Result<(Bytes, Vec<Blob>)> {
    let mut wire = Wire::new(source, field.contents, field.end);
    let (mut header, mut own) = (Vec::new(), Vec::new());
    while let Some(field) = wire.field()? {
        if field.number == blobs && field.wire_type == 2 {
            let place = format!("{place}, blob {}", own.len());
            own.push(blob(source, &field, &place)?);
        } else {
            header.extend_from_slice(&wire.bytes(field.begin, field.end)?);
        }
    }
    Ok((Bytes::from(header), own))
}

fn blob(source: &Source, field: &Field, place: &str) -> Result<Blob> {
    let name = source.name();
    let mut wire = Wire::new(source, field.contents, field.end);
    let mut header = Vec::new();
    let mut blob = Blob::default();
    while let Some(field) = wire.field()? {
        let size = match field.number {
            field::BLOB_DATA => 4,
            field::BLOB_DOUBLE_DATA => 8,
            // Gradients, which training left.
            field::BLOB_DIFF | field::BLOB_DOUBLE_DIFF => continue,
            _ => {
                header.extend_from_slice(&wire.bytes(field.begin, field.end)?);
                continue;
            }
        };
        let double = size == 8;
        let bytes = field.end - field.contents;
        let is_packed = field.wire_type == 2;
        let single = if double { 1 } else { 5 };
        let fits = bytes.is_multiple_of(size) && (is_packed || field.wire_type == single);
        let same = blob.count == 0 || blob.double == double;
        let Some(count) = usize::try_from(bytes / size).ok().filter(|_| fits && same) else {
            let expected = format!("numbers of {size} bytes");
            return Err(Error::content(name, place, expected, format!("{bytes} bytes of others")));
        };
        blob.double = double;
        blob.count = blob.count.saturating_add(count);
        match blob.runs.last_mut() {
            _ if count == 0 => {}
            Some(run) if !is_packed && run.follows(&field, size) => run.count += 1,
            _ => {
                let step = if is_packed { size } else { field.end - field.begin };
                blob.runs.push(Run { at: field.contents, count, step });
            }
        }
    }
    let header = BlobHeader::decode(Bytes::from(header));
    let header = header.map_err(|e| Error::parse(name, place, "an array", e))?;
    blob.shape = header.extents(name, place)?;
    if let Some(shape) = &blob.shape {
        let count = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        if count != Some(blob.count) {
            let expected = format!("{shape:?} numbers");
            return Err(Error::content(name, place, expected, blob.count.to_string()));
        }
    }
    Ok(blob)
}

impl Run {
    /// Whether a field with one element and its key is the next in the row.
    fn follows(&self, field: &Field, size: u64) -> bool {
        let key = field.contents - field.begin;
        let next = self.at + self.count as u64 * self.step;
        self.step == size + key && next == field.contents
    }
}

impl BlobHeader {
    /// The extents, where there are any.
    pub(super) fn extents(&self, file: &str, place: &str) -> Result<Option<Vec<usize>>> {
        let old = [self.num, self.channels, self.height, self.width];
        let list: Vec<i64> = match &self.shape {
            Some(shape) => shape.dim.clone(),
            None if old.iter().all(Option::is_none) => return Ok(None),
            None => old.iter().map(|extent| extent.unwrap_or(0).into()).collect(),
        };
        let extents: Option<Vec<usize>> =
            list.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        match extents.filter(|extents| extents.len() <= MAX_AXES) {
            Some(extents) => Ok(Some(extents)),
            None => {
                let expected = format!("at most {MAX_AXES} extents of 0 or more");
                let shown: Vec<i64> = list.iter().copied().take(MAX_AXES).collect();
                Err(Error::content(file, place, expected, format!("{shown:?}")))
            }
        }
    }
}
