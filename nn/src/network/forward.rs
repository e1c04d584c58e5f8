//! Running a network, for inference and for training.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use striate_graph::passes::{self, Passes};
use striate_graph::{
    Bind, BufferId, Cancel, Graph, Node, Outputs, ParameterId, Plan, Recorded, Run, Source, Value,
};
use striate_tensor::ops::Algorithm;
use striate_tensor::{DType, RandomKey, Tensor, TensorType, autograd};

use super::Network;
use super::plans::{EachLayer, Key, Ready};
use crate::layers::{BatchMoments, Context};
use crate::lower::{Wanted, lower};
use crate::{Error, LayerKind, LayerSpec, Result};

/// What a run may take, and who may end it.
///
/// ```
/// use striate_nn::{Error, NetworkSpec, RunLimits, Seed};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_nn::Result<()> {
/// let device = Device::new(Reference::new());
/// let network = NetworkSpec::new([4, 4, 3]).full_connect(2).build(&device, Seed(1))?;
/// let x = Tensor::zeros([8, 4, 4, 3], &device)?;
/// let limits = RunLimits { memory: Some(100), ..RunLimits::default() };
/// let refused = network.forward_limited(&x, &limits);
/// assert!(matches!(refused, Err(Error::Memory { limit: 100, .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunLimits {
    /// Ends the run between two ops, from another thread.
    pub cancel: Option<Cancel>,
    /// Bytes that activations may take ([`Network::peak_bytes`]); more is refused before anything
    /// runs.
    pub memory: Option<u64>,
}

