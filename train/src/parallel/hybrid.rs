//! Hybrid: every rank has the convolutional layers and its samples for them, and its outputs of
//! the full-connect layers for the samples of all.
//!
//! Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, scheme (c):
//! each rank sends a micro-batch of its activations to all others, all compute their outputs of the
//! full-connect layers for it, and the gradients of the micro-batch go back to their owners while the
//! next one is on its way. Here the weights move once all micro-batches have passed, so that the result is
//! that of one device.

use std::ops::Range;
use std::sync::Arc;

use striate_nn::{
    Context, FullConnectSpec, LayerKind, LayerParameters, LayerSpec, Module, Network, NetworkSpec,
    OptimizerState, ParameterId, Role, Visitor, VisitorMut, require_grad, update_statistics,
};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use super::collective::{consecutive, shares};
use super::gradients::{Buckets, Leaves, Numbered, Plan};
use super::reports::{BatchReport, gather_numbers};
use super::state::{broadcast_network, broadcast_state};
use super::statistics::gather_statistics;
use super::{Exchange, Pending};
use crate::descent::{AVERAGE, Descent, Split, averaged};
use crate::trainer::{batch_key, loss_of};
use crate::{Error, Result, StepReport, TrainOptions};

/// A rank of a hybrid training.
pub(crate) struct HybridRank {
    part: RankNetwork,
    descent: Descent,
    exchange: Arc<Exchange>,
    plan: Plan,
    micro_batches: usize,
    mixed: bool,
    /// The whole network as it was when its parts were last brought together.
    whole: Network,
}

/// What a rank has of a network.
struct RankNetwork {
    /// The layers before the first full-connect one, whole.
    features: Network,
    /// The full-connect layers, this rank's outputs of each.
    layers: Vec<SplitLayer>,
}

struct SplitLayer {
    /// Its number in the network.
    layer: usize,
    spec: FullConnectSpec,
    /// The outputs of each rank.
    outputs: Vec<Range<usize>>,
    parameters: LayerParameters,
}

impl Module for RankNetwork {
    /// Of the features: the rest needs the other ranks.
    fn forward(&self, x: &Tensor, cx: &Context) -> striate_tensor::Result<Tensor> {
        Module::forward(&self.features, x, cx)
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        Module::parameters(&self.features, visit);
        for SplitLayer { layer, parameters, .. } in &self.layers {
            visit.parameter(&format!("{layer}.{}", Role::Weight.name()), &parameters.weight);
            visit.parameter(&format!("{layer}.{}", Role::Bias.name()), &parameters.bias);
        }
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        self.features.parameters_mut(visit);
        for SplitLayer { layer, parameters, .. } in &mut self.layers {
            visit.parameter(&format!("{layer}.weight"), &mut parameters.weight);
            visit.parameter(&format!("{layer}.bias"), &mut parameters.bias);
        }
    }
}

/// A micro-batch of a mini-batch: rows of every rank, one rank's after another's.
struct MicroBatch {
    /// Of each rank's own rows, those that are in it.
    rows: Vec<Range<usize>>,
    /// Of all rows of the mini-batch, those that are in it, rank by rank.
    places: Vec<Range<usize>>,
    labels: Vec<u32>,
}

