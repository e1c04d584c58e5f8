//! Networks of layers out of ONNX models: a model whose operators are layers becomes a
//! [`NetworkSpec`](striate_nn::NetworkSpec) with its weights, and can then do all that networks do here: it
//! trains, classifies, is drawn and is written in other forms.

mod layers;
mod network;
mod places;
mod weighted;

use std::collections::{HashMap, HashSet};

use striate_nn::{Inputs, LayerSpec, Node, Role};
use striate_tensor::Shape;

use super::array::Array;
use super::attributes::Attributes;
use super::compile::item::{Step, Stop, invalid};
use super::compile::{called, is_standard};
use super::host::{self, Host};
use super::proto::NodeProto;
use super::read::File;
use crate::{Error, Result};

pub(super) use network::{inspect, network};

/// What can be done with a model that is no network of layers.
const AS_IT_IS: &str = "`run` runs it as it is, and so does `classify` where it ranks pictures";

/// A value of the file, as far as layers go.
#[derive(Clone, Debug)]
enum Seen {
    /// Known: weights and shapes.
    Known(Array),
    /// What a layer puts out.
    Layer(Output),
}

/// What a layer puts out, as the file sees it for a batch of one.
#[derive(Clone, Debug)]
struct Output {
    /// The layer; none for what the network sees.
    node: Option<usize>,
    /// The extents in the file's order.
    dims: Vec<usize>,
    /// The file has the channels last here.
    channels_last: bool,
    /// Channels, rows and cols, where the file has flattened an image in that order.
    flattened: Option<[usize; 3]>,
}

/// Numbers of a layer, in the order that it has here.
struct Numbers {
    node: usize,
    role: Role,
    values: Vec<f32>,
}

/// A network in the making.
struct Lift<'a> {
    file: &'a File,
    seen: HashMap<String, Seen>,
    nodes: Vec<Node>,
    names: HashSet<String>,
    numbers: Vec<Numbers>,
    /// Mean and variance of the batch normalizations, by node.
    running: Vec<(usize, Vec<f32>)>,
    /// How often each value is read.
    uses: HashMap<String, usize>,
}

/// A node of the file that is being lifted.
struct Cx<'l, 'a> {
    lift: &'l mut Lift<'a>,
    attributes: Attributes<'l>,
    inputs: &'l [Option<Seen>],
}

impl<'a> Lift<'a> {
    fn new(file: &'a File) -> Self {
        let mut uses = HashMap::new();
        let reads = file.graph.nodes.iter().flat_map(|node| &node.input);
        for name in reads.chain(file.graph.outputs.iter().map(|output| &output.name)) {
            *uses.entry(name.clone()).or_default() += 1;
        }
        let seen = file.graph.initializers.iter();
        let seen = seen.map(|(name, array)| (name.clone(), Seen::Known(array.clone()))).collect();
        let (nodes, numbers, running) = (Vec::new(), Vec::new(), Vec::new());
        Lift { file, seen, nodes, names: HashSet::new(), numbers, running, uses }
    }

    /// All nodes of the file, in order.
    fn walk(&mut self) -> Result<()> {
        let file = self.file;
        for node in &file.graph.nodes {
            let inputs: Result<Vec<Option<Seen>>> = node
                .input
                .iter()
                .map(|name| match (name.is_empty(), self.seen.get(name)) {
                    (true, _) => Ok(None),
                    (_, Some(seen)) => Ok(Some(seen.clone())),
                    (_, None) => {
                        Err(self.refuse(node, format!("its input `{name}` is made by no layer")))
                    }
                })
                .collect();
            let inputs = inputs?;
            let outputs = self.node(node, &inputs).map_err(|stop| {
                let why = match stop {
                    Stop::Invalid(why) | Stop::Unsupported(why) => why,
                    Stop::Host | Stop::Needs(_) => {
                        "it needs what is known at run time alone".into()
                    }
                    Stop::Tensor(error) => error.to_string(),
                    Stop::Graph(error) => error.to_string(),
                };
                self.refuse(node, why)
            })?;
            for (name, output) in node.output.iter().zip(outputs) {
                if let Seen::Layer(output) = &output {
                    // What is counted of them later cannot overflow then.
                    Shape::new(&output.dims).map_err(|e| self.refuse(node, e.to_string()))?;
                }
                self.seen.insert(name.clone(), output);
            }
        }
        Ok(())
    }

    fn refuse(&self, node: &NodeProto, why: String) -> Error {
        let problem = format!("{why}, so that it is no layer that is known here; {AS_IT_IS}");
        Error::Node { file: self.file.name.clone(), place: called(node), problem }
    }

