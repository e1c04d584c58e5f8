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
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use striate_data::Dataset;
use striate_data::augment::Recipe;
use striate_data::source::Samples;
use striate_importers::ModelFile;
use striate_importers::ccv::{self, ColourStatistics, TrainingState};
use striate_nn::{LayerParameters, LayerSpec, Network, ParameterId, Role};
use striate_tensor::{Device, HostTensor, Tensor};

use crate::{Error, History, Result, TrainOptions};

/// The key of our notes in the file.
const NOTES: &str = "training";

/// The form of the notes. A file of a later form is refused.
const VERSION: u32 = 2;

/// The oldest form that is read: it knew samples by their number and a sum over their labels.
const OLDEST: u32 = 1;

/// The key of the list of training samples in the file, and of test samples.
const SAMPLES: [&str; 2] = ["training-samples", "test-samples"];

/// The longest list of samples that is kept, in bytes as it is packed. Several million names fit.
/// Of more samples the digest is kept alone: it still tells that they changed, but not which.
const MAX_LIST_BYTES: usize = 64 << 20;

/// What must stay the same for a training to be resumed as if nothing had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) seed: u64,
    pub(crate) mini_batch: usize,
    pub(crate) sgd_frequency: usize,
    /// Training samples, and a sum over their labels in their order.
    pub(crate) samples: usize,
    pub(crate) labels: String,
    /// The training samples; none in files of the first form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<Known>,
    /// The test samples that the curves and the best network are of; none where nothing was tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test: Option<Known>,
    pub(crate) recipe: Recipe,
    /// Shards of a mini-batch whose gradients are summed in a tree: 1 on a device alone. Another
    /// number gives other dropout and rounds otherwise; it is no other training.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) shards: usize,
}

/// Samples by what they are known by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Known {
    /// [`Samples::digest`](striate_data::source::Samples::digest).
    pub(crate) digest: String,
    /// The samples one by one, packed: in a note of their own, for they may be many.
    #[serde(skip)]
    pub(crate) list: Option<Arc<str>>,
}

impl Known {
    pub(crate) fn of(dataset: &Dataset) -> Self {
        let samples = dataset.samples();
        let list = Some(samples.pack()).filter(|list| list.len() <= MAX_LIST_BYTES);
        Known { digest: samples.digest(), list: list.map(Into::into) }
    }

    /// In what way these samples differ from those of before, where they do.
    pub(crate) fn difference(&self, before: &Known) -> Option<String> {
        if self.digest == before.digest {
            return None;
        }
        let samples = |known: &Known| Samples::unpack(known.list.as_deref()?);
        let told = samples(self).zip(samples(before)).and_then(|(now, old)| now.difference(&old));
        Some(told.unwrap_or_else(|| "names, sizes or labels are others".into()))
    }
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
    pub(crate) velocities: BTreeMap<ParameterId, Tensor>,
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
    history(path, &ccv::read_training_notes(path)?)
}

/// As [`read_history`], of a model file that is open: standard input, for example.
///
/// # Errors
/// Where its notes are damaged.
pub fn history_of(model: &ModelFile) -> Result<Option<History>> {
    history(Path::new(model.name()), &model.training_notes()?)
}

fn history(path: &Path, notes: &BTreeMap<String, String>) -> Result<Option<History>> {
    /// The part that is asked for; what options were used does not matter here.
    #[derive(Deserialize)]
    struct Curves {
        history: History,
    }
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
    let scales = stored_scales(&network);
    for (layer, stored) in state.velocities.into_iter().enumerate() {
        if let (Some(stored), Some([weight_id, bias_id])) = (stored, pair(&network, layer)) {
            let LayerParameters { weight, bias } = scaled(&stored, scales[layer].recip())?;
            velocities.insert(weight_id, weight);
            velocities.insert(bias_id, bias);
        }
    }
    let mut notes = state.notes.get(NOTES).map(|text| parse::<Notes>(path, text)).transpose()?;
    if let Some(Notes { identity: Identity { train, test, .. }, .. }) = &mut notes {
        for (known, key) in [train, test].into_iter().zip(SAMPLES) {
            if let Some(known) = known {
                known.list = state.notes.get(key).map(|list| list.as_str().into());
            }
        }
    }
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
    let parameters = exact.into_iter().zip(network.layer_parameters());
    let parameters = parameters.map(|(exact, held)| exact.or(held)).collect();
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
    (network, all_velocities): (&Network, &BTreeMap<ParameterId, Tensor>),
    position: Position,
    order: Vec<u32>,
    colour: Option<ColourStatistics>,
    notes: &Notes,
) -> Result<()> {
    let mut velocities = Vec::new();
    let scales = stored_scales(network);
    for (layer, parameters) in network.layer_parameters().iter().enumerate() {
        let (Some(parameters), Some([weight_id, bias_id])) = (parameters, pair(network, layer))
        else {
            velocities.push(None);
            continue;
        };
        let velocity = |id: ParameterId, like: &Tensor| match all_velocities.get(&id) {
            Some(velocity) => Ok(velocity.clone()),
            None => Tensor::zeros(*like.shape(), like.device()),
        };
        let own = LayerParameters {
            weight: velocity(weight_id, &parameters.weight)?,
            bias: velocity(bias_id, &parameters.bias)?,
        };
        velocities.push(Some(scaled(&own, scales[layer])?));
    }
    let text = serde_json::to_string(notes).map_err(|e| notes_error(path, e))?;
    let mut texts = BTreeMap::from([(NOTES.to_owned(), text)]);
    for (known, key) in [&notes.identity.train, &notes.identity.test].into_iter().zip(SAMPLES) {
        if let Some(list) = known.as_ref().and_then(|known| known.list.as_deref()) {
            texts.insert(key.to_owned(), list.to_owned());
        }
    }
    let state = TrainingState {
        velocities,
        exact: vec![None; network.spec().nodes.len()],
        epoch: position.epoch,
        iteration: position.iteration,
        order,
        colour,
        notes: texts,
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
    if !(OLDEST..=VERSION).contains(&version) {
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

/// What velocities of each layer are multiplied by in the file.
fn stored_scales(network: &Network) -> Vec<f32> {
    let mut scales = vec![1.0; network.spec().nodes.len()];
    // A dropout node that follows a layer is that layer's, as ccv has it.
    for layer in network.spec().chain().unwrap_or_default() {
        if let LayerSpec::FullConnect(full) = layer.layer
            // A power of two moves the exponent only.
            && (1.0 - full.dropout).log2().fract() == 0.0
        {
            scales[layer.node] = full.kept_scale();
        }
    }
    scales
}

/// The weights and the biases of a layer.
fn pair(network: &Network, layer: usize) -> Option<[ParameterId; 2]> {
    let id = |role| network.parameter_id(layer, role);
    Some([id(Role::Weight)?, id(Role::Bias)?])
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
