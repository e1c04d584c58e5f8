//! From the nodes of a file to a graph, for inputs of known shapes.
//!
//! What is known beforehand is computed on the host as nodes are met: shapes, and whatever is made of them.
//! Everything else goes into a graph of tensor ops. A node that needs the contents of something that the
//! graph computes (the places of what is not zero, say) ends a *stage*: what is before it runs, what it
//! needs is read, and compiling goes on from there.

pub(crate) mod cx;
pub(crate) mod item;
mod stage;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use striate_graph::passes::{self, Passes};
use striate_graph::{Graph, NoTensors, Plan};
use striate_tensor::ops::Algorithm;
use striate_tensor::{DType, Device, Shape, TensorType};

use super::array::Array;
use super::attributes::Attributes;
use super::custom::{self, CustomNodes};
use super::elem::Elem;
use super::host::Host;
use super::proto::NodeProto;
use super::read::{Block, File, Folder};
use super::{device, host};
use crate::{Error, Result};
use cx::{Cx, Weights};
use item::{Dev, Item, Stop};
use stage::{End, More};
pub(crate) use stage::{Feed, Known, Limits, Output, Stage, Values, of_tensor};

/// Arrays of at most so many elements are computed on the host where that is possible: sums of two numbers
/// need no device.
const SMALL: usize = 4096;

/// How deep branches of `If` may be nested.
const MAX_DEPTH: usize = 100;

/// What compiling needs beside the values.
pub(crate) struct Compiler<'a> {
    pub(crate) file: &'a File,
    pub(crate) folder: &'a Folder,
    pub(crate) custom: &'a CustomNodes,
    pub(crate) device: &'a Device,
    pub(crate) weights: &'a Arc<Weights>,
    pub(crate) algorithm: Algorithm,
    pub(crate) passes: Passes,
}

/// Where compiling stands: the nodes that are left, the next one last.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) known: HashMap<String, Known>,
    pub(crate) work: Vec<Arc<NodeProto>>,
    pub(crate) depth: usize,
}

impl State {
    /// Before the first node.
    pub(crate) fn new(block: &Block, known: HashMap<String, Known>) -> Self {
        let work = block.nodes.iter().rev().cloned().map(Arc::new).collect();
        State { known, work, depth: 0 }
    }
}

/// The branch that an `If` takes.
struct Branch {
    weights: HashMap<String, Item>,
    /// Its nodes, the next one last.
    work: Vec<Arc<NodeProto>>,
}

/// The names that nodes read, those of their branches included.
fn reads(node: &NodeProto, names: &mut HashSet<String>) {
    names.extend(node.input.iter().cloned());
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
        graph.node.iter().for_each(|node| reads(node, names));
        names.extend(graph.output.iter().map(|output| output.name.clone()));
    }
}

/// How a node is called in messages: its name, or that of its first output.
pub(crate) fn called(node: &NodeProto) -> String {
    let name = match (&*node.name, node.output.first()) {
        ("", Some(output)) => output,
        (name, _) => name,
    };
    format!("node `{name}` ({})", node.op_type)
}

