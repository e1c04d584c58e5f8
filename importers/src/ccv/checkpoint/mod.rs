//! Training checkpoints: a model file of ccv's with the tables that ccv's training keeps in it, and
//! two of ours for what ccv never stored.
//!
//! | table | holds |
//! | --- | --- |
//! | `function_state` | epoch, iteration, the epoch's order of the samples, colour statistics |
//! | `momentum_data` | the velocities of all weights and biases, f32 |
//! | `striate_weights` | weights as training has them, f32, of the layers where `layer_data` has others |
//! | `striate_notes` | texts by name: the specification, the metadata, and what the trainer notes |
//!
//! ccv reads such a file as a model, and passes over what is ours. `conv_vary_params`, where ccv
//! notes how it tuned its GPU kernels, is tolerated and never written.

mod read;
mod write;

use std::collections::BTreeMap;

use striate_nn::{LayerParameters, Network};

pub(super) use read::training_position;
pub use read::{read_checkpoint, read_training_notes};
pub(crate) use read::{read_checkpoint_source, read_training_notes_source};
pub(super) use write::write_state;
pub use write::{write_checkpoint, write_checkpoint_with};

/// The mean and the spread of colours over a training set: its principal components.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColourStatistics {
    /// The eigenvectors of the covariance of the channels, one a row.
    pub vectors: [[f64; 3]; 3],
    /// Their eigenvalues, in the order of the rows.
    pub values: [f64; 3],
}

/// What a training goes on from, beside the network.
///
/// ```
/// use striate_importers::ccv::TrainingState;
/// use striate_nn::Network;
///
/// /// A training at its very beginning, its velocities those of `still`.
/// fn beginning(still: &Network) -> TrainingState {
///     TrainingState {
///         velocities: still.layer_parameters(),
///         exact: vec![None; still.spec().nodes.len()],
///         ..TrainingState::default()
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrainingState {
    /// The velocities of momentum, of the shapes of the weights, one entry a layer: `Some` for
    /// every layer with weights, `None` for the others.
    pub velocities: Vec<Option<LayerParameters>>,
    /// The weights as training has them, one entry a layer: `Some` where the network's own are
    /// scaled for classification by one minus the dropout rate, which no division undoes exactly.
    pub exact: Vec<Option<LayerParameters>>,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The iteration within the epoch, counted from 0.
    pub iteration: u64,
    /// The order of the samples in this epoch: each is below their number.
    pub order: Vec<u32>,
    /// The colours of the training set, where they have been computed.
    pub colour: Option<ColourStatistics>,
    /// ccv's place within its own training function; 0, its beginning, in checkpoints of ours.
    pub line: u64,
    /// Texts by name, for whoever trains; `format`, `spec` and `metadata` are taken.
    pub notes: BTreeMap<String, String>,
}

/// A network, and the state of its training where there is one.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network, with its name, dropout rates and metadata where they were noted.
    pub network: Network,
    /// The state of its training; `None` for a model that is not in training.
    pub state: Option<TrainingState>,
}
