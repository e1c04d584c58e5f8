//! Checkpoints: a training in ccv's model file.
//!
//! ccv's tables hold the network, the velocities and the position; what ccv never stored (options,
//! seed, curves) is in a table of ours beside them. ccv's own training weights are ours divided by
//! `1 - dropout rate`, so velocities are stored divided likewise: where that loses bits, the exact
//! ones are stored too.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use striate_data::augment::Recipe;
use striate_importers::ccv::{self, ColourStatistics, TrainingState};
use striate_nn::{LayerParameters, LayerSpec, Network};
use striate_tensor::{Device, HostTensor, Tensor};

use crate::{Error, History, Result, TrainOptions, Trainer};

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
    pub(crate) network: Network,
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
    let notes = ccv::read_notes(path)?;
    Ok(match notes.get(NOTES) {
        Some(text) => Some(parse(path, text)?.history),
        None => None,
    })
}

/// What a working file holds: the network alone where nobody has trained in it.
pub(crate) fn read(path: &Path, device: &Device) -> Result<(Network, Option<Saved>)> {
    let ccv::Checkpoint { network, state } = ccv::read_checkpoint(path, device)?;
    let Some(state) = state else { return Ok((network, None)) };
    let mut velocities = BTreeMap::new();
    let layers = network.spec().layers.iter().zip(state.velocities).zip(state.exact);
    for (layer, ((spec, stored), exact)) in layers.enumerate() {
        let parameters = match (exact, stored) {
            (Some(exact), _) => exact,
            (None, Some(stored)) => scaled(&stored, kept(spec))?,
            (None, None) => continue,
        };
        velocities.insert(format!("{layer}.weight"), parameters.weight);
        velocities.insert(format!("{layer}.bias"), parameters.bias);
    }
    let notes = state.notes.get(NOTES).map(|text| parse(path, text)).transpose()?;
    let position = Position { epoch: state.epoch, iteration: state.iteration };
    let saved =
        Saved { network: network.clone(), velocities, position, colour: state.colour, notes };
    Ok((network, Some(saved)))
}

/// Saves a training: the file is whole, or as it was before.
pub(crate) fn write(
    path: &Path,
    trainer: &Trainer,
    position: Position,
    order: Vec<u32>,
    colour: Option<ColourStatistics>,
    notes: &Notes,
) -> Result<()> {
    let network = trainer.network();
    let mut velocities = Vec::new();
    let mut exact = Vec::new();
    for (layer, parameters) in network.parameters().iter().enumerate() {
        let Some(parameters) = parameters else {
            velocities.push(None);
            exact.push(None);
            continue;
        };
        let velocity = |kind: &str, like: &Tensor| {
            match trainer.velocities().get(&format!("{layer}.{kind}")) {
                Some(velocity) => Ok(velocity.clone()),
                None => Tensor::zeros(*like.shape(), like.device()),
            }
        };
        let own = LayerParameters {
            weight: velocity("weight", &parameters.weight)?,
            bias: velocity("bias", &parameters.bias)?,
        };
        let kept = kept(&network.spec().layers[layer]);
        let stored = scaled(&own, 1.0 / kept)?;
        let back = scaled(&stored, kept)?;
        let lossless = same_bits(&own.weight, &back.weight)? && same_bits(&own.bias, &back.bias)?;
        exact.push((!lossless).then_some(own));
        velocities.push(Some(stored));
    }
    let notes = serde_json::to_string(notes).map_err(|e| notes_error(path, e))?;
    let state = TrainingState {
        velocities,
        exact,
        epoch: position.epoch,
        iteration: position.iteration,
        order,
        colour,
        notes: BTreeMap::from([(NOTES.to_owned(), notes)]),
    };
    Ok(ccv::write_checkpoint(path, network, &state)?)
}

fn parse(path: &Path, text: &str) -> Result<Notes> {
    /// Read first: a later form may hold what this one does not know.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text).map_err(|e| notes_error(path, e))?;
    if version != VERSION {
        let message = format!("their form is {version}; this program knows {VERSION}");
        return Err(Error::Notes { file: path.display().to_string(), message });
    }
    serde_json::from_str(text).map_err(|e| notes_error(path, e))
}

fn notes_error(path: &Path, error: serde_json::Error) -> Error {
    Error::Notes { file: path.display().to_string(), message: error.to_string() }
}

/// The share of a layer's outputs that dropout keeps.
fn kept(spec: &LayerSpec) -> f32 {
    match spec {
        LayerSpec::FullConnect(full) => 1.0 - full.dropout,
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

fn same_bits(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.to_host()?.values().bytes() == b.to_host()?.values().bytes())
}
