//! A training from its first sample to its last, over any number of interruptions.

mod data;
mod open;
mod options;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use striate_data::augment::epoch_order;
use striate_data::loader::{Batch, BatchPosition, Loader};
use striate_data::statistics::ColorComponents;
use striate_importers::ccv::ColourStatistics;
use striate_importers::{WriteOptions, safetensors};
use striate_nn::Network;

pub use data::SessionData;
pub use options::SessionOptions;

use crate::beside;
use crate::checkpoint::{self, Identity, Notes, Position, Snapshot};
use crate::learning::{Judge, Moment};
use crate::lock::{Lock, lock_of};
use crate::parallel::{ExchangeReport, Learned, Learner};
use crate::{
    Decay, Error, History, Observer, PendingStep, Result, RunStart, StepEvent, TrainOptions,
};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs, or as many mini-batches as were asked for.
    Finished,
    /// It was asked to stop; everything is saved, and another run resumes from here.
    Stopped,
}

/// A training in a working file: a new one where the file is not there, else the one in it resumes.
///
/// The working file is a model file with the state of the training. It is replaced as a whole at
/// each checkpoint: whatever happens, it holds the last one. A training that was interrupted, at any
/// moment and any number of times, ends with the same bits as one that was not; nor do these depend
/// on the number of threads or workers.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use striate_data::Dataset;
/// use striate_nn::{NetworkSpec, conv2d, pool};
/// # use striate_tensor::{Device, Reference};
/// use striate_train::{Session, SessionData, SessionOptions};
///
/// # fn main() -> striate_train::Result<()> {
/// # let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([28, 28, 1])
///     .conv(conv2d(20, 5).relu()).max_pool(pool(2)).full_connect(10);
/// let digits = Dataset::open("train-images-idx3-ubyte")?;
/// let test = Dataset::open("t10k-images-idx3-ubyte")?;
/// let options = SessionOptions::default();
/// let mut session =
///     Session::open("digits.sqlite3", &spec, SessionData::new(digits).test(test), options, &device)?;
/// session.run(&mut (), &AtomicBool::new(false))?;
/// println!("best error rate on the test digits: {:?}", session.history().best());
/// # Ok(())
/// # }
/// ```
pub struct Session {
    working: PathBuf,
    learner: Learner,
    options: SessionOptions,
    train: Loader,
    test: Option<Loader>,
    colours: Option<ColorComponents>,
    identity: Identity,
    position: Position,
    history: History,
    /// What the training is, as side files know it.
    id: String,
    judge: Judge,
    /// Whether a checkpoint is due as soon as the weights have moved.
    due: bool,
    resumed: bool,
    /// What the working file holds of this training.
    saved: Option<Position>,
    /// Whether any rank was asked to stop.
    stop: bool,
    /// The last mini-batch, where what it showed is not known yet.
    begun: Option<Begun>,
    /// The mini-batch whose loss was found not to be finite after the weights had moved by it, and the loss.
    diverged: Option<(u64, f64)>,
    /// The first rank's.
    _lock: Option<Lock>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("working", &self.working)
            .field("position", &self.position)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}

/// A mini-batch that has been learned, and whose report is on its way from the device.
struct Begun {
    step: PendingStep,
    position: Position,
    /// Its number in the whole training.
    iteration: u64,
    factor: f64,
    /// Samples that could not be read.
    missing: usize,
    started: Instant,
    waited: Duration,
    /// How long it took, as soon as the next one has begun.
    took: Option<Duration>,
    exchange: Option<ExchangeReport>,
}

impl Session {
    /// The network as it is now; in hybrid training as it was saved or tested last.
    pub fn network(&self) -> &Network {
        self.learner.network()
    }

    /// What comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Mini-batches an epoch.
    pub fn per_epoch(&self) -> u64 {
        self.train.batches_per_epoch() as u64
    }