impl HybridRank {
    /// Splits a network, and what the optimizer remembers of it.
    ///
    /// # Errors
    /// [`Error::Option`] where the network cannot be split over so many ranks.
    pub(crate) fn new(
        network: Network,
        state: OptimizerState,
        options: TrainOptions,
        exchange: Arc<Exchange>,
        micro_batches: usize,
        mixed: bool,
    ) -> Result<HybridRank> {
        let (rank, size) = (exchange.rank(), exchange.size());
        let refuse = |expected: &str, got: String| {
            let expected = format!("for hybrid training {expected}");
            Err(Error::Option { expected, got })
        };
        if options.recompute {
            return refuse("activations to be kept", "recompute".into());
        }
        if micro_batches == 0 {
            return refuse("a piece of a mini-batch or more", "0".into());
        }
        let (features, full) = halves(network.spec())?;
        let count = network
            .parameter_infos()
            .iter()
            .filter(|info| info.layer < features.nodes.len())
            .count();
        let parameters = network.parameters()[..count].to_vec();
        let all = network.layer_parameters();
        let mut layers = Vec::new();
        for (layer, spec) in full {
            let Some(whole) = &all[layer] else {
                return refuse("full-connect layers with biases", format!("layer {layer}"));
            };
            if spec.count < size {
                let expected = format!("at least {size} outputs of layer {layer}");
                return refuse(&expected, spec.count.to_string());
            }
            let outputs = shares(spec.count, size);
            let own = outputs[rank].clone();
            let parameters = LayerParameters {
                weight: whole.weight.detach().narrow(0, own.clone())?,
                bias: whole.bias.detach().narrow(0, own)?,
            };
            layers.push(SplitLayer { layer, spec, outputs, parameters });
        }
        let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
        let features = Network::of(features, parameters, buffers, network.device())?;
        let plan = Plan::of(&features);
        let mut part = RankNetwork { features, layers };
        require_grad(&mut part);
        let state = part.own_of(state, rank)?;
        let ranks = Arc::clone(&exchange);
        // Devices of several kinds round differently: what the first one says of whole gradients counts.
        let together = move |sums: [f64; 2]| {
            let all = gather_numbers(&ranks, &sums)?;
            let whole = all.first().and_then(|first| first.first()).copied().unwrap_or(0.0);
            Ok(all.iter().filter_map(|rank| rank.get(1)).fold(whole, |sum, part| sum + part))
        };
        let split = Split { first: ParameterId(count as u32), together: Box::new(together) };
        let descent = Descent::new(&network, state, options).with_split(split);
        Ok(HybridRank { part, descent, exchange, plan, micro_batches, mixed, whole: network })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.whole
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(crate) fn is_accumulating(&self) -> bool {
        self.descent.is_accumulating()
    }

    pub(crate) fn flush(&mut self, factor: f64) -> Result<()> {
        self.descent.flush(&mut self.part, factor)
    }

    pub(crate) fn is_finite(&self) -> Result<bool> {
        crate::trainer::is_finite(&self.part)
    }

    /// A mini-batch of which this rank has these samples.
    pub(crate) fn step(
        &mut self,
        own: Option<&(Tensor, Tensor)>,
        missing: usize,
        iteration: u64,
        factor: f64,
        stop: bool,
    ) -> Result<BatchReport> {
        let (labels, missing, stop) = self.gather_labels(own, missing, stop)?;
        let counts: Vec<usize> = labels.iter().map(Vec::len).collect();
        let all = counts.iter().sum();
        if all == 0 {
            return Ok(BatchReport { missing, stop, ..BatchReport::default() });
        }
        let cx = Context::training(batch_key(self.descent.options().seed, iteration));
        let joined = own.map(|(images, _)| self.part.features.forward_with(images, &cx));
        let joined = joined.transpose()?;
        let values = joined.as_ref().map(Tensor::to_vec::<f32>).transpose()?.unwrap_or_default();
        let micro_batches = micro_batches(&labels, self.micro_batches);
        let masks = self.masks(iteration, all)?;
        let mut gradients = Numbered::new();
        let mut step = StepReport { samples: all, ..StepReport::default() };

        let width = self.width();
        let rank = self.exchange.rank();
        let send = |micro_batch: &MicroBatch| {
            let rows = &micro_batch.rows[rank];
            let own = values[rows.start * width..rows.end * width].to_vec();
            self.exchange.all_gather(own, micro_batch.counts(width))
        };
        let mut coming = micro_batches.first().map(&send);
        let mut going: Vec<Pending<Vec<f32>>> = Vec::new();
        for (i, micro_batch) in micro_batches.iter().enumerate() {
            let Some(here) = coming.take() else { break };
            let x = here.wait()?;
            coming = micro_batches.get(i + 1).map(&send);
            let (dx, report) = self.classify(x, micro_batch, &masks, &mut gradients)?;
            going.push(self.exchange.reduce_scatter(dx, micro_batch.counts(width)));
            step.loss_sum += report.loss_sum;
            step.misses += report.misses;
        }
        let mut back = vec![0.0; values.len()];
        for (micro_batch, gone) in micro_batches.iter().zip(going) {
            let rows = &micro_batch.rows[rank];
            back[rows.start * width..rows.end * width].copy_from_slice(&gone.wait()?);
        }
        let mut buckets = Buckets::new(&self.plan, &self.exchange);
        if let Some(joined) = joined {
            let dy = HostTensor::new(*joined.shape(), back)?;
            let dy = Tensor::from_host(dy, joined.device())?;
            let leaves = Leaves::of(&self.part.features);
            joined.backward_with_each(&dy, |leaf, gradient| match leaves.id(leaf) {
                Some(id) => buckets.give(id, gradient),
                None => Ok(()),
            })?;
        }
        gradients.append(&mut buckets.finish(self.device())?);
        // Devices of several kinds round differently: what the first one saw counts for all.
        let seen = gather_numbers(&self.exchange, &[step.loss_sum, step.misses as f64])?;
        if let Some([loss_sum, misses]) = seen.first().map(Vec::as_slice) {
            (step.loss_sum, step.misses) = (*loss_sum, *misses as usize);
        }
        if !step.loss_sum.is_finite() {
            return Err(Error::Diverged { iteration, loss: step.loss() });
        }
        self.descent.learn(&mut self.part, gradients, all, factor)?;
        let records = own.map(|_| cx.take_records());
        let records = gather_statistics(&self.exchange, &self.part.features, records)?;
        update_statistics(&mut self.part.features, &records)?;
        Ok(BatchReport { step, missing, stop })
    }

    fn device(&self) -> &Device {
        self.part.features.device()
    }

    /// Numbers that the first full-connect layer sees of a sample.
    fn width(&self) -> usize {
        let shape = self.part.layers.first().map(|layer| *layer.parameters.weight.shape());
        shape.and_then(|shape| shape.dims().get(1).copied()).unwrap_or(0)
    }

    /// The labels of all ranks' samples; all missing ones; whether a rank is to stop.
    fn gather_labels(
        &self,
        own: Option<&(Tensor, Tensor)>,
        missing: usize,
        stop: bool,
    ) -> Result<(Vec<Vec<u32>>, usize, bool)> {
        let mut numbers = vec![missing as f64, f64::from(u8::from(stop))];
        if let Some((_, labels)) = own {
            numbers.extend(labels.to_vec::<u32>()?.into_iter().map(f64::from));
        }
        let all = gather_numbers(&self.exchange, &numbers)?;
        let missing = all.iter().filter_map(|rank| rank.first()).sum::<f64>() as usize;
        let stop = all.iter().any(|rank| rank.get(1).is_some_and(|&stop| stop > 0.0));
        let labels = |rank: &Vec<f64>| rank.iter().skip(2).map(|&label| label as u32).collect();
        Ok((all.iter().map(labels).collect(), missing, stop))
    }

    /// What dropout multiplies the outputs of each layer by, for the whole mini-batch: the same
    /// numbers as on one device.
    fn masks(&self, iteration: u64, rows: usize) -> Result<Vec<Option<Tensor>>> {
        let cx = Context::training(batch_key(self.descent.options().seed, iteration));
        let mask = |SplitLayer { spec, .. }: &SplitLayer| {
            let key = if spec.dropout > 0.0 { cx.next_key() } else { None };
            let Some(key) = key else { return Ok(None) };
            let ones = Tensor::ones([rows, spec.count], self.device())?;
            Ok(Some(ones.dropout(spec.dropout, spec.kept_scale(), key)?))
        };
        self.part.layers.iter().map(mask).collect()
    }

    /// The full-connect layers on a micro-batch, forward and back: what of the gradient of the micro-batch this
    /// rank's outputs make, and what the micro-batch showed. Adds to the gradients of this rank's weights.
    fn classify(
        &self,
        x: Vec<f32>,
        micro_batch: &MicroBatch,
        masks: &[Option<Tensor>],
        gradients: &mut Numbered,
    ) -> Result<(Vec<f32>, StepReport)> {
        let rows = micro_batch.labels.len();
        if rows == 0 {
            return Ok((Vec::new(), StepReport::default()));
        }
        let rank = self.exchange.rank();
        let matrix = |values: Vec<f32>| -> Result<Tensor> {
            let shape = Shape::new(&[rows, values.len() / rows])?;
            Ok(Tensor::from_host(HostTensor::new(shape, values)?, self.device())?)
        };
        let masks =
            masks.iter().map(|mask| mask.as_ref().map(|mask| micro_batch.of(mask)).transpose());
        let masks = masks.collect::<Result<Vec<_>>>()?;

        let mut x = matrix(x)?.require_grad();
        let mut passed = Vec::with_capacity(masks.len());
        for (layer, mask) in self.part.layers.iter().zip(&masks) {
            let LayerParameters { weight, bias } = &layer.parameters;
            let y = x.matmul_with(weight, Some(bias), layer.spec.op())?;
            let counts = layer.outputs.iter().map(|outputs| rows * outputs.len()).collect();
            let all = self.exchange.all_gather(y.to_vec::<f32>()?, counts).wait()?;
            let all = matrix(columns_together(&all, rows, &layer.outputs))?;
            let all = match mask {
                Some(mask) => all.mul(mask)?,
                None => all,
            };
            passed.push((std::mem::replace(&mut x, all.require_grad()), y));
        }
        let logits = x;
        let labels = Shape::new(&[rows])?;
        let labels = HostTensor::new(labels, micro_batch.labels.clone())?;
        let labels = Tensor::from_host(labels, self.device())?;
        let (loss, report) = loss_of(&logits, &labels, self.descent.options())?;
        let mut back = loss.backward()?;
        let all = self.part.layers.last().map(|layer| layer.outputs[rank].clone());
        let (Some(dy), Some(own)) = (back.take(&logits), all) else {
            return Err(Error::Exchange { message: "the loss has no gradient".into() });
        };
        let mut dy = dy.narrow(1, own)?;
        for (at, (x, y)) in passed.into_iter().enumerate().rev() {
            let layer = &self.part.layers[at];
            let mut back = y.backward_with(&dy)?;
            let LayerParameters { weight, bias } = &layer.parameters;
            for (id, tensor) in self.part.ids(at).into_iter().zip([weight, bias]) {
                if let Some(gradient) = back.take(tensor) {
                    let sum = match gradients.remove(&id) {
                        Some(before) => before.add(&gradient)?,
                        None => gradient,
                    };
                    gradients.insert(id, sum);
                }
            }
            let dx = match back.take(&x) {
                Some(dx) => dx.to_vec::<f32>()?,
                None => vec![0.0; x.ty().count()],
            };
            let Some(before) = at.checked_sub(1) else { return Ok((dx, report.wait()?)) };
            // Each rank needs the gradients of its own outputs of the layer before.
            let outputs = &self.part.layers[before].outputs;
            let counts = outputs.iter().map(|outputs| rows * outputs.len()).collect();
            let parts = columns_apart(&dx, rows, outputs);
            let own = matrix(self.exchange.reduce_scatter(parts, counts).wait()?)?;
            dy = match &masks[before] {
                Some(mask) => own.mul(&mask.narrow(1, outputs[rank].clone())?)?,
                None => own,
            };
        }
        Ok((Vec::new(), report.wait()?))
    }

    /// Brings the whole network together, on every rank.
    pub(crate) fn gather(&mut self) -> Result<Network> {
        let features = &self.part.features;
        let mut parameters: Vec<Tensor> =
            features.parameters().iter().map(Tensor::detach).collect();
        for SplitLayer { outputs, parameters: own, .. } in &self.part.layers {
            parameters.push(self.whole_of(&own.weight, outputs)?);
            parameters.push(self.whole_of(&own.bias, outputs)?);
        }
        let buffers = features.buffers().iter().map(|buffer| buffer.value().clone()).collect();
        self.whole = self.whole.with_tensors(parameters, buffers)?;
        Ok(self.whole.clone())
    }

    /// Brings together what the optimizer remembers, on every rank.
    pub(crate) fn gather_state(&self) -> Result<OptimizerState> {
        let mut state = self.descent.state();
        for tensors in state.tensors.values_mut() {
            for (id, tensor) in tensors {
                if let Some(layer) = self.part.split(*id) {
                    *tensor = self.whole_of(tensor, &layer.outputs)?;
                }
            }
        }
        Ok(state)
    }

    /// Brings the whole network together, with averages of its weights where there are any.
    pub(crate) fn gather_averaged(&mut self) -> Result<Network> {
        let network = self.gather()?;
        if self.descent.averages().is_empty() {
            return Ok(network);
        }
        let averages = self.gather_state()?.tensors.remove(AVERAGE).unwrap_or_default();
        averaged(&network, &averages)
    }

    /// What each rank has some rows of.
    fn whole_of(&self, own: &Tensor, outputs: &[Range<usize>]) -> Result<Tensor> {
        let mut dims = own.dims().to_vec();
        let row: usize = dims[1..].iter().product();
        dims[0] = outputs.iter().map(Range::len).sum();
        let counts = outputs.iter().map(|outputs| outputs.len() * row).collect();
        let all = self.exchange.all_gather(own.to_vec::<f32>()?, counts).wait()?;
        let all = HostTensor::new(Shape::new(&dims)?, all)?;
        Ok(Tensor::from_host(all, self.device())?)
    }

    /// As for data parallel training: replicas on devices that round differently become the first
    /// rank's again.
    pub(crate) fn synchronize(&mut self) -> Result<()> {
        if !self.mixed {
            return Ok(());
        }
        self.part.features = broadcast_network(&self.exchange, &self.part.features)?;
        require_grad(&mut self.part.features);
        let is_replica = |id| self.part.split(id).is_none();
        let state = broadcast_state(&self.exchange, &self.descent.state(), is_replica)?;
        self.descent.set_state(state);
        Ok(())
    }
}

/// A network in two: the layers before the first full-connect one, which must be all that the rest
/// sees, and the full-connect layers with the ReLU and dropout nodes that follow them, by node.
fn halves(spec: &NetworkSpec) -> Result<(NetworkSpec, Vec<(usize, FullConnectSpec)>)> {
    let refuse = |expected: &str, got: String| {
        Err(Error::Option { expected: format!("for hybrid training {expected}"), got })
    };
    let full = spec.nodes.iter().position(|node| node.kind() == LayerKind::FullConnect);
    let join = match (spec.first_full_connect(), full) {
        (Some(join), _) if join > 0 => join,
        (None, Some(full)) => {
            let got = format!("layer {}, within branches", spec.node_name(full));
            return refuse("a full-connect layer that sees all that what follows it sees", got);
        }
        _ => return refuse("layers before the first full-connect one", "none".into()),
    };
    if let Some(auxiliary) = spec.auxiliary.first() {
        return refuse("one output", format!("the auxiliary output {}", auxiliary.name));
    }
    let mut features = spec.clone();
    let full =
        NetworkSpec { nodes: features.nodes.split_off(join), ..NetworkSpec::new(spec.input) };
    let drops = |kind| matches!(kind, LayerKind::Dropout | LayerKind::StochasticDepth);
    if let Some(dropout) = features.nodes.iter().position(|node| drops(node.kind())) {
        // Its random numbers would be those of a rank's own samples.
        let got = format!("layer {}", spec.node_name(dropout));
        return refuse("no dropout before the first full-connect layer", got);
    }
    let named = |node: usize| format!("layer {}", spec.node_name(join + node));
    let chain = match full.chain() {
        Ok(chain) => chain,
        Err(striate_nn::Error::Layer { layer, .. }) => {
            return refuse("full-connect layers last", named(layer));
        }
        Err(other) => return Err(other.into()),
    };
    let mut layers = Vec::with_capacity(chain.len());
    for layer in chain {
        let LayerSpec::FullConnect(full) = layer.layer else {
            return refuse("full-connect layers last", named(layer.node));
        };
        layers.push((join + layer.node, full));
    }
    Ok((features, layers))
}

impl RankNetwork {
    /// The parameters of a full-connect layer, weights and biases: in the order of the whole network.
    fn ids(&self, place: usize) -> [ParameterId; 2] {
        let first = self.features.parameters().len() + 2 * place;
        [first, first + 1].map(|id| ParameterId(id as u32))
    }

