//! Steps: a mini-batch forward, backward, and into the weights.

use std::collections::BTreeMap;
use std::path::Path;

use striate_nn::{
    BatchMoments, Context, Module, Network, ParameterId, named_parameters, require_grad,
    update_statistics,
};
use striate_tensor::{DType, HostTensor, RandomKey, Tensor, no_grad};

use striate_importers::safetensors::{self, TensorFile};

use crate::descent::Descent;
use crate::{Error, Result, TrainOptions};

/// The streams of a seed from here on are for dropout, one a mini-batch. ("DROP" in ASCII.)
const DROPOUT_STREAMS: u64 = 0x4452_4f50 << 32;

/// What the names of velocities begin with in a file of [`Trainer::save`], and the key of the number of
/// the next mini-batch.
const VELOCITY: &str = "train.velocity.";
const NEXT: &str = "striate.train.next";

/// What a mini-batch showed, before the weights moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Samples in it.
    pub samples: usize,
    /// The sum of their cross-entropies.
    pub loss_sum: f64,
    /// How many of them were not ranked first.
    pub misses: usize,
}

impl StepReport {
    /// The mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.samples.max(1) as f64
    }
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
        options.check(network.spec().nodes.len())?;
        network.spec().verify(network.spec().classes())?;
        let mut network = network.cast(DType::F32)?;
        for (id, velocity) in &velocities {
            let info = network.parameter_infos().get(id.index());
            if info.is_none_or(|info| info.shape != *velocity.shape()) {
                let (expected, name) = match info {
                    Some(info) => {
                        (format!("a velocity {} of {}", info.shape, info.name), info.name.clone())
                    }
                    None => ("velocities of the network's parameters".into(), id.0.to_string()),
                };
                let got = format!("{name}: {}", velocity.shape());
                return Err(Error::Velocity { expected, got });
            }
        }
        require_grad(&mut network);
        let descent = Descent::new(&network, velocities, options);
        let auxiliary = network.spec().auxiliary.iter().map(|auxiliary| auxiliary.weight).collect();
        Ok(Trainer { network, descent, outputs: network_outputs, auxiliary })
    }

    /// The random numbers of a mini-batch.
    pub(crate) fn key(&self, iteration: u64) -> RandomKey {
        batch_key(self.options().seed, iteration)
    }

    /// The network and its velocities.
    pub(crate) fn into_parts(self) -> (Network, BTreeMap<ParameterId, Tensor>) {
        (self.network, self.descent.velocities().clone())
    }

    /// Takes another network of the same layers and its velocities.
    pub(crate) fn replace(
        &mut self,
        mut network: Network,
        velocities: BTreeMap<ParameterId, Tensor>,
    ) {
        require_grad(&mut network);
        self.network = network;
        self.descent.set_velocities(velocities);
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

    /// Saves the module's parameters and buffers, its velocities, and the number of the next mini-batch,
    /// as a safetensors file that takes the place of `path` when it is whole.
    ///
    /// # Errors
    /// [`Error::Option`] where gradients wait for more mini-batches: [`flush`](Trainer::flush) first;
    /// [`Error::Checkpoint`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, next: u64) -> Result<()> {
        if self.is_accumulating() {
            let expected = "weights that have moved by all gradients: flush first".to_owned();
            return Err(Error::Option { expected, got: "gradients that wait".into() });
        }
        let names = named_parameters(&self.network);
        let velocities = self.velocities().iter().filter_map(|(id, velocity)| {
            let (name, _) = names.get(id.index())?;
            Some((format!("{VELOCITY}{name}"), velocity.clone()))
        });
        let texts = BTreeMap::from([(NEXT.to_owned(), next.to_string())]);
        let velocities: Vec<_> = velocities.collect();
        Ok(safetensors::save_with(path, &self.network, &velocities, &texts)?)
    }

    /// Takes up what [`save`](Trainer::save) wrote, in a trainer of the same module and options, and
    /// gives the number of the next mini-batch: the training then has the same bits as one that was
    /// never interrupted.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the file is of another module; [`Error::Velocity`] where it does not say
    /// where the training was.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<u64> {
        let file = TensorFile::open(path)?;
        let next = file.metadata().get(NEXT).and_then(|text| text.parse().ok());
        let Some(next) = next else {
            let expected = "a training that a trainer saved".to_owned();
            return Err(Error::Velocity { expected, got: file.metadata().len().to_string() });
        };
        let mut velocities = BTreeMap::new();
        for (place, (name, tensor)) in named_parameters(&self.network).into_iter().enumerate() {
            let stored = format!("{VELOCITY}{name}");
            let Some(shape) = file.shape(&stored) else { continue };
            if shape != tensor.dims() {
                let expected = format!("a velocity {} of {name}", tensor.shape());
                return Err(Error::Velocity { expected, got: format!("{shape:?}") });
            }
            let velocity = file.tensor(&stored, tensor.device(), Some(DType::F32))?;
            velocities.insert(ParameterId(place as u32), velocity);
        }
        safetensors::load_file(&file, &mut self.network)?;
        require_grad(&mut self.network);
        self.descent.set_velocities(velocities);
        Ok(next)
    }

    /// The velocities, by the numbers of the parameters.
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
    /// time, not all.
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
        let (loss, report, statistics) = self.forward(images, labels, key)?;
        if !report.loss_sum.is_finite() {
            return Err(Error::Diverged { iteration, loss: report.loss() });
        }
        self.descent.learn_from(&mut self.network, loss, report.samples, factor)?;
        self.remember(&statistics)?;
        Ok(report)
    }

    /// Brings the statistics of a mini-batch into the running ones.
    pub(crate) fn remember(&mut self, statistics: &[BatchMoments]) -> Result<()> {
        Ok(update_statistics(&mut self.network, statistics)?)
    }

    /// The summed loss of some samples, to go back from, what they showed, and the statistics that
    /// normalization took of them.
    pub(crate) fn forward(
        &self,
        images: &Tensor,
        labels: &Tensor,
        key: RandomKey,
    ) -> Result<(Tensor, StepReport, Vec<BatchMoments>)> {
        let cx = Context::training(key);
        let outputs = (self.outputs)(&self.network, images, &cx, self.options())?;
        // What keeps the activations goes before the backward pass, which frees them one by one.
        let mut outputs = outputs.into_iter();
        let Some(logits) = outputs.next() else {
            return Err(Error::Option { expected: "an output".into(), got: "none".into() });
        };
        let (mut loss, report) = loss_of(&logits, labels)?;
        drop(logits);
        for (&weight, output) in self.auxiliary.iter().zip(outputs) {
            let own = output.cross_entropy(labels)?.sum_all()?;
            loss = loss.add(&own.affine(weight, 0.0)?)?;
        }
        Ok((loss, report, cx.take_records()))
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

/// The summed cross-entropy of `logits [n, classes]`, and what they showed.
pub(crate) fn loss_of(logits: &Tensor, labels: &Tensor) -> Result<(Tensor, StepReport)> {
    let loss = logits.cross_entropy(labels)?.sum_all()?;
    let loss_sum = f64::from(loss.to_scalar::<f32>()?);
    let samples = logits.dims().first().copied().unwrap_or(0);
    let [misses] = misses(logits, labels, [1])?;
    Ok((loss, StepReport { samples, loss_sum, misses }))
}

/// Whether all parameters of a module are finite.
pub(crate) fn is_finite(module: &dyn Module) -> Result<bool> {
    for (_, tensor) in named_parameters(module) {
        // NaN and infinities survive a sum of squares; what overflows it has diverged too.
        let squares = no_grad(|| tensor.mul(&tensor)?.sum_all())?;
        if !squares.to_scalar::<f32>()?.is_finite() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many rows of `logits [n, classes]` do not have their label among the so many likeliest
/// classes, for each number of `tops`. Ties go to the smaller class, as in ccv's ranks.
///
/// # Errors
/// Where the device fails.
pub(crate) fn misses<const N: usize>(
    logits: &Tensor,
    labels: &Tensor,
    tops: [usize; N],
) -> Result<[usize; N]> {
    let (logits, labels) = (logits.to_host()?, labels.to_vec::<u32>()?);
    Ok(tops.map(|top| count_misses(&logits, &labels, top)))
}

fn count_misses(logits: &HostTensor, labels: &[u32], top: usize) -> usize {
    let classes = logits.ty().shape.dims().last().copied().unwrap_or(0).max(1);
    let Some(values) = logits.values().as_slice::<f32>() else { return labels.len() };
    let hit = |row: &[f32], label: usize| {
        let Some(&own) = row.get(label) else { return false };
        let above = row.iter().enumerate().filter(|&(class, &value)| {
            // NaN is above everything: a network that gives it knows nothing.
            value.is_nan() || value > own || (value == own && class < label)
        });
        !own.is_nan() && above.count() < top
    };
    let rows = values.chunks(classes).zip(labels);
    rows.filter(|&(row, &label)| !hit(row, label as usize)).count()
}

#[cfg(test)]
mod tests {
    use striate_nn::{NetworkSpec, Seed, full_connect, parameter_gradients};
    use striate_tensor::{Device, Reference, Shape};

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
            let (loss, report, _) = trainer.forward(&images, &labels, key).unwrap();
            let gradients = parameter_gradients(&trainer.network, loss.backward().unwrap());
            trainer.learn(gradients, report.samples, 0.5).unwrap();
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
    fn ranks_ties_by_class_and_takes_nan_for_a_miss() {
        let values = vec![1.0f32, 1.0, 0.0, f32::NAN, 2.0, 1.0, 3.0, 2.0, 1.0];
        let logits = HostTensor::new(Shape::new(&[3, 3]).unwrap(), values).unwrap();
        assert_eq!(count_misses(&logits, &[0, 1, 0], 1), 1);
        assert_eq!(count_misses(&logits, &[1, 1, 1], 1), 3);
        assert_eq!(count_misses(&logits, &[1, 1, 1], 2), 0);
        assert_eq!(count_misses(&logits, &[9, 0, 2], 3), 2);
    }
}