    /// The curves so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whether it resumed a training that the working file held.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The file that holds the training.
    pub fn working(&self) -> &Path {
        &self.working
    }

    /// The file that gets the network with the lowest error rate on the test samples, and the class
    /// names: `model.sqlite3` has `model.best.safetensors`, and any other name is kept whole
    /// (`model.lr001.best.safetensors`). It is there once an epoch has been tested.
    pub fn best_file(&self) -> PathBuf {
        beside::best_of(&self.working)
    }

    /// The files that a training keeps beside its working file: the best network
    /// ([`best_file`](Session::best_file)) and the lock. Nothing else should be written to them.
    pub fn files_beside(working: &Path) -> [PathBuf; 2] {
        [beside::best_of(working), lock_of(working)]
    }

    /// Whether the working file holds this training.
    pub fn is_saved(&self) -> bool {
        self.saved.is_some()
    }

    /// Whether the network is no better than guessing: by its lowest error rate on the test
    /// samples; without these by its recent training loss. Not before something was learned from.
    pub fn is_guessing(&self) -> bool {
        self.judge.is_guessing(&self.history, self.per_epoch())
    }

    /// Trains to the end, or until `stop` is set: then everything is saved after the mini-batch that
    /// is being computed (after the last one of `sgd_frequency`).
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss or the weights are no numbers any more: the last
    /// checkpoint is from before, and the network in memory may be of no use (a GPU tells of a loss after the
    /// weights have moved by it). [`Error::Step`] where a device failed. What the data, the working file and
    /// the observer say.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        if let Some((iteration, loss)) = self.diverged {
            return Err(Error::Diverged { iteration, loss });
        }
        self.learn_all(observer, stop).map_err(|error| {
            // The curves are to know of every mini-batch that the weights have moved by. What is wrong with
            // the last one is not the first thing that went wrong.
            let _ = self.settle(&mut ());
            self.learner.abandon(&error.chain());
            match error {
                Error::Rank { rank, mut reason } if self.saved.is_some() => {
                    reason += "; the last checkpoint is intact";
                    Error::Rank { rank, reason }
                }
                error => error,
            }
        })
    }

    fn learn_all(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let per_epoch = self.per_epoch();
        let end = self.options.train.max_epoch;
        let before = self.iterations();
        observer.begin(&RunStart {
            working: &self.working,
            position: self.position,
            iterations: before,
            per_epoch,
            history: &self.history,
            id: &self.id,
        })?;
        let sgd_frequency = self.options.train.sgd_frequency as u64;
        if sgd_frequency > per_epoch && before == 0 {
            observer.warning(&format!(
                "sgd-frequency is {sgd_frequency} and an epoch has {per_epoch} mini-batches: the \
                 weights move once an epoch"
            ))?;
        }
        let mut batches = None;
        let mut epoch_started = Instant::now();
        while self.position.epoch < end && !self.is_enough() {
            if self.position.iteration >= per_epoch {
                self.end_epoch(observer, epoch_started)?;
                epoch_started = Instant::now();
                continue;
            }
            // Ranks stop together: when all have heard of it, which a mini-batch tells them.
            // Only between two moves of the weights can a training be saved.
            let asked = self.stop || (self.options.ranks.is_none() && stop.load(Ordering::Relaxed));
            if asked && !self.learner.is_accumulating() {
                self.save(observer)?;
                return Ok(Outcome::Stopped);
            }
            let batches = match &mut batches {
                Some(batches) => batches,
                None => {
                    let from = BatchPosition {
                        epoch: narrow_epoch(self.position.epoch)?,
                        batch: self.position.iteration as usize,
                    };
                    batches.insert(self.train.batches(from, narrow_epoch(end)?)?)
                }
            };
            let started = Instant::now();
            let batch = match batches.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => {
                    self.settle(observer)?;
                    return Err(error.into());
                }
            };
            let waited = started.elapsed();
            self.learn(batch, started, waited, stop.load(Ordering::Relaxed), observer)?;
            self.due |= self
                .options
                .checkpoint_every
                .is_some_and(|every| every > 0 && self.position.iteration.is_multiple_of(every));
            let at_end = self.position.iteration >= per_epoch;
            if self.due && !at_end && !self.learner.is_accumulating() {
                self.save(observer)?;
            }
        }
        self.settle(observer)?;
        if self.position.iteration >= per_epoch && self.position.epoch < end {
            self.end_epoch(observer, epoch_started)?;
        } else if self.position.iteration > 0 && self.saved != Some(self.position) {
            // As many mini-batches as were asked for: what is left over of them counts too.
            self.learner.flush(self.last_factor())?;
            self.save(observer)?;
        }
        if self.iterations() > before {
            self.judge(true, observer)?;
        }
        Ok(Outcome::Finished)
    }

    /// Warns, once, of a network that does not learn.
    fn judge(&mut self, is_end: bool, observer: &mut dyn Observer) -> Result<()> {
        let at = Moment {
            epochs: self.position.epoch,
            iterations: self.iterations(),
            per_epoch: self.per_epoch(),
            is_end,
        };
        match self.judge.warning(&at, &self.history, &self.options.train) {
            Some(text) => observer.warning(&text),
            None => Ok(()),
        }
    }

    /// Mini-batches over the whole training so far.
    fn iterations(&self) -> u64 {
        self.position.epoch * self.per_epoch() + self.position.iteration
    }

    fn is_enough(&self) -> bool {
        self.options.train.max_iterations.is_some_and(|max| self.iterations() >= max)
    }

    /// What learning rates are multiplied by in the mini-batch that comes next.
    fn factor(&self) -> f64 {
        self.factor_of(self.iterations())
    }

    /// What they were multiplied by in the last one: what is left over at the end of an epoch
    /// belongs to it, and not to the next one's rate.
    fn last_factor(&self) -> f64 {
        self.factor_of(self.iterations().saturating_sub(1))
    }

    fn factor_of(&self, iteration: u64) -> f64 {
        let TrainOptions { schedule, max_epoch, .. } = &self.options.train;
        let factor = schedule.step_factor(iteration, self.per_epoch(), *max_epoch);
        match (&schedule.decay, self.history.plateau) {
            (Decay::Plateau { .. }, Some(plateau)) => factor * plateau.factor,
            _ => factor,
        }
    }

    /// Learns a mini-batch. On a GPU what it shows is looked at when the next one has begun, so that the GPU
    /// always has work.
    fn learn(
        &mut self,
        mut batch: Batch,
        started: Instant,
        waited: Duration,
        stop: bool,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (position, iteration, factor) = (self.position, self.iterations(), self.factor());
        if let Some(begun) = &mut self.begun {
            begun.took = Some(started.duration_since(begun.started));
        } else {
            tell_skipped(&batch, observer)?;
        }
        let before = self.learner.report();
        let learned = self.learner.step(&mut batch, iteration, factor, stop);
        if self.begun.is_some() {
            // What happened first is told first.
            self.settle(observer)?;
            tell_skipped(&batch, observer)?;
        }
        let Learned { step, missing, stop } = learned.map_err(|e| e.in_step(iteration))?;
        self.stop |= stop && self.options.ranks.is_some();
        let exchange = self.learner.report().zip(before).map(|(now, before)| now.since(&before));
        let is_ready = step.is_ready();
        self.begun = Some(Begun {
            step,
            position,
            iteration,
            factor,
            missing,
            started,
            waited,
            took: None,
            exchange,
        });
        self.position.iteration += 1;
        if is_ready { self.settle(observer) } else { Ok(()) }
    }

    /// Looks at what the last mini-batch showed, where that has not been done.
    fn settle(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let Begun { step, position, iteration, factor, missing, started, waited, took, exchange } =
            begun;
        let report = step.wait().map_err(|error| {
            if let Error::Diverged { iteration, loss } = error {
                self.diverged = Some((iteration, loss));
            }
            self.position = position;
            error.in_step(iteration)
        })?;
        self.history.step(iteration, &report, missing);
        observer.step(&StepEvent {
            position,
            iterations: iteration + 1,
            per_epoch: self.per_epoch(),
            report,
            factor,
            time: took.unwrap_or_else(|| started.elapsed()),
            waited,
            exchange,
        })
    }

    fn end_epoch(&mut self, observer: &mut dyn Observer, started: Instant) -> Result<()> {
        self.settle(observer)?;
        self.learner.flush(self.last_factor())?;
        self.check_finite()?;
        self.learner.synchronize()?;
        let tested = match &self.test {
            Some(test) => {
                let network = self.learner.gather_averaged()?;
                Some((self.learner.evaluate(&network, test, observer)?, network))
            }
            None => None,
        };
        let (test, tested) = tested.unzip();
        let (epoch, iterations) = (self.position.epoch, self.iterations());
        let report = self.history.end_epoch(epoch, iterations, test);
        let decay = &self.options.train.schedule.decay;
        if matches!(decay, Decay::Plateau { .. }) {
            let loss = report.test.map_or(report.loss, |test| test.loss);
            self.history.plateau.get_or_insert_default().see(decay, loss);
        }
        self.position = Position { epoch: epoch + 1, iteration: 0 };
        // First what follows the checkpoint: of what is written and not saved, nothing stays.
        let is_best = self.history.last_is_best() && self.learner.is_first();
        if let Some(network) = tested.filter(|_| is_best) {
            let file = beside::pending_of(&self.working, epoch);
            safetensors::write(file, &network, &WriteOptions::default())?;
        }
        observer.epoch(&report, started.elapsed())?;
        self.write(observer)?;
        if is_best {
            beside::keep_best(&self.working, epoch, &self.history)?;
        }
        self.judge(false, observer)
    }

    fn check_finite(&self) -> Result<()> {
        match self.learner.is_finite()? {
            true => Ok(()),
            false => Err(Error::Diverged { iteration: self.iterations(), loss: f64::NAN }),
        }
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.settle(observer)?;
        self.check_finite()?;
        self.write(observer)
    }

    /// Writes a checkpoint of weights that have been found finite.
    fn write(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let (network, state) = (self.learner.gather()?, self.learner.gather_state()?);
        let before = self.saved.replace(self.position);
        self.due = false;
        if !self.learner.is_first() {
            return Ok(());
        }
        observer.saving(&self.working).inspect_err(|_| self.saved = before)?;
        let notes =
            Notes::new(self.identity.clone(), self.options.train.clone(), self.history.clone());
        let count = u32::try_from(self.train.dataset().len()).unwrap_or(u32::MAX);
        let order = epoch_order(self.options.train.seed, narrow_epoch(self.position.epoch)?, count);
        let colours = self.colours.as_ref().map(|colours| ColourStatistics {
            vectors: colours.vectors.map(|vector| vector.map(f64::from)),
            values: colours.values.map(f64::from),
        });
        let snapshot = Snapshot {
            network: &network,
            state: &state,
            position: self.position,
            order,
            colour: colours,
            notes: &notes,
        };
        if let Err(source) = checkpoint::write(&self.working, snapshot) {
            self.saved = before;
            return Err(Error::NotSaved { source: Box::new(source) });
        }
        observer.saved(&self.working)
    }
}

fn tell_skipped(batch: &Batch, observer: &mut dyn Observer) -> Result<()> {
    batch.skipped.iter().try_for_each(|skipped| observer.skipped(&skipped.to_string()))
}

fn narrow_epoch(epoch: u64) -> Result<u32> {
    u32::try_from(epoch).map_err(|_| Error::Option {
        expected: format!("at most {} epochs", u32::MAX),
        got: epoch.to_string(),
    })
}
