//! Our own form: a network as tensors, with its specification in the metadata.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use striate_nn::{LayerShape, Metadata, Network, NetworkSpec, ParameterId, ParameterInfo, Role};
use striate_tensor::ops::CustomOps;
use striate_tensor::{DType, Device, Shape, Tensor};

use super::file::TensorFile;
use super::int8;
use super::write::{Item, Numbers, write_items};
use crate::inspection::{Inspection, StoredParameters};
use crate::limits::{check_image, check_layers, check_spec_text};
use crate::options::{ReadOptions, WriteOptions, check_dtype};
use crate::state_dict::{check_shape, read_running, running_names};
use crate::torchvision;
use crate::{Error, Format, Result};

/// The metadata key of the form's version.
pub(crate) const FORMAT: &str = "striate.format";
/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
/// The metadata key of the network's specification, in JSON.
pub(crate) const SPEC: &str = "striate.spec";
/// The metadata key of labels, protocol and notes, in JSON.
pub(crate) const METADATA: &str = "striate.metadata";
/// The name of the mean image.
const MEAN: &str = "mean";
/// What the names of tensors that only training needs begin with.
pub(super) const TRAINING: &str = "train.";

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
    options.pixels.refuse(file.name())?;
    let spec =
        with_ops(file.name(), spec(file.name(), |key| file.text(key))?, &options.custom_ops)?;
    let shapes = spec.shapes().map_err(|e| Error::network(file.name(), e))?;
    check_names(file, &spec, &shapes)?;
    let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
    let mut levels = BTreeMap::new();
    for shape in &shapes {
        for parameter in &shape.parameters {
            let name = parameter_name(&spec, parameter);
            if let Some(known) = int8::levels(file, &name)? {
                levels.insert(ParameterId(parameters.len() as u32), known);
            }
            parameters.push(match int8::is_stored(file, &name) {
                true => {
                    int8::check(file, &name, &parameter.shape)?;
                    int8::load(file, &name, &parameter.shape, device, options)?
                }
                false => {
                    check_shape(file, &name, &parameter.shape)?;
                    file.tensor_with(&name, device, options)?
                }
            });
        }
        for buffer in &shape.buffers {
            let prefix = prefix(&spec, buffer.layer);
            buffers.push(read_running(file, &prefix, buffer, device)?);
        }
    }
    let metadata = metadata(file.name(), |key| file.text(key))?;
    let mean = match file.shape(MEAN) {
        Some(dims) => Some(read_mean(file, dims, &mean_shape(file, &spec)?, device)?),
        None => None,
    };
    let failed = |e| Error::network(file.name(), e);
    let network =
        Network::of(spec, parameters, buffers, device).map_err(failed)?.with_metadata(metadata);
    let network =
        if levels.is_empty() { network } else { network.with_levels(levels).map_err(failed)? };
    match mean {
        Some(mean) => network.with_mean(mean).map_err(failed),
        None => Ok(network),
    }
}

/// What the file holds, without its weights.
pub(super) fn inspect(file: &TensorFile, ops: &CustomOps) -> Result<Inspection> {
    if !is_own(file) {
        return torchvision::inspect(file);
    }
    let spec = with_ops(file.name(), spec(file.name(), |key| file.text(key))?, ops)?;
    let layers = match spec.missing_op() {
        Some(_) => stored_unchecked(file, &spec)?,
        None => stored(file, &spec)?,
    };
    let training = super::training::noted(file);
    Ok(Inspection {
        file: file.name().into(),
        format: Format::Safetensors,
        bytes: file.size(),
        mean: file.shape(MEAN).is_some(),
        training_state: file.names().filter(|n| n.starts_with(TRAINING)).map(Into::into).collect(),
        training: training.as_ref().map(|(position, _)| *position),
        training_options: training.and_then(|(_, options)| options),
        metadata: metadata(file.name(), |key| file.text(key))?,
        layers,
        spec,
    })
}

