//! Steps: a mini-batch forward, backward, and into the weights.

mod losses;
mod save;

use std::collections::BTreeMap;

use striate_nn::{
    BatchMoments, Context, Module, Network, OptimizerState, ParameterId, named_parameters,
    require_grad, update_statistics,
};
use striate_tensor::{DType, Pending, RandomKey, Tensor};

use crate::descent::{Descent, averaged};
use crate::{Error, Result, TrainOptions};
use losses::loss_sum;
pub use losses::{PendingStep, StepReport};
pub(crate) use losses::{is_finite, loss_of, misses};

/// The streams of a seed from here on are for dropout, one a mini-batch. ("DROP" in ASCII.)
const DROPOUT_STREAMS: u64 = 0x4452_4f50 << 32;

/// What samples gave on the way forward.
pub(crate) struct Forward {
    /// Their summed loss, to go back from.
    pub(crate) loss: Tensor,
    /// What they showed.
    pub(crate) report: Pending<StepReport>,
    pub(crate) samples: usize,
    /// The statistics that normalization took of them.
    pub(crate) statistics: Vec<BatchMoments>,
}

/// A network that learns: the mathematics of training, without data, files or time.
///
/// ```
/// use striate_nn::{NetworkSpec, Seed, conv2d, full_connect, pool};
/// use striate_tensor::{Device, Reference, Tensor};
/// use striate_train::{Trainer, TrainOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([6, 6, 1])
///     .conv(conv2d(4, 3).relu()).max_pool(pool(2)).full_connect(2);
/// let mut trainer = Trainer::new(spec.build(&device, Seed(1))?, TrainOptions::default())?;
///
/// let images = Tensor::uniform([8, 6, 6, 1], -1.0, 1.0, Default::default(), &device)?;
/// let labels = Tensor::from_vec(vec![0u32, 1, 0, 1, 0, 1, 0, 1], [8], &device)?;
/// let first = trainer.step(&images, &labels, 0, 1.0)?;
/// for step in 1..20 {
///     trainer.step(&images, &labels, step, 1.0)?;
/// }
/// assert!(trainer.step(&images, &labels, 20, 1.0)?.loss() < first.loss());
/// # Ok(())
/// # }
/// ```
///
/// A module in code trains in the same way: [`of_module`](Trainer::of_module).
pub struct Trainer<M: Module = Network> {
    network: M,
    descent: Descent,
    /// The outputs for images: the module's own, and auxiliary ones after it.
    outputs: fn(&M, &Tensor, &Context, &TrainOptions) -> Result<Vec<Tensor>>,
    /// What the losses of auxiliary outputs are multiplied by.
    auxiliary: Vec<f32>,
}

impl<M: Module> std::fmt::Debug for Trainer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("descent", &self.descent).finish_non_exhaustive()
    }
}

/// A network's outputs, recomputed in the backward pass where the options say so.
fn network_outputs(
    network: &Network,
    images: &Tensor,
    cx: &Context,
    options: &TrainOptions,
) -> Result<Vec<Tensor>> {
    Ok(match options.recompute {
        true => network.forward_recomputed(images, cx)?,
        false => network.forward_outputs(images, cx)?,
    })
}

impl Trainer {
    /// A trainer of this network, from rest. Half-precision weights are widened. It writes into the
    /// weights: who keeps a clone of the network keeps a copy of the weights from the first step on.
    ///
    /// # Errors
    /// [`Error::Option`] where the options make no sense, [`Error::Network`] where the network is
    /// no classifier, or the device fails.
    pub fn new(network: Network, options: TrainOptions) -> Result<Self> {
        Self::resumed(network, BTreeMap::new(), options)
    }

    /// A trainer that resumes with these velocities, by the numbers of the parameters
    /// ([`Network::parameter_infos`]).
    ///
    /// # Errors
    /// As [`new`](Trainer::new); also where a velocity is of no parameter, or of another shape.
    pub fn resumed(
        network: Network,
        velocities: BTreeMap<ParameterId, Tensor>,
        options: TrainOptions,
    ) -> Result<Self> {
        Self::resumed_with(network, OptimizerState::of_velocities(velocities), options)
    }

