//! Batches of pictures, formed ahead of the network by worker threads.
//!
//! What a batch holds depends on the data set, the augmenter and (seed, epoch, position) only,
//! never on the number of workers or on who is faster; so training that goes on in the middle of an
//! epoch sees what it would have seen.

mod cache;
mod order;
mod workers;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::augment::Augmenter;
use crate::decode::Limits;
use crate::{Dataset, Error, Result};
use cache::Cache;

pub use workers::Batches;

/// A picture that was left out, and why.
#[derive(Debug)]
pub struct Skipped {
    /// Its number in the data set.
    pub index: usize,
    /// Its file, or its place in one.
    pub name: String,
    /// What was wrong with it.
    pub error: Error,
}

/// The picture and why it was left out, in one sentence: the name once, and the reason of each source.
impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.error.to_string();
        let mut source = std::error::Error::source(&self.error);
        while let Some(error) = source {
            let reason = error.to_string();
            if !text.ends_with(&reason) {
                text.push_str(": ");
                text.push_str(&reason);
            }
            source = error.source();
        }
        match text.contains(&self.name) {
            true => f.write_str(&text),
            false => write!(f, "{}: {text}", self.name),
        }
    }
}

impl Skipped {
    pub(crate) fn new(dataset: &Dataset, index: usize, error: Error) -> Self {
        Self { index, name: dataset.name(index), error }
    }
}

/// What batches are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training: each epoch in an order of its own, views as the recipe draws them, both from this
    /// seed; the last batch of an epoch may be smaller.
    Train {
        /// The seed of the run.
        seed: u64,
    },
    /// Testing: in the order of the data set, its test views; the last batch may be smaller.
    Test,
}

/// How a [`Loader`] works.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Pictures a batch.
    pub batch: usize,
    /// Threads that form batches, one batch each at a time.
    pub workers: usize,
    /// Batches that may be in memory at the same time beside the one that the caller holds: finished
    /// and waiting, or being formed. At least one.
    pub ahead: usize,
    /// Decoded pictures are kept in memory up to so many bytes: those that come first. Of use where
    /// the set is small; it changes no result.
    pub cache_bytes: usize,
    /// What a picture file may cost.
    pub limits: Limits,
    /// Which part of each batch is formed: all of it, unless others form the rest.
    pub shards: Shards,
}

/// A part of every batch, where several loaders form the same batches together: each batch is cut
/// into shards as even as can be, by the places of its pictures, and a loader forms some of them.
/// What a shard holds does not depend on who forms it; all shards together are the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Shards of a batch.
    pub of: usize,
    /// Those that are formed, counted from 0.
    pub own: Range<usize>,
}

impl Default for Shards {
    /// The only one.
    fn default() -> Self {
        Self { of: 1, own: 0..1 }
    }
}

impl Shards {
    /// The places of shard `shard` in a batch of so many.
    fn places(&self, shard: usize, count: usize) -> Range<usize> {
        count * shard / self.of..count * (shard + 1) / self.of
    }
}

impl Default for LoaderOptions {
    /// Batches of 32, as many workers as the machine runs threads, one batch more than that
    /// ahead, nothing cached.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            batch: 32,
            workers,
            ahead: workers + 1,
            cache_bytes: 0,
            limits: Limits::default(),
            shards: Shards::default(),
        }
    }
}

/// Where in a run of epochs a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchPosition {
    /// The epoch, from 0.
    pub epoch: u32,
    /// The batch in the epoch, from 0.
    pub batch: usize,
}

/// Pictures for one step of training or testing.
#[derive(Debug)]
pub struct Batch {
    /// Where in the run it is.
    pub position: BatchPosition,
    /// The network's input `[rows, cols, channels]` of one picture.
    pub input: [usize; 3],
    /// `[n, rows, cols, channels]`, `n` as many as there are labels. Usually the loader's batch
    /// size; smaller by each picture that could not be read, and in the last batch of an epoch.
    pub images: Vec<f32>,
    /// The class labels, from 0.
    pub labels: Vec<u32>,
    /// How many of the pictures each [shard](Shards) has that was formed, one after another.
    pub shards: Vec<usize>,
    /// How many pictures are missing because they could not be read.
    pub missing: usize,
    /// Of the missing ones those that the loader has not reported before.
    pub skipped: Vec<Skipped>,
}

impl Batch {
    /// How many pictures there are; 0 when none of them could be read.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture in it.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `[n, rows, cols, channels]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.len(), self.input[0], self.input[1], self.input[2]]
    }
}

