//! From layers to ops: the one way from a specification to a graph.
//!
//! Everything that asks what a layer computes (running, shapes, cost, plans, benchmarks) asks the graph
//! that this makes.

use std::ops::Range;

use striate_graph::{BufferId, Graph, NodeOp, ParameterId, Record, Value};
use striate_tensor::ops::{BinaryKind, ReduceKind};
use striate_tensor::{DType, Given, Op, Shape, TensorType};

use crate::init::Fresh;
use crate::layers::{flatten, join, pool};
use crate::parameters::{BufferInfo, Layout, ParameterInfo, Role};
use crate::shapes::{MAX_ELEMENTS, dims, elements};
use crate::spec::{Inputs, LayerSpec, NetworkSpec, PlainSpec};
use crate::{Error, LayerKind, LayerShape, Result};

/// What every kind of layer knows of itself.
pub(crate) trait Layer {
    /// Its numbers in short, for tables: `11x11/4 pad 1`.
    fn detail(&self) -> String;

    /// Checks the layer against what it sees, and pushes the ops that compute it.
    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> Result<Value>;
}

impl Layer for PlainSpec {
    fn detail(&self) -> String {
        String::new()
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> Result<Value> {
        match cx.kind() {
            LayerKind::GlobalAvgPool => pool::lower_global(cx, inputs, ReduceKind::Mean),
            LayerKind::GlobalMaxPool => pool::lower_global(cx, inputs, ReduceKind::Max),
            LayerKind::Flatten => flatten::lower(cx, inputs),
            LayerKind::Multiply => join::lower_binary(cx, inputs, BinaryKind::Mul),
            LayerKind::Concatenate => join::lower_concatenate(cx, inputs),
            _ => join::lower_binary(cx, inputs, BinaryKind::Add),
        }
    }
}

/// What is lowered, and how.
pub(crate) struct Wanted<'a> {
    /// The nodes; the first sees the graph's input.
    pub(crate) nodes: Range<usize>,
    /// The type of the graph's input.
    pub(crate) input: TensorType,
    /// For training: batch statistics, dropout, auxiliary outputs.
    pub(crate) training: bool,
    /// The types of the network's parameters; all f32 where they are not known yet.
    pub(crate) dtypes: &'a dyn Fn(ParameterId) -> DType,
    /// Every node's output is an output of the graph, by its name.
    pub(crate) all: bool,
    /// The shapes of the network at its own size: what full-connect layers are made for.
    pub(crate) shapes: Option<&'a [LayerShape]>,
}

/// A network's nodes as a graph.
pub(crate) struct Lowered {
    pub(crate) graph: Graph,
    /// The output of each node, from the first that was wanted. That of a node that inference does not
    /// need is the graph's input.
    pub(crate) values: Vec<Value>,
    /// Whether inference needs each node: auxiliary outputs are for training alone.
    pub(crate) needed: Vec<bool>,
    /// Whether each node's windows end at the image's edge.
    pub(crate) exact: Vec<bool>,
    pub(crate) layout: Layout,
}

/// Lowering under way: the graph so far, and the layer that is being lowered.
pub(crate) struct Lowering<'a> {
    spec: &'a NetworkSpec,
    graph: Graph,
    wanted: &'a Wanted<'a>,
    layer: usize,
    exact: bool,
    layout: Layout,
    /// What the whole network holds, where that is known: its parameters keep their shapes whatever
    /// the input is.
    known: Option<&'a Layout>,
    /// Whether a batch normalization sees each node.
    normalized: Vec<bool>,
    /// How many parameters and buffers stand before the first wanted node.
    before: [usize; 2],
}

