//! What is told of a network beside its graph, and its mean image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use striate_nn::{Metadata, Network, NetworkSpec};
use striate_tensor::{Device, Tensor};

use super::emit::{At, Emitter, Item, Step, Weight};
use super::layout::Layout;
use super::unrepresentable;
use crate::limits::check_image;
use crate::onnx::elem::Elem;
use crate::safetensors::{FORMAT, METADATA, SPEC, VERSION, metadata, spec};
use crate::{Error, Result};

/// The key of the mean image, in JSON.
const MEAN: &str = "striate.mean";

/// A mean image as its property has it.
#[derive(Serialize, Deserialize)]
struct Mean {
    shape: [usize; 3],
    #[serde(flatten)]
    pixels: Pixels,
}

/// Its numbers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pixels {
    /// One for each channel: all pixels are the same.
    Channels(Vec<f32>),
    /// All of them, from the lowest byte, in base64.
    F32(String),
}

/// The properties of a network; without its mean image where the file subtracts that itself, since whoever
/// reads it would subtract it again.
pub(super) fn of(
    file: &str,
    network: &Network,
    subtracts: bool,
) -> Result<BTreeMap<String, String>> {
    let json = |key: &str, result: serde_json::Result<String>| {
        result.map_err(|e| Error::parse(file, key, "what JSON can hold", e))
    };
    let mut texts = BTreeMap::new();
    texts.insert(FORMAT.to_owned(), VERSION.to_string());
    texts.insert(SPEC.to_owned(), json(SPEC, serde_json::to_string(network.spec()))?);
    let metadata = network.metadata();
    if *metadata != Metadata::default() {
        texts.insert(METADATA.to_owned(), json(METADATA, serde_json::to_string(metadata))?);
    }
    if let (Some(mean), NetworkSpec { image: [rows, cols], input: [.., channels], .. }) =
        (network.mean().filter(|_| !subtracts), network.spec())
    {
        let values = mean.to_vec::<f32>().map_err(|e| Error::tensor(file, "the mean image", e))?;
        let pixels = match same_pixels(&values, *channels) {
            Some(pixel) => Pixels::Channels(pixel.to_vec()),
            None => {
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                Pixels::F32(STANDARD.encode(&bytes))
            }
        };
        let mean = Mean { shape: [*rows, *cols, *channels], pixels };
        texts.insert(MEAN.to_owned(), json(MEAN, serde_json::to_string(&mean))?);
    }
    Ok(texts)
}

/// The pixel that all pixels are.
fn same_pixels(values: &[f32], channels: usize) -> Option<&[f32]> {
    let first = values.get(..channels)?;
    let same = values.chunks(channels.max(1)).all(|pixel| pixel == first);
    // JSON has no infinities.
    (same && first.iter().all(|x| x.is_finite())).then_some(first)
}

/// What the properties of a file that [`export`](super::export) wrote tell.
pub(in crate::onnx) struct Properties {
    /// The network that was written.
    pub(in crate::onnx) spec: NetworkSpec,
    /// Its labels, protocol and notes.
    pub(in crate::onnx) metadata: Metadata,
    /// Its mean image: pixels, of which the last stands for those that are not there.
    mean: Option<Vec<f32>>,
}

impl Properties {
    /// Reads them; nothing where another program wrote the file.
    pub(in crate::onnx) fn read(file: &str, texts: &[(String, String)]) -> Result<Option<Self>> {
        let text = |key: &str| texts.iter().find(|(own, _)| own == key).map(|(_, text)| &**text);
        if text(FORMAT).is_none() || text(SPEC).is_none() {
            return Ok(None);
        }
        let spec = spec(file, text)?;
        let metadata = metadata(file, text)?;
        let mean = text(MEAN).map(|text| stored_mean(file, text, &spec)).transpose()?;
        Ok(Some(Properties { spec, metadata, mean }))
    }

