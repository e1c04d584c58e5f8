//! Our own form: a network as tensors, with its specification in the metadata.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use striate_nn::{LayerParameters, LayerShape, Metadata, Network, NetworkSpec};
use striate_tensor::{DType, Device, Shape};

use super::file::TensorFile;
use super::torchvision;
use super::write::{Item, write_items};
use crate::inspection::{Inspection, StoredParameters};
use crate::limits::{check_layers, check_spec_text};
use crate::options::{ReadOptions, WriteOptions, check_dtype};
use crate::{Error, Format, Result};

/// The metadata key of the form's version.
const FORMAT: &str = "striate.format";
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// The metadata key of the network's specification, in JSON.
pub(super) const SPEC: &str = "striate.spec";
/// The metadata key of labels, protocol and notes, in JSON.
const METADATA: &str = "striate.metadata";
/// The name of the mean image.
const MEAN: &str = "mean";
/// What the names of tensors that only training needs begin with.
const TRAINING: &str = "train.";

/// Reads a network, our own or a state dict of torchvision's.
pub(super) fn read(file: &TensorFile, device: &Device, options: &ReadOptions) -> Result<Network> {
    check_dtype(file.name(), options.dtype)?;
    let network = match is_own(file) {
        true => read_own(file, device, options)?,
        false => torchvision::read(file, device, options)?,
    };
    file.check_unchanged()?;
    Ok(network)
}

fn read_own(file: &TensorFile, device: &Device, options: &ReadOptions) -> Result<Network> {
    let spec = spec(file)?;
    let shapes = spec.shapes().map_err(|e| Error::network(file.name(), e))?;
    check_names(file, &shapes)?;
    let mut parameters = Vec::with_capacity(shapes.len());
    for shape in &shapes {
        parameters.push(match (&shape.weight, &shape.bias) {
            (Some(weight), Some(bias)) => {
                let load = |part, wanted| {
                    let name = name(shape.layer, part);
                    check_shape(file, &name, wanted)?;
                    file.tensor_with(&name, device, options)
                };
                Some(LayerParameters { weight: load("weight", weight)?, bias: load("bias", bias)? })
            }
            _ => None,
        });
    }
    let metadata = metadata(file)?;
    let mean = match file.shape(MEAN) {
        Some(_) => {
            check_shape(file, MEAN, &mean_shape(file, &spec)?)?;
            Some(file.tensor(MEAN, device, Some(DType::F32))?)
        }
        None => None,
    };
    let failed = |e| Error::network(file.name(), e);
    let network = Network::new(spec, parameters, device).map_err(failed)?.with_metadata(metadata);
    match mean {
        Some(mean) => network.with_mean(mean).map_err(failed),
        None => Ok(network),
    }
}

/// What the file holds, without its weights.
pub(super) fn inspect(file: &TensorFile) -> Result<Inspection> {
    if !is_own(file) {
        return torchvision::inspect(file);
    }
    let spec = spec(file)?;
    let shapes = spec.shapes().map_err(|e| Error::network(file.name(), e))?;
    check_names(file, &shapes)?;
    let mut layers = Vec::with_capacity(shapes.len());
    for shape in &shapes {
        layers.push(match (&shape.weight, &shape.bias) {
            (Some(weight), Some(bias)) => {
                let stored = |part, wanted| {
                    let name = name(shape.layer, part);
                    check_shape(file, &name, wanted)
                };
                let (weights, biases) = (stored("weight", weight)?, stored("bias", bias)?);
                Some(StoredParameters::new(weights, weight.count(), biases, bias.count()))
            }
            _ => None,
        });
    }
    Ok(Inspection {
        file: file.name().into(),
        format: Format::Safetensors,
        bytes: file.size(),
        mean: file.shape(MEAN).is_some(),
        training_state: file.names().filter(|n| n.starts_with(TRAINING)).map(Into::into).collect(),
        training: None,
        metadata: metadata(file)?,
        layers,
        spec,
    })
}

