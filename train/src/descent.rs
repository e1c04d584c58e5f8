//! Gradients into weights: what is gathered over mini-batches, and how each parameter moves.

use std::collections::BTreeMap;
use std::fmt;

use striate_nn::{
    LayerSpec, Method, Module, Network, Optimizer, OptimizerState, ParameterId, ParameterInfo,
    ParameterStep, Parameters, Rates, leaf_parameters, named_parameters,
};
use striate_tensor::{Tensor, TensorUpdate, no_grad, ops};

use crate::options::Clip;
use crate::{Result, TrainOptions};

/// What an average of the weights is called beside the state of the optimizer.
pub(crate) const AVERAGE: &str = "average";

/// Gradient descent on the parameters of a network, or on a rank's part of them.
#[derive(Debug)]
pub(crate) struct Descent {
    optimizer: Optimizer,
    /// Averages of the weights, where the options ask for them.
    averages: BTreeMap<ParameterId, Tensor>,
    options: TrainOptions,
    /// How each parameter of the whole network learns, by its number.
    rates: Vec<ParameterRates>,
    /// Gradients summed so far, where the weights move after several mini-batches.
    summed: BTreeMap<ParameterId, Tensor>,
    /// Of how many mini-batches and samples.
    batches: usize,
    samples: usize,
    /// Where other ranks have the rest of some gradients.
    split: Option<Split>,
}

/// Brings the squared norms of gradients together that ranks have parts of.
pub(crate) struct Split {
    /// This and all parameters after it are in parts; those before are whole on every rank.
    pub(crate) first: ParameterId,
    /// Of this rank's squared norms of whole gradients and of its parts that of all, alike on all ranks.
    pub(crate) together: Box<dyn Fn([f64; 2]) -> Result<f64> + Send + Sync>,
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("first", &self.first).finish_non_exhaustive()
    }
}

/// How a parameter learns.
#[derive(Clone, Copy, Debug)]
struct ParameterRates {
    rates: Rates,
    /// What its gradient is multiplied by ([`TrainOptions::ccv_dropout`]).
    gradient_scale: f32,
}

impl ParameterRates {
    fn of(network: &Network, info: &ParameterInfo, options: &TrainOptions) -> Self {
        let is_ccv = options.ccv_dropout && options.optimizer == Method::Sgd;
        let gradient_scale = match network.spec().nodes[info.layer].layer {
            LayerSpec::FullConnect(full) if is_ccv => (1.0 - full.dropout).powi(2),
            _ => 1.0,
        };
        ParameterRates { rates: options.rates_of(info), gradient_scale }
    }
}

impl Descent {
    /// For this network, with what an optimizer remembered of it.
    pub(crate) fn new(network: &Network, state: OptimizerState, options: TrainOptions) -> Self {
        let infos = network.parameter_infos().iter();
        let rates = infos.map(|info| ParameterRates::of(network, info, &options)).collect();
        let mut descent = Self::with_rates(rates, options);
        descent.set_state(state);
        descent
    }

    /// For a module of these parameters, from rest.
    pub(crate) fn of_module(parameters: &[(String, Tensor)], options: TrainOptions) -> Self {
        let rates = parameters.iter().map(|(_, tensor)| ParameterRates {
            rates: if tensor.dims().len() > 1 { options.weights } else { options.biases },
            gradient_scale: 1.0,
        });
        Self::with_rates(rates.collect(), options)
    }

    fn with_rates(rates: Vec<ParameterRates>, options: TrainOptions) -> Self {
        let (optimizer, averages) = (Optimizer::new(options.optimizer), BTreeMap::new());
        let summed = BTreeMap::new();
        Descent { optimizer, averages, options, rates, summed, batches: 0, samples: 0, split: None }
    }

    /// On a rank that has parts of some gradients.
    pub(crate) fn with_split(self, split: Split) -> Self {
        Descent { split: Some(split), ..self }
    }

    pub(crate) fn options(&self) -> &TrainOptions {
        &self.options
    }

