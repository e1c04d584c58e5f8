//! ONNX models: opened once, run on any device.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use striate_graph::passes::Passes;
use striate_graph::{Cancel, Graph};
use striate_tensor::ops::Algorithm;
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor};

use super::array::Array;
use super::check;
use super::compile::cx::Weights;
use super::compile::{
    Compiler, Feed, Known, Limits, Output as Made, Stage, State, Values, is_standard, of_tensor,
};
use super::custom::CustomNodes;
use super::elem::Elem;
use super::port::{Port, check_extents, elem_of, port};
use super::proto::ValueInfo;
use super::read::{self, File, Folder};
use crate::source::Source;
use crate::{Error, Format, Result};

/// As many compiled forms are kept: for other shapes, other contents of integer inputs, other devices.
const KEPT: usize = 8;

/// Integer inputs of more elements that are only made floats go to the device as such.
const LARGE: usize = 256;

/// How a model is run: all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Ends the run early, from any thread.
    pub cancel: Option<Cancel>,
    /// Bytes that activations may take; a run that needs more is refused before it begins.
    pub memory_limit: Option<u64>,
    /// How convolutions are computed: [`Algorithm::Direct`] where Winograd's rounding matters.
    pub algorithm: Algorithm,
    /// Activations are kept in f16, as [`Passes::half`] says.
    pub half: bool,
}

impl RunOptions {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a switch that ends the run.
    #[must_use]
    pub fn cancel(self, cancel: Cancel) -> Self {
        RunOptions { cancel: Some(cancel), ..self }
    }

    /// With so many bytes for activations.
    #[must_use]
    pub fn memory_limit(self, bytes: u64) -> Self {
        RunOptions { memory_limit: Some(bytes), ..self }
    }

    /// With convolutions computed so.
    #[must_use]
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        RunOptions { algorithm, ..self }
    }

    /// With activations in f16, or not.
    #[must_use]
    pub fn half(self, half: bool) -> Self {
        RunOptions { half, ..self }
    }
}

/// A model of an ONNX file.
///
/// It keeps the file's weights in host memory and is compiled for the shapes of its inputs when they are
/// known: constants are folded, batch normalization becomes part of the convolutions, and images lie
/// channels-last on the device whatever the file says. What was compiled is kept, so that a second run of
/// the same shapes begins at once. Running is `&self`: any number of threads may do so at once.
///
/// ```no_run
/// use striate_importers::onnx::Model;
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::new(Reference::new());
/// let model = Model::open("mobilenet_v2.onnx")?;
/// let x = Tensor::zeros([1, 3, 224, 224], &device)?;
/// for (name, output) in model.run(&[("input", x)], &device)? {
///     println!("{name}: {}", output.shape());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Model {
    pub(super) file: File,
    folder: Folder,
    custom: CustomNodes,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    weights: Mutex<Vec<(Device, Arc<Weights>)>>,
    compiled: Mutex<Vec<(Key, Arc<Stage>)>>,
}

/// What a stage was compiled for.
#[derive(Clone, Debug)]
struct Key {
    device: Device,
    algorithm: Algorithm,
    half: bool,
    inputs: Vec<Input>,
}

/// An input as far as compiling looks at it.
#[derive(Clone, Debug, PartialEq)]
enum Input {
    /// The shape alone.
    Shape(Vec<usize>),
    /// What is in it as well, since shapes may hang on it.
    Contents(Array),
}

