//! Networks and graphs as ONNX files.
//!
//! # Form
//! Images are channels-first in the file, as other programs expect them: inputs and outputs of 4 axes are
//! `[batch, channels, rows, cols]` there where ours are `[batch, rows, cols, channels]`. The first axis of
//! each input is open and called `batch`, and no shape in the file hangs on it. Weights have the names of
//! the network's parameters (`layer1.0.conv1.weight`) and lie as ONNX has them: those of convolutions
//! `[out, in / groups, kernel rows, kernel cols]`, those of full-connect layers `[out, in]` with the inputs
//! in the order of channels, rows, cols. A transposition stands where an operator needs its axes in
//! another order, as layer normalization does.
//!
//! # Operators
//! Opset 17 by default, the first with layer normalization; 13 to 22 can be asked for. What an opset has no
//! operator for is written as several: GELU before 20, Mish before 18, hard swish before 14, layer
//! normalization before 17; and in any of them group normalization (instance normalization of groups),
//! adaptive pooling whose windows differ (products with the weights of each pixel), and resizing where
//! programs round places differently (a list of pixels). The file computes what the network does, but
//! for rounding.
//!
//! # Properties
//! The specification, labels, protocol and notes are properties of the model, under the keys that our
//! safetensors files have them by: `striate.spec`, `striate.metadata`, `striate.format`; and the mean image
//! under `striate.mean`: JSON of its shape, and of a number for each channel (`channels`) where all pixels are
//! the same, else of all its numbers, f32 from the lowest byte, in base64 (`f32`). A file that subtracts the mean
//! image itself has no such property.

mod emit;
mod layout;
pub(super) mod properties;
mod rules;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use striate_graph::{Bind, BufferId, Graph, ParameterId, Source, Value};
use striate_nn::Network;
use striate_tensor::Tensor;

use super::elem::Elem;
use super::proto::{Dimension, ShapeProto, TensorTypeProto, TypeProto, ValueInfo};
use crate::{Error, Result};
use emit::{At, Emitter, Item, Stop, Weight};
use layout::{CHANNELS_FIRST, Layout};
use rules::Cx;

/// The versions of the standard operators that are written.
pub const EXPORT_OPSETS: std::ops::RangeInclusive<i64> = 13..=22;

/// Weights of more bytes go into a second file: a message of protobuf ends at 2 GiB.
const MAX_INLINE_BYTES: u64 = 1_900_000_000;

/// What an open first axis is called.
const BATCH: &str = "batch";

/// How a network is written as ONNX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The version of the standard operators: one of [`EXPORT_OPSETS`], 17 if nothing else is said.
    pub opset: i64,
    /// The file subtracts the network's mean image itself: it takes pixels as pictures have them, 0 to 255.
    /// Otherwise it takes what [`Network::forward`] takes. Of a mean image that is larger than the input the
    /// centre is subtracted.
    pub with_mean: bool,
    /// The first axis of inputs is as long as in the graph, and not open. Networks of their own are written
    /// for one image then.
    pub fixed_batch: bool,
    /// Weights of more bytes in total go into a second file beside the first, called as it with `.data`
    /// behind: 1.9 GB if nothing else is said.
    pub inline_bytes: u64,
    /// More properties of the model, by key.
    pub properties: BTreeMap<String, String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            opset: 17,
            with_mean: false,
            fixed_batch: false,
            inline_bytes: MAX_INLINE_BYTES,
            properties: BTreeMap::new(),
        }
    }
}

impl ExportOptions {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With another version of the standard operators.
    #[must_use]
    pub fn opset(self, opset: i64) -> Self {
        ExportOptions { opset, ..self }
    }

    /// Whether the file subtracts the mean image.
    #[must_use]
    pub fn with_mean(self, with_mean: bool) -> Self {
        ExportOptions { with_mean, ..self }
    }

    /// Whether the first axis of inputs is fixed.
    #[must_use]
    pub fn fixed_batch(self, fixed_batch: bool) -> Self {
        ExportOptions { fixed_batch, ..self }
    }

    /// With another number of bytes from which weights go into a second file.
    #[must_use]
    pub fn inline_bytes(self, inline_bytes: u64) -> Self {
        ExportOptions { inline_bytes, ..self }
    }
}

/// What parameters and buffers of a graph are called in the file: by their numbers where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphNames {
    /// Of parameters.
    pub parameters: BTreeMap<ParameterId, String>,
    /// Of buffers; `_mean` and `_var` stand behind those of running statistics.
    pub buffers: BTreeMap<BufferId, String>,
}