    fn node(&mut self, node: &NodeProto, inputs: &[Option<Seen>]) -> Step<Vec<Seen>> {
        let attributes = Attributes { node, opset: self.file.opset };
        if !is_standard(node) {
            return invalid(format!("an operator of `{}`", node.domain));
        }
        let known = inputs.iter().flatten().all(|seen| matches!(seen, Seen::Known(_)));
        if known || node.op_type == "Shape" {
            return self.on_host(attributes, inputs);
        }
        layers::lift(&mut Cx { lift: self, attributes, inputs })
    }

    /// What is known before the network runs.
    fn on_host(&self, attributes: Attributes<'_>, inputs: &[Option<Seen>]) -> Step<Vec<Seen>> {
        let op = &*attributes.node.op_type;
        if op == "Constant" {
            let array = super::compile::constant(attributes)?;
            return Ok(vec![Seen::Known(array)]);
        }
        if op == "DequantizeLinear" || op == "QuantizeLinear" {
            return invalid("a quantized network");
        }
        let Some(rule) = host::rule(op) else { return invalid(format!("{op} of constants")) };
        let array = |seen: &Option<Seen>| match seen {
            None => None,
            Some(Seen::Known(array)) => Some(array.clone()),
            // Of a layer's output the extents are looked at alone.
            Some(Seen::Layer(output)) => Some(Array::of_extents(output.dims.clone())),
        };
        let arrays: Vec<Option<Array>> = inputs.iter().map(array).collect();
        let outputs = rule(&Host { attributes, inputs: &arrays })?;
        Ok(outputs.into_iter().map(Seen::Known).collect())
    }
}

impl Cx<'_, '_> {
    fn optional(&self, place: usize) -> Option<&Seen> {
        self.inputs.get(place)?.as_ref()
    }

    /// What a layer puts out.
    fn layer(&self, place: usize) -> Step<Output> {
        match self.optional(place) {
            Some(Seen::Layer(output)) => Ok(output.clone()),
            _ => invalid(format!("its input {place} is no layer's output")),
        }
    }

    /// A layer's image: channels first in the file.
    fn image(&self, place: usize) -> Step<Output> {
        let output = self.layer(place)?;
        match output.dims.len() == 4 && !output.channels_last {
            true => Ok(output),
            false => invalid("its images are not [n, channels, rows, cols]"),
        }
    }

    fn known(&self, place: usize) -> Step<&Array> {
        match self.optional(place) {
            Some(Seen::Known(array)) => Ok(array),
            _ => invalid(format!("its input {place} is not known beforehand")),
        }
    }

    fn floats(&self, place: usize) -> Step<Vec<f32>> {
        Ok(self.known(place)?.f32s())
    }

    /// A list of integers: an attribute in old files, an operand in new ones.
    fn list(&self, name: &str, place: usize) -> Step<Option<Vec<i64>>> {
        if self.optional(place).is_some() {
            return Ok(Some(self.known(place)?.ints().to_vec()));
        }
        Ok(self.attributes.ints(name).map(<[i64]>::to_vec))
    }

    /// Whether the node alone reads this input.
    fn reads_alone(&self, place: usize) -> bool {
        let name = self.attributes.node.input.get(place);
        name.and_then(|name| self.lift.uses.get(name)) == Some(&1)
    }

    /// A layer that sees the outputs of others.
    fn push(&mut self, layer: LayerSpec, inputs: &[Option<usize>], dims: Vec<usize>) -> Output {
        let node = self.lift.nodes.len();
        let previous = match inputs {
            [Some(before)] => before + 1 == node,
            [None] => node == 0,
            _ => false,
        };
        let name = self.name();
        let inputs = match previous {
            true => Inputs::Previous,
            false => Inputs::Of(
                inputs
                    .iter()
                    .map(|input| match input {
                        Some(input) => self.lift.nodes[*input].name.clone(),
                        None => "input".into(),
                    })
                    .collect(),
            ),
        };
        self.lift.nodes.push(Node { name, layer, inputs });
        Output { node: Some(node), dims, channels_last: false, flattened: None }
    }

    /// A name for the layer: what the names of its weights begin with, where people know it by that.
    fn name(&mut self) -> String {
        let node = self.attributes.node;
        let of_weight = |name: &String| name.strip_suffix(".weight").map(ToOwned::to_owned);
        let known = node.input.iter().skip(1).find_map(of_weight);
        let fallback = || match &*node.name {
            "" => node.output.first().cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        let name = known.unwrap_or_else(fallback);
        let name = name.trim_matches('/').replace('/', ".");
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        let name = match is_number || name == "input" || name.is_empty() {
            true => format!("node{name}"),
            false => name,
        };
        let mut unique = name.clone();
        let mut number = 1;
        while !self.lift.names.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        unique
    }

    fn numbers(&mut self, node: usize, role: Role, values: Vec<f32>) {
        self.lift.numbers.push(Numbers { node, role, values });
    }
}
