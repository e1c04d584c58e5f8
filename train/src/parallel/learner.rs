//! Who learns in a session: a device alone, or a rank among others.

use std::ops::Range;
use std::sync::Arc;

use striate_data::loader::{Batch, Loader};
use striate_nn::{Network, OptimizerState};
use striate_tensor::{HostTensor, Pending, Shape, Tensor};

use super::data::DataRank;
use super::hybrid::HybridRank;
use super::reports::{all_agree, gather_numbers};
use super::state::InitialState;
use super::{Exchange, ExchangeReport, Parallel, Ranks};
use crate::evaluate::{Tested, evaluate_shards};
use crate::{EvaluationReport, Observer, PendingStep, Result, TrainOptions, Trainer};

/// The shards that mini-batches are cut into where nothing else is said: as many as most machines
/// have devices at most, so that 1, 2 and 4 of them compute the same.
const SHARDS: usize = 4;

pub(crate) enum Learner {
    Alone(Box<Trainer>),
    Data(Box<DataRank>),
    Hybrid(Box<HybridRank>),
}

/// A mini-batch that has been learned.
pub(crate) struct Learned {
    /// What all ranks saw of it.
    pub(crate) step: PendingStep,
    /// Samples that could not be read.
    pub(crate) missing: usize,
    /// Whether a rank was asked to stop.
    pub(crate) stop: bool,
}

/// The shards of each mini-batch: how many, and which of them are this rank's.
pub(crate) fn shards_of(
    ranks: Option<&Ranks>,
    stored: Option<usize>,
) -> Result<(usize, Range<usize>)> {
    let Some(ranks) = ranks else { return Ok((1, 0..1)) };
    let (rank, size) = (ranks.exchange.rank(), ranks.exchange.size());
    match ranks.parallel {
        Parallel::Hybrid => Ok((size, rank..rank + 1)),
        Parallel::Data => {
            let stored = stored.filter(|&stored| stored > 1);
            let shards = ranks.shards.unwrap_or(stored.unwrap_or(SHARDS).max(size));
            if !size.is_power_of_two() || !shards.is_power_of_two() || shards < size {
                return Err(crate::Error::Option {
                    expected: String::from(
                        "for data parallel training 1, 2, 4, 8 … devices, and as many shards of a \
                         mini-batch or 2, 4, 8 … times as many",
                    ),
                    got: format!("{size} devices and {shards} shards"),
                });
            }
            let own = shards / size;
            Ok((shards, rank * own..(rank + 1) * own))
        }
    }
}

impl Learner {
    pub(crate) fn new(
        beginning: InitialState,
        options: &TrainOptions,
        ranks: Option<&Ranks>,
        own: Range<usize>,
    ) -> Result<Learner> {
        let InitialState { network, state, .. } = beginning;
        // Before anything is split: it also checks.
        let trainer = Trainer::resumed_with(network, state, options.clone())?;
        let Some(Ranks { exchange, parallel, pieces, .. }) = ranks else {
            return Ok(Learner::Alone(Box::new(trainer)));
        };
        let info = trainer.network().device().info();
        // Threads do not change a bit; instruction sets do.
        let level = info.properties.iter().find(|(name, _)| name == "instructions");
        let kind = format!("{:?} {} {level:?}", info.kind, info.description);
        let kinds = exchange.gather_bytes(kind.as_bytes()).wait()?;
        let mixed = kinds.iter().any(|other| other != &kinds[0]);
        let exchange = Arc::clone(exchange);
        Ok(match parallel {
            Parallel::Data => Learner::Data(Box::new(DataRank::new(trainer, exchange, own, mixed))),
            Parallel::Hybrid => {
                let pieces = pieces.unwrap_or(exchange.size());
                let (network, state) = trainer.into_parts();
                let options = options.clone();
                let rank = HybridRank::new(network, state, options, exchange, pieces, mixed)?;
                Learner::Hybrid(Box::new(rank))
            }
        })
    }

    /// The network as it is, or as it was when its parts were last brought together.
    pub(crate) fn network(&self) -> &Network {
        match self {
            Learner::Alone(trainer) => trainer.network(),
            Learner::Data(rank) => rank.trainer().network(),
            Learner::Hybrid(rank) => rank.network(),
        }
    }

    fn exchange(&self) -> Option<&Arc<Exchange>> {
        match self {
            Learner::Alone(_) => None,
            Learner::Data(rank) => Some(rank.exchange()),
            Learner::Hybrid(rank) => Some(rank.exchange()),
        }
    }

    /// Whether this rank writes files and tells how it goes.
    pub(crate) fn is_first(&self) -> bool {
        self.exchange().is_none_or(|exchange| exchange.rank() == 0)
    }

    pub(crate) fn report(&self) -> Option<ExchangeReport> {
        self.exchange().map(|exchange| exchange.report())
    }

    /// Tells the others that this rank cannot go on.
    pub(crate) fn abandon(&self, reason: &str) {
        if let Some(exchange) = self.exchange() {
            exchange.abandon(reason);
        }
    }

