//! Training on many devices and many machines.
//!
//! A *rank* is a device that trains together with others: a thread of this process ([`Local`]) or a
//! process of its own, on this machine or another (`Mpi`, with the feature `mpi`). Every rank opens
//! the same [`Session`](crate::Session) on the same samples, with the [`Ranks`] that connect it; the
//! mini-batch stays as large as the options say, and each rank computes a part of it.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use striate_data::{Dataset, Image};
//! use striate_nn::{NetworkSpec, conv2d, pool};
//! use striate_tensor::{Device, Reference};
//! use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
//! use striate_train::{Result, Session, SessionOptions, TrainOptions};
//!
//! # fn main() -> Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for the example");
//! # let working = folder.path().join("digits.sqlite3");
//! let spec = NetworkSpec::new([8, 8, 1]).conv(conv2d(4, 3).relu()).max_pool(pool(2)).full_connect(2);
//! let pictures = (0..8).map(|i| Image::filled(8, 8, 1, i * 30)).collect::<Result<Vec<_>, _>>()?;
//! let samples = Dataset::from_images(pictures, vec![0, 0, 0, 0, 1, 1, 1, 1])?;
//! let train = TrainOptions { mini_batch: 4, max_epoch: 2, ..TrainOptions::default() };
//!
//! let run = |local: Local| -> Result<()> {
//!     let ranks = Ranks::new(Exchange::new(local)?, Parallel::Data);
//!     let train = train.clone();
//!     let options = SessionOptions { train, ranks: Some(ranks), ..SessionOptions::default() };
//!     let device = Device::new(Reference::new()); // one of its own
//!     let mut session =
//!         Session::open(&working, &spec, samples.clone(), options, &device)?;
//!     session.run(&mut (), &AtomicBool::new(false))?;
//!     Ok(())
//! };
//! std::thread::scope(|scope| {
//!     let run = &run;
//!     let ranks = Local::group(2).into_iter().map(|rank| scope.spawn(move || run(rank)));
//!     let ranks: Vec<_> = ranks.collect();
//!     ranks.into_iter().try_for_each(|rank| rank.join().expect("no panic"))
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! - **Data parallel** ([`Parallel::Data`]). A mini-batch is cut into a fixed number of shards by the
//!   places of its samples. Each shard is a forward and a backward pass of its own, with dropout of
//!   its own, whichever rank computes it; the gradients of shards are summed in a fixed tree, within
//!   the ranks and over them. So 1, 2 and 4 devices of one kind give the same bits, and a training
//!   goes on with another number of them as if nothing had happened. (Devices of different kinds, a
//!   GPU and a CPU or CPUs of different instruction sets, round differently; then the first one's
//!   weights go to all at the end of each epoch, so that replicas do not part.)
//! - **Hybrid** ([`Parallel::Hybrid`]) is scheme (c) of Krizhevsky's "One weird trick for
//!   parallelizing convolutional neural networks" (2014): convolutional layers are data parallel; of
//!   each full-connect layer a rank has some outputs, and computes them for the samples of all. Most
//!   weights are there, and these never travel; activations do. Masks of dropout are those of one
//!   device, and so is the result, but for the rounding of sums in another order.
//! - **Overlap.** A gradient leaves as soon as the backward pass has completed it, on the thread of
//!   the [`Exchange`]; [`StepEvent::exchange`](crate::StepEvent::exchange) tells what was sent and
//!   how long computation has waited for it.
//! - **Files.** Rank 0 alone reads and writes the working file, the same as that of one device; the
//!   others get what it holds from rank 0.
//! - **Loss of a rank** ends all others with [`Error::Rank`](crate::Error::Rank), which names it and
//!   says why, within seconds; the last checkpoint is whole.
//!
//! Transport is a [`Collective`], made of messages by anything that is a [`Transport`].

mod collective;
mod data;
mod exchange;
mod gradients;
mod hybrid;
mod launch;
mod learner;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod reports;
mod state;
mod statistics;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use collective::CHUNK;
#[cfg(test)]
pub(crate) use collective::shares;
pub use collective::{Collective, Counters, Incoming, Outgoing, Traffic, Transport};
pub use exchange::{Exchange, ExchangeReport, Lost, Pending};
pub(crate) use gradients::bucket_ends;
pub use launch::Launch;
pub(crate) use learner::{Learned, Learner, shards_of, tensors};
pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub(crate) use state::InitialState;

/// How a training is spread over ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parallel {
    /// Every rank has the whole network and a part of each mini-batch; gradients are summed.
    #[default]
    Data,
    /// Convolutional layers as with [`Data`](Parallel::Data); of the full-connect layers every rank
    /// has some outputs, and computes them for the samples of all.
    Hybrid,
}

/// The ranks that a session is one of.
#[derive(Clone, Debug)]
pub struct Ranks {
    /// What connects them.
    pub exchange: Arc<Exchange>,
    /// How the training is spread over them.
    pub parallel: Parallel,
    /// Data parallel: the shards that each mini-batch is cut into, a power of two. What the
    /// working file says if `None`, 4 in a new one, and as many as ranks at least.
    pub shards: Option<usize>,
    /// Hybrid: the pieces in which activations travel, so that one is on its way while another
    /// is computed. As many as ranks if `None`.
    pub pieces: Option<usize>,
}

impl Ranks {
    /// These, with everything as it is where nothing is said.
    pub fn new(exchange: Exchange, parallel: Parallel) -> Self {
        Ranks { exchange: Arc::new(exchange), parallel, shards: None, pieces: None }
    }
}

#[cfg(test)]
mod tests;