    /// A trainer that resumes with what [`state`](Trainer::state) gave of another one.
    ///
    /// # Errors
    /// As [`new`](Trainer::new); also where the state is another optimizer's, of no parameter, or of
    /// another shape.
    pub fn resumed_with(
        network: Network,
        state: OptimizerState,
        options: TrainOptions,
    ) -> Result<Self> {
        options.check(network.spec().nodes.len())?;
        network.spec().verify(network.spec().classes())?;
        options.check_classes(network.spec().classes())?;
        let mut network = network.cast(DType::F32)?;
        for (kind, tensors) in &state.tensors {
            if !tensors.is_empty() && !options.may_have(kind) {
                let expected = format!("the state of the optimizer {}", options.optimizer.name());
                return Err(Error::State { expected, got: format!("{kind} of another one") });
            }
            for (id, tensor) in tensors {
                let info = network.parameter_infos().get(id.index());
                if info.is_none_or(|info| info.shape != *tensor.shape()) {
                    let (expected, name) = match info {
                        Some(info) => {
                            (format!("a {kind} {} of {}", info.shape, info.name), info.name.clone())
                        }
                        None => (format!("{kind} of the network's parameters"), id.0.to_string()),
                    };
                    let got = format!("{name}: {}", tensor.shape());
                    return Err(Error::State { expected, got });
                }
            }
        }
        require_grad(&mut network);
        let descent = Descent::new(&network, state, options);
        let auxiliary = network.spec().auxiliary.iter().map(|auxiliary| auxiliary.weight).collect();
        Ok(Trainer { network, descent, outputs: network_outputs, auxiliary })
    }

    /// The random numbers of a mini-batch.
    pub(crate) fn key(&self, iteration: u64) -> RandomKey {
        batch_key(self.options().seed, iteration)
    }

    /// The network and what the optimizer remembers of it.
    pub(crate) fn into_parts(self) -> (Network, OptimizerState) {
        (self.network, self.descent.state())
    }

    /// Takes another network of the same layers and what the optimizer remembers of it.
    pub(crate) fn replace(&mut self, mut network: Network, state: OptimizerState) {
        require_grad(&mut network);
        self.network = network;
        self.descent.set_state(state);
    }

    /// The network to be tested and used: with the averages of the weights where the options ask for them
    /// ([`TrainOptions::ema`]), else as it is now.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn averaged(&self) -> Result<Network> {
        averaged(&self.network, self.descent.averages())
    }

    /// The network as it is now: for inference too, since dropout scales what it keeps.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whether all weights and biases are finite.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        is_finite(&self.network)
    }
}