/// What is stored for each layer, checked against the shapes that the network needs.
fn stored(file: &TensorFile, spec: &NetworkSpec) -> Result<Vec<Option<StoredParameters>>> {
    let shapes = spec.shapes().map_err(|e| Error::network(file.name(), e))?;
    check_names(file, spec, &shapes)?;
    let mut layers = Vec::with_capacity(shapes.len());
    for shape in &shapes {
        for buffer in &shape.buffers {
            for (name, wanted) in running_names(&prefix(spec, buffer.layer), buffer)? {
                check_shape(file, &name, &wanted)?;
            }
        }
        let mut stored = None;
        for parameter in &shape.parameters {
            let name = parameter_name(spec, parameter);
            int8::levels(file, &name)?;
            let dtype = match int8::is_stored(file, &name) {
                true => int8::check(file, &name, &parameter.shape)?,
                false => check_shape(file, &name, &parameter.shape)?,
            };
            stored = Some(StoredParameters::with(stored, dtype, parameter.shape.count()));
        }
        layers.push(stored);
    }
    Ok(layers)
}

/// What is stored for each layer of a network whose shapes are not known, since custom ops are missing.
fn stored_unchecked(
    file: &TensorFile,
    spec: &NetworkSpec,
) -> Result<Vec<Option<StoredParameters>>> {
    let mut layers = Vec::with_capacity(spec.nodes.len());
    for (layer, node) in spec.nodes.iter().enumerate() {
        let mut stored = None;
        for role in [Role::Weight, Role::Bias] {
            let name = format!("{}.{}", prefix(spec, layer), role.name());
            if let (true, Some(dims), Some(dtype)) =
                (node.layer.has_parameters(), file.shape(&name), file.dtype(&name))
            {
                let count = dims.iter().fold(1, |count: usize, &n| count.saturating_mul(n));
                stored = Some(StoredParameters::with(stored, dtype, count));
            }
        }
        layers.push(stored);
    }
    Ok(layers)
}

/// The network with the ops of its custom layers. Without a registry those that it lacks are told of where
/// they are needed.
fn with_ops(file: &str, spec: NetworkSpec, ops: &CustomOps) -> Result<NetworkSpec> {
    match ops.is_empty() {
        true => Ok(spec),
        false => spec.with_custom_ops(ops).map_err(|e| Error::network(file, e)),
    }
}

/// Writes a network, its specification and metadata.
pub(super) fn write(path: &Path, network: &Network, options: &WriteOptions) -> Result<()> {
    write_with(path, network, options, &[], BTreeMap::new())
}

