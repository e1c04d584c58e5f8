//! Gradients into weights: what is gathered over mini-batches, and how each parameter moves.

use std::collections::BTreeMap;

use striate_nn::{
    LayerSpec, Module, Network, ParameterId, ParameterInfo, Parameters, Rates, Role, Sgd,
};
use striate_tensor::{Tensor, ops};

use crate::{Result, TrainOptions};

/// Gradient descent on the parameters of a network, or on a rank's part of them.
#[derive(Debug)]
pub(crate) struct Descent {
    sgd: Sgd,
    options: TrainOptions,
    /// How each parameter of the whole network learns, by its number.
    rates: Vec<ParameterRates>,
    /// Gradients summed so far, where the weights move after several mini-batches.
    summed: BTreeMap<ParameterId, Tensor>,
    /// Of how many mini-batches and samples.
    batches: usize,
    samples: usize,
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
        // Biases, slopes, and the scales and shifts of normalization are few: they learn alike.
        let rates = match info.role {
            Role::Weight => options.weights_of(info.layer),
            _ => options.biases_of(info.layer),
        };
        let gradient_scale = match network.spec().nodes[info.layer].layer {
            LayerSpec::FullConnect(full) if options.ccv_dropout => (1.0 - full.dropout).powi(2),
            _ => 1.0,
        };
        ParameterRates { rates, gradient_scale }
    }
}

impl Descent {
    /// For this network, with these velocities.
    pub(crate) fn new(
        network: &Network,
        velocities: BTreeMap<ParameterId, Tensor>,
        options: TrainOptions,
    ) -> Self {
        let infos = network.parameter_infos().iter();
        let rates = infos.map(|info| ParameterRates::of(network, info, &options)).collect();
        let sgd = Sgd::with_velocities(velocities);
        Descent { sgd, options, rates, summed: BTreeMap::new(), batches: 0, samples: 0 }
    }

    /// For a module of these parameters, from rest.
    pub(crate) fn of_module(parameters: &[(String, Tensor)], options: TrainOptions) -> Self {
        let rates = parameters.iter().map(|(_, tensor)| ParameterRates {
            rates: if tensor.dims().len() > 1 { options.weights } else { options.biases },
            gradient_scale: 1.0,
        });
        let rates = rates.collect();
        let (sgd, summed) = (Sgd::new(), BTreeMap::new());
        Descent { sgd, options, rates, summed, batches: 0, samples: 0 }
    }

    pub(crate) fn options(&self) -> &TrainOptions {
        &self.options
    }

    pub(crate) fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        self.sgd.velocities()
    }

    pub(crate) fn set_velocities(&mut self, velocities: BTreeMap<ParameterId, Tensor>) {
        self.sgd = Sgd::with_velocities(velocities);
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
        Ok(self.sgd.prepare(module)?)
    }

    /// As [`learn`](Descent::learn), with the gradients of a loss as the backward pass gives them:
    /// where the weights move, each does as soon as its gradient is there, which is then freed. An
    /// error on the way leaves those moved that came before it, and nothing to be learned.
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
        let mut parameters = Parameters::of(module);
        loss.backward_each(|leaf, gradient| -> Result<()> {
            let Some(id) = parameters.of_leaf(leaf) else { return Ok(()) };
            let sum = match self.summed.remove(&id) {
                Some(before) => before.add(&gradient)?,
                None => gradient,
            };
            if moves {
                let step = self.step_of(id, factor);
                self.sgd.step_one(&mut parameters, id, &sum, step)?;
            } else {
                self.summed.insert(id, sum);
            }
            Ok(())
        })?;
        drop(parameters);
        // What the loss of this mini-batch does not depend on, and that of one before does.
        if moves { self.flush(module, factor) } else { Ok(()) }
    }

    /// Moves the weights by what has been gathered.
    pub(crate) fn flush(&mut self, module: &mut dyn Module, factor: f64) -> Result<()> {
        if self.batches == 0 {
            return Ok(());
        }
        let summed = std::mem::take(&mut self.summed);
        let steps: BTreeMap<ParameterId, ops::SgdMomentum> =
            summed.keys().map(|&id| (id, self.step_of(id, factor))).collect();
        self.sgd.step(module, &summed, |id| steps[&id])?;
        (self.batches, self.samples) = (0, 0);
        Ok(())
    }

    /// How a parameter moves, by the gradient of what has been gathered.
    fn step_of(&self, id: ParameterId, factor: f64) -> ops::SgdMomentum {
        let scale = 1.0 / self.samples.max(1) as f32;
        let known = self.rates.get(id.index()).copied();
        let ParameterRates { rates, gradient_scale } =
            known.unwrap_or(ParameterRates { rates: self.options.weights, gradient_scale: 1.0 });
        let rate = (f64::from(rates.rate) * factor) as f32;
        Rates { rate, ..rates }.step(scale * gradient_scale)
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