impl<M: Module> Trainer<M> {
    /// A trainer of a module in code whose `forward` gives logits `[n, classes]`, from rest. All its
    /// parameters learn alike: weights are those of two or more axes, the others learn as biases do.
    ///
    /// ```
    /// use striate_nn::{Conv2d, Flatten, FullConnect, Relu, Sequential, conv2d};
    /// use striate_tensor::{Device, RandomKey, Reference, Tensor};
    /// use striate_train::{Trainer, TrainOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let device = Device::new(Reference::new());
    /// let module = Sequential::new()
    ///     .then(Conv2d::new(conv2d(4, 3), 1, RandomKey::new(7, 0), &device)?)
    ///     .then(Relu)
    ///     .then(FullConnect::new(2, 4 * 4 * 4, RandomKey::new(7, 1), &device)?);
    /// let mut trainer = Trainer::of_module(module, TrainOptions::default())?;
    /// let images = Tensor::uniform([8, 6, 6, 1], -1.0, 1.0, Default::default(), &device)?;
    /// let labels = Tensor::from_vec(vec![0u32, 1, 0, 1, 0, 1, 0, 1], [8], &device)?;
    /// let first = trainer.step(&images, &labels, 0, 1.0)?;
    /// for step in 1..20 {
    ///     trainer.step(&images, &labels, step, 1.0)?;
    /// }
    /// assert!(trainer.step(&images, &labels, 20, 1.0)?.loss() < first.loss());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] where the options make no sense or a parameter is not f32.
    pub fn of_module(mut module: M, options: TrainOptions) -> Result<Self> {
        options.check(usize::MAX)?;
        if let Some(layer) = options.layers.keys().next() {
            let expected = "rates for all parameters of a module, which has no layers".to_owned();
            return Err(Error::Option { expected, got: format!("rates of layer {layer}") });
        }
        if options.recompute {
            let expected = "activations of a module to be kept".to_owned();
            return Err(Error::Option { expected, got: "recompute".into() });
        }
        let parameters = named_parameters(&module);
        if let Some((name, tensor)) = parameters.iter().find(|(_, t)| t.dtype() != DType::F32) {
            let expected = "parameters of f32".to_owned();
            return Err(Error::Option { expected, got: format!("{name} of {}", tensor.ty()) });
        }
        require_grad(&mut module);
        let descent = Descent::of_module(&parameters, options);
        let outputs = |module: &M, images: &Tensor, cx: &Context, _: &TrainOptions| {
            Ok(vec![module.forward(images, cx)?])
        };
        Ok(Trainer { network: module, descent, outputs, auxiliary: Vec::new() })
    }

    /// The module as it is now.
    pub fn module(&self) -> &M {
        &self.network
    }

    /// The module, trained so far.
    pub fn into_module(self) -> M {
        self.network
    }

    /// What the optimizer remembers of the parameters, and averages of these, where the options ask for
    /// them: all that a training must keep beside the network.
    pub fn state(&self) -> OptimizerState {
        self.descent.state()
    }