impl Model {
    /// Opens a file and reads its weights.
    ///
    /// # Errors
    /// [`Error::Operators`] where it has operators that are not there: all of them. [`Error::NotAModel`]
    /// where it is no ONNX file; [`Error::Content`] and [`Error::Parse`] where it is damaged, or names
    /// files outside its own folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &CustomNodes::new())
    }

    /// As [`open`](Model::open), with custom ops for operators that are no standard ones. Such a model runs;
    /// it is no [network of layers](Model::to_network).
    ///
    /// # Errors
    /// As [`open`](Model::open). What makes the ops is called when the model is compiled for a run, and what
    /// it says comes then, as [`Error::Tensor`].
    pub fn open_with(path: impl AsRef<Path>, custom: &CustomNodes) -> Result<Self> {
        Self::of_source_with(&Source::expect(path.as_ref(), Format::Onnx)?, custom)
    }

    /// As [`open`](Model::open), of what comes out of a reader, such as standard input; `name` stands for it
    /// in messages. Elements in other files are not read.
    ///
    /// # Errors
    /// As [`open`](Model::open).
    pub fn from_reader(reader: impl std::io::Read, name: impl Into<String>) -> Result<Self> {
        Self::of_source(&Source::spool(reader, name, "onnx")?)
    }

    pub(crate) fn of_source(source: &Source) -> Result<Self> {
        Self::of_source_with(source, &CustomNodes::new())
    }

    fn of_source_with(source: &Source, custom: &CustomNodes) -> Result<Self> {
        let file = read::read(source)?;
        check::check(&file, custom)?;
        let block = &file.graph;
        let is_input = |info: &&ValueInfo| !block.initializers.contains_key(&info.name);
        let inputs = block.inputs.iter().filter(is_input).map(port).collect();
        let outputs = block.outputs.iter().map(port).collect();
        let folder = Folder::of(source);
        Ok(Model {
            file,
            folder,
            custom: custom.clone(),
            inputs,
            outputs,
            weights: Mutex::default(),
            compiled: Mutex::default(),
        })
    }

    /// The model as a network of layers, where its operators are layers: it has one image as input, and what
    /// follows it are convolutions, normalizations, pools, activations, sums and joins, full connects. Names
    /// of layers are what the names of their weights begin with. A softmax at the end is left out, since a
    /// classifier here makes probabilities of the last layer itself.
    ///
    /// The network sees what the model sees, channels last. Of a file that [`export`](super::export()) wrote
    /// it has the mean image and the metadata as well.
    ///
    /// # Errors
    /// [`Error::Node`] at the first node that is no layer, and [`Error::Content`] where the model has
    /// another number of inputs.
    pub fn to_network(
        &self,
        device: &Device,
        options: &crate::ReadOptions,
    ) -> Result<striate_nn::Network> {
        super::lift::network(&self.file, device, options, false)
    }

    /// As [`to_network`](Model::to_network), for pictures of 0 to 255 with the mean image subtracted, as all
    /// networks of model files here take them. A file that [`export`](super::export()) wrote tells its own
    /// mean image; of any other, what torchvision does to pixels (`(pixel / 255 - mean) /
    /// deviation`, by its numbers for ImageNet) becomes part of the first weights, and pictures are an eighth
    /// larger than what is cut out of them. Of other than three channels pixels are only divided by 255.
    pub(crate) fn to_classifier(
        &self,
        device: &Device,
        options: &crate::ReadOptions,
    ) -> Result<striate_nn::Network> {
        super::lift::network(&self.file, device, options, true)
    }

    /// What the file holds as a network of layers.
    pub(crate) fn inspect(&self, bytes: u64) -> Result<crate::Inspection> {
        super::lift::inspect(&self.file, bytes)
    }

    /// What stands for the file in messages.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// The inputs that a run needs: those without weights in the file.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the file's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The version of the standard operators.
    pub fn opset(&self) -> i64 {
        self.file.opset
    }

    /// The program that wrote the file, and its version.
    pub fn producer(&self) -> &str {
        &self.file.producer
    }

    /// The texts that the file holds beside the network, by name.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.file.metadata
    }

    /// Elements of all weights together.
    pub fn parameter_count(&self) -> u64 {
        let weights = self.file.graph.initializers.values().filter(|array| array.elem.is_float());
        weights.map(|array| array.count() as u64).sum()
    }

    /// How often each operator stands in the file, the branches of `If` included, by name; with its domain,
    /// where that is not the standard's.
    pub fn operators(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for node in &self.file.graph.nodes {
            *counts.entry(check::operator(node)).or_default() += 1;
        }
        counts
    }

    /// Runs on inputs by name, in the file's own order of axes, and gives the outputs by name, in it too.
    ///
    /// Inputs may be of any element type that the file's converts from without loss; outputs have the file's
    /// type, except that bf16 comes as f32, and integers of 16 bits and unsigned ones of 64 as i32 and i64.
    ///
    /// # Errors
    /// [`Error::Content`] where inputs are missing, unknown, or of another shape or type than the file
    /// says; [`Error::Node`] where a node does not fit its inputs; [`Error::Tensor`] where a device fails.
    pub fn run(&self, inputs: &[(&str, Tensor)], device: &Device) -> Result<Vec<(String, Tensor)>> {
        self.run_with(inputs, device, &RunOptions::default())
    }

    /// As [`run`](Model::run), with options.
    ///
    /// # Errors
    /// As [`run`](Model::run); [`Error::Graph`] where it was cancelled, or would need more memory than it
    /// may have.
    pub fn run_with(
        &self,
        inputs: &[(&str, Tensor)],
        device: &Device,
        options: &RunOptions,
    ) -> Result<Vec<(String, Tensor)>> {
        let weights = self.weights_on(device);
        let compiler = self.compiler(device, &weights, options);
        let (stage, values) = self.prepared(inputs, &compiler)?;
        let limits = Limits { cancel: options.cancel.as_ref(), memory: options.memory_limit };
        let made = stage.run(&compiler, values, limits)?;
        let outputs = made.into_iter().map(|(name, made)| {
            let tensor = given_out(made, device)
                .map_err(|e| Error::tensor(&self.file.name, format!("output `{name}`"), e))?;
            Ok((name, tensor))
        });
        outputs.collect()
    }

    /// The graph of tensor ops that a run on inputs of these types and contents begins with, after all
    /// passes; and whether that is all of the model: some nodes need contents that only a run tells.
    ///
    /// # Errors
    /// As [`run`](Model::run).
    pub fn graph(&self, inputs: &[(&str, Tensor)], device: &Device) -> Result<(Graph, bool)> {
        let weights = self.weights_on(device);
        let compiler = self.compiler(device, &weights, &RunOptions::default());
        let (stage, _) = self.prepared(inputs, &compiler)?;
        Ok((stage.plan.graph().clone(), stage.is_whole()))
    }

    /// Bytes of activations that a run on such inputs needs at its peak, as far as is known before it runs.
    ///
    /// # Errors
    /// As [`run`](Model::run).
    pub fn peak_bytes(&self, inputs: &[(&str, Tensor)], device: &Device) -> Result<u64> {
        let weights = self.weights_on(device);
        let compiler = self.compiler(device, &weights, &RunOptions::default());
        Ok(self.prepared(inputs, &compiler)?.0.plan.peak_bytes())
    }

    fn compiler<'a>(
        &'a self,
        device: &'a Device,
        weights: &'a Arc<Weights>,
        &RunOptions { algorithm, half, .. }: &RunOptions,
    ) -> Compiler<'a> {
        let passes = Passes { half, ..Passes::inference() };
        let (file, folder, custom) = (&self.file, &self.folder, &self.custom);
        Compiler { file, folder, custom, device, weights, algorithm, passes }
    }

    /// The weights that are on a device already.
    fn weights_on(&self, device: &Device) -> Arc<Weights> {
        let mut known = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, weights)) = known.iter().find(|(of, _)| of.is(device)) {
            return Arc::clone(weights);
        }
        let weights = Arc::new(Weights::default());
        known.push((device.clone(), Arc::clone(&weights)));
        weights
    }

    /// The first stage for these inputs, and the values that it is fed.
    fn prepared(
        &self,
        given: &[(&str, Tensor)],
        compiler: &Compiler<'_>,
    ) -> Result<(Arc<Stage>, Values)> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        let mut values = Values::new();
        let mut known: HashMap<String, Known> = HashMap::new();
        if let Some((name, _)) = given.iter().find(|(name, _)| !self.has_input(name)) {
            let names: Vec<&str> = self.inputs.iter().map(|port| &*port.name).collect();
            let expected = format!("inputs among `{}`", names.join("`, `"));
            return Err(Error::content(self.name(), "inputs", expected, format!("`{name}`")));
        }
        let infos = self.file.graph.inputs.iter();
        let infos = infos.filter(|info| !self.file.graph.initializers.contains_key(&info.name));
        for (port, info) in self.inputs.iter().zip(infos) {
            let place = format!("input `{}`", port.name);
            let content = |expected: String, got: String| {
                Error::content(self.name(), place.clone(), expected, got)
            };
            let mut same = given.iter().filter(|(name, _)| *name == port.name);
            let (Some((_, tensor)), None) = (same.next(), same.next()) else {
                return Err(content(port.to_string(), "none, or several".into()));
            };
            let elem = elem_of(info)
                .ok_or_else(|| content("numbers or truth values".into(), port.element.clone()))?;
            check_extents(port, tensor.dims())
                .map_err(|expected| content(expected, tensor.shape().to_string()))?;
            let fits = match elem.is_float() {
                true => tensor.dtype().is_float() || tensor.dtype() == DType::F64,
                false => !tensor.dtype().is_float() && tensor.dtype() != DType::F64,
            };
            if !fits {
                return Err(content(format!("elements of {elem}"), tensor.dtype().to_string()));
            }
            let failed = |e| Error::tensor(self.name(), place.clone(), e);
            let dims = tensor.dims().to_vec();
            if elem.is_float()
                || (tensor.shape().count() > LARGE && self.is_made_floats(&port.name))
            {
                let on_device =
                    tensor.to(compiler.device).and_then(|tensor| match tensor.dtype() {
                        DType::F32 => Ok(tensor),
                        _ => Tensor::from_host(widened(&tensor)?, compiler.device),
                    });
                values.insert(port.name.clone(), on_device.map_err(failed)?);
                let mut feed = Feed::input(dims.clone(), Elem::F32).map_err(failed)?;
                feed.elem = elem;
                known.insert(port.name.clone(), Known::Device(feed));
                inputs.push(Input::Shape(dims));
            } else {
                let array = of_tensor(tensor, elem, dims).map_err(failed)?;
                known.insert(port.name.clone(), Known::Host(array.clone()));
                inputs.push(Input::Contents(array));
            }
        }
        let (device, algorithm) = (compiler.device.clone(), compiler.algorithm);
        let key = Key { device, algorithm, half: compiler.passes.half, inputs };
        if let Some(stage) = self.known_stage(&key) {
            return Ok((stage, values));
        }
        for (name, array) in &self.file.graph.initializers {
            known.insert(name.clone(), Known::Host(array.clone()));
        }
        let state = State::new(&self.file.graph, known);
        let stage = Arc::new(compiler.compile(&state)?);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() == KEPT {
            compiled.remove(0);
        }
        compiled.push((key, Arc::clone(&stage)));
        Ok((stage, values))
    }

    fn known_stage(&self, key: &Key) -> Option<Arc<Stage>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let place = compiled.iter().position(|(of, _)| {
            of.device.is(&key.device)
                && (of.algorithm, of.half) == (key.algorithm, key.half)
                && of.inputs == key.inputs
        })?;
        let entry = compiled.remove(place);
        let stage = Arc::clone(&entry.1);
        compiled.push(entry);
        Some(stage)
    }

    fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|port| port.name == name)
    }

    /// Whether every node that reads an integer input makes floats of it: then nothing else hangs on what
    /// is in it, and a picture of bytes needs no compiling of its own.
    fn is_made_floats(&self, name: &str) -> bool {
        self.file.graph.nodes.iter().filter(|node| node.input.iter().any(|i| i == name)).all(
            |node| {
                let to = node.attribute.iter().find(|a| a.name == "to").map(|a| a.i as i32);
                match &*node.op_type {
                    _ if !is_standard(node) => false,
                    "Cast" => to.and_then(Elem::of_code).is_some_and(Elem::is_float),
                    "DequantizeLinear" => node.input.first().is_some_and(|first| first == name),
                    _ => false,
                }
            },
        ) && self.file.graph.outputs.iter().all(|output| output.name != name)
    }
}

