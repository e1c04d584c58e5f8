//! Builds a network out of Caffe's layers, one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use striate_nn::{Activation, Inputs, LayerSpec, Node, Role, ScaleSpec};
use striate_tensor::Shape;
use striate_tensor::ops::UnaryKind;

use super::file::{Blob, File};
use super::net::{Definition, Step, Steps};
use super::proto::Layer;
use super::{layers, weighted};
use crate::preset::Pixels;
use crate::{Error, Result};

/// How many layers of each unsupported type an error names.
const NAMED: usize = 3;

/// The result of translating a layer.
pub(super) type Outcome<T> = std::result::Result<T, Stop>;

/// Why a layer cannot be translated.
pub(super) enum Stop {
    /// The layer does not fit, or is not supported.
    Layer(String),
    /// What is wrong with the file.
    File(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::File(error)
    }
}

pub(super) fn invalid<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Stop::Layer(why.into()))
}

/// What a layer puts out for one image.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// The layer; none for what the network sees.
    pub(super) node: Option<usize>,
    /// Channels, rows and cols, or the numbers of a row.
    pub(super) dims: Vec<usize>,
    /// Channels, rows and cols of the image, of several pixels, that was flattened in that order.
    pub(super) flattened: Option<[usize; 3]>,
    /// Whether the node's output is also read under another of Caffe's names.
    pub(super) shared: bool,
}

impl Output {
    /// Channels, rows and cols.
    pub(super) fn image(&self) -> Outcome<[usize; 3]> {
        match self.dims[..] {
            [channels, rows, cols] => Ok([channels, rows, cols]),
            _ => invalid(format!("it sees a row of {:?} numbers and no image", self.dims)),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.dims.first().copied().unwrap_or(0)
    }

    pub(super) fn count(&self) -> usize {
        self.dims.iter().fold(1, |count, &extent| count.saturating_mul(extent))
    }
}

/// Numbers of a layer.
pub(super) struct Numbers {
    pub(super) node: usize,
    pub(super) role: Role,
    pub(super) values: Values,
}

/// Where numbers come from.
pub(super) enum Values {
    Known(Vec<f32>),
    Stored(Stored),
}

/// An array of the file, and what happens to it.
pub(super) struct Stored {
    pub(super) blob: Blob,
    /// What it is called in messages.
    pub(super) place: String,
    /// Stored as `[in, out]`, these extents, where `[out, in]` is wanted.
    pub(super) turned: Option<[usize; 2]>,
    /// Then it is `[a, b, spatial]` and becomes `[a, spatial, b]`.
    pub(super) channels_last: Option<[usize; 3]>,
    /// Then this becomes part of it, with so many channels to a pixel, which are last.
    pub(super) pixels: Option<(Pixels, usize)>,
}

/// A network in the making.
pub(super) struct Lift<'a> {
    pub(super) file: &'a File,
    pub(super) definition: &'a Definition,
    pub(super) steps: &'a Steps,
    /// What is known of each value.
    pub(super) seen: Vec<Option<Output>>,
    pub(super) nodes: Vec<Node>,
    /// The nodes that each node sees.
    pub(super) sources: Vec<Vec<Option<usize>>>,
    names: HashSet<String>,
    /// How often a name was wanted: where the search for another begins.
    wanted: HashMap<String, usize>,
    pub(super) numbers: Vec<Numbers>,
    /// Mean and variance of the batch normalizations, by node.
    pub(super) running: Vec<(usize, Vec<f32>)>,
    /// Whether finite numbers may become infinite.
    pub(super) allow_overflow: bool,
}

/// A layer of Caffe's that is being lifted.
pub(super) struct Cx<'l, 'a> {
    pub(super) lift: &'l mut Lift<'a>,
    pub(super) step: &'a Step,
    pub(super) layer: &'a Layer,
    pub(super) inputs: &'l [Output],
}

impl<'a> Lift<'a> {
    pub(super) fn new(
        file: &'a File,
        definition: &'a Definition,
        steps: &'a Steps,
        allow_overflow: bool,
    ) -> Self {
        Lift {
            file,
            definition,
            steps,
            seen: vec![None; steps.uses.len()],
            nodes: Vec::new(),
            sources: Vec::new(),
            names: HashSet::new(),
            wanted: HashMap::new(),
            numbers: Vec::new(),
            running: Vec::new(),
            allow_overflow,
        }
    }