/// For each node the nodes that it sees; none for the network's input.
pub(crate) fn sources(spec: &NetworkSpec) -> Result<Vec<Vec<Option<usize>>>> {
    let mut places = std::collections::BTreeMap::new();
    let mut sources = Vec::with_capacity(spec.nodes.len());
    for (place, node) in spec.nodes.iter().enumerate() {
        let refuse = |expected: &str, got: String| Err(Error::layer(spec, place, expected, got));
        sources.push(match &node.inputs {
            Inputs::Previous => vec![place.checked_sub(1)],
            Inputs::Of(names) => {
                let mut inputs = Vec::with_capacity(names.len());
                for name in names {
                    match places.get(name) {
                        _ if name == crate::spec::INPUT => inputs.push(None),
                        Some(source) => inputs.push(Some(*source)),
                        None => {
                            let near = (0..place).rev().take(3).map(|near| spec.node_name(near));
                            let near: Vec<String> =
                                near.chain([crate::spec::INPUT.into()]).collect();
                            let expected = format!(
                                "the names of nodes before this one as inputs (near: {})",
                                near.join(", ")
                            );
                            let got = match spec.node(name) {
                                Some(later) if later == place => format!("`{name}`, itself"),
                                Some(_) => format!("`{name}`, which comes later"),
                                None => format!("`{name}`, which is no node"),
                            };
                            return refuse(&expected, got);
                        }
                    }
                }
                inputs
            }
        });
        let is_number = node.name.bytes().all(|b| b.is_ascii_digit()) && !node.name.is_empty();
        if node.name == crate::spec::INPUT || (is_number && node.name != place.to_string()) {
            let expected = "a name that is not `input` and no number but its own";
            return refuse(expected, format!("`{}`", node.name));
        }
        if places.insert(spec.node_name(place), place).is_some() {
            return refuse("a name of its own", format!("`{}`, which stands twice", node.name));
        }
    }
    for auxiliary in &spec.auxiliary {
        if spec.node(&auxiliary.node).is_none() {
            let expected = format!("a node that is the auxiliary output {}", auxiliary.name);
            return Err(Error::network(
                expected,
                format!("`{}`, which is no node", auxiliary.node),
            ));
        }
    }
    Ok(sources)
}

/// Whether each node of a range is seen, directly or through others, by the last one, or is that one.
pub(crate) fn needed(sources: &[Vec<Option<usize>>], nodes: Range<usize>) -> Vec<bool> {
    let mut needed = vec![false; nodes.len()];
    if let Some(last) = needed.last_mut() {
        *last = true;
    }
    for place in nodes.clone().rev() {
        if needed[place - nodes.start] {
            for source in sources[place].iter().flatten().filter(|place| nodes.contains(place)) {
                needed[source - nodes.start] = true;
            }
        }
    }
    needed
}