    /// The velocities, by the numbers of the parameters; none where the optimizer has none.
    pub fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        self.descent.velocities()
    }

    /// How it trains.
    pub fn options(&self) -> &TrainOptions {
        self.descent.options()
    }

    /// Whether gradients wait for more mini-batches before the weights move.
    pub fn is_accumulating(&self) -> bool {
        self.descent.is_accumulating()
    }

    /// A mini-batch: `images [n, rows, cols, channels]` with the mean subtracted and `labels [n]`
    /// from 0 (u32). The weights move when `sgd_frequency` mini-batches have come. `iteration`
    /// counts mini-batches over the whole training: it chooses the random numbers. Learning rates
    /// are multiplied by `factor`.
    ///
    /// Each weight moves as soon as its gradient is there, so that the step holds one gradient at a
    /// time, not all. On a GPU those of a few megabytes move together.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss is not finite: then the weights have not moved.
    /// [`Error::Network`] where shapes do not fit: then neither. Where the device fails halfway back
    /// (no memory), the weights of the later layers may have moved and those before not: a network
    /// that computes, but not one that the same training would give again. Go on from what was saved
    /// last. What was gathered of mini-batches before is dropped then.
    pub fn step(
        &mut self,
        images: &Tensor,
        labels: &Tensor,
        iteration: u64,
        factor: f64,
    ) -> Result<StepReport> {
        self.descent.prepare(&self.network)?;
        let key = batch_key(self.options().seed, iteration);
        let Forward { loss, report, samples, statistics } = self.forward(images, labels, key)?;
        let report = losses::checked(iteration, report.wait()?)?;
        self.learn_from(loss, samples, factor, &statistics)?;
        Ok(report)
    }

    /// As [`step`](Trainer::step), but does not wait for a GPU: the report is on its way when the weights
    /// have moved, and so is the news that the loss is not finite. Looked at after the next mini-batch was
    /// begun, it never leaves the GPU without work. The bits are those of `step`.
    ///
    /// ```
    /// # use striate_nn::{NetworkSpec, Seed};
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # use striate_train::{PendingStep, Trainer, TrainOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let device = Device::new(Reference::new());
    /// # let spec = NetworkSpec::new([2, 2, 1]).full_connect(2);
    /// # let mut trainer = Trainer::new(spec.build(&device, Seed(1))?, TrainOptions::default())?;
    /// # let images = Tensor::uniform([8, 2, 2, 1], -1.0, 1.0, Default::default(), &device)?;
    /// # let labels = Tensor::from_vec(vec![0u32, 1, 0, 1, 0, 1, 0, 1], [8], &device)?;
    /// let mut before: Option<PendingStep> = None;
    /// for iteration in 0..20 {
    ///     let step = trainer.step_pending(&images, &labels, iteration, 1.0)?;
    ///     if let Some(report) = before.replace(step).map(PendingStep::wait).transpose()? {
    ///         println!("{}", report.loss());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`step`](Trainer::step). Where the report of a mini-batch turns out to be
    /// [`Error::Diverged`], the weights have moved by it, and nothing that is computed with them is worth
    /// anything: go on from what was saved last. On a device that has the report at once, the error comes from
    /// here, and the weights have not moved.
    pub fn step_pending(
        &mut self,
        images: &Tensor,
        labels: &Tensor,
        iteration: u64,
        factor: f64,
    ) -> Result<PendingStep> {
        self.descent.prepare(&self.network)?;
        let key = batch_key(self.options().seed, iteration);
        let Forward { loss, report, samples, statistics } = self.forward(images, labels, key)?;
        let report = match report.is_ready() {
            true => Pending::ready(losses::checked(iteration, report.wait()?)?),
            false => report,
        };
        self.learn_from(loss, samples, factor, &statistics)?;
        Ok(PendingStep::new(iteration, report))
    }

    fn learn_from(
        &mut self,
        loss: Tensor,
        samples: usize,
        factor: f64,
        statistics: &[BatchMoments],
    ) -> Result<()> {
        self.descent.learn_from(&mut self.network, loss, samples, factor)?;
        self.remember(statistics)
    }

    /// Brings the statistics of a mini-batch into the running ones.
    pub(crate) fn remember(&mut self, statistics: &[BatchMoments]) -> Result<()> {
        Ok(update_statistics(&mut self.network, statistics)?)
    }

    /// Computes some samples on the way forward.
    pub(crate) fn forward(
        &self,
        images: &Tensor,
        labels: &Tensor,
        key: RandomKey,
    ) -> Result<Forward> {
        let cx = Context::training(key);
        let outputs = (self.outputs)(&self.network, images, &cx, self.options())?;
        // What keeps the activations goes before the backward pass, which frees them one by one.
        let mut outputs = outputs.into_iter();
        let Some(logits) = outputs.next() else {
            return Err(Error::Option { expected: "an output".into(), got: "none".into() });
        };
        let samples = logits.dims().first().copied().unwrap_or(0);
        let (mut loss, report) = loss_of(&logits, labels, self.options())?;
        drop(logits);
        for (&weight, output) in self.auxiliary.iter().zip(outputs) {
            let own = loss_sum(&output, labels, self.options())?;
            loss = loss.add(&own.affine(weight, 0.0)?)?;
        }
        Ok(Forward { loss, report, samples, statistics: cx.take_records() })
    }

    /// Takes the gradients of a mini-batch of so many samples.
    pub(crate) fn learn(
        &mut self,
        gradients: BTreeMap<ParameterId, Tensor>,
        samples: usize,
        factor: f64,
    ) -> Result<()> {
        self.descent.learn(&mut self.network, gradients, samples, factor)
    }

    /// Moves the weights by what has been gathered, also where it is of fewer mini-batches than
    /// `sgd_frequency`: at the end of an epoch.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn flush(&mut self, factor: f64) -> Result<()> {
        self.descent.flush(&mut self.network, factor)
    }
}