impl Network {
    /// The outputs of the last layer, `[n, classes]` logits for a classifier, of images `x [n,
    /// rows, cols, channels]` of the network's own size with the mean subtracted.
    ///
    /// # Errors
    /// [`Error::Network`] where `x` has another shape; [`Error::Op`] where the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_limited(x, &RunLimits::default())
    }

    /// As [`forward`](Network::forward), within limits.
    ///
    /// # Errors
    /// As [`forward`](Network::forward); [`Error::Memory`] before anything runs, and
    /// [`Error::Cancelled`].
    pub fn forward_limited(&self, x: &Tensor, limits: &RunLimits) -> Result<Tensor> {
        self.check_input(x)?;
        let ready = self.ready(self.all(), x.ty(), false)?;
        let mut run = Run {
            prepared: ready.prepared.as_deref().map(Vec::as_slice),
            cancel: limits.cancel.as_ref(),
            memory_limit: limits.memory,
            ..Run::default()
        };
        first(self.run(&ready.plan, x, &mut run)?)
    }

    /// As [`forward`](Network::forward), and every node of the [plan](Network::plan) is shown to `observe`
    /// with its output as soon as that was asked for: for those who measure. A device may still be computing
    /// it.
    ///
    /// # Errors
    /// As [`forward`](Network::forward), and what `observe` gives (see [`Error::visit`]).
    pub fn forward_observed(
        &self,
        x: &Tensor,
        mut observe: impl FnMut(&Node, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        self.check_input(x)?;
        let ready = self.ready(self.all(), x.ty(), false)?;
        let mut visit = |node: &Node, output: &Tensor| {
            observe(node, output).map_err(|error| striate_graph::Error::Visit(Box::new(error)))
        };
        let mut run = Run {
            prepared: ready.prepared.as_deref().map(Vec::as_slice),
            visit: Some(&mut visit),
            ..Run::default()
        };
        first(self.run(&ready.plan, x, &mut run)?)
    }

    /// Bytes of activations that [`forward`](Network::forward) holds at most, for so many images: what
    /// is known before it runs. The devices' own working memory is not counted.
    ///
    /// # Errors
    /// [`Error::Tensor`] where so many images have no shape.
    pub fn peak_bytes(&self, images: usize) -> Result<u64> {
        let [rows, cols, channels] = self.spec.input;
        let shape = striate_tensor::Shape::new(&[images, rows, cols, channels])?;
        Ok(self.ready(self.all(), &TensorType::f32(shape), false)?.plan.peak_bytes())
    }

    /// The plan that [`forward`](Network::forward) runs for so many images: the graph after its
    /// passes, and what is known of its memory.
    ///
    /// # Errors
    /// [`Error::Tensor`] where so many images have no shape.
    pub fn plan(&self, images: usize) -> Result<Arc<Plan>> {
        let [rows, cols, channels] = self.spec.input;
        let shape = striate_tensor::Shape::new(&[images, rows, cols, channels])?;
        Ok(self.ready(self.all(), &TensorType::f32(shape), false)?.plan)
    }

    /// The network as a graph for so many images, with its own types of parameters, before any
    /// [pass](striate_graph::passes).
    ///
    /// # Errors
    /// [`Error::Tensor`] where so many images have no shape.
    pub fn graph(&self, images: usize) -> Result<Graph> {
        let [rows, cols, channels] = self.spec.input;
        let shape = striate_tensor::Shape::new(&[images, rows, cols, channels])?;
        let dtypes = |id: ParameterId| self.dtype(id);
        let (nodes, input, shapes) = (self.all(), TensorType::f32(shape), Some(&self.shapes[..]));
        let wanted = Wanted { nodes, input, training: false, dtypes: &dtypes, all: false, shapes };
        Ok(lower(&self.spec, &wanted, Some(&self.layout))?.graph)
    }

    /// The output of the last of these layers for `x`, the input of the first: `[n, rows, cols,
    /// channels]`, or `[n, in]` before a full-connect layer, which flattens it. Layers that look at
    /// neighbourhoods take images of any size. An empty range gives `x`.
    ///
    /// # Errors
    /// [`Error::Range`] where there are no such layers; [`Error::Layer`] where the network cannot be
    /// [cut](crate::NetworkSpec::cuts) before them; [`Error::Layer`] or [`Error::Op`] where
    /// `x` does not fit a layer, or the device fails.
    pub fn forward_layers(&self, layers: Range<usize>, x: &Tensor) -> Result<Tensor> {
        if layers.is_empty() {
            self.spec.check_range(&layers)?;
            return Ok(x.clone());
        }
        let ready = self.ready(layers, x.ty(), false)?;
        let prepared = ready.prepared.as_deref().map(Vec::as_slice);
        first(self.run(&ready.plan, x, &mut Run { prepared, ..Run::default() })?)
    }

    /// As [`forward`](Network::forward), in the context: in training, dropout mutes at random, and
    /// what is kept grows by `1 / (1 - rate)`, so that the network is the one of inference at every
    /// moment (ccv does not scale while it trains and multiplies weights and biases by `1 - rate` in
    /// the end: ReLU keeps factors, so both compute the same); batch normalization takes the batch's
    /// statistics, and [records](Context::record) them.
    ///
    /// Where the parameters are tracked ([`require_grad`](crate::require_grad)), the result can be
    /// differentiated.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn forward_with(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let mut outputs = self.forward_outputs(x, cx)?;
        Ok(outputs.swap_remove(0))
    }

    /// As [`forward_with`](Network::forward_with): the network's output, and in training the
    /// [auxiliary](crate::NetworkSpec::auxiliary) ones after it, in their order.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn forward_outputs(&self, x: &Tensor, cx: &Context) -> Result<Vec<Tensor>> {
        self.check_input(x)?;
        let keys = self.dropout_keys(cx);
        let ready = self.ready(self.all(), x.ty(), cx.is_training())?;
        let prepared = ready.prepared.as_deref().map(Vec::as_slice);
        let mut run = Run { keys: &keys, prepared, ..Run::default() };
        let outputs = self.run(&ready.plan, x, &mut run)?;
        self.record(cx, outputs.records);
        match outputs.values.is_empty() {
            true => Err(Error::network("an output", "none")),
            false => Ok(outputs.values),
        }
    }

    /// As [`forward_outputs`](Network::forward_outputs), to the same bits, in less memory: only the
    /// activations between blocks are kept for the gradient (a block ends in a pooling layer or where
    /// branches have come together, if the network can be cut there, or before the first full-connect
    /// layer), and the backward pass computes those within again, which makes a training step about a
    /// third longer. In the training of a network with auxiliary outputs all are kept: its blocks have
    /// more than one output.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn forward_recomputed(&self, x: &Tensor, cx: &Context) -> Result<Vec<Tensor>> {
        if !self.spec.auxiliary.is_empty() && cx.is_training() {
            // A recomputed block has one output.
            return self.forward_outputs(x, cx);
        }
        self.check_input(x)?;
        let keys: Arc<[Option<RandomKey>]> = self.dropout_keys(cx).into();
        let mut current = x.clone();
        for block in self.blocks()? {
            let last = block.end.saturating_sub(1);
            let ready = self.ready(block.clone(), current.ty(), cx.is_training())?;
            if self.shapes[last].flat {
                // Its activations are small, and its weights are long to read.
                let mut run = Run { keys: &keys, ..Run::default() };
                let outputs = self.run(&ready.plan, &current, &mut run)?;
                self.record(cx, outputs.records.clone());
                current = first(outputs)?;
                continue;
            }
            let (bound, plan, keys) = (self.bound(&ready.plan), ready.plan, Arc::clone(&keys));
            // The first run's statistics count; running again records nothing.
            let records = Arc::new(Mutex::new(Some(Vec::new())));
            let shown = Arc::clone(&records);
            let forward = move |inputs: &[Tensor]| {
                let [x] = inputs else {
                    let got = inputs.len().to_string();
                    return Err(striate_tensor::Error::shape("recompute", "one input", got));
                };
                let mut run = Run { keys: &keys, ..Run::default() };
                let outputs = plan.run(&[x], &bound, &mut run).map_err(plain)?;
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(records) = &mut *shown {
                    records.extend(outputs.records.iter().cloned());
                }
                outputs.values.into_iter().next().ok_or_else(|| {
                    striate_tensor::Error::shape("recompute", "an output", "none".to_owned())
                })
            };
            current = striate_tensor::checkpoint(&[&current], forward)
                .map_err(|source| Error::op(&self.spec, last, source))?;
            let recorded = records.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.record(cx, recorded.unwrap_or_default());
        }
        Ok(vec![current])
    }

    /// As [`forward`](Network::forward), and every layer's output on the way is shown to `visit` with
    /// the layer's number, in the order of the layers. Layers of auxiliary outputs are not run.
    ///
    /// # Errors
    /// As [`forward`](Network::forward), and what `visit` gives (see [`Error::visit`]).
    pub fn activations(
        &self,
        x: &Tensor,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        self.check_input(x)?;
        // Before any pass: what passes join has no value of its own.
        let each = self.plans.each_layer(x.ty(), || {
            let dtypes = |id: ParameterId| self.dtype(id);
            let nodes = self.all();
            let shapes = Some(&self.shapes[..]);
            let (training, all) = (false, false);
            let wanted = Wanted { nodes, input: *x.ty(), training, dtypes: &dtypes, all, shapes };
            let mut lowered = lower(&self.spec, &wanted, Some(&self.layout))?;
            if self.algorithm != Algorithm::Auto {
                lowered.graph.set_algorithm(self.algorithm);
            }
            let order = (0..lowered.values.len()).filter(|&layer| lowered.needed[layer]).collect();
            let mut layers: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
            for &layer in &order as &Vec<usize> {
                layers.entry(lowered.values[layer]).or_default().push(layer);
            }
            Ok::<_, Error>(EachLayer { plan: Plan::new(lowered.graph), layers, order })
        })?;
        // A layer that passes on what it sees has its output before the layers between have theirs.
        let mut early = BTreeMap::new();
        let mut order = each.order.iter().copied().peekable();
        let mut show = |value: Value, tensor: &Tensor| -> striate_graph::Result<()> {
            let known = each.layers.get(&value).into_iter().flatten();
            early.extend(known.map(|layer| (*layer, tensor.clone())));
            while let Some(&next) = order.peek()
                && let Some(tensor) = early.remove(&next)
            {
                visit(next, &tensor)
                    .map_err(|error| striate_graph::Error::Visit(Box::new(error)))?;
                order.next();
            }
            Ok(())
        };
        let (_, seen) = each.plan.graph().inputs()[0];
        let shown = show(seen, x);
        let mut visit = |node: &Node, tensor: &Tensor| show(node.output, tensor);
        let outputs =
            shown.map_err(|error| Error::from_graph(&self.spec, error)).and_then(|()| {
                self.run(&each.plan, x, &mut Run { visit: Some(&mut visit), ..Run::default() })
            })?;
        first(outputs)
    }

    /// What a run of these layers needs of the network, on its own: a block that is run again must not
    /// hold the parameters of others, which may have been updated in place by then.
    fn bound(&self, plan: &Plan) -> Bound {
        let graph = plan.graph();
        let mut bound = Bound::default();
        for value in graph.values() {
            match graph.source(value) {
                Source::Parameter(id) => {
                    let tensor = self.parameters.get(id.index()).cloned();
                    bound.parameters.extend(tensor.map(|tensor| (*id, tensor)));
                }
                Source::Buffer(id) => {
                    let buffer = self.buffers.get(id.index()).map(|buffer| buffer.value().clone());
                    bound.buffers.extend(buffer.map(|tensor| (*id, tensor)));
                }
                _ => {}
            }
        }
        bound
    }

    fn check_input(&self, x: &Tensor) -> Result<()> {
        if matches!(x.dims(), [_, image @ ..] if *image == self.spec.input) {
            return Ok(());
        }
        let [rows, cols, channels] = self.spec.input;
        let expected = format!("images [n, {rows}, {cols}, {channels}]");
        Err(Error::network(expected, x.shape()))
    }

    fn dtype(&self, id: ParameterId) -> DType {
        self.parameters.get(id.index()).map_or(DType::F32, Tensor::dtype)
    }

    fn run(&self, plan: &Plan, x: &Tensor, run: &mut Run<'_>) -> Result<Outputs> {
        plan.run(&[x], self, run).map_err(|error| Error::from_graph(&self.spec, error))
    }

    /// The plan of these layers for inputs of this type.
    fn ready(&self, layers: Range<usize>, input: &TensorType, training: bool) -> Result<Ready> {
        // Folding a layer into another's parameters would hide these from the gradient.
        let is_tracked = || self.parameters.iter().any(Tensor::is_tracked);
        let is_learnt = training || (autograd::is_recording() && is_tracked());
        let folds = !is_learnt;
        if is_learnt && self.is_quantized() {
            let expected = "a network of floats, which alone can be trained";
            return Err(Error::network(expected, "one of integers of 8 bits"));
        }
        let key = Key { layers: layers.clone(), input: *input, training, folds };
        if let Some(ready) = self.plans.get(&key) {
            return Ok(ready);
        }
        self.spec.check_range(&layers)?;
        let dtypes = |id: ParameterId| self.dtype(id);
        let (nodes, shapes) = (layers, Some(&self.shapes[..]));
        let wanted = Wanted { nodes, input: *input, training, dtypes: &dtypes, all: false, shapes };
        let mut lowered = lower(&self.spec, &wanted, Some(&self.layout))?;
        if self.algorithm != Algorithm::Auto {
            lowered.graph.set_algorithm(self.algorithm);
        }
        // Integers are rounded from f32.
        let integers = self.integers.as_ref().filter(|integers| !integers.weights.is_empty());
        let half = self.precision == DType::F16 && integers.is_none();
        let which = match folds {
            true => Passes { half, ..Passes::inference() },
            false => Passes::training(),
        };
        let failed = |error| Error::from_graph(&self.spec, error);
        let mut graph = passes::apply(&lowered.graph, &which).map_err(failed)?;
        if let Some(integers) = integers {
            graph = passes::quantize(&graph, &integers.weights).map_err(failed)?;
        }
        let plan = Plan::new(graph);
        let prepared = match folds {
            true => {
                let known = self.plans.prepared();
                let others = known.iter();
                let others = others
                    .filter_map(|ready| Some((&*ready.plan, &ready.prepared.as_deref()?[..])));
                let others: Vec<_> = others.collect();
                Some(Arc::new(plan.prepare_beside(self, &others).map_err(failed)?))
            }
            false => None,
        };
        let prepared = prepared.filter(|tensors| tensors.iter().any(Option::is_some));
        let ready = Ready { plan: Arc::new(plan), prepared };
        self.plans.put(key, ready.clone());
        Ok(ready)
    }

    fn record(&self, cx: &Context, records: Vec<Recorded>) {
        for Recorded { buffer, count, moments } in records {
            let (Some(known), Some(info)) =
                (self.buffers.get(buffer.index()), self.layout.buffers.get(buffer.index()))
            else {
                continue;
            };
            let (buffer, momentum) = (known.key(), info.momentum);
            cx.record(BatchMoments { buffer, count, momentum, moments });
        }
    }

    fn all(&self) -> Range<usize> {
        0..self.spec.nodes.len()
    }

    /// The random sequence of each layer that drops; none in inference.
    pub(super) fn dropout_keys(&self, cx: &Context) -> Vec<Option<RandomKey>> {
        let key = |layer: &LayerSpec| match layer {
            LayerSpec::FullConnect(full) if full.dropout > 0.0 => cx.next_key(),
            LayerSpec::Dropout(dropout) if dropout.rate > 0.0 => cx.next_key(),
            LayerSpec::StochasticDepth(depth) if depth.rate > 0.0 => cx.next_key(),
            _ => None,
        };
        self.spec.nodes.iter().map(|node| key(&node.layer)).collect()
    }

    /// The layers in blocks, each of which ends in a cut: at a pooling layer, at a join with the
    /// activation that follows it, and before the first layer that makes rows of images. Those stand
    /// alone.
    fn blocks(&self) -> Result<Vec<Range<usize>>> {
        let cuts = self.spec.cuts()?;
        let kind = |layer: usize| self.spec.nodes.get(layer).map(crate::spec::Node::kind);
        let is_join = |kind| {
            matches!(kind, Some(LayerKind::Add | LayerKind::Multiply | LayerKind::Concatenate))
        };
        let mut blocks = Vec::new();
        let mut start = 0;
        for &cut in &cuts {
            let next = cut + 1;
            let followed = kind(next) == Some(LayerKind::Activation) && cuts.contains(&next);
            let after_join = kind(cut) == Some(LayerKind::Activation)
                && cut.checked_sub(1).is_some_and(|before| is_join(kind(before)));
            let ends = self.shapes[cut].flat
                || self.shapes.get(next).is_none_or(|shape| shape.flat)
                || matches!(kind(cut), Some(LayerKind::MaxPool | LayerKind::AvgPool))
                || after_join
                || (is_join(kind(cut)) && !followed);
            if ends {
                blocks.push(start..next);
                start = next;
            }
        }
        Ok(blocks)
    }
}