impl Compiler<'_> {
    /// Compiles from a state to the end, or to the first node that has to wait.
    pub(crate) fn compile(&self, state: &State) -> Result<Stage> {
        let mut graph = Graph::new();
        let mut items: HashMap<String, Item> = HashMap::new();
        let mut feeds = Vec::new();
        // In the order of their names, so that the same model gives the same graph every time.
        let mut names: Vec<&String> = state.known.keys().collect();
        names.sort();
        for name in names {
            let item = match &state.known[name] {
                Known::Host(array) => Item::Host(array.clone()),
                Known::Device(feed) => {
                    let value = graph.input(name, feed.ty);
                    feeds.push(name.clone());
                    let Feed { axes, dims, elem, .. } = feed.clone();
                    Item::Device(Dev { value, axes, dims, elem })
                }
            };
            items.insert(name.clone(), item);
        }
        let mut work = state.work.clone();
        let mut depth = state.depth;
        while let Some(node) = work.pop() {
            let inputs = self.operands(&node, &items)?;
            if node.op_type == "If" && is_standard(&node) {
                depth += 1;
                match self.branch(&node, &inputs, depth)? {
                    Some(branch) => {
                        items.extend(branch.weights);
                        work.extend(branch.work);
                        continue;
                    }
                    None => return self.cut((graph, items, feeds), node, Some(0), (work, depth)),
                }
            }
            match self.node(&mut graph, &node, &inputs) {
                Ok(outputs) => {
                    for (name, item) in node.output.iter().zip(outputs) {
                        if !name.is_empty() {
                            items.insert(name.clone(), item);
                        }
                    }
                }
                Err(Stop::Host) => {
                    return self.cut((graph, items, feeds), node, None, (work, depth));
                }
                Err(Stop::Needs(place)) => {
                    return self.cut((graph, items, feeds), node, Some(place), (work, depth));
                }
                Err(stop) => return Err(self.error(&node, stop)),
            }
        }
        self.end(graph, items, feeds)
    }

    fn error(&self, node: &NodeProto, stop: Stop) -> Error {
        let (file, place) = (&self.file.name, called(node));
        match stop {
            Stop::Invalid(problem) => Error::Node { file: file.clone(), place, problem },
            Stop::Unsupported(what) => {
                let problem = format!("{what} is not supported");
                Error::Node { file: file.clone(), place, problem }
            }
            Stop::Host | Stop::Needs(_) => {
                let problem = "its operands are needed before they are known".into();
                Error::Node { file: file.clone(), place, problem }
            }
            Stop::Tensor(source) => Error::tensor(file, place, source),
            Stop::Graph(striate_graph::Error::Node { source, .. }) => {
                Error::tensor(file, place, *source)
            }
            Stop::Graph(source) => Error::graph(file, source),
        }
    }

    fn operands(
        &self,
        node: &NodeProto,
        items: &HashMap<String, Item>,
    ) -> Result<Vec<Option<Item>>> {
        let operand = |name: &String| match (name.is_empty(), items.get(name)) {
            (true, _) => Ok(None),
            (_, Some(item)) => Ok(Some(item.clone())),
            (_, None) => Err(Error::Node {
                file: self.file.name.clone(),
                place: called(node),
                problem: format!("its input `{name}` is made by no node before it"),
            }),
        };
        node.input.iter().map(operand).collect()
    }

    /// The values of a node's outputs.
    fn node(
        &self,
        graph: &mut Graph,
        node: &NodeProto,
        inputs: &[Option<Item>],
    ) -> item::Step<Vec<Item>> {
        let attributes = Attributes { node, opset: self.file.opset };
        let op = &*node.op_type;
        let (device, weights, algorithm) = (self.device, self.weights, self.algorithm);
        if let Some(constructor) = self.custom.find(node) {
            let mut cx = Cx { graph, device, weights, attributes, inputs, algorithm };
            return custom::compile(&mut cx, constructor);
        }
        if !is_standard(node) {
            return item::unsupported(format!("an operator of `{}`", node.domain));
        }
        match op {
            "Constant" => return Ok(vec![Item::Host(constant(attributes)?)]),
            // Of a value that is not known its extents are.
            "Shape" | "Size" => {
                let [Some(Item::Device(dev)), ..] = inputs else {
                    return self.on_host(attributes, inputs);
                };
                let extents = Array::of_extents(dev.dims.clone());
                return self.on_host(attributes, &[Some(Item::Host(extents))]);
            }
            _ => {}
        }
        let rules = (device::rule(op), host::rule(op));
        let known = inputs.iter().flatten().all(|item| matches!(item, Item::Host(_)));
        if known && rules.1.is_some() {
            let size: usize = inputs
                .iter()
                .flatten()
                .map(|i| i.dims().iter().product())
                .fold(0, usize::saturating_add);
            let floats = inputs.iter().flatten().any(|item| item.elem().is_float());
            if !floats || size <= SMALL || rules.0.is_none() {
                return self.on_host(attributes, inputs);
            }
        }
        let Some(rule) = rules.0 else {
            return match rules.1 {
                Some(_) => Err(Stop::Host),
                None => item::unsupported(format!("{op} of opset {}", self.file.opset)),
            };
        };
        let mut cx = Cx { graph, device, weights, attributes, inputs, algorithm };
        match rule(&mut cx) {
            Err(Stop::Host) if known && rules.1.is_some() => self.on_host(attributes, inputs),
            Err(Stop::Host) if rules.1.is_none() => {
                let types = inputs.iter().flatten().map(|item| item.elem().name());
                let types: Vec<&str> = types.collect();
                item::unsupported(format!("{op} of these operands ({})", types.join(", ")))
            }
            other => other,
        }
    }

    fn on_host(
        &self,
        attributes: Attributes<'_>,
        inputs: &[Option<Item>],
    ) -> item::Step<Vec<Item>> {
        let Some(rule) = host::rule(&attributes.node.op_type) else { return Err(Stop::Host) };
        let array = |item: &Option<Item>| match item {
            None => Ok(None),
            Some(Item::Host(array)) => Ok(Some(array.clone())),
            Some(Item::Device(_)) => Err(Stop::Host),
        };
        let arrays: item::Step<Vec<Option<Array>>> = inputs.iter().map(array).collect();
        let outputs = rule(&Host { attributes, inputs: &arrays? })?;
        Ok(outputs.into_iter().map(Item::Host).collect())
    }

    /// The nodes of the branch that an `If` takes, and its weights; none where the condition is not known.
    fn branch(
        &self,
        node: &NodeProto,
        inputs: &[Option<Item>],
        depth: usize,
    ) -> Result<Option<Branch>> {
        let condition = match inputs {
            [Some(Item::Host(array))] => array.ints().first().is_some_and(|&x| x != 0),
            [Some(Item::Device(_))] => return Ok(None),
            _ => return Err(self.error(node, Stop::Invalid("expected a condition".into()))),
        };
        let attributes = Attributes { node, opset: self.file.opset };
        let name = if condition { "then_branch" } else { "else_branch" };
        let graph = attributes.graph(name).filter(|_| depth <= MAX_DEPTH);
        let Some(graph) = graph else {
            let problem = format!("expected a {name}, at most {MAX_DEPTH} deep");
            return Err(self.error(node, Stop::Invalid(problem)));
        };
        let block = Block::of(&self.file.name, graph, self.folder)?;
        let weights = block.initializers.into_iter();
        let weights = weights.map(|(name, array)| (name, Item::Host(array))).collect();
        // The branch's outputs are the node's.
        let outputs = block.outputs.iter().zip(&node.output).map(|(from, to)| NodeProto {
            input: vec![from.name.clone()],
            output: vec![to.clone()],
            name: node.name.clone(),
            op_type: "Identity".into(),
            ..NodeProto::default()
        });
        let mut work: Vec<Arc<NodeProto>> =
            block.nodes.into_iter().chain(outputs).map(Arc::new).collect();
        work.reverse();
        Ok(Some(Branch { weights, work }))
    }

    /// Ends a stage before a node that needs what only a run tells: of one operand, or of all.
    fn cut(
        &self,
        (mut graph, items, feeds): (Graph, HashMap<String, Item>, Vec<String>),
        node: Arc<NodeProto>,
        needed: Option<usize>,
        (mut work, depth): (Vec<Arc<NodeProto>>, usize),
    ) -> Result<Stage> {
        let mut wanted: Vec<String> = Vec::new();
        let needed = node.input.iter().enumerate().filter(|(i, _)| needed.is_none_or(|n| n == *i));
        for (_, name) in needed {
            if matches!(items.get(name), Some(Item::Device(_))) && !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        if wanted.is_empty() {
            return Err(self.error(&node, Stop::Host));
        }
        log::debug!("{}: {} needs {wanted:?} on the host", self.file.name, called(&node));
        work.push(node);
        let mut names = HashSet::new();
        work.iter().for_each(|node| reads(node, &mut names));
        names.extend(self.file.graph.outputs.iter().map(|output| output.name.clone()));
        let mut left: Vec<(String, Item)> =
            items.into_iter().filter(|(name, _)| names.contains(name)).collect();
        left.sort_by(|a, b| a.0.cmp(&b.0));
        let mut known = HashMap::new();
        let mut shown = Vec::new();
        for (name, item) in left {
            let next = match item {
                Item::Host(array) => Known::Host(array),
                Item::Device(dev) => {
                    graph.output(&*name, dev.value);
                    shown.push(name.clone());
                    Known::Device(Feed::of(&graph, &dev))
                }
            };
            known.insert(name, next);
        }
        let more = More::new(wanted, State { known, work, depth });
        self.stage(graph, feeds, shown, End::More(Box::new(more)))
    }

    /// Ends the last stage.
    fn end(
        &self,
        mut graph: Graph,
        items: HashMap<String, Item>,
        feeds: Vec<String>,
    ) -> Result<Stage> {
        let mut shown = Vec::new();
        let mut results = Vec::new();
        for output in &self.file.graph.outputs {
            let name = output.name.clone();
            let result = match items.get(&name) {
                None => {
                    let expected = "an output that a node makes";
                    return Err(Error::content(&self.file.name, "graph", expected, name));
                }
                Some(Item::Host(array)) => Known::Host(array.clone()),
                Some(Item::Device(dev)) => {
                    let dev = self.as_in_file(&mut graph, dev)?;
                    graph.output(&*name, dev.value);
                    shown.push(name.clone());
                    Known::Device(Feed::of(&graph, &dev))
                }
            };
            results.push((name, result));
        }
        self.stage(graph, feeds, shown, End::Done(results))
    }

    /// An output with its axes as in the file.
    fn as_in_file(&self, graph: &mut Graph, dev: &Dev) -> Result<Dev> {
        let node = NodeProto { name: "output".into(), ..NodeProto::default() };
        let attributes = Attributes { node: &node, opset: self.file.opset };
        let (device, weights, algorithm) = (self.device, self.weights, self.algorithm);
        let mut cx = Cx { graph, device, weights, attributes, inputs: &[], algorithm };
        cx.plain(dev).map_err(|stop| self.error(&node, stop))
    }

    fn stage(
        &self,
        graph: Graph,
        feeds: Vec<String>,
        shown: Vec<String>,
        end: End,
    ) -> Result<Stage> {
        let graph = passes::apply(&graph, &self.passes).map_err(|e| self.graph_error(e))?;
        let plan = Plan::new(graph);
        let prepared = plan.prepare(&NoTensors).map_err(|e| self.graph_error(e))?;
        Ok(Stage { plan, prepared, feeds, shown, end })
    }

    fn graph_error(&self, error: striate_graph::Error) -> Error {
        Error::graph(&self.file.name, error)
    }
}