/// Numbers of any type as f32.
fn widened(tensor: &Tensor) -> striate_tensor::Result<HostTensor> {
    let array = of_tensor(tensor, Elem::F64, tensor.dims().to_vec())?;
    let values: Vec<f32> = array.floats().iter().map(|&x| x as f32).collect();
    HostTensor::new(*tensor.shape(), values)
}

/// An output as its type in the file.
fn given_out(made: Made, device: &Device) -> striate_tensor::Result<Tensor> {
    let array = match made {
        Made::Device(tensor, Elem::F32 | Elem::Bf16) if tensor.dtype() == DType::F32 => {
            return Ok(tensor);
        }
        Made::Device(tensor, elem) => of_tensor(&tensor, elem, tensor.dims().to_vec())?,
        Made::Host(array) => array,
    };
    to_tensor(&array, device)
}

/// An array as a tensor of its own type, where there is one.
pub(super) fn to_tensor(array: &Array, device: &Device) -> striate_tensor::Result<Tensor> {
    let shape = Shape::new(&array.dims)?;
    let (floats, ints) = (array.floats(), array.ints());
    let values: HostValues = match array.elem {
        Elem::F32 | Elem::Bf16 => floats.iter().map(|&x| x as f32).collect::<Vec<_>>().into(),
        Elem::F16 => floats.iter().map(|&x| half::f16::from_f64(x)).collect::<Vec<_>>().into(),
        Elem::F64 => floats.to_vec().into(),
        Elem::I64 | Elem::U64 => ints.to_vec().into(),
        Elem::I32 | Elem::I16 | Elem::U16 => {
            ints.iter().map(|&x| x as i32).collect::<Vec<_>>().into()
        }
        Elem::U32 => ints.iter().map(|&x| x as u32).collect::<Vec<_>>().into(),
        Elem::I8 => ints.iter().map(|&x| x as i8).collect::<Vec<_>>().into(),
        Elem::U8 => ints.iter().map(|&x| x as u8).collect::<Vec<_>>().into(),
        Elem::Bool => {
            let values: Vec<bool> = ints.iter().map(|&x| x != 0).collect();
            HostValues::bools(&values)
        }
    };
    Tensor::from_host(HostTensor::new(shape, values)?, device)
}
