//! Training on many devices and many machines.
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

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use collective::{Collective, Counters, Incoming, Outgoing, Traffic, Transport};
pub use exchange::{Exchange, ExchangeReport, Lost, Pending};
pub use launch::Launch;
pub(crate) use learner::{Learner, shards_of, tensors};
pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub(crate) use state::Beginning;

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
