//! What training on many devices would take, on paper: before anybody rents them.
//!
//! ```
//! use striate_nn::{NetworkSpec, conv2d, full_connect, pool};
//! use striate_train::parallel::Parallel;
//! use striate_train::plan::{Link, Machine, Plan};
//!
//! # fn main() -> striate_train::Result<()> {
//! let spec = NetworkSpec::new([28, 28, 1])
//!     .conv(conv2d(20, 5).relu()).max_pool(pool(2).stride(2))
//!     .full_connect(full_connect(500).relu()).full_connect(10);
//! let plan = Plan::new(&spec, Machine::new(50e9)?, "10GbE".parse()?)?;
//! let [data, hybrid] = [Parallel::Data, Parallel::Hybrid].map(|how| plan.step(how, 4, 128));
//! let (data, hybrid) = (data?, hybrid?);
//! assert!(hybrid.bytes < data.bytes);
//! let best = plan.best(4, 128)?;
//! assert_eq!(best.step, data.step.min(hybrid.step));
//! println!("{:?}: {:.1} ms, {} bytes", best.parallel, best.step * 1e3, best.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Plan`] plays a step through as the ranks of [`parallel`](crate::parallel) do it: the same
//! buckets of gradients and pieces of activations, the same collectives in the same order, on one
//! wire that does one after another while the device computes, and waits where the trainer waits.
//! Bytes and messages are counted, not estimated: [`Prediction::bytes`] is what a rank sends in
//! a real step, with a shard of the mini-batch on each.
//!
//! Time is a model of few numbers:
//!
//! - **Computing.** An op takes its arithmetic divided by the [rate of the device](Machine::flops):
//!   convolutions and full-connect layers two operations a product and sample forward, as much for
//!   the gradient in their weights, and as much for that in their input, which the first layer has
//!   none of; pooling and normalization what their [`Cost`](striate_tensor::ops::Cost) says and
//!   twice as much back. With a [bandwidth of memory](Machine::bandwidth) no op takes less than
//!   reading its operands and writing its results: it shows full-connect layers at few samples,
//!   and the update. The loss, dropout and forming the samples cost nothing.
//! - **Communicating.** Messages of a round leave together: [`Link::seconds`]. Sums are added up in
//!   no time; a device's memory is where the wire begins.
//! - **Overlap.** A gradient leaves when the backward pass has completed its bucket; what of it is
//!   not there when the pass ends is [exposed](Prediction::exposed). Hybrid, the convolutions'
//!   gradients do the same; activations around full-connect layers are waited for, but for the
//!   inputs of the next piece, which travel while this one is computed.
//! - **Memory.** Weights, momenta, gradients and activations; see [`Prediction::memory`].
//!
//! So it is a bound: of devices that are all as fast as one alone, that always have the next
//! samples, and do not disturb each other. ccv trains MattNet on one graphics card in 0.845 s for
//! 128 samples, and in 0.909 s for 512 on four of them over PCIe 3.0 ×16. From the first number the
//! model makes 0.845 s of the second with data parallelism and 0.847 s with hybrid: 7 % less. What it
//! leaves out and such a machine has: products of a quarter of the outputs, which reach a lower
//! rate; copies by the device that computes, and between cards that share lanes; sums of gradients
//! and updates, which take their time; and each step is as long as that of the slowest of four.
//! Bytes of real steps and the time that computation waited for them are in the crate's README,
//! beside what the model says.

mod link;
mod machine;
mod memory;
mod network;
mod step;
mod wire;

use striate_nn::NetworkSpec;

pub use link::Link;
pub use machine::Machine;

use crate::options::MAX_BATCH;
use crate::parallel::Parallel;
use crate::{Clip, Error, Result, TrainOptions};
use network::Layer;
use step::Step;

/// The most samples a device for which [`Plan::best_batch`] looks.
const MOST_SAMPLES: u64 = 1024;

/// What of the best throughput is as good as it: of batches that reach it the smallest is best, for
/// a small mini-batch learns as much from fewer samples.
const AS_GOOD: f64 = 0.99;

