//! What is told of a network beside its graph, and its mean image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use striate_nn::{Metadata, Network};
use striate_tensor::Tensor;

use super::emit::{At, Emitter, Item, Step, Weight};
use super::layout::Layout;
use super::unrepresentable;
use crate::onnx::elem::Elem;
use crate::safetensors::{FORMAT, METADATA, SPEC, VERSION};
use crate::{Error, Result};

/// The key of the mean image: JSON of its shape, and of a number for each channel (`channels`) where each
/// pixel is the same, else of all its numbers, f32 from the lowest byte, in base64 (`f32`).
const MEAN: &str = "striate.mean";

/// The properties of a network.
pub(super) fn of(file: &str, network: &Network) -> Result<BTreeMap<String, String>> {
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
    if let Some(mean) = network.mean() {
        let values = numbers(file, mean)?;
        let shape = mean.dims();
        let stored = match same_pixels(&values, network.spec().input[2]) {
            Some(channels) => json!({ "shape": shape, "channels": channels }),
            None => {
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!({ "shape": shape, "f32": STANDARD.encode(&bytes) })
            }
        };
        texts.insert(MEAN.to_owned(), stored.to_string());
    }
    Ok(texts)
}

fn numbers(file: &str, mean: &Tensor) -> Result<Vec<f32>> {
    mean.to_vec::<f32>().map_err(|e| Error::tensor(file, "the mean image", e))
}

/// The pixel that all pixels are.
fn same_pixels(values: &[f32], channels: usize) -> Option<&[f32]> {
    let first = values.get(..channels)?;
    values.chunks(channels.max(1)).all(|pixel| pixel == first).then_some(first)
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