/// The random numbers of a mini-batch.
pub(crate) fn batch_key(seed: u64, iteration: u64) -> RandomKey {
    RandomKey::new(seed, DROPOUT_STREAMS.wrapping_add(iteration))
}

#[cfg(test)]
mod tests {
    use striate_nn::{NetworkSpec, Seed, full_connect, parameter_gradients};
    use striate_tensor::{Device, Reference};

    use super::*;

    /// Weights, biases and velocities after some mini-batches, learned by steps, or of gradients that
    /// are all gathered first.
    fn learned(options: &TrainOptions, by_steps: bool) -> Vec<Vec<u32>> {
        let device = Device::new(Reference::new());
        let spec = NetworkSpec::new([1, 1, 5])
            .full_connect(full_connect(7).relu().dropout(0.5))
            .full_connect(3);
        let network = spec.build(&device, Seed(1)).unwrap();
        let mut trainer = Trainer::new(network, options.clone()).unwrap();
        for iteration in 0..7 {
            let n = 2 + iteration as usize % 2;
            let key = RandomKey::new(3, iteration);
            let images = Tensor::uniform([n, 1, 1, 5], -1.0, 1.0, key, &device).unwrap();
            let labels = (0..n as u32).map(|i| i % 3).collect();
            let labels = Tensor::from_vec(labels, [n], &device).unwrap();
            if by_steps {
                trainer.step(&images, &labels, iteration, 0.5).unwrap();
                continue;
            }
            let key = trainer.key(iteration);
            let Forward { loss, samples, .. } = trainer.forward(&images, &labels, key).unwrap();
            let gradients = parameter_gradients(&trainer.network, loss.backward().unwrap());
            trainer.learn(gradients, samples, 0.5).unwrap();
        }
        trainer.flush(0.5).unwrap();
        assert!(!trainer.is_accumulating());
        let tensors = named_parameters(&trainer.network).into_iter().map(|(_, tensor)| tensor);
        let bits = |t: Tensor| t.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
        tensors.chain(trainer.velocities().values().cloned()).map(bits).collect()
    }

    #[test]
    fn weights_that_move_one_by_one_move_as_all_at_once() {
        for sgd_frequency in [1, 3] {
            for recompute in [false, true] {
                let options = TrainOptions { sgd_frequency, recompute, ..TrainOptions::default() };
                let (steps, gathered) = (learned(&options, true), learned(&options, false));
                assert_eq!(steps, gathered, "every {sgd_frequency}, recompute {recompute}");
                assert_eq!(steps.len(), 8);
            }
        }
    }

    #[test]
    fn averages_follow_the_weights_closely_at_first() {
        let device = Device::new(Reference::new());
        let network = NetworkSpec::new([1, 1, 5]).full_connect(3).build(&device, Seed(1)).unwrap();
        let options = TrainOptions { ema: Some(0.5), ..TrainOptions::default() };
        let mut trainer = Trainer::new(network, options).unwrap();
        let values = |network: &Network| -> Vec<f32> {
            network.parameters().iter().flat_map(|p| p.to_vec::<f32>().unwrap()).collect()
        };
        let mut expected = values(trainer.network());
        assert_eq!(values(&trainer.averaged().unwrap()), expected);
        for step in 1..=12u64 {
            let images = Tensor::uniform([2, 1, 1, 5], -1.0, 1.0, RandomKey::new(3, step), &device);
            let labels = Tensor::from_vec(vec![0u32, 2], [2], &device).unwrap();
            trainer.step(&images.unwrap(), &labels, step, 1.0).unwrap();
            let keep = (1.0 + step as f32) / (10.0 + step as f32);
            for (average, weight) in expected.iter_mut().zip(values(trainer.network())) {
                *average += (1.0 - keep.min(0.5)) * (weight - *average);
            }
            for (got, want) in values(&trainer.averaged().unwrap()).iter().zip(&expected) {
                assert!((got - want).abs() < 1e-6, "step {step}: {got} {want}");
            }
        }
        assert_ne!(values(trainer.network()), expected);
    }
}