    /// The split layer that has this parameter.
    fn split(&self, id: ParameterId) -> Option<&SplitLayer> {
        let place = id.index().checked_sub(self.features.parameters().len())?;
        self.layers.get(place / 2)
    }

    /// Of what the optimizer remembers of the whole network that of this part.
    fn own_of(&self, mut state: OptimizerState, rank: usize) -> Result<OptimizerState> {
        for tensors in state.tensors.values_mut() {
            for (id, tensor) in tensors {
                if let Some(layer) = self.split(*id) {
                    *tensor = tensor.narrow(0, layer.outputs[rank].clone())?;
                }
            }
        }
        Ok(state)
    }
}

impl MicroBatch {
    /// How many numbers each rank gives, at so many a row.
    fn counts(&self, width: usize) -> Vec<usize> {
        self.rows.iter().map(|rows| rows.len() * width).collect()
    }

    /// The rows of a matrix of the whole mini-batch.
    fn of(&self, all: &Tensor) -> Result<Tensor> {
        let parts = self.places.iter().filter(|places| !places.is_empty());
        let parts = parts.map(|places| all.narrow(0, places.clone()));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        match &parts[..] {
            [one] => Ok(one.clone()),
            parts => Ok(Tensor::concatenate(&parts.iter().collect::<Vec<_>>(), 0)?),
        }
    }
}

/// A mini-batch with these labels of each rank in so many micro-batches.
fn micro_batches(labels: &[Vec<u32>], micro_batches: usize) -> Vec<MicroBatch> {
    let counts: Vec<usize> = labels.iter().map(Vec::len).collect();
    let starts = consecutive(&counts);
    let micro_batch = |i: usize| {
        let rows = counts.iter().map(|&count| shares(count, micro_batches)[i].clone());
        let rows: Vec<Range<usize>> = rows.collect();
        let places = rows.iter().zip(&starts);
        let places = places.map(|(rows, own)| own.start + rows.start..own.start + rows.end);
        let labels = labels.iter().zip(&rows).flat_map(|(labels, rows)| &labels[rows.clone()]);
        MicroBatch { places: places.collect(), labels: labels.copied().collect(), rows }
    };
    (0..micro_batches).map(micro_batch).collect()
}

/// `[rows, columns of a rank]` of each rank, one after another, as `[rows, all columns]`.
fn columns_together(parts: &[f32], rows: usize, columns: &[Range<usize>]) -> Vec<f32> {
    let width: usize = columns.iter().map(Range::len).sum();
    let mut whole = vec![0.0; rows * width];
    let mut parts = parts;
    for columns in columns {
        let (own, rest) = parts.split_at(rows * columns.len());
        for (row, values) in own.chunks(columns.len().max(1)).enumerate() {
            whole[row * width..][columns.clone()].copy_from_slice(values);
        }
        parts = rest;
    }
    whole
}

/// The reverse.
fn columns_apart(whole: &[f32], rows: usize, columns: &[Range<usize>]) -> Vec<f32> {
    let width = whole.len() / rows.max(1);
    let mut parts = Vec::with_capacity(whole.len());
    for columns in columns {
        for row in whole.chunks(width.max(1)) {
            parts.extend_from_slice(&row[columns.clone()]);
        }
    }
    parts
}