/// A network, the devices that are to train it, and what connects them.
#[derive(Clone, Debug)]
pub struct Plan {
    layers: Vec<Layer>,
    machine: Machine,
    link: Link,
    pieces: Option<u64>,
    /// Tensors of the size of the weights that stay beside them.
    kept: u64,
    /// Whether a step holds all gradients.
    holds_gradients: bool,
}

/// What a step would take. Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// How the training is spread over the ranks.
    pub parallel: Parallel,
    /// How many ranks.
    pub ranks: u64,
    /// Samples of all ranks together.
    pub mini_batch: u64,
    /// Samples of the rank that has the most. Everything else is as if all had as many.
    pub batch: u64,
    /// The step.
    pub step: f64,
    /// Of that, the time in which a rank computes.
    pub computation: f64,
    /// And the time in which it waits for what others send.
    pub exposed: f64,
    /// The time in collectives, hidden or not.
    pub collectives: f64,
    /// Bytes that the first rank sends.
    pub bytes: u64,
    /// In so many messages.
    pub messages: u64,
    /// Bytes that a rank holds at most: weights and what the optimizer keeps of them, gradients (the largest
    /// on one device, all of them on several and where their norm is bounded), activations, and of their gradients two at a time. What a device
    /// adds for itself, workspaces and packed weights, is not in it.
    pub memory: u64,
    /// Whether these are no more than [the device has](Machine::memory); so too where nobody says
    /// what it has.
    pub fits: bool,
    /// How many times as many samples a second as one device with the same batch.
    pub speedup: f64,
}

impl Prediction {
    /// Samples a second, of all ranks together.
    pub fn samples_per_second(&self) -> f64 {
        self.mini_batch as f64 / self.step
    }

    /// What of so many devices is of use: the speedup divided by the ranks.
    pub fn efficiency(&self) -> f64 {
        self.speedup / self.ranks as f64
    }

    /// Whether it is to be preferred: what fits to what does not, then the faster one.
    pub fn beats(&self, other: &Prediction) -> bool {
        let rank = |p: &Prediction| (p.fits, p.samples_per_second());
        rank(self) > rank(other)
    }
}

impl Plan {
    /// A plan for a network.
    ///
    /// # Errors
    /// [`Error::Network`] where the network cannot be trained.
    pub fn new(spec: &NetworkSpec, machine: Machine, link: Link) -> Result<Plan> {
        let layers = network::layers(spec)?;
        Ok(Plan { layers, machine, link, pieces: None, kept: 1, holds_gradients: false })
    }

    /// The same for a training with these options: what the optimizer keeps of each weight, an average of
    /// the weights, and all gradients at once where their norm is bounded.
    #[must_use]
    pub fn with_options(self, options: &TrainOptions) -> Plan {
        let kept = options.state().len() as u64;
        let holds_gradients = matches!(options.clip, Some(Clip::Norm { .. }));
        Plan { kept, holds_gradients, ..self }
    }

    /// The same with activations in so many pieces in hybrid training; as many as ranks otherwise.
    ///
    /// # Errors
    /// [`Error::Plan`] where that is none.
    pub fn with_pieces(self, pieces: u64) -> Result<Plan> {
        match pieces {
            0 => Err(Error::plan("a piece of a mini-batch or more", "0")),
            _ => Ok(Plan { pieces: Some(pieces), ..self }),
        }
    }

    /// The device.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What connects it with others.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Arithmetic operations of a step, for each sample.
    pub fn flops(&self) -> f64 {
        self.layers.iter().map(Layer::step_flops).sum()
    }