    pub(crate) fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        self.optimizer.state().velocities()
    }

    /// Averages of the weights; none where there are none.
    pub(crate) fn averages(&self) -> &BTreeMap<ParameterId, Tensor> {
        &self.averages
    }

    /// All that must be kept beside the weights: the optimizer's state, and [averages](AVERAGE).
    pub(crate) fn state(&self) -> OptimizerState {
        let mut state = self.optimizer.state().clone();
        if !self.averages.is_empty() {
            state.tensors.insert(AVERAGE.to_owned(), self.averages.clone());
        } else if self.options.optimizer == Method::Sgd {
            // Nothing depends on them, and ccv's files have no place for them.
            state.steps = 0;
        }
        state
    }

    /// Takes up what [`state`](Descent::state) gave.
    pub(crate) fn set_state(&mut self, mut state: OptimizerState) {
        let averages = state.tensors.remove(AVERAGE).unwrap_or_default();
        // An average that nobody asks for any more is dropped.
        self.averages = if self.options.ema.is_some() { averages } else { BTreeMap::new() };
        self.optimizer = Optimizer::with_state(self.options.optimizer, state);
    }

    /// Whether gradients wait for more mini-batches.
    pub(crate) fn is_accumulating(&self) -> bool {
        self.batches > 0
    }

    /// Takes the gradients of a mini-batch of so many samples; moves the weights where it was the
    /// last of `sgd_frequency`. After an error nothing is left to be learned.
    pub(crate) fn learn(
        &mut self,
        module: &mut dyn Module,
        gradients: BTreeMap<ParameterId, Tensor>,
        samples: usize,
        factor: f64,
    ) -> Result<()> {
        if self.options.ema.is_some() {
            // Averages begin with the weights before their first step.
            self.prepare(module)?;
        }
        let learned = self.gather(gradients).and_then(|()| {
            self.batches += 1;
            self.samples += samples;
            match self.batches >= self.options.sgd_frequency {
                true => self.flush(module, factor),
                false => Ok(()),
            }
        });
        learned.inspect_err(|_| self.forget())
    }

    /// Drops what has been gathered: part of a mini-batch is nobody's gradient.
    fn forget(&mut self) {
        self.summed.clear();
        (self.batches, self.samples) = (0, 0);
    }

    /// Takes the memory that stays, before a mini-batch takes what goes again.
    pub(crate) fn prepare(&mut self, module: &dyn Module) -> Result<()> {
        self.optimizer.prepare(module)?;
        if self.options.ema.is_none() {
            return Ok(());
        }
        let leaves = leaf_parameters(module);
        for (place, (_, parameter)) in named_parameters(module).into_iter().enumerate() {
            let id = ParameterId(place as u32);
            // Tied parameters have one average, under the first.
            let is_first = parameter.leaf_id().is_none_or(|leaf| leaves.get(&leaf) == Some(&id));
            if is_first && !self.averages.contains_key(&id) {
                // A copy, made by the first step: until then they are the weights themselves.
                self.averages.insert(id, parameter.detach());
            }
        }
        Ok(())
    }

    /// As [`learn`](Descent::learn), with the gradients of a loss as the backward pass gives them:
    /// where the weights move, each does as soon as its gradient is there, which is then freed, or as soon
    /// as there are as many as the device would rather have at a time. An error on the way leaves those
    /// moved that came before it, and nothing to be learned.
    pub(crate) fn learn_from(
        &mut self,
        module: &mut dyn Module,
        loss: Tensor,
        samples: usize,
        factor: f64,
    ) -> Result<()> {
        let learned = self.learn_each(module, loss, samples, factor);
        learned.inspect_err(|_| self.forget())
    }

    fn learn_each(
        &mut self,
        module: &mut dyn Module,
        loss: Tensor,
        samples: usize,
        factor: f64,
    ) -> Result<()> {
        self.batches += 1;
        self.samples += samples;
        let moves = self.batches >= self.options.sgd_frequency;
        // A norm of all gradients is known when the last one is.
        let at_once = moves && !matches!(self.options.clip, Some(Clip::Norm { .. }));
        if moves {
            self.optimizer.begin_step();
        }
        let mut parameters = Parameters::of(module);
        let enough = loss.device().backend().gathered_bytes();
        let mut waiting: Vec<ParameterStep> = Vec::new();
        let mut waiting_bytes = 0;
        loss.backward_each(|leaf, gradient| -> Result<()> {
            let Some(id) = parameters.of_leaf(leaf) else { return Ok(()) };
            let sum = match self.summed.remove(&id) {
                Some(before) => before.add(&gradient)?,
                None => gradient,
            };
            if at_once {
                let (rates, scale) = self.rates_of(id, factor);
                let (gradient, scale) = self.clipped(sum, scale)?;
                waiting_bytes += gradient.ty().size_bytes();
                waiting.push(ParameterStep { id, gradient, rates, scale });
                if waiting_bytes >= enough {
                    self.optimizer.step_several(&mut parameters, &waiting)?;
                    waiting.clear();
                    waiting_bytes = 0;
                }
            } else {
                self.summed.insert(id, sum);
            }
            Ok(())
        })?;
        self.optimizer.step_several(&mut parameters, &waiting)?;
        drop(parameters);
        // What the loss of this mini-batch does not depend on, and that of one before does.
        if moves { self.finish(module, factor) } else { Ok(()) }
    }

    /// Moves the weights by what has been gathered.
    pub(crate) fn flush(&mut self, module: &mut dyn Module, factor: f64) -> Result<()> {
        if self.batches == 0 {
            return Ok(());
        }
        self.optimizer.begin_step();
        self.finish(module, factor)
    }

    /// Moves what has not moved yet, by what has been gathered, and then the averages.
    fn finish(&mut self, module: &mut dyn Module, factor: f64) -> Result<()> {
        let summed = std::mem::take(&mut self.summed);
        let shrunk = self.norm_factor(&summed)?;
        let mut gradients = BTreeMap::new();
        let mut rates = BTreeMap::new();
        for (id, gradient) in summed {
            let (own, scale) = self.rates_of(id, factor);
            let (gradient, scale) = self.clipped(gradient, scale)?;
            gradients.insert(id, gradient);
            rates.insert(id, (own, (f64::from(scale) * shrunk) as f32));
        }
        // Gradients stand under the first of tied parameters, for which rates are asked.
        let still = (Rates { rate: 0.0, momentum: 0.0, decay: 0.0 }, 0.0);
        self.optimizer.step_rest(module, &gradients, |id| *rates.get(&id).unwrap_or(&still))?;
        self.average(module)?;
        (self.batches, self.samples) = (0, 0);
        Ok(())
    }

    /// How a parameter moves, and what the gradient of what has been gathered is multiplied by.
    fn rates_of(&self, id: ParameterId, factor: f64) -> (Rates, f32) {
        let scale = 1.0 / self.samples.max(1) as f32;
        let known = self.rates.get(id.index()).copied();
        let ParameterRates { rates, gradient_scale } =
            known.unwrap_or(ParameterRates { rates: self.options.weights, gradient_scale: 1.0 });
        let rate = (f64::from(rates.rate) * factor) as f32;
        (Rates { rate, ..rates }, scale * gradient_scale)
    }

    /// A gradient and its factor, brought into the range that the options ask for.
    fn clipped(&self, gradient: Tensor, scale: f32) -> Result<(Tensor, f32)> {
        let Some(Clip::Value { most }) = self.options.clip else { return Ok((gradient, scale)) };
        let clamped = no_grad(|| gradient.affine(scale, 0.0)?.clamp(-most, most))?;
        Ok((clamped, 1.0))
    }

    /// What all gradients are multiplied by, so that their norm is no larger than the options ask for.
    /// Squares are summed within each gradient as the device does it, and over the gradients in the order
    /// of their parameters.
    fn norm_factor(&self, summed: &BTreeMap<ParameterId, Tensor>) -> Result<f64> {
        let Some(Clip::Norm { most }) = self.options.clip else { return Ok(1.0) };
        if summed.is_empty() {
            return Ok(1.0);
        }
        let squares = no_grad(|| {
            let squares =
                summed.values().map(|gradient| gradient.square()?.sum_all()?.reshape([1]));
            let squares = squares.collect::<std::result::Result<Vec<_>, _>>()?;
            Tensor::concatenate(&squares.iter().collect::<Vec<_>>(), 0)?.to_vec::<f32>()
        })?;
        let own = |(id, square): (&ParameterId, f32)| {
            let (_, scale) = self.rates_of(*id, 1.0);
            f64::from(scale).powi(2) * f64::from(square)
        };
        let first = self.split.as_ref().map(|split| split.first);
        let mut sums = [0.0; 2];
        for (id, square) in summed.keys().zip(squares) {
            sums[usize::from(first.is_some_and(|first| *id >= first))] += own((id, square));
        }
        let square = match &self.split {
            Some(split) => (split.together)(sums)?,
            None => sums[0],
        };
        let norm = square.sqrt();
        // As PyTorch has it.
        Ok((most / (norm + 1e-6)).min(1.0))
    }

    /// Brings weights that have moved into their averages.
    fn average(&mut self, module: &mut dyn Module) -> Result<()> {
        let Some(ema) = self.options.ema else { return Ok(()) };
        let steps = self.optimizer.state().steps as f64;
        let keep = ema.min((1.0 + steps) / (10.0 + steps));
        let parameters = Parameters::of(module);
        let mut moving = Vec::with_capacity(self.averages.len());
        for (id, average) in &mut self.averages {
            if let Some(weight) = parameters.get(*id) {
                moving.push((average, weight.detach()));
            }
        }
        let Some(device) = moving.first().map(|(average, _)| average.device().clone()) else {
            return Ok(());
        };
        let op = ops::Optimize::Average { keep };
        let updates = moving.iter_mut().map(|(average, weight)| {
            let (targets, inputs) = (vec![&mut **average], vec![&*weight]);
            TensorUpdate { op: op.into(), targets, inputs }
        });
        Ok(device.update(&mut updates.collect::<Vec<_>>())?)
    }

    fn gather(&mut self, gradients: BTreeMap<ParameterId, Tensor>) -> Result<()> {
        if self.summed.is_empty() {
            self.summed = gradients;
            return Ok(());
        }
        for (id, gradient) in gradients {
            let sum = match self.summed.remove(&id) {
                Some(before) => before.add(&gradient)?,
                None => gradient,
            };
            self.summed.insert(id, sum);
        }
        Ok(())
    }
}

/// A network with averages of its weights in place of them, and its own buffers.
pub(crate) fn averaged(
    network: &Network,
    averages: &BTreeMap<ParameterId, Tensor>,
) -> Result<Network> {
    if averages.is_empty() {
        return Ok(network.clone());
    }
    let parameters = network.parameters().iter().enumerate().map(|(place, parameter)| {
        averages.get(&ParameterId(place as u32)).unwrap_or(parameter).detach()
    });
    let buffers = network.buffers().iter().map(|buffer| buffer.value().clone());
    Ok(network.with_tensors(parameters.collect(), buffers.collect())?)
}
