//! The curves of a training, as its working file keeps them.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The table of texts by name that a working file has beside ccv's.
const NOTES: &str = "striate_notes";

/// The name of the text that holds the curves.
const TRAINING: &str = "training";

/// The curves.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct History {
    /// The loss curve, a point for every `stride` mini-batches.
    pub(super) points: Vec<Point>,
    /// Mini-batches a point.
    pub(super) stride: u64,
    /// The epochs that have ended.
    pub(super) epochs: Vec<EpochReport>,
}

/// A point of the loss curve.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Point {
    /// The mini-batches before it and in it.
    pub(super) iteration: u64,
    /// The mean loss of its samples.
    pub(super) loss: f64,
    /// The share of its samples that were not ranked first.
    pub(super) miss_rate: f64,
}

/// What an epoch was. Read in kebab-case, printed in snake_case as everything here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
pub(super) struct EpochReport {
    /// Counted from 0.
    pub(super) epoch: u64,
    /// Mini-batches up to its end, over the whole training.
    pub(super) iterations: u64,
    /// Training samples seen in it.
    pub(super) samples: u64,
    /// Training samples left out because they could not be read.
    pub(super) skipped: u64,
    /// The mean training loss, while the weights moved.
    pub(super) loss: f64,
    /// The share of training samples that were not ranked first, while the weights moved.
    pub(super) miss_rate: f64,
    /// How the network does on the test samples, where there are any.
    pub(super) test: Option<EvaluationReport>,
}

/// How a network does on test samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
pub(super) struct EvaluationReport {
    /// Samples classified.
    pub(super) samples: u64,
    /// The mean cross-entropy.
    pub(super) loss: f64,
    /// Samples whose class was not ranked first.
    pub(super) misses: u64,
    /// Samples whose class was not among the first five.
    pub(super) misses_top5: u64,
}

impl EvaluationReport {
    /// The share of samples whose class was not ranked first.
    pub(super) fn miss_rate(&self) -> f64 {
        self.misses as f64 / self.samples.max(1) as f64
    }

    /// The share of samples whose class was not among the first five.
    pub(super) fn miss_rate_top5(&self) -> f64 {
        self.misses_top5 as f64 / self.samples.max(1) as f64
    }
}

/// The text that holds the curves; what else it holds is the trainer's.
#[derive(Deserialize)]
struct Training {
    history: History,
}

/// The curves of a training; `None` where the file is a model that nobody has trained.
pub(super) fn read_history(path: &Path) -> Result<Option<History>> {
    let file = path.display();
    let failed = |e: rusqlite::Error| Error::because(format!("cannot read {file}"), e);
    // Nothing is locked for longer than the text is read, and the file is not created.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags).map_err(failed)?;
    let is_table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    if !database.prepare(is_table).and_then(|mut s| s.exists([NOTES])).map_err(failed)? {
        return Ok(None);
    }
    let text = format!("SELECT value FROM {NOTES} WHERE key = ?1");
    let text = database.query_row(&text, [TRAINING], |row| row.get::<_, String>(0));
    let Some(text) = text.optional().map_err(failed)? else { return Ok(None) };
    let training: Training = serde_json::from_str(&text).map_err(|e| {
        let place = format!("{file}: table {NOTES}, key {TRAINING:?}");
        Error::because(format!("{place}: expected the curves of a training in JSON"), e)
    })?;
    Ok(Some(training.history))
}