    /// All layers in order; the network sees an image of so many channels, rows and cols. Where there are
    /// factors, its channels are multiplied by them first.
    pub(super) fn walk(&mut self, image: [usize; 3], factors: Option<Vec<f32>>) -> Result<()> {
        self.check()?;
        let mut seen = Output { node: None, dims: image.to_vec(), flattened: None, shared: false };
        if let Some(factors) = factors {
            let node = self.push("pixels", LayerSpec::Scale(ScaleSpec { initial: 1.0 }), &[None]);
            let values = Values::Known(factors);
            self.numbers.push(Numbers { node, role: Role::Scale, values });
            seen.node = Some(node);
        }
        self.seen[0] = Some(seen);
        let steps = self.steps;
        for step in &steps.steps {
            let inputs: Vec<Output> =
                step.inputs.iter().filter_map(|&value| self.seen[value].clone()).collect();
            let definition = self.definition;
            let refuse = |why: String| definition.error(&step.layer, why);
            if inputs.len() != step.inputs.len() {
                return Err(refuse("what it sees is not known".into()));
            }
            let layer = &step.layer;
            let mut cx = Cx { lift: self, step, layer, inputs: &inputs };
            let outputs = layers::lift(&mut cx).map_err(|stop| match stop {
                Stop::Layer(why) => refuse(why),
                Stop::File(error) => error,
            })?;
            if outputs.len() != step.outputs.len() {
                let (made, named) = (outputs.len(), step.outputs.len());
                return Err(refuse(format!("it makes {made} outputs, and has {named}")));
            }
            for (&value, mut output) in step.outputs.iter().zip(outputs) {
                let passed = |(input, value): (&Output, &usize)| {
                    input.node == output.node && (input.shared || steps.uses[*value] > 1)
                };
                output.shared = inputs.iter().zip(&step.inputs).any(passed);
                // What is counted of them later cannot overflow then.
                Shape::new(&output.dims).map_err(|e| refuse(e.to_string()))?;
                self.seen[value] = Some(output);
            }
        }
        Ok(())
    }

