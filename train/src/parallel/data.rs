//! Data parallel: every rank has the whole network and its shards of each mini-batch.

use std::ops::Range;
use std::sync::Arc;

use striate_nn::{BatchMoments, ParameterId};
use striate_tensor::{Pending, RandomKey, Tensor};

use super::Exchange;
use super::gradients::{Buckets, Leaves, Numbered, Plan, ShardSums};
use super::reports::{BatchReport, gather_reports};
use super::statistics::{gather_statistics, merge_shards};
use crate::{Error, Result, Trainer};

/// Numbers of a mini-batch's random sequence from here on choose those of its shards.
const SHARD_KEYS: u64 = 1 << 32;

/// A rank of a data parallel training.
pub(crate) struct DataRank {
    trainer: Trainer,
    exchange: Arc<Exchange>,
    plan: Plan,
    /// The shards of each mini-batch that are this rank's.
    own: Range<usize>,
    /// Whether ranks compute on devices of several kinds, which round differently.
    mixed: bool,
}

impl DataRank {
    pub(crate) fn new(
        trainer: Trainer,
        exchange: Arc<Exchange>,
        own: Range<usize>,
        mixed: bool,
    ) -> Self {
        let plan = Plan::of(trainer.network());
        DataRank { trainer, exchange, plan, own, mixed }
    }

    pub(crate) fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(crate) fn trainer_mut(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// A mini-batch of which this rank has these shards: what all ranks saw, and the weights moved
    /// by the gradients of all.
    pub(crate) fn step(
        &mut self,
        shards: &[Option<(Tensor, Tensor)>],
        missing: usize,
        iteration: u64,
        factor: f64,
        stop: bool,
    ) -> Result<BatchReport> {
        let device = self.trainer.network().device().clone();
        let mut reports = Vec::with_capacity(shards.len());
        let mut sums = ShardSums::default();
        let mut statistics: Vec<Option<Vec<BatchMoments>>> = Vec::with_capacity(shards.len());
        let mut buckets = Buckets::new(&self.plan, &self.exchange);
        // One rank alone sends nothing, so that nothing leaves its device.
        let mut alone = (self.exchange.size() == 1).then(Numbered::new);
        let leaves = Leaves::of(self.trainer.network());
        for (i, shard) in shards.iter().enumerate() {
            let loss = match shard {
                Some((images, labels)) => {
                    let key = shard_key(self.trainer.key(iteration), self.own.start + i);
                    let forward = self.trainer.forward(images, labels, key)?;
                    reports.push(forward.report);
                    statistics.push(Some(forward.statistics));
                    Some(forward.loss)
                }
                None => {
                    reports.push(Pending::ready(Default::default()));
                    statistics.push(None);
                    None
                }
            };
            let is_last = i + 1 == shards.len();
            let mut own = Numbered::new();
            // Of the last shard, what is complete goes to the others while the pass goes on.
            let mut take = |id: ParameterId, gradient: Tensor| -> Result<()> {
                if !is_last {
                    own.insert(id, gradient);
                    return Ok(());
                }
                let sum = sums.with_last(id, gradient)?;
                match &mut alone {
                    Some(alone) => drop(alone.insert(id, sum)),
                    None => buckets.give(id, sum)?,
                }
                Ok(())
            };
            match loss {
                Some(loss) => loss.backward_each(|leaf, gradient| match leaves.id(leaf) {
                    Some(id) => take(id, gradient),
                    None => Ok(()),
                })?,
                None => {
                    for (id, zeros) in self.plan.zeros(&device)? {
                        take(id, zeros)?;
                    }
                }
            }
            if !is_last {
                sums.push(own)?;
            }
        }
        let gradients = match alone {
            Some(alone) => alone,
            None => buckets.finish(&device)?,
        };
        // The weights move when all ranks know that the loss is finite.
        let reports: Result<Vec<_>, _> = reports.into_iter().map(Pending::wait).collect();
        let all = gather_reports(&self.exchange, &reports?, missing, stop)?;
        if !all.step.loss_sum.is_finite() {
            return Err(Error::Diverged { iteration, loss: all.step.loss() });
        }
        if all.step.samples > 0 {
            self.trainer.learn(gradients, all.step.samples, factor)?;
            let own = merge_shards(statistics)?;
            let all = gather_statistics(&self.exchange, self.trainer.network(), own)?;
            self.trainer.remember(&all)?;
        }
        Ok(all)
    }

    /// Where devices round differently, all go on with the first rank's weights: at the end of an
    /// epoch, so that they never part by more than the rounding of one.
    pub(crate) fn synchronize(&mut self) -> Result<()> {
        if !self.mixed || self.exchange.size() == 1 {
            return Ok(());
        }
        let network = super::state::broadcast_network(&self.exchange, self.trainer.network())?;
        let state = self.trainer.state();
        let state = super::state::broadcast_state(&self.exchange, &state, |_| true)?;
        self.trainer.replace(network, state);
        Ok(())
    }
}

/// The random numbers of a shard: whichever rank computes it, they are the same.
fn shard_key(batch: RandomKey, shard: usize) -> RandomKey {
    let [low, high, ..] = batch.block(SHARD_KEYS + shard as u64);
    RandomKey::new(batch.seed, u64::from(low) | u64::from(high) << 32)
}
