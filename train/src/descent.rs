//! Gradients into weights: what is gathered over mini-batches, and how each parameter moves.

use std::collections::BTreeMap;

use striate_nn::{LayerSpec, Module, NetworkSpec, Rates, Sgd, leaf_names};
use striate_tensor::{Tensor, ops};

use crate::{Result, TrainOptions};

/// Gradient descent on the parameters of a network, or on a rank's part of them.
#[derive(Debug)]
pub(crate) struct Descent {
    sgd: Sgd,
    options: TrainOptions,
    /// What gradients of each layer are multiplied by ([`TrainOptions::ccv_dropout`]).
    gradient_scales: Vec<f32>,
    /// Gradients summed so far, where the weights move after several mini-batches.
    summed: BTreeMap<String, Tensor>,
    /// Of how many mini-batches and samples.
    batches: usize,
    samples: usize,
}

impl Descent {
    /// For a network of these layers, with these velocities.
    pub(crate) fn new(
        spec: &NetworkSpec,
        velocities: BTreeMap<String, Tensor>,
        options: TrainOptions,
    ) -> Self {
        let gradient_scale = |layer: &LayerSpec| match layer {
            LayerSpec::FullConnect(full) if options.ccv_dropout => (1.0 - full.dropout).powi(2),
            _ => 1.0,
        };
        let gradient_scales = spec.nodes.iter().map(gradient_scale).collect();
        let sgd = Sgd::with_velocities(velocities);
        Descent { sgd, options, gradient_scales, summed: BTreeMap::new(), batches: 0, samples: 0 }
    }

    pub(crate) fn options(&self) -> &TrainOptions {
        &self.options
    }

    pub(crate) fn velocities(&self) -> &BTreeMap<String, Tensor> {
        self.sgd.velocities()
    }

    pub(crate) fn set_velocities(&mut self, velocities: BTreeMap<String, Tensor>) {
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
        gradients: BTreeMap<String, Tensor>,
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
        let names = leaf_names(module);
        self.batches += 1;
        self.samples += samples;
        let moves = self.batches >= self.options.sgd_frequency;
        loss.backward_each(|leaf, gradient| {
            let Some(name) = names.get(&leaf) else { return Ok(()) };
            let sum = match self.summed.remove(name) {
                Some(before) => before.add(&gradient)?,
                None => gradient,
            };
            let sum = BTreeMap::from([(name.clone(), sum)]);
            match moves {
                true => self.step(module, &sum, factor),
                false => {
                    self.summed.extend(sum);
                    Ok(())
                }
            }
        })?;
        // What the loss of this mini-batch does not depend on, and that of one before does.
        if moves { self.flush(module, factor) } else { Ok(()) }
    }

    /// Moves the weights by what has been gathered.
    pub(crate) fn flush(&mut self, module: &mut dyn Module, factor: f64) -> Result<()> {
        if self.batches == 0 {
            return Ok(());
        }
        let summed = std::mem::take(&mut self.summed);
        self.step(module, &summed, factor)?;
        (self.batches, self.samples) = (0, 0);
        Ok(())
    }

    /// Moves the parameters that have gradients here.
    fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<String, Tensor>,
        factor: f64,
    ) -> Result<()> {
        let scale = 1.0 / self.samples.max(1) as f32;
        let (options, gradient_scales) = (&self.options, &self.gradient_scales);
        let step = |name: &str| step(options, gradient_scales, name, scale, factor);
        Ok(self.sgd.step(module, gradients, step)?)
    }

    fn gather(&mut self, gradients: BTreeMap<String, Tensor>) -> Result<()> {
        if self.summed.is_empty() {
            self.summed = gradients;
            return Ok(());
        }
        for (name, gradient) in gradients {
            let sum = match self.summed.remove(&name) {
                Some(before) => before.add(&gradient)?,
                None => gradient,
            };
            self.summed.insert(name, sum);
        }
        Ok(())
    }
}

fn step(
    options: &TrainOptions,
    gradient_scales: &[f32],
    name: &str,
    scale: f32,
    factor: f64,
) -> ops::SgdMomentum {
    let (layer, is_weight) = layer_of(name);
    let rates = match is_weight {
        true => options.weights_of(layer),
        false => options.biases_of(layer),
    };
    let rate = (f64::from(rates.rate) * factor) as f32;
    let gradient_scale = gradient_scales.get(layer).copied().unwrap_or(1.0);
    Rates { rate, ..rates }.step(scale * gradient_scale)
}

/// `3.weight` as layer 3 and whether it is the weights.
pub(crate) fn layer_of(name: &str) -> (usize, bool) {
    let (layer, kind) = name.split_once('.').unwrap_or((name, ""));
    (layer.parse().unwrap_or(usize::MAX), kind == "weight")
}