    /// Weights and biases of all layers.
    pub fn parameters(&self) -> u64 {
        self.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.parameters()))
    }

    /// Whether the network can be trained so on so many ranks.
    ///
    /// # Errors
    /// [`Error::Plan`] with what would be possible.
    pub fn check(&self, parallel: Parallel, ranks: u64) -> Result<()> {
        if !(1..=MAX_BATCH as u64).contains(&ranks) {
            let expected = format!("1 to {MAX_BATCH} devices");
            return Err(Error::plan(expected, ranks.to_string()));
        }
        if parallel == Parallel::Data {
            return match ranks.is_power_of_two() {
                true => Ok(()),
                false => {
                    let expected = "for data parallel training 1, 2, 4, 8 … devices";
                    Err(Error::plan(expected, ranks.to_string()))
                }
            };
        }
        let (features, full) = self.halves();
        if features.is_empty() {
            let expected = "for hybrid training layers before the first full-connect one";
            return Err(Error::plan(expected, "none"));
        }
        match full.iter().map(|layer| layer.output).min() {
            Some(least) if least < ranks => {
                let expected = format!(
                    "for hybrid training no more devices than the {least} outputs of the narrowest \
                     full-connect layer"
                );
                Err(Error::plan(expected, ranks.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A step of so many samples in all, shared by so many ranks.
    ///
    /// # Errors
    /// [`Error::Plan`] where the network cannot be trained so, and where there are fewer samples
    /// than ranks, or more than a trainer takes.
    pub fn step(&self, parallel: Parallel, ranks: u64, mini_batch: u64) -> Result<Prediction> {
        self.check(parallel, ranks)?;
        if !(ranks..=MAX_BATCH as u64).contains(&mini_batch) {
            let expected = format!("a mini-batch of {ranks} to {MAX_BATCH} on {ranks} devices");
            return Err(Error::plan(expected, mini_batch.to_string()));
        }
        let batch = mini_batch.div_ceil(ranks);
        let one = Step::new(self, 1, batch).data();
        let step = Step::new(self, ranks, batch);
        let step = match parallel {
            Parallel::Data => step.data(),
            Parallel::Hybrid => step.hybrid(),
        };
        let memory = self.memory(parallel, ranks, batch);
        let all = step.wire.all;
        let count = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Prediction {
            parallel,
            ranks,
            mini_batch,
            batch,
            step: step.now,
            computation: step.computed,
            exposed: (step.now - step.computed).max(0.0),
            collectives: all.seconds,
            bytes: count(all.bytes),
            messages: count(all.messages),
            memory,
            fits: self.machine.memory.is_none_or(|most| memory <= most),
            speedup: one.now / step.now * mini_batch as f64 / batch as f64,
        })
    }

    /// The better of the ways to spread so many samples in all over so many ranks: of what fits the
    /// memory, the faster one.
    ///
    /// # Errors
    /// Those of [`step`](Plan::step), where neither way is possible.
    pub fn best(&self, ranks: u64, mini_batch: u64) -> Result<Prediction> {
        let data = self.step(Parallel::Data, ranks, mini_batch);
        match (data, self.step(Parallel::Hybrid, ranks, mini_batch)) {
            (Ok(data), Ok(hybrid)) => Ok(if hybrid.beats(&data) { hybrid } else { data }),
            (data, hybrid) => data.or(hybrid),
        }
    }

    /// The best batch a device: of 1, 2, 4 … 1024 samples that fit its memory the fewest with which
    /// so many ranks do at least 99 % of the most samples a second. One sample where none fits.
    ///
    /// # Errors
    /// Those of [`check`](Plan::check).
    pub fn best_batch(&self, parallel: Parallel, ranks: u64) -> Result<Prediction> {
        let mut found = vec![self.step(parallel, ranks, ranks)?];
        let mut batch = 2;
        while batch <= MOST_SAMPLES && ranks.saturating_mul(batch) <= MAX_BATCH as u64 {
            found.push(self.step(parallel, ranks, ranks * batch)?);
            batch *= 2;
        }
        let least = found[0];
        found.retain(|step| step.fits);
        let most = found.iter().map(Prediction::samples_per_second).fold(0.0, f64::max);
        let best = found.into_iter().find(|step| step.samples_per_second() >= AS_GOOD * most);
        Ok(best.unwrap_or(least))
    }

    /// The layers before the first full-connect one, and the rest.
    fn halves(&self) -> (&[Layer], &[Layer]) {
        let join = self.layers.iter().position(|layer| layer.is_full);
        self.layers.split_at(join.unwrap_or(self.layers.len()))
    }
}
