//! The settings of a training.

use striate_data::augment::Recipe;
use striate_nn::Metadata;

use crate::TrainOptions;
use crate::parallel::Ranks;

/// What a training is made of.
///
/// ```
/// use striate_data::augment::Recipe;
/// use striate_train::{SessionOptions, TrainOptions};
///
/// let options = SessionOptions {
///     train: TrainOptions { mini_batch: 32, max_epoch: 20, ..TrainOptions::default() },
///     recipe: Recipe::by_name("plain")?,
///     ..SessionOptions::default()
/// };
/// options.train.check(8)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How the network learns.
    pub train: TrainOptions,
    /// How pictures are formed.
    pub recipe: Recipe,
    /// Mini-batches between checkpoints within an epoch; at the end of an epoch there is one always.
    pub checkpoint_every: Option<u64>,
    /// Threads that form mini-batches ahead. The result does not depend on it.
    pub workers: usize,
    /// Decoded pictures are kept in memory up to so many bytes. The result does not depend on it.
    pub cache_bytes: usize,
    /// What the model files are to say of the network. What is left out is recorded by the session:
    /// the class names of the training samples, the recipe, and the view that it tests with, by the
    /// protocol `tested`.
    pub metadata: Metadata,
    /// Whether a class may have no training samples.
    pub allow_empty_classes: bool,
    /// The ranks that this session is one of; `None` where it trains on its device alone.
    pub ranks: Option<Ranks>,
}

impl Default for SessionOptions {
    /// ccv's way to train, plain pictures, two workers.
    fn default() -> Self {
        SessionOptions {
            train: TrainOptions::default(),
            recipe: Recipe::default(),
            checkpoint_every: None,
            workers: 2,
            cache_bytes: 0,
            metadata: Metadata::default(),
            allow_empty_classes: false,
            ranks: None,
        }
    }
}