/// As [`write`], with more tensors and texts, whose names are no network's.
pub(super) fn write_with(
    path: &Path,
    network: &Network,
    options: &WriteOptions,
    extra: &[(String, Tensor)],
    mut texts: BTreeMap<String, String>,
) -> Result<()> {
    let file = path.display().to_string();
    // A network that computes with integers is stored as such, unless floats are asked for.
    let levels = network.levels();
    let in_int8 = match options.dtype {
        Some(dtype) => dtype == DType::I8,
        None => !levels.is_empty(),
    };
    let dtype = if in_int8 { Some(DType::F16) } else { options.dtype };
    check_dtype(&file, dtype)?;
    let json = |what: &str, result: serde_json::Result<String>| {
        result.map_err(|e| Error::parse(&file, what, "what JSON can hold", e))
    };
    let metadata = network.metadata();
    texts.insert(FORMAT.to_string(), VERSION.to_string());
    let spec = json(SPEC, serde_json::to_string(network.spec()))?;
    check_spec_text(&file, SPEC, &spec)?;
    texts.insert(SPEC.to_string(), spec);
    if *metadata != Metadata::default() {
        texts.insert(METADATA.to_string(), json(METADATA, serde_json::to_string(metadata))?);
    }
    let mut quantized = Vec::new();
    let all = network.parameter_infos().iter().zip(network.parameters()).enumerate();
    for (place, (parameter, tensor)) in all {
        if in_int8 && parameter.role == Role::Weight {
            let name = parameter_name(network.spec(), parameter);
            if let Some(levels) = levels.get(&ParameterId(place as u32)) {
                let tensor = int8::levels_tensor(&file, &name, levels)?;
                quantized.push((int8::levels_name(&name), tensor));
            }
            let [integers, scales] = int8::quantize(&file, &name, tensor)?;
            quantized.extend([(int8::scale_name(&name), scales), (name, integers)]);
        }
    }
    let own = quantized
        .iter()
        .map(|(name, host)| Item::new(name.as_str(), Numbers::Host(host), host.values().dtype()));
    let mut items: Vec<Item<'_>> = own.collect();
    for (parameter, tensor) in network.parameter_infos().iter().zip(network.parameters()) {
        if in_int8 && parameter.role == Role::Weight {
            continue;
        }
        let dtype = dtype.unwrap_or(tensor.dtype());
        items.push(Item::new(parameter_name(network.spec(), parameter), tensor.into(), dtype));
    }
    let rows = running_rows(&file, network)?;
    for (name, tensor) in &rows {
        // Statistics of large activations are beyond half precision, and they are few.
        items.push(Item::new(name.as_str(), tensor.into(), DType::F32));
    }
    // Where each byte counts, and older versions cannot read the weights anyway.
    let pixel = match network.mean().filter(|_| in_int8) {
        Some(mean) => even_mean(&file, mean)?,
        None => None,
    };
    if let Some(mean) = pixel.as_ref().or(network.mean()) {
        items.push(Item::new(MEAN, mean.into(), DType::F32));
    }
    items.extend(
        extra.iter().map(|(name, tensor)| Item::new(name.as_str(), tensor.into(), tensor.dtype())),
    );
    write_items(path, items, &texts, options.allow_overflow)
}

/// What the names of a layer's tensors begin with: the node's name, and for nodes without one its
/// number.
pub(crate) fn prefix(spec: &NetworkSpec, layer: usize) -> String {
    match spec.nodes.get(layer) {
        Some(node) if !node.name.is_empty() => node.name.clone(),
        _ => format!("layers.{layer}"),
    }
}

pub(crate) fn parameter_name(spec: &NetworkSpec, parameter: &ParameterInfo) -> String {
    format!("{}.{}", prefix(spec, parameter.layer), parameter.role.name())
}

/// Running statistics as two tensors each.
fn running_rows(file: &str, network: &Network) -> Result<Vec<(String, Tensor)>> {
    let mut rows = Vec::new();
    for (info, buffer) in network.buffer_infos().iter().zip(network.buffers()) {
        let names = running_names(&prefix(network.spec(), info.layer), info)?;
        for (row, (name, shape)) in names.into_iter().enumerate() {
            let value = buffer.value();
            let tensor = value.slice(&[row..row + 1, 0..shape.count()]);
            let tensor = tensor.and_then(|tensor| tensor.reshape(shape));
            rows.push((name.clone(), tensor.map_err(|e| Error::tensor(file, &name, e))?));
        }
    }
    Ok(rows)
}

fn is_own(file: &TensorFile) -> bool {
    file.metadata().contains_key(SPEC) || file.metadata().contains_key(FORMAT)
}

/// The specification among the texts of a file of our own form.
pub(crate) fn spec<'a>(file: &str, text: impl Fn(&str) -> Option<&'a str>) -> Result<NetworkSpec> {
    let place = |key| format!("metadata {key}");
    let fail =
        |key, expected: &str, got: String| Err(Error::content(file, place(key), expected, got));
    match text(FORMAT).map(str::parse::<u32>) {
        Some(Ok(1..=VERSION)) => {}
        Some(Ok(newer)) => {
            return fail(FORMAT, "version 1 (update Striate to read newer)", newer.to_string());
        }
        Some(Err(_)) | None => {
            let got = text(FORMAT).map_or_else(|| "none".into(), |v| format!("{v:?}"));
            return fail(FORMAT, "the version of the form, a number", got);
        }
    }
    let Some(text) = text(SPEC) else {
        return fail(SPEC, "the network's specification", "none".into());
    };
    check_spec_text(file, &place(SPEC), text)?;
    let expected = "the network's specification in JSON";
    let spec =
        NetworkSpec::from_json(text).map_err(|e| Error::parse(file, place(SPEC), expected, e))?;
    check_layers(file, &place(SPEC), spec.nodes.len())?;
    Ok(spec)
}

