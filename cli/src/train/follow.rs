//! The ranks of a training that print nothing: the first one tells how it goes.

use std::sync::atomic::AtomicBool;

use striate::image::Dataset;
use striate::nn::NetworkSpec;
use striate::train::parallel::Ranks;
use striate::train::{Observer, Result as TrainResult, Session, SessionData, SessionOptions};

use super::{Scheme, TrainArgs};
use crate::args::Global;
use crate::error::{Error, Result, chain};
use crate::ranks::Rank;

/// What all ranks train.
pub(super) struct Job<'a> {
    pub(super) args: &'a TrainArgs,
    pub(super) spec: &'a NetworkSpec,
    pub(super) train: &'a Dataset,
    pub(super) test: &'a Option<Dataset>,
    pub(super) options: &'a SessionOptions,
}

impl Job<'_> {
    /// The training as this rank sees it.
    pub(super) fn ranks(&self, rank: Rank) -> Ranks {
        let parallel = self.args.parallel.unwrap_or(Scheme::Data).into();
        let (shards, pieces) = (self.args.shards, self.args.pieces);
        Ranks { shards, pieces, ..Ranks::new(rank.exchange, parallel) }
    }

    /// Trains as one of the others.
    pub(super) fn follow(&self, rank: Rank, global: &Global, stop: &AtomicBool) -> Result<()> {
        let device = rank.device(global).map_err(|error| abandon(&rank, error))?;
        let mut skipped = Skipped(rank.exchange.rank());
        let options = SessionOptions { ranks: Some(self.ranks(rank)), ..self.options.clone() };
        let (train, test) = (self.train.clone(), self.test.clone());
        let working = &self.args.working;
        let mut session = Session::open(
            working,
            self.spec,
            SessionData::new(train).test(test),
            options,
            &device,
        )?;
        session.run(&mut skipped, stop)?;
        Ok(())
    }
}

/// Tells the other ranks why this one does not even begin.
pub(super) fn abandon(rank: &Rank, error: Error) -> Error {
    rank.exchange.abandon(&chain(&error));
    error
}

/// Tells of samples that could not be read: no other rank sees these.
struct Skipped(usize);

impl Observer for Skipped {
    fn skipped(&mut self, reason: &str) -> TrainResult<()> {
        log::warn!("rank {}: left out: {reason}", self.0);
        Ok(())
    }
}