/// The constant that a node has as numbers among its attributes; those that are tensors are weights of the
/// file.
pub(crate) fn constant(attributes: Attributes<'_>) -> item::Step<Array> {
    if attributes.has("value_float") {
        let value = f64::from(attributes.float("value_float", 0.0));
        return Ok(Array::of_floats(Elem::F32, Vec::new(), vec![value]));
    }
    if let Some(list) = attributes.floats("value_floats") {
        let values = list.iter().map(|&x| f64::from(x)).collect();
        return Ok(Array::of_floats(Elem::F32, vec![list.len()], values));
    }
    if attributes.has("value_int") {
        let value = attributes.int("value_int", 0);
        return Ok(Array::of_ints(Elem::I64, Vec::new(), vec![value]));
    }
    match attributes.ints("value_ints") {
        Some(list) => Ok(Array::list(list.to_vec())),
        None => item::unsupported("a constant of texts, or a sparse one,"),
    }
}

/// Whether an operator is one of the standard's that is known here.
pub(crate) fn has_rule(node: &NodeProto) -> bool {
    let op = &*node.op_type;
    let known = || device::rule(op).is_some() || host::rule(op).is_some();
    is_standard(node) && (matches!(op, "Constant" | "If") || known())
}

/// Whether an operator is one of the standard's.
pub(crate) fn is_standard(node: &NodeProto) -> bool {
    node.domain.is_empty() || node.domain == "ai.onnx"
}

impl Feed {
    fn of(graph: &Graph, dev: &Dev) -> Self {
        let Dev { value, axes, dims, elem } = dev.clone();
        Feed { ty: *graph.ty(value), axes, dims, elem }
    }

    /// An input of a model that is given in the file's order of axes.
    pub(crate) fn input(dims: Vec<usize>, elem: Elem) -> striate_tensor::Result<Self> {
        let dtype = if elem == Elem::Bool { DType::U32 } else { DType::F32 };
        let ty = TensorType::new(Shape::new(&dims)?, dtype);
        Ok(Feed { ty, axes: Dev::plain(dims.len()), dims, elem })
    }
}