/// The labels, protocol and notes among them.
pub(crate) fn metadata<'a>(file: &str, text: impl Fn(&str) -> Option<&'a str>) -> Result<Metadata> {
    let Some(text) = text(METADATA) else { return Ok(Metadata::default()) };
    serde_json::from_str(text).map_err(|e| {
        let place = format!("metadata {METADATA}");
        Error::parse(file, place, "labels, protocol and notes in JSON", e)
    })
}

/// The mean image: whole, or one pixel that stands for all.
fn read_mean(file: &TensorFile, dims: &[usize], whole: &Shape, device: &Device) -> Result<Tensor> {
    let failed = |e| Error::tensor(file.name(), MEAN, e);
    if let [1, 1, channels] = *dims
        && [channels] == whole.dims()[2..]
    {
        check_image(file.name(), MEAN, [whole.dims()[0], whole.dims()[1]])?;
        let pixel = file.tensor(MEAN, device, Some(DType::F32))?.to_vec::<f32>().map_err(failed)?;
        let values = pixel.repeat(whole.count() / channels.max(1));
        return Tensor::from_vec(values, *whole, device).map_err(failed);
    }
    check_shape(file, MEAN, whole)?;
    file.tensor(MEAN, device, Some(DType::F32))
}

/// The one pixel that a mean image consists of; nothing where its pixels differ.
fn even_mean(file: &str, mean: &Tensor) -> Result<Option<Tensor>> {
    let failed = |e| Error::tensor(file, MEAN, e);
    let values = mean.to_vec::<f32>().map_err(failed)?;
    let channels = mean.dims().last().copied().unwrap_or(1).max(1);
    let mut pixels = values.chunks_exact(channels);
    let Some(first) = pixels.next() else { return Ok(None) };
    if pixels.any(|pixel| pixel != first) {
        return Ok(None);
    }
    let pixel = Tensor::from_vec(first.to_vec(), [1, 1, channels], mean.device());
    pixel.map(Some).map_err(failed)
}

fn mean_shape(file: &TensorFile, spec: &NetworkSpec) -> Result<Shape> {
    Shape::new(&[spec.image[0], spec.image[1], spec.input[2]])
        .map_err(|e| Error::tensor(file.name(), MEAN, e))
}

/// Refuses weights of layers that the specification does not have: they would be lost in silence.
fn check_names(file: &TensorFile, spec: &NetworkSpec, shapes: &[LayerShape]) -> Result<()> {
    let mut known = HashSet::new();
    for shape in shapes {
        for parameter in &shape.parameters {
            let name = parameter_name(spec, parameter);
            known.extend([int8::scale_name(&name), int8::levels_name(&name), name]);
        }
        for buffer in &shape.buffers {
            known.extend(running_names(&prefix(spec, buffer.layer), buffer)?.map(|(name, _)| name));
        }
    }
    let prefixes: HashSet<String> =
        (0..spec.nodes.len()).map(|layer| prefix(spec, layer)).collect();
    let is_layers = |name: &str| {
        let owner = name.rsplit_once('.').map_or(name, |(owner, _)| owner);
        name.starts_with("layers.") || prefixes.contains(owner)
    };
    match file.names().find(|name| is_layers(name) && !known.contains(*name)) {
        Some(extra) => {
            let place = format!("tensor {extra}");
            let expected = "only weights and biases of the specification's layers";
            Err(Error::content(file.name(), place, expected, "one more"))
        }
        None => Ok(()),
    }
}