/// Lowers nodes of a network.
pub(crate) fn lower(
    spec: &NetworkSpec,
    wanted: &Wanted<'_>,
    known: Option<&Layout>,
) -> Result<Lowered> {
    if let Some(misplaced) = spec.misplaced.first() {
        return Err(misplaced.error(spec));
    }
    let sources = sources(spec)?;
    let first = wanted.nodes.start;
    let count = |of: &dyn Fn(&Layout) -> usize| known.map_or(0, of);
    let before = [
        count(&|layout| layout.parameters.iter().filter(|p| p.layer < first).count()),
        count(&|layout| layout.buffers.iter().filter(|b| b.layer < first).count()),
    ];
    let mut graph = Graph::new();
    let input = graph.input(crate::spec::INPUT, wanted.input);
    let needed = match (wanted.training || wanted.all, known) {
        (false, Some(_)) => needed(&sources, wanted.nodes.clone()),
        _ => vec![true; wanted.nodes.len()],
    };
    let mut normalized = vec![false; spec.nodes.len()];
    let norms = spec.nodes.iter().zip(&sources).filter(|(n, _)| n.kind() == LayerKind::BatchNorm);
    norms.flat_map(|(_, inputs)| inputs.iter().flatten()).for_each(|&seen| normalized[seen] = true);
    let (layer, exact, layout) = (first, true, Layout::default());
    let mut cx = Lowering { spec, graph, wanted, layer, exact, layout, known, normalized, before };
    let (mut values, mut exact) = (Vec::new(), Vec::new());
    for layer in wanted.nodes.clone() {
        cx.layer = layer;
        cx.exact = true;
        if let (false, Some(known)) = (needed[layer - first], known) {
            // Its parameters and buffers keep their places.
            let parameters = known.parameters.iter().filter(|known| known.layer == layer);
            cx.layout.parameters.extend(parameters.cloned());
            let buffers = known.buffers.iter().filter(|known| known.layer == layer);
            cx.layout.buffers.extend(buffers.cloned());
            values.push(input);
            exact.push(true);
            continue;
        }
        cx.graph.set_origin(Some(layer));
        let mut inputs = Vec::with_capacity(sources[layer].len());
        for source in &sources[layer] {
            match *source {
                Some(source) if source >= first => inputs.push(values[source - first]),
                // What stands right before the first wanted node is the graph's input.
                Some(source) if source + 1 == first => inputs.push(input),
                None if first == 0 => inputs.push(input),
                _ => {
                    let seen = source.map_or_else(|| "the input".into(), |s| spec.node_name(s));
                    let expected = format!("to see nothing before node {first}");
                    return Err(Error::layer(spec, layer, expected, seen));
                }
            }
        }
        let value = spec.nodes[layer].layer.rule().lower(&mut cx, &inputs)?;
        cx.check_size(value)?;
        values.push(value);
        exact.push(cx.exact);
    }
    let Lowering { mut graph, layout, .. } = cx;
    graph.set_origin(None);
    if wanted.all {
        for (layer, value) in wanted.nodes.clone().zip(&values) {
            graph.output(spec.node_name(layer), *value);
        }
    } else {
        graph.output("output", values.last().copied().unwrap_or(input));
    }
    if wanted.training {
        for auxiliary in &spec.auxiliary {
            let place = spec.node(&auxiliary.node).filter(|place| wanted.nodes.contains(place));
            if let Some(place) = place {
                graph.output(&*auxiliary.name, values[place - first]);
            }
        }
    }
    Ok(Lowered { graph, values, needed, exact, layout })
}