/// Writes a network for inference as an ONNX file: its input is `input`, its output `output`.
///
/// The file is written beside its place and then renamed, so it is whole or untouched. A second file, where
/// one is needed ([`ExportOptions::inline_bytes`]), is replaced right before it.
///
/// ```no_run
/// use striate_importers::onnx::{ExportOptions, Model, export};
/// use striate_nn::{NetworkSpec, Seed, conv2d};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([32, 32, 3]).conv(conv2d(8, 3)).relu().full_connect(10);
/// export("small.onnx", &spec.build(&device, Seed(1))?, &ExportOptions::new())?;
///
/// let x = Tensor::zeros([5, 3, 32, 32], &device)?;
/// let outputs = Model::open("small.onnx")?.run(&[("input", x)], &device)?;
/// assert_eq!(outputs[0].1.dims(), [5, 10]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Unrepresentable`] where a layer has no form in ONNX, the opset is none that is written, or the
/// mean is asked for and there is none; [`Error::Target`] and [`Error::Io`] where the file cannot be
/// written; [`Error::Tensor`] where a device fails. Nothing has changed then.
pub fn export(path: impl AsRef<Path>, network: &Network, options: &ExportOptions) -> Result<()> {
    let path = path.as_ref();
    let file = path.display().to_string();
    // Of two images, so that an axis of the batch is not taken for one of extent 1.
    let images = if options.fixed_batch { 1 } else { 2 };
    let graph = network.graph(images).map_err(|e| Error::network(&file, e))?;
    let spec = network.spec();
    let parameters =
        network.parameter_infos().iter().enumerate().map(|(i, info)| {
            (ParameterId(i as u32), crate::safetensors::parameter_name(spec, info))
        });
    let buffers = network.buffer_infos().iter().enumerate().map(|(i, info)| {
        let node = crate::safetensors::prefix(spec, info.layer);
        (BufferId(i as u32), format!("{node}.running"))
    });
    let names = GraphNames { parameters: parameters.collect(), buffers: buffers.collect() };
    let mut all = options.clone();
    all.properties.extend(properties::of(&file, network, options.with_mean)?);
    let mean = match options.with_mean {
        true => Some(properties::centre(&file, network)?),
        false => None,
    };
    let name = spec.name.clone();
    write_graph(path, &name, (&graph, network, &names), mean, &all)
}

/// Writes a graph as an ONNX file, with the parameters and buffers that it is bound to: inputs and outputs
/// under their own names. Those of 4 axes are taken for images, and are channels-first in the file.
///
/// Every op that inference of a network is made of has a form there, and others that need no more than one
/// operator; those of training have none. [`ExportOptions::with_mean`] has no effect.
///
/// # Errors
/// As [`export`]; [`Error::Unrepresentable`] names the node and the op.
pub fn export_graph(
    path: impl AsRef<Path>,
    graph: &Graph,
    bind: &dyn Bind,
    names: &GraphNames,
    options: &ExportOptions,
) -> Result<()> {
    write_graph(path.as_ref(), "", (graph, bind, names), None, options)
}

fn write_graph(
    path: &Path,
    name: &str,
    (graph, bind, names): (&Graph, &dyn Bind, &GraphNames),
    mean: Option<Tensor>,
    options: &ExportOptions,
) -> Result<()> {
    let file = path.display().to_string();
    let refuse = |reason: String| Err(unrepresentable(&file, reason));
    if !EXPORT_OPSETS.contains(&options.opset) {
        let (least, most) = (EXPORT_OPSETS.start(), EXPORT_OPSETS.end());
        return refuse(format!("opsets {least} to {most} are written, not {}", options.opset));
    }
    let ports = graph.inputs().iter().chain(graph.outputs());
    let mut taken = HashSet::new();
    for (port, _) in ports {
        if port.is_empty() || !taken.insert(port.clone()) {
            return refuse(format!("each input and output needs a name of its own, not `{port}`"));
        }
    }
    let export = Export { file: &file, graph, bind, names, is_open: !options.fixed_batch };
    let mut emit = Emitter::new(options.opset, taken);
    let (inputs, outputs) = export.write(&mut emit, mean)?;
    write::write(path, name, &emit, (inputs, outputs), options)
}

fn unrepresentable(file: &str, reason: String) -> Error {
    Error::Unrepresentable { file: file.into(), format: "ONNX", reason }
}

/// A graph that is being written.
struct Export<'a> {
    file: &'a str,
    graph: &'a Graph,
    bind: &'a dyn Bind,
    names: &'a GraphNames,
    is_open: bool,
}

