//! What a training tells on its way: to an observer.

use std::path::Path;
use std::time::Duration;

use crate::parallel::ExchangeReport;
use crate::{EpochReport, Position, Result, RunStart, StepReport};

/// What is told of a training while it goes on. Every method does nothing unless it is written.
///
/// An error of an observer ends the training; the last checkpoint stays as it is.
///
/// ```
/// use std::time::Duration;
///
/// use striate_train::{EpochReport, Observer, Result};
///
/// /// Prints a line after each epoch.
/// struct Lines;
///
/// impl Observer for Lines {
///     fn epoch(&mut self, epoch: &EpochReport, time: Duration) -> Result<()> {
///         println!("epoch {}: loss {:.4}, {time:.1?}", epoch.epoch, epoch.loss);
///         Ok(())
///     }
/// }
/// ```
pub trait Observer {
    /// A run begins. What an observer has written of mini-batches beyond its start was of a run
    /// that was killed; these come again.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn begin(&mut self, start: &RunStart<'_>) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// A mini-batch has been learnt.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let _ = step;
        Ok(())
    }

    /// The test samples are being classified: so many of so many are.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn testing(&mut self, done: usize, all: usize) -> Result<()> {
        let _ = (done, all);
        Ok(())
    }

    /// An epoch has ended, and the network has been tested.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn epoch(&mut self, epoch: &EpochReport, time: Duration) -> Result<()> {
        let _ = (epoch, time);
        Ok(())
    }

    /// A sample was left out: why.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn skipped(&mut self, reason: &str) -> Result<()> {
        let _ = reason;
        Ok(())
    }

    /// The training does not look well: a sentence about what is wrong, and what to try.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn warning(&mut self, text: &str) -> Result<()> {
        let _ = text;
        Ok(())
    }

    /// The training is about to be saved in this file. What was told so far must be on disk first.
    ///
    /// # Errors
    /// Whatever the observer cannot do; then it is not saved.
    fn saving(&mut self, file: &Path) -> Result<()> {
        let _ = file;
        Ok(())
    }

    /// The training has been saved in this file.
    ///
    /// # Errors
    /// Whatever the observer cannot do.
    fn saved(&mut self, file: &Path) -> Result<()> {
        let _ = file;
        Ok(())
    }
}

/// Nobody.
impl Observer for () {}

/// One after another.
impl Observer for Vec<Box<dyn Observer + '_>> {
    fn begin(&mut self, start: &RunStart<'_>) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.begin(start))
    }

    fn step(&mut self, step: &StepEvent) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.step(step))
    }

    fn testing(&mut self, done: usize, all: usize) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.testing(done, all))
    }

    fn epoch(&mut self, epoch: &EpochReport, time: Duration) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.epoch(epoch, time))
    }

    fn skipped(&mut self, reason: &str) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.skipped(reason))
    }

    fn warning(&mut self, text: &str) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.warning(text))
    }

    fn saving(&mut self, file: &Path) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.saving(file))
    }

    fn saved(&mut self, file: &Path) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.saved(file))
    }
}

/// A mini-batch that has been learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepEvent {
    /// Which it was.
    pub position: Position,
    /// Mini-batches of this and all epochs before it.
    pub iterations: u64,
    /// Mini-batches an epoch.
    pub per_epoch: u64,
    /// What it showed.
    pub report: StepReport,
    /// What learning rates are multiplied by.
    pub factor: f64,
    /// How long it took, waiting for its data included.
    pub time: Duration,
    /// How much of that was waiting for data.
    pub waited: Duration,
    /// What this rank exchanged with the others, where it has any.
    pub exchange: Option<ExchangeReport>,
}