/// Writes a network, its specification and metadata.
pub(super) fn write(path: &Path, network: &Network, options: &WriteOptions) -> Result<()> {
    let file = path.display().to_string();
    check_dtype(&file, options.dtype)?;
    let json = |what: &str, result: serde_json::Result<String>| {
        result.map_err(|e| Error::parse(&file, what, "what JSON can hold", e))
    };
    let metadata = network.metadata();
    let mut texts = BTreeMap::new();
    texts.insert(FORMAT.to_string(), VERSION.to_string());
    texts.insert(SPEC.to_string(), json(SPEC, serde_json::to_string(network.spec()))?);
    if *metadata != Metadata::default() {
        texts.insert(METADATA.to_string(), json(METADATA, serde_json::to_string(metadata))?);
    }
    let mut items = Vec::new();
    for (layer, parameters) in network.layer_parameters().iter().enumerate() {
        let Some(LayerParameters { weight, bias }) = parameters else { continue };
        for (part, tensor) in [("weight", weight), ("bias", bias)] {
            let dtype = options.dtype.unwrap_or(tensor.dtype());
            items.push(Item::new(name(layer, part), tensor.into(), dtype));
        }
    }
    if let Some(mean) = network.mean() {
        items.push(Item::new(MEAN, mean.into(), DType::F32));
    }
    write_items(path, items, &texts, options.allow_overflow)
}

fn name(layer: usize, part: &str) -> String {
    format!("layers.{layer}.{part}")
}

fn is_own(file: &TensorFile) -> bool {
    file.metadata().contains_key(SPEC) || file.metadata().contains_key(FORMAT)
}

fn spec(file: &TensorFile) -> Result<NetworkSpec> {
    let texts = file.metadata();
    let place = |key| format!("metadata {key}");
    let fail = |key, expected: &str, got: String| {
        Err(Error::content(file.name(), place(key), expected, got))
    };
    match texts.get(FORMAT).map(|v| v.parse::<u32>()) {
        Some(Ok(1..=VERSION)) => {}
        Some(Ok(newer)) => {
            return fail(FORMAT, "version 1 (update Striate to read newer)", newer.to_string());
        }
        Some(Err(_)) | None => {
            let got = texts.get(FORMAT).map_or_else(|| "none".into(), |v| format!("{v:?}"));
            return fail(FORMAT, "the version of the form, a number", got);
        }
    }
    let Some(text) = texts.get(SPEC) else {
        return fail(SPEC, "the network's specification", "none".into());
    };
    check_spec_text(file.name(), &place(SPEC), text)?;
    let expected = "the network's specification in JSON";
    let spec = NetworkSpec::from_json(text)
        .map_err(|e| Error::parse(file.name(), place(SPEC), expected, e))?;
    check_layers(file.name(), &place(SPEC), spec.nodes.len())?;
    Ok(spec)
}

fn metadata(file: &TensorFile) -> Result<Metadata> {
    let Some(text) = file.metadata().get(METADATA) else { return Ok(Metadata::default()) };
    serde_json::from_str(text).map_err(|e| {
        let place = format!("metadata {METADATA}");
        Error::parse(file.name(), place, "labels, protocol and notes in JSON", e)
    })
}

fn mean_shape(file: &TensorFile, spec: &NetworkSpec) -> Result<Shape> {
    Shape::new(&[spec.image[0], spec.image[1], spec.input[2]])
        .map_err(|e| Error::tensor(file.name(), MEAN, e))
}

/// Refuses a tensor of another shape than its layer has; gives the precision it is read in.
fn check_shape(file: &TensorFile, name: &str, wanted: &Shape) -> Result<DType> {
    let (entry, stored) = file.floats(name)?;
    if entry.shape != wanted.dims() {
        let place = format!("tensor {name}");
        let (expected, got) = (wanted.dims().to_vec(), entry.shape.clone());
        return Err(Error::Shape { file: file.name().into(), place, expected, got });
    }
    Ok(stored.dtype())
}

/// Refuses weights of layers that the specification does not have: they would be lost in silence.
fn check_names(file: &TensorFile, shapes: &[LayerShape]) -> Result<()> {
    let with = shapes.iter().filter(|shape| shape.weight.is_some());
    let known: HashSet<String> =
        with.flat_map(|shape| ["weight", "bias"].map(|part| name(shape.layer, part))).collect();
    match file.names().find(|n| n.starts_with("layers.") && !known.contains(*n)) {
        Some(extra) => {
            let place = format!("tensor {extra}");
            let expected = "only weights and biases of the specification's layers";
            Err(Error::content(file.name(), place, expected, "one more"))
        }
        None => Ok(()),
    }
}