impl Export<'_> {
    /// Writes all nodes; gives the file's inputs and outputs.
    fn write(
        &self,
        emit: &mut Emitter,
        mean: Option<Tensor>,
    ) -> Result<(Vec<ValueInfo>, Vec<ValueInfo>)> {
        let graph = self.graph;
        let mut items: Vec<Option<Item>> = Vec::with_capacity(graph.value_count());
        for value in graph.values() {
            items.push(self.source(value)?);
        }
        let mut inputs = Vec::new();
        for (name, value) in graph.inputs() {
            if let Some(item) = &items[value.index()] {
                inputs.push(self.port(name, item));
            }
        }
        if let (Some(mean), Some((_, value))) = (mean, graph.inputs().first())
            && let Some(item) = items[value.index()].take()
        {
            let less = properties::subtract(emit, item, mean);
            items[value.index()] = Some(less.map_err(|stop| self.stopped("mean", "sub", stop))?);
        }
        for node in graph.nodes() {
            let at = |value: &Value| items.get(value.index()).cloned().flatten();
            let operands: Option<Vec<Item>> = node.inputs.iter().map(at).collect();
            let Some(operands) = operands else {
                let reason = format!("node `{}` has an operand that is not there", node.name);
                return Err(unrepresentable(self.file, reason));
            };
            emit.scope.clone_from(&node.name);
            let output = *graph.ty(node.output);
            let made = match output.shape.dims().contains(&0) {
                true => emit::refuse(format!("it makes {}, of no elements", output.shape)),
                false => rules::write(&mut Cx { emit, inputs: operands, output }, &node.op),
            };
            let made = made.map_err(|stop| self.stopped(&node.name, node.op.name(), stop))?;
            items[node.output.index()] = Some(made);
        }
        let mut outputs = Vec::new();
        for (output, value) in graph.outputs() {
            emit.scope.clone_from(output);
            let Some(item) = items[value.index()].clone() else { continue };
            let shown = self.show(emit, item, output, *value);
            outputs.push(shown.map_err(|stop| self.stopped(output, "output", stop))?);
        }
        emit.finish();
        Ok((inputs, outputs))
    }

    /// Makes a value an output of the file.
    fn show(
        &self,
        emit: &mut Emitter,
        mut item: Item,
        output: &str,
        value: Value,
    ) -> emit::Step<ValueInfo> {
        let groups = item.layout.groups(&order(item.layout.rank()));
        let name = emit.realize(&item, &groups)?;
        let elem = Elem::of_dtype(self.graph.ty(value).dtype);
        let name = emit.cast(name, item.elem, elem);
        item.layout.set_file(groups);
        item.elem = elem;
        emit.output(name, output);
        Ok(self.port(output, &item))
    }

    fn stopped(&self, node: &str, op: &str, stop: Stop) -> Error {
        match stop {
            Stop::Refused(why) => {
                unrepresentable(self.file, format!("node `{node}` ({op}): {why}"))
            }
            Stop::Tensor(source) => Error::tensor(self.file, format!("node `{node}`"), source),
        }
    }

    /// A value that no node makes.
    fn source(&self, value: Value) -> Result<Option<Item>> {
        let ty = self.graph.ty(value);
        let dims = ty.shape.dims();
        let (tensor, name) = match self.graph.source(value) {
            Source::Node(_) => return Ok(None),
            Source::Input(place) => {
                let name = self.graph.inputs().get(*place).map(|(name, _)| name.clone());
                let at = At::Value(name.unwrap_or_default());
                let elem = Elem::of_dtype(ty.dtype);
                let layout = Layout::new(dims, self.is_open, &order(dims.len()));
                return Ok(Some(Item { at, layout, elem }));
            }
            Source::Parameter(id) => {
                let name = self.names.parameters.get(id).cloned();
                let name = name.unwrap_or_else(|| format!("parameter.{}", id.0));
                (self.bind.parameter(*id).cloned(), name)
            }
            Source::Buffer(id) => {
                let name = self.names.buffers.get(id).cloned();
                let name = name.unwrap_or_else(|| format!("buffer.{}", id.0));
                (self.bind.buffer(*id).cloned(), name)
            }
            Source::Constant(tensor) => {
                (Some(tensor.clone()), format!("constant.{}", value.index()))
            }
        };
        let tensor = match tensor {
            Some(tensor) if tensor.ty() == ty => tensor,
            other => {
                let got = other.map_or_else(|| "none".into(), |tensor| tensor.ty().to_string());
                return Err(Error::content(self.file, name, format!("a tensor {ty}"), got));
            }
        };
        let elem = Elem::of_dtype(ty.dtype);
        let plain: Vec<usize> = (0..dims.len()).collect();
        let layout = Layout::new(dims, false, &plain);
        let key = (value.index(), 0);
        let weight = Weight { key, name, range: 0..ty.count(), tensor };
        Ok(Some(Item { at: At::Weight(weight), layout, elem }))
    }

    /// An input or output as the file names it.
    fn port(&self, name: &str, item: &Item) -> ValueInfo {
        let layout = &item.layout;
        let dim = |group: &Vec<usize>| match (layout.is_batch(group), layout.is_open(group)) {
            (true, _) => Dimension { value: None, name: Some(BATCH.into()) },
            (_, true) => Dimension { value: None, name: None },
            _ => Dimension { value: Some(layout.extent(group) as i64), name: None },
        };
        let shape = ShapeProto { dim: layout.file().iter().map(dim).collect() };
        let tensor = TensorTypeProto { elem_type: item.elem.code(), shape: Some(shape) };
        ValueInfo { name: name.into(), ty: Some(TypeProto { tensor: Some(tensor) }) }
    }
}

/// The order of our axes in inputs and outputs of the file.
fn order(rank: usize) -> Vec<usize> {
    match rank {
        4 => CHANNELS_FIRST.to_vec(),
        _ => (0..rank).collect(),
    }
}
