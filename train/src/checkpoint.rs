//! Checkpoints: a training in ccv's model file.
//!
//! ccv's tables hold the network, the velocities and the position; what ccv never stored (options,
//! seed, curves) is in a table of ours beside them.
//!
//! ccv's training weights are ours divided by `1 - dropout rate`, and so are its velocities. They
//! are stored as it has them where that costs no bit (a rate of 0.5, the only one that its own
//! program uses), as ours otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use striate_data::augment::Recipe;
use striate_importers::ccv::{self, ColourStatistics, TrainingState};
use striate_nn::{LayerParameters, LayerSpec, Network};
use striate_tensor::{Device, HostTensor, Tensor};

use crate::{Error, History, Result, TrainOptions};

/// The key of our notes in the file.
const NOTES: &str = "training";

/// The form of the notes. A file of a later form is refused.
const VERSION: u32 = 1;

/// What must stay the same for a training to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) seed: u64,
    pub(crate) mini_batch: usize,
    pub(crate) sgd_frequency: usize,
    /// Training samples, and a sum over their labels in their order.
    pub(crate) samples: usize,
    pub(crate) labels: String,
    pub(crate) recipe: Recipe,
    /// Shards of a mini-batch whose gradients are summed in a tree: 1 on a device alone. Another
    /// number gives other dropout and rounds otherwise; it is no other training.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) shards: usize,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(shards: &usize) -> bool {
    *shards == 1
}

/// What ccv has no place for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Notes {
    version: u32,
    pub(crate) identity: Identity,
    pub(crate) options: TrainOptions,
    pub(crate) history: History,
}

impl Notes {
    pub(crate) fn new(identity: Identity, options: TrainOptions, history: History) -> Self {
        Notes { version: VERSION, identity, options, history }
    }
}

/// Where a training is: what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The mini-batch within it, from 0.
    pub iteration: u64,
}

/// A training as it was saved.
pub(crate) struct Saved {
    pub(crate) velocities: BTreeMap<String, Tensor>,
    pub(crate) position: Position,
    pub(crate) colour: Option<ColourStatistics>,
    /// None in a file that ccv itself left.
    pub(crate) notes: Option<Notes>,
}

/// The curves of a training, out of its working file; `None` where the file holds none.
///
/// # Errors
/// Where the file is no ccv model file, or its notes are damaged.
pub fn read_history(path: impl AsRef<Path>) -> Result<Option<History>> {
    let path = path.as_ref();
    /// The part that is asked for; what options were used does not matter here.
    #[derive(Deserialize)]
    struct Curves {
        history: History,
    }
    let notes = ccv::read_training_notes(path)?;
    Ok(match notes.get(NOTES) {
        Some(text) => Some(parse::<Curves>(path, text)?.history),
        None => None,
    })
}

/// Whether a file is the working file of a training. What cannot be read is none.
pub(crate) fn holds_training(path: &Path) -> bool {
    path.is_file() && ccv::read_training_notes(path).is_ok_and(|notes| notes.contains_key(NOTES))
}

/// What a working file holds: the network alone where nobody has trained in it.
pub(crate) fn read(path: &Path, device: &Device) -> Result<(Network, Option<Saved>)> {
    let ccv::Checkpoint { network, state } = ccv::read_checkpoint(path, device)?;
    let Some(state) = state else { return Ok((network, None)) };
    let network = with_exact(network, state.exact, device)?;
    let mut velocities = BTreeMap::new();
    for (layer, (spec, stored)) in network.spec().layers.iter().zip(state.velocities).enumerate() {
        if let Some(stored) = stored {
            let LayerParameters { weight, bias } = scaled(&stored, stored_scale(spec).recip())?;
            velocities.insert(format!("{layer}.weight"), weight);
            velocities.insert(format!("{layer}.bias"), bias);
        }
    }
    let notes = state.notes.get(NOTES).map(|text| parse::<Notes>(path, text)).transpose()?;
    let position = Position { epoch: state.epoch, iteration: state.iteration };
    Ok((network, Some(Saved { velocities, position, colour: state.colour, notes })))
}