    /// Whether there is a mean image.
    pub(in crate::onnx) fn has_mean(&self) -> bool {
        self.mean.is_some()
    }

    /// The mean image.
    pub(in crate::onnx) fn mean(&self, device: &Device) -> striate_tensor::Result<Option<Tensor>> {
        let ([rows, cols], channels) = (self.spec.image, self.spec.input[2]);
        let Some(values) = &self.mean else { return Ok(None) };
        let values = match values.len() == channels {
            true => values.repeat(rows * cols),
            false => values.clone(),
        };
        Tensor::from_vec(values, [rows, cols, channels], device).map(Some)
    }
}

/// The numbers of a mean image of the network's: of one pixel, or of all.
fn stored_mean(file: &str, text: &str, spec: &NetworkSpec) -> Result<Vec<f32>> {
    let place = format!("metadata {MEAN}");
    let expected = "a mean image's shape and numbers in JSON";
    let mean: Mean =
        serde_json::from_str(text).map_err(|e| Error::parse(file, &*place, expected, e))?;
    let ([rows, cols], channels) = (spec.image, spec.input[2]);
    let count = check_image(file, &place, [rows, cols])?.saturating_mul(channels);
    let values: Vec<f32> = match mean.pixels {
        Pixels::Channels(values) => values,
        Pixels::F32(text) => {
            let bytes = STANDARD.decode(text);
            let bytes = bytes.map_err(|e| Error::parse(file, &*place, "base64", e))?;
            let (numbers, _) = bytes.as_chunks();
            numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
    };
    if mean.shape != [rows, cols, channels] || ![channels, count].contains(&values.len()) {
        let expected = format!("{rows}x{cols} pixels of {channels} channels, or one that all are");
        let got = format!("{} numbers for {:?}", values.len(), mean.shape);
        return Err(Error::content(file, place, expected, got));
    }
    Ok(values)
}

/// The part of the mean image that belongs to the network's input: the centre.
pub(super) fn centre(file: &str, network: &Network) -> Result<Tensor> {
    let Some(mean) = network.mean() else {
        return Err(unrepresentable(file, "it has no mean image that could be subtracted".into()));
    };
    let [rows, cols, channels] = network.spec().input;
    let mut ranges = Vec::with_capacity(3);
    for (axis, extent) in [rows, cols, channels].into_iter().enumerate() {
        let whole = mean.dims().get(axis).copied().unwrap_or(0);
        let Some(rest) = whole.checked_sub(extent) else {
            let reason = format!("its mean image {} is smaller than its input", mean.shape());
            return Err(unrepresentable(file, reason));
        };
        ranges.push(rest / 2..rest / 2 + extent);
    }
    mean.slice(&ranges).map_err(|e| Error::tensor(file, "the mean image", e))
}

/// Images less a mean image `[rows, cols, channels]`.
pub(super) fn subtract(emit: &mut Emitter, images: Item, mean: Tensor) -> Step<Item> {
    emit.scope = "mean".into();
    let &[rows, cols, channels] = mean.dims() else {
        return super::emit::refuse("expected a mean image of 3 axes");
    };
    let values = mean.to_vec::<f32>()?;
    let (shape, range) = match same_pixels(&values, channels) {
        Some(pixel) => ([1, 1, channels], 0..pixel.len()),
        None => ([rows, cols, channels], 0..values.len()),
    };
    let weight = Weight { key: (usize::MAX, 0), name: "mean".into(), tensor: mean, range };
    let layout = Layout::new(&shape, false, &[0, 1, 2]);
    let groups = layout.groups(&[2, 0, 1]);
    let mean = emit.realize(&Item { at: At::Weight(weight), layout, elem: Elem::F32 }, &groups)?;
    let At::Value(name) = &images.at else { return super::emit::refuse("expected images") };
    let less = emit.push("Sub", &[name, &mean], vec![]);
    Ok(Item { at: At::Value(less), ..images })
}