    /// Learns a mini-batch. Alone on a GPU it does not wait for what the mini-batch shows; ranks know it
    /// before the weights move.
    pub(crate) fn step(
        &mut self,
        batch: &mut Batch,
        iteration: u64,
        factor: f64,
        stop: bool,
    ) -> Result<Learned> {
        let missing = batch.missing;
        let shards = tensors(batch, self.network().device())?;
        let seen = match self {
            Learner::Alone(trainer) => {
                let step = match shards.first() {
                    Some(Some((images, labels))) => {
                        trainer.step_pending(images, labels, iteration, factor)?
                    }
                    _ => PendingStep::new(iteration, Pending::ready(Default::default())),
                };
                return Ok(Learned { step, missing, stop });
            }
            Learner::Data(rank) => rank.step(&shards, missing, iteration, factor, stop)?,
            Learner::Hybrid(rank) => {
                let own = shards.first().and_then(Option::as_ref);
                rank.step(own, missing, iteration, factor, stop)?
            }
        };
        let step = PendingStep::new(iteration, Pending::ready(seen.step));
        Ok(Learned { step, missing: seen.missing, stop: seen.stop })
    }

    pub(crate) fn is_accumulating(&self) -> bool {
        match self {
            Learner::Alone(trainer) => trainer.is_accumulating(),
            Learner::Data(rank) => rank.trainer().is_accumulating(),
            Learner::Hybrid(rank) => rank.is_accumulating(),
        }
    }

    pub(crate) fn flush(&mut self, factor: f64) -> Result<()> {
        match self {
            Learner::Alone(trainer) => trainer.flush(factor),
            Learner::Data(rank) => rank.trainer_mut().flush(factor),
            Learner::Hybrid(rank) => rank.flush(factor),
        }
    }

    /// Whether all weights are finite, on every rank.
    pub(crate) fn is_finite(&self) -> Result<bool> {
        let own = match self {
            Learner::Alone(trainer) => trainer.is_finite()?,
            Learner::Data(rank) => rank.trainer().is_finite()?,
            Learner::Hybrid(rank) => rank.is_finite()?,
        };
        match self.exchange() {
            Some(exchange) => all_agree(exchange, own),
            None => Ok(own),
        }
    }

    /// At the end of an epoch: replicas that rounding has parted become one again.
    pub(crate) fn synchronize(&mut self) -> Result<()> {
        match self {
            Learner::Alone(_) => Ok(()),
            Learner::Data(rank) => rank.synchronize(),
            Learner::Hybrid(rank) => rank.synchronize(),
        }
    }

    /// The whole network, to be saved or tested.
    pub(crate) fn gather(&mut self) -> Result<Network> {
        match self {
            Learner::Alone(trainer) => Ok(trainer.network().clone()),
            Learner::Data(rank) => Ok(rank.trainer().network().clone()),
            Learner::Hybrid(rank) => rank.gather(),
        }
    }

    /// What the optimizer remembers of the whole network, and averages of its weights.
    pub(crate) fn gather_state(&self) -> Result<OptimizerState> {
        match self {
            Learner::Alone(trainer) => Ok(trainer.state()),
            Learner::Data(rank) => Ok(rank.trainer().state()),
            Learner::Hybrid(rank) => rank.gather_state(),
        }
    }

    /// The whole network to be tested and used: with averages of its weights, where there are any.
    pub(crate) fn gather_averaged(&mut self) -> Result<Network> {
        match self {
            Learner::Alone(trainer) => trainer.averaged(),
            Learner::Data(rank) => rank.trainer().averaged(),
            Learner::Hybrid(rank) => rank.gather_averaged(),
        }
    }

    /// How a network does on all test samples, of which this rank's loader forms a part.
    pub(crate) fn evaluate(
        &self,
        network: &Network,
        loader: &Loader,
        observer: &mut dyn Observer,
    ) -> Result<EvaluationReport> {
        let own = evaluate_shards(network, loader, observer)?;
        let Some(exchange) = self.exchange() else { return Ok(Tested::report(own)) };
        let numbers: Vec<f64> = own.iter().flat_map(|tested| tested.to_numbers()).collect();
        let all = gather_numbers(exchange, &numbers)?;
        let mut all: Vec<Tested> = all.iter().flat_map(|n| Tested::from_numbers(n)).collect();
        // Within a batch the ranks' shards are in order already.
        all.sort_by_key(|tested| tested.batch);
        Ok(Tested::report(all))
    }
}

/// The images `[n, rows, cols, channels]` and labels `[n]` of each shard; none where it is empty.
pub(crate) fn tensors(
    batch: &mut Batch,
    device: &striate_tensor::Device,
) -> Result<Vec<Option<(Tensor, Tensor)>>> {
    let [_, rows, cols, channels] = batch.shape();
    let length = rows * cols * channels;
    let (all_images, all_labels) =
        (std::mem::take(&mut batch.images), std::mem::take(&mut batch.labels));
    if let [count] = batch.shards[..] {
        // The only one: nothing is copied.
        let whole = (count > 0)
            .then(|| pair(all_images, all_labels, [count, rows, cols, channels], device));
        return Ok(vec![whole.transpose()?]);
    }
    let mut start = 0;
    let mut shards = Vec::with_capacity(batch.shards.len());
    for &count in &batch.shards {
        let range = start..start + count;
        start += count;
        if range.is_empty() {
            shards.push(None);
            continue;
        }
        let images = all_images[range.start * length..range.end * length].to_vec();
        let labels = all_labels[range].to_vec();
        shards.push(Some(pair(images, labels, [count, rows, cols, channels], device)?));
    }
    Ok(shards)
}

fn pair(
    images: Vec<f32>,
    labels: Vec<u32>,
    shape: [usize; 4],
    device: &striate_tensor::Device,
) -> Result<(Tensor, Tensor)> {
    let labels = HostTensor::new(Shape::new(&shape[..1])?, labels)?;
    let images = HostTensor::new(Shape::new(&shape)?, images)?;
    Ok((Tensor::from_host(images, device)?, Tensor::from_host(labels, device)?))
}
