//! What a training tells while it goes on: an observer, and the observers that write files.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::parallel::ExchangeReport;
use crate::{EpochReport, Error, Position, Result, StepReport};

/// What is told of a training while it goes on. Every method does nothing unless it is written.
///
/// An error of an observer ends the training; the last checkpoint stays as it is.
pub trait Observer {
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

/// Writes a line of JSON for every mini-batch and every epoch, appended to what is there:
/// `{"kind":"step","iteration":…,"loss":…}` and `{"kind":"epoch",…}`.
pub struct MetricsFile {
    path: PathBuf,
    file: BufWriter<File>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step {
        epoch: u64,
        iteration: u64,
        loss: f64,
        miss_rate: f64,
        factor: f64,
        samples: usize,
        milliseconds: f64,
        waited_milliseconds: f64,
        #[serde(flatten)]
        exchange: Option<Exchanged>,
    },
    Epoch {
        #[serde(flatten)]
        report: &'a EpochReport,
        seconds: f64,
    },
}

/// What a rank exchanged in a step.
#[derive(Serialize)]
struct Exchanged {
    exchanged_bytes: u64,
    exchange_milliseconds: f64,
    exposed_milliseconds: f64,
}

impl MetricsFile {
    /// Appends to a file, which is made where it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn append(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let file = open.map_err(|e| Error::io(&path, "write", e))?;
        Ok(MetricsFile { path, file: BufWriter::new(file) })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|e| Error::io(&self.path, "write", e))
    }
}

impl Observer for MetricsFile {
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let StepReport { samples, misses, .. } = step.report;
        self.line(&Line::Step {
            epoch: step.position.epoch,
            iteration: step.iterations,
            loss: step.report.loss(),
            miss_rate: misses as f64 / samples.max(1) as f64,
            factor: step.factor,
            samples,
            milliseconds: step.time.as_secs_f64() * 1e3,
            waited_milliseconds: step.waited.as_secs_f64() * 1e3,
            exchange: step.exchange.map(|exchange| Exchanged {
                exchanged_bytes: exchange.traffic.bytes,
                exchange_milliseconds: exchange.traffic.time.as_secs_f64() * 1e3,
                exposed_milliseconds: exchange.exposed.as_secs_f64() * 1e3,
            }),
        })
    }

    fn epoch(&mut self, report: &EpochReport, time: Duration) -> Result<()> {
        self.line(&Line::Epoch { report, seconds: time.as_secs_f64() })?;
        self.file.flush().map_err(|e| Error::io(&self.path, "write", e))
    }

    fn saved(&mut self, _: &Path) -> Result<()> {
        // So that the lines of what is saved are on disk too.
        self.file.flush().map_err(|e| Error::io(&self.path, "write", e))
    }
}