impl Lowering<'_> {
    /// The kind of the layer that is being lowered.
    pub(crate) fn kind(&self) -> LayerKind {
        self.spec.nodes[self.layer].kind()
    }

    pub(crate) fn is_training(&self) -> bool {
        self.wanted.training
    }

    /// Whether what this layer puts out is normalized by a batch's statistics.
    pub(crate) fn is_normalized_by_batch(&self) -> bool {
        self.wanted.training && self.normalized[self.layer]
    }

    /// An error of this layer.
    pub(crate) fn error(&self, expected: impl Into<String>, got: impl Into<Given>) -> Error {
        Error::layer(self.spec, self.layer, expected, got)
    }

    /// An op's error in this layer.
    pub(crate) fn op_error(&self, source: striate_tensor::Error) -> Error {
        Error::op(self.spec, self.layer, source)
    }

    /// The layer's only input.
    pub(crate) fn one(&self, inputs: &[Value]) -> Result<Value> {
        match inputs {
            [x] => Ok(*x),
            _ => Err(self.error("one input", format!("{} inputs", inputs.len()))),
        }
    }

    /// The first of the layer's inputs, and the others: at least two in all.
    pub(crate) fn several<'v>(&self, inputs: &'v [Value]) -> Result<(&'v Value, &'v [Value])> {
        match inputs {
            [first, rest @ ..] if !rest.is_empty() => Ok((first, rest)),
            _ => Err(self.error("two inputs or more", inputs.len().to_string())),
        }
    }

    /// The extents of a value but for the batch: rows, cols and channels, or a number of elements.
    pub(crate) fn per_image(&self, value: Value) -> Vec<usize> {
        self.graph.ty(value).shape.dims().get(1..).unwrap_or_default().to_vec()
    }

    /// The element type of a value.
    pub(crate) fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    /// The shape of a value.
    pub(crate) fn shape(&self, value: Value) -> Shape {
        self.graph.ty(value).shape
    }

    /// How many elements of a value a channel has, the batch included.
    pub(crate) fn elements_a_channel(&self, value: Value) -> u64 {
        let dims = self.graph.ty(value).shape.dims();
        dims.iter().rev().skip(1).map(|&extent| extent as u64).product()
    }

    /// The rows, cols and channels of a value that must be images.
    pub(crate) fn image(&self, value: Value) -> Result<[usize; 3]> {
        match self.per_image(value)[..] {
            [rows, cols, channels] => Ok([rows, cols, channels]),
            _ => {
                let rows = self.spec.first_full_connect().is_some_and(|full| full < self.layer);
                let expected = match rows {
                    true => "only full-connect layers after the first of them",
                    false => "images of rows, cols and channels, not flattened",
                };
                Err(self.error(expected, format!("a {} layer", self.kind())))
            }
        }
    }

    /// A value with each image as one row.
    pub(crate) fn flat(&mut self, value: Value) -> Result<Value> {
        let ty = *self.graph.ty(value);
        let [batch, image @ ..] = ty.shape.dims() else {
            return Err(self.error("a batch of images", ty.shape));
        };
        if image.len() == 1 {
            return Ok(value);
        }
        let Some(inputs) = elements(image) else {
            return Err(self.error(format!("at most {MAX_ELEMENTS} inputs"), dims(image)));
        };
        let shape = Shape::new(&[*batch, inputs]).map_err(|source| self.op_error(source))?;
        self.push_node(NodeOp::Reshape(shape), &[value], false)
    }

    /// Refuses images of other extents than those that a full-connect layer was made for. Rows and cols
    /// must be right and not only their product: transposed, they would pass for what they are not.
    pub(crate) fn check_flattened(&self, value: Value) -> Result<()> {
        let Some(shape) = self.wanted.shapes.and_then(|shapes| shapes.get(self.layer)) else {
            return Ok(());
        };
        let [rows, cols, channels] = shape.input;
        let inputs = rows * cols * channels;
        let seen = self.per_image(value);
        if seen == [inputs] || seen == shape.input {
            return Ok(());
        }
        let expected = format!("[n, {rows}, {cols}, {channels}] or [n, {inputs}]");
        Err(self.error(expected, self.graph.ty(value).shape))
    }

    pub(crate) fn at_least_one(&self, what: &str, value: usize) -> Result<()> {
        if value > 0 {
            return Ok(());
        }
        Err(self.error(format!("{what} of at least 1"), "0"))
    }

    pub(crate) fn each_at_least_one(&self, what: &str, [rows, cols]: [usize; 2]) -> Result<()> {
        self.at_least_one(what, rows.min(cols))
    }

    pub(crate) fn finite(&self, what: &str, value: f32) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(self.error(format!("a finite {what}"), value.to_string()))
    }

    pub(crate) fn divides(&self, groups: usize, what: &str, count: usize) -> Result<()> {
        if groups > 0 && count.is_multiple_of(groups) {
            return Ok(());
        }
        let got = format!("{groups} groups");
        Err(self.error(format!("groups that divide the {count} {what} evenly"), got))
    }

    /// The number of windows (size, stride, padding before and after) along an axis of an image; notes
    /// whether the last one ends at the edge.
    pub(crate) fn windows(
        &mut self,
        x: Value,
        axis: usize,
        (size, stride, [before, after]): (usize, usize, [usize; 2]),
    ) -> Result<usize> {
        let extent = self.image(x)?[axis];
        let padded = extent.checked_add(before).and_then(|padded| padded.checked_add(after));
        match padded.and_then(|padded| padded.checked_sub(size)) {
            Some(span) => {
                self.exact &= span.is_multiple_of(stride);
                Ok(span / stride + 1)
            }
            None => {
                let axis = if axis == 0 { "rows" } else { "cols" };
                let padding =
                    if before == after { before.to_string() } else { format!("{before}, {after}") };
                let got = format!("{size} {axis} over {extent} with padding {padding}");
                Err(self.error("a window no larger than its padded input", got))
            }
        }
    }

    /// Refuses numbers of elements that nobody means.
    pub(crate) fn bounded(&self, extents: &[usize], what: &str) -> Result<()> {
        match elements(extents) {
            Some(_) => Ok(()),
            None => Err(self.error(format!("at most {MAX_ELEMENTS} {what}"), dims(extents))),
        }
    }

    /// A parameter of this layer.
    pub(crate) fn parameter(
        &mut self,
        role: Role,
        extents: &[usize],
        fresh: Fresh,
    ) -> Result<Value> {
        self.bounded(extents, "weights")?;
        let shape = Shape::new(extents).map_err(|source| self.op_error(source))?;
        let id = ParameterId((self.before[0] + self.layout.parameters.len()) as u32);
        // Of another input the shape would be another: the op then says what does not fit.
        let known = self.known.and_then(|known| known.parameters.get(id.index()));
        let shape = known.map_or(shape, |known| known.shape);
        let name = format!("{}.{}", self.spec.node_name(self.layer), role.name());
        self.layout.parameters.push(ParameterInfo { layer: self.layer, role, name, shape, fresh });
        Ok(self.graph.parameter(id, TensorType::new(shape, (self.wanted.dtypes)(id))))
    }

    /// A buffer of this layer; each row of a fresh one is one number.
    pub(crate) fn buffer(
        &mut self,
        extents: &[usize],
        fresh: &[f32],
        momentum: f32,
    ) -> Result<(BufferId, Value)> {
        let shape = Shape::new(extents).map_err(|source| self.op_error(source))?;
        let id = BufferId((self.before[1] + self.layout.buffers.len()) as u32);
        let known = self.known.and_then(|known| known.buffers.get(id.index()));
        let shape = known.map_or(shape, |known| known.shape);
        let name = format!("{}.running", self.spec.node_name(self.layer));
        let fresh = fresh.to_vec();
        self.layout.buffers.push(BufferInfo { layer: self.layer, name, shape, momentum, fresh });
        Ok((id, self.graph.buffer(id, TensorType::f32(shape))))
    }

    /// The statistics of a batch, shown to whoever trains.
    pub(crate) fn record(&mut self, record: Record) {
        self.graph.record(record);
    }

    /// The random sequence that this layer takes: its own number; none in inference.
    pub(crate) fn slot(&self) -> Option<usize> {
        self.wanted.training.then_some(self.layer)
    }

    /// And then this op.
    pub(crate) fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value> {
        self.push_node(NodeOp::Op(op.into()), inputs, false)
    }

    /// And then this node.
    pub(crate) fn push_node(
        &mut self,
        op: NodeOp,
        inputs: &[Value],
        detached: bool,
    ) -> Result<Value> {
        let name = self.spec.node_name(self.layer);
        self.graph.push_node(name, op, inputs, detached).map_err(|error| match error {
            striate_graph::Error::Node { source, .. } => self.op_error(*source),
            other => Error::from_graph(self.spec, other),
        })
    }

    /// Refuses what nobody could hold, for one image.
    fn check_size(&self, value: Value) -> Result<()> {
        self.bounded(&self.per_image(value), "outputs")
    }
}

/// Whether a layer sees a neighbourhood of each pixel alone, so that it can run over a larger image.
pub(crate) fn is_local(layer: &LayerSpec) -> bool {
    !matches!(
        layer,
        LayerSpec::FullConnect(_)
            | LayerSpec::Flatten(_)
            | LayerSpec::GlobalAvgPool(_)
            | LayerSpec::GlobalMaxPool(_)
            // Its windows are of the output: a larger image has no pixel for each place of a scan.
            | LayerSpec::ConvTranspose(_)
            // Their statistics are those of whole images.
            | LayerSpec::GroupNorm(_)
            | LayerSpec::InstanceNorm(_)
            | LayerSpec::AdaptiveAvgPool(_)
            | LayerSpec::AdaptiveMaxPool(_)
            // A scan counts steps of whole pixels from one output to the next.
            | LayerSpec::Resize(_)
            | LayerSpec::DepthToSpace(_)
            | LayerSpec::SpaceToDepth(_)
            // What it sees is not known.
            | LayerSpec::Custom(_)
    )
}