/// The network with the weights that training has, where the file holds others to classify with
/// (half-precision ones).
fn with_exact(
    network: Network,
    exact: Vec<Option<LayerParameters>>,
    device: &Device,
) -> Result<Network> {
    if exact.iter().all(Option::is_none) {
        return Ok(network);
    }
    let parameters = exact.into_iter().zip(network.parameters());
    let parameters = parameters.map(|(exact, held)| exact.or_else(|| held.clone())).collect();
    let mut whole = Network::new(network.spec().clone(), parameters, device)?
        .with_metadata(network.metadata().clone());
    if let Some(mean) = network.mean() {
        whole = whole.with_mean(mean.clone())?;
    }
    Ok(whole)
}

/// Saves a training: the file is whole, or as it was before.
pub(crate) fn write(
    path: &Path,
    (network, velocities_by_name): (&Network, &BTreeMap<String, Tensor>),
    position: Position,
    order: Vec<u32>,
    colour: Option<ColourStatistics>,
    notes: &Notes,
) -> Result<()> {
    let mut velocities = Vec::new();
    for (layer, parameters) in network.parameters().iter().enumerate() {
        let Some(parameters) = parameters else {
            velocities.push(None);
            continue;
        };
        let velocity =
            |kind: &str, like: &Tensor| match velocities_by_name.get(&format!("{layer}.{kind}")) {
                Some(velocity) => Ok(velocity.clone()),
                None => Tensor::zeros(*like.shape(), like.device()),
            };
        let own = LayerParameters {
            weight: velocity("weight", &parameters.weight)?,
            bias: velocity("bias", &parameters.bias)?,
        };
        velocities.push(Some(scaled(&own, stored_scale(&network.spec().layers[layer]))?));
    }
    let notes = serde_json::to_string(notes).map_err(|e| notes_error(path, e))?;
    let state = TrainingState {
        velocities,
        exact: vec![None; network.spec().layers.len()],
        epoch: position.epoch,
        iteration: position.iteration,
        order,
        colour,
        notes: BTreeMap::from([(NOTES.to_owned(), notes)]),
        ..TrainingState::default()
    };
    Ok(ccv::write_checkpoint(path, network, &state)?)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    /// Read first: a later form may hold what this one does not know.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text).map_err(|e| notes_error(path, e))?;
    if version != VERSION {
        return Err(Error::NotesVersion {
            file: path.display().to_string(),
            version,
            known: VERSION,
        });
    }
    serde_json::from_str(text).map_err(|e| notes_error(path, e))
}

fn notes_error(path: &Path, error: serde_json::Error) -> Error {
    Error::Notes { file: path.display().to_string(), source: error }
}

/// What velocities of a layer are multiplied by in the file.
fn stored_scale(spec: &LayerSpec) -> f32 {
    match spec {
        // A power of two moves the exponent only.
        LayerSpec::FullConnect(full) if (1.0 - full.dropout).log2().fract() == 0.0 => {
            full.kept_scale()
        }
        _ => 1.0,
    }
}

fn scaled(parameters: &LayerParameters, factor: f32) -> Result<LayerParameters> {
    if factor == 1.0 {
        return Ok(parameters.clone());
    }
    let scale = |tensor: &Tensor| -> Result<Tensor> {
        let host = tensor.to_host()?;
        let shape = host.ty().shape;
        let values = host.into_values().into_vec::<f32>().unwrap_or_default();
        let values: Vec<f32> = values.into_iter().map(|v| v * factor).collect();
        Ok(Tensor::from_host(HostTensor::new(shape, values)?, tensor.device())?)
    };
    Ok(LayerParameters { weight: scale(&parameters.weight)?, bias: scale(&parameters.bias)? })
}