    /// Refuses a network with unsupported layers, all of them in one message.
    fn check(&self) -> Result<()> {
        let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for step in &self.steps.steps {
            if let Some(what) = layers::missing(&step.layer, self.is_last(step)) {
                missing.entry(what).or_default().push(step.layer.name());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let described = missing.iter().map(|(kind, layers)| {
            let named = layers[..layers.len().min(NAMED)].join(", ");
            match layers.len() {
                1 => format!("{kind} ({named})"),
                n if n <= NAMED => format!("{kind} ({n} times: {named})"),
                n => format!("{kind} ({n} times: {named}, …)"),
            }
        });
        Err(Error::Layers {
            file: self.definition.file.clone(),
            layers: described.collect::<Vec<_>>().join("; "),
        })
    }

    /// Whether a layer makes the network's output.
    pub(super) fn is_last(&self, step: &Step) -> bool {
        step.outputs.contains(&self.steps.output)
    }

    /// Adds a layer that sees the outputs of others.
    fn push(&mut self, name: &str, layer: LayerSpec, inputs: &[Option<usize>]) -> usize {
        let node = self.nodes.len();
        let previous = match inputs {
            [Some(before)] => before + 1 == node,
            [None] => node == 0,
            _ => false,
        };
        let name = self.name(name);
        let name_of = |input: &Option<usize>| match input.and_then(|input| self.nodes.get(input)) {
            Some(node) => node.name.clone(),
            None => "input".into(),
        };
        let named = match previous {
            true => Inputs::Previous,
            false => Inputs::Of(inputs.iter().map(name_of).collect()),
        };
        self.nodes.push(Node { name, layer, inputs: named });
        self.sources.push(inputs.to_vec());
        node
    }

    /// A name that no other layer has.
    fn name(&mut self, name: &str) -> String {
        let name = name.trim_matches('/').replace('/', ".");
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        let name = match is_number || name == "input" {
            true => format!("node{name}"),
            false => name,
        };
        let mut unique = name.clone();
        let number = self.wanted.entry(name.clone()).or_insert(1);
        while !self.names.insert(unique.clone()) {
            *number += 1;
            unique = format!("{name}_{number}");
        }
        unique
    }
}

impl Cx<'_, '_> {
    /// What the layer sees, where that is one thing.
    pub(super) fn one(&self) -> Outcome<Output> {
        match self.inputs {
            [input] => Ok(input.clone()),
            more => invalid(format!("it sees {} things and not one", more.len())),
        }
    }

    /// A layer that sees the outputs of others and puts this out.
    pub(super) fn push(
        &mut self,
        layer: LayerSpec,
        inputs: &[&Output],
        dims: Vec<usize>,
    ) -> Output {
        let sources: Vec<Option<usize>> = inputs.iter().map(|input| input.node).collect();
        let node = self.lift.push(self.layer.name(), layer, &sources);
        // Only a row can be a flattened image.
        let flattened = inputs.first().and_then(|input| input.flattened);
        let flattened = flattened.filter(|_| dims.len() == 1);
        Output { node: Some(node), dims, flattened, shared: false }
    }

    /// A function of each element.
    pub(super) fn activation(&mut self, x: &Output, kind: UnaryKind) -> Output {
        self.push(LayerSpec::Activation(Activation::new(kind)), &[x], x.dims.clone())
    }

    /// Whether no other layer reads the inputs of this one.
    pub(super) fn reads_alone(&self) -> bool {
        let shared = self.inputs.iter().any(|input| input.shared);
        !shared && self.step.inputs.iter().all(|&value| self.lift.steps.uses.get(value) == Some(&1))
    }

    /// An array of the layer. Its extents are compared with `dims` without those of 1.
    pub(super) fn blob(&self, number: usize, dims: &[usize]) -> Outcome<Stored> {
        let name = self.lift.file.source.name();
        let blobs = self.lift.file.blobs(self.layer.name());
        let place = format!("layer `{}`: blob {number}", self.layer.name());
        let failed = |got: String| {
            Err(Stop::File(Error::content(name, &*place, format!("{dims:?} numbers"), got)))
        };
        let Some(blob) = blobs.get(number) else {
            return failed(format!("a layer with {} blobs", blobs.len()));
        };
        let own = |dims: &[usize]| -> Vec<usize> {
            dims.iter().copied().filter(|&extent| extent != 1).collect()
        };
        let count = dims.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let fits = blob.shape.as_ref().is_none_or(|shape| own(shape) == own(dims));
        if count != Some(blob.count) || !fits {
            return failed(match &blob.shape {
                Some(shape) => format!("{shape:?}"),
                None => blob.count.to_string(),
            });
        }
        let blob = blob.clone();
        Ok(Stored { blob, place, turned: None, channels_last: None, pixels: None })
    }

    /// The numbers of an array of the layer.
    pub(super) fn known(&self, number: usize, dims: &[usize]) -> Outcome<Vec<f32>> {
        let Stored { blob, place, .. } = self.blob(number, dims)?;
        Ok(self.lift.file.load(&blob, &place, self.lift.allow_overflow)?)
    }

    pub(super) fn numbers(&mut self, output: &Output, role: Role, values: Values) {
        if let Some(node) = output.node {
            self.lift.numbers.push(Numbers { node, role, values });
        }
    }

    /// A batch normalization of these numbers.
    pub(super) fn normalization(&mut self, x: &Output, numbers: weighted::Normal) -> Output {
        let weighted::Normal { epsilon, scale, shift, running } = numbers;
        let spec = striate_nn::batch_norm().epsilon(epsilon);
        let y = self.push(LayerSpec::BatchNorm(spec), &[x], x.dims.clone());
        if let Some(node) = y.node {
            self.lift.running.push((node, running));
        }
        self.numbers(&y, Role::Scale, Values::Known(scale));
        self.numbers(&y, Role::Shift, Values::Known(shift));
        y
    }
}