/// Forms batches of a data set.
///
/// ```
/// use std::sync::Arc;
/// use striate_data::augment::{Augmenter, Recipe};
/// use striate_data::loader::{Loader, LoaderOptions, BatchPosition, Purpose};
/// use striate_data::{Dataset, Geometry, Image};
///
/// let pictures = (0..10).map(|i| Image::filled(8, 8, 1, i * 20)).collect::<Result<_, _>>()?;
/// let dataset = Arc::new(Dataset::from_images(pictures, (0..10).collect())?);
/// let geometry = Geometry { image: [8, 8], net: [6, 6], channels: 1, scan_scale: 1 };
/// let augmenter = Augmenter::new(&Recipe::by_name("ccv")?, &geometry, None, None)?;
/// let options = LoaderOptions { batch: 4, ..LoaderOptions::default() };
/// let loader = Loader::new(dataset, Arc::new(augmenter), Purpose::Train { seed: 1 }, options)?;
///
/// // Two epochs, from the second batch of the first.
/// let mut batches = loader.batches(BatchPosition { epoch: 0, batch: 1 }, 2)?;
/// let mut seen = 0;
/// while let Some(batch) = batches.next_batch()? {
///     assert_eq!(batch.shape()[1..], [6, 6, 1]);
///     seen += 1;
///     batches.recycle(batch.images);
/// }
/// assert_eq!(seen, 2 + 3);
/// # Ok::<(), striate_data::Error>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    source: Arc<Source>,
    /// The pictures that were reported as broken.
    reported: Arc<Mutex<HashSet<usize>>>,
}

/// What workers share: everything that decides what a batch holds.
#[derive(Debug)]
struct Source {
    dataset: Arc<Dataset>,
    augmenter: Arc<Augmenter>,
    purpose: Purpose,
    options: LoaderOptions,
    cache: Cache,
}

impl Loader {
    /// A loader; threads are started by [`Loader::batches`].
    ///
    /// # Errors
    /// [`Error::Setting`] for a batch of no pictures or too many, no worker, no batch ahead.
    pub fn new(
        dataset: Arc<Dataset>,
        augmenter: Arc<Augmenter>,
        purpose: Purpose,
        options: LoaderOptions,
    ) -> Result<Self> {
        for (what, value) in [
            ("the loader's batch size", options.batch),
            ("the loader's number of workers", options.workers),
            ("the loader's number of batches ahead", options.ahead),
        ] {
            if value == 0 {
                let expected = "at least 1".to_owned();
                return Err(Error::Setting { what, expected, got: "0".to_owned() });
            }
        }
        let Shards { of, own } = &options.shards;
        if own.is_empty() || own.end > *of {
            return Err(Error::Setting {
                what: "the loader's shards of a batch",
                expected: format!("some of {of}"),
                got: format!("{own:?}"),
            });
        }
        let needed = options.batch.checked_mul(augmenter.input_len());
        if needed.is_none_or(|n| n > isize::MAX as usize / size_of::<f32>()) {
            return Err(Error::Setting {
                what: "the loader's batch size",
                expected: format!("one whose pictures of {:?} fit memory", augmenter.input()),
                got: options.batch.to_string(),
            });
        }
        // Pictures in memory are not decoded, so that there is nothing to save.
        let budget = if dataset.in_memory() { 0 } else { options.cache_bytes };
        let cache = Cache::new(dataset.len(), budget);
        let source = Source { dataset, augmenter, purpose, options, cache };
        Ok(Self { source: Arc::new(source), reported: Arc::default() })
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.source.dataset
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.source.batches_per_epoch()
    }

    /// Starts the workers, which form the batches from `from` on to the end of epoch
    /// `end_epoch - 1`, and gives the batches in order. A position beyond an epoch's last batch is
    /// the start of the next epoch.
    ///
    /// Broken pictures make a batch smaller; each is reported by the first batch of this loader that
    /// misses it.
    ///
    /// # Errors
    /// [`Error::Thread`] when a thread cannot be started.
    pub fn batches(&self, from: BatchPosition, end_epoch: u32) -> Result<Batches> {
        Batches::start(Arc::clone(&self.source), Arc::clone(&self.reported), from, end_epoch)
    }
}

impl Source {
    fn batches_per_epoch(&self) -> usize {
        self.dataset.len().div_ceil(self.options.batch)
    }
}

/// A lock whose holder panicked guards nothing that can be half done here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