impl Bind for Network {
    fn parameter(&self, id: ParameterId) -> Option<&Tensor> {
        self.parameters.get(id.index())
    }

    fn buffer(&self, id: BufferId) -> Option<&Tensor> {
        self.buffers.get(id.index()).map(super::Buffer::value)
    }
}

/// Parameters and buffers of a part of a network.
#[derive(Default)]
struct Bound {
    parameters: BTreeMap<ParameterId, Tensor>,
    buffers: BTreeMap<BufferId, Tensor>,
}

impl Bind for Bound {
    fn parameter(&self, id: ParameterId) -> Option<&Tensor> {
        self.parameters.get(&id)
    }

    fn buffer(&self, id: BufferId) -> Option<&Tensor> {
        self.buffers.get(&id)
    }
}

/// A graph's first output.
fn first(outputs: Outputs) -> Result<Tensor> {
    outputs.values.into_iter().next().ok_or_else(|| Error::network("an output", "none"))
}

/// The op's error, out of a graph's.
fn plain(error: striate_graph::Error) -> striate_tensor::Error {
    match error {
        striate_graph::Error::Node { source, .. } => *source,
        striate_graph::Error::Tensor(source) => source,
        other => striate_tensor::Error::shape("network", "a run", other.to_string()),
    }
}
