//! A training in a safetensors file: any network, its buffers, velocities by parameter, and our notes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use striate_importers::ReadOptions;
use striate_importers::ccv::ColourStatistics;
use striate_importers::safetensors::{self, Training};
use striate_nn::{Network, NetworkSpec, OptimizerState, ParameterId};
use striate_tensor::Device;

use super::{NOTES, Position, Saved, Snapshot, notes, notes_error, texts};
use crate::Result;
use crate::descent::{AVERAGE, averaged};

/// The key of the position and the colours.
const STATE: &str = "state";

/// What weights are called in a file whose network has averages of them in their place.
const WEIGHTS: &str = "weights";

/// The longest list of samples that is kept, in bytes as it is packed: the file's header has a limit.
const MAX_LIST_BYTES: usize = 8 << 20;

/// What is no tensor, beside the notes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct State {
    epoch: u64,
    iteration: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    colour: Option<Colour>,
}

/// [`ColourStatistics`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Colour {
    vectors: [[f64; 3]; 3],
    values: [f64; 3],
}

pub(super) fn read(
    path: &Path,
    spec: &NetworkSpec,
    device: &Device,
) -> Result<(Network, Option<Saved>)> {
    let options = ReadOptions::default().custom_ops(spec.custom_ops());
    let (network, training) = safetensors::read_training_with(path, device, &options)?;
    let Some(Training { state, texts }) = training else { return Ok((network, None)) };
    let position = texts
        .get(STATE)
        .map(|text| serde_json::from_str::<State>(text).map_err(|error| notes_error(path, error)));
    let Some(State { epoch, iteration, colour }) = position.transpose()? else {
        return Ok((network, None));
    };
    let notes = texts.get(NOTES).map(|text| notes(path, text, &texts)).transpose()?;
    let colour = colour.map(|Colour { vectors, values }| ColourStatistics { vectors, values });
    let position = Position { epoch, iteration };
    let (network, state) = with_weights(network, state)?;
    Ok((network, Some(Saved { state, position, colour, notes })))
}

/// A file's network and state as training has them: the weights in the network, their averages beside it.
fn with_weights(network: Network, mut state: OptimizerState) -> Result<(Network, OptimizerState)> {
    let Some(weights) = state.tensors.remove(WEIGHTS) else { return Ok((network, state)) };
    let averages = network.parameters().iter().zip(0..);
    let averages = averages.map(|(tensor, id)| (ParameterId(id), tensor.clone()));
    let averages = averages.filter(|(id, _)| weights.contains_key(id)).collect();
    let network = averaged(&network, &weights)?;
    state.tensors.insert(AVERAGE.to_owned(), averages);
    Ok((network, state))
}

/// The reverse: a file's network is the one to use.
fn with_averages(network: &Network, state: &OptimizerState) -> Result<(Network, OptimizerState)> {
    let mut state = state.clone();
    let averages = state.tensors.remove(AVERAGE).unwrap_or_default();
    if averages.is_empty() {
        return Ok((network.clone(), state));
    }
    let weights = network.parameters().iter().zip(0..);
    let weights = weights.map(|(tensor, id)| (ParameterId(id), tensor.clone()));
    state
        .tensors
        .insert(WEIGHTS.to_owned(), weights.filter(|(id, _)| averages.contains_key(id)).collect());
    Ok((averaged(network, &averages)?, state))
}

pub(super) fn write(path: &Path, snapshot: &Snapshot<'_>) -> Result<()> {
    let Position { epoch, iteration } = snapshot.position;
    let colour = snapshot
        .colour
        .as_ref()
        .map(|colour| Colour { vectors: colour.vectors, values: colour.values });
    let state = serde_json::to_string(&State { epoch, iteration, colour });
    let state = state.map_err(|error| notes_error(path, error))?;
    let (text, lists) = texts(path, snapshot.notes)?;
    // The order of the samples follows from the seed: only ccv's form has a place for it.
    let mut texts = BTreeMap::from([(STATE.to_owned(), state), (NOTES.to_owned(), text)]);
    // Without a list its digest still tells that the samples are others, but not which.
    let short = lists.into_iter().filter(|(_, list)| list.len() <= MAX_LIST_BYTES);
    texts.extend(short);
    let (network, state) = with_averages(snapshot.network, snapshot.state)?;
    Ok(safetensors::write_training(path, &network, &Training { state, texts })?)
}
