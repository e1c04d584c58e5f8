//! A training in a safetensors file: any network, its buffers, velocities by parameter, and our notes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use striate_importers::ccv::ColourStatistics;
use striate_importers::safetensors::{self, Training};
use striate_nn::Network;
use striate_tensor::Device;

use super::{NOTES, Position, Saved, Snapshot, notes, notes_error, texts};
use crate::Result;

/// The key of the position and the colours.
const STATE: &str = "state";

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

pub(super) fn read(path: &Path, device: &Device) -> Result<(Network, Option<Saved>)> {
    let (network, training) = safetensors::read_training(path, device)?;
    let Some(Training { velocities, texts }) = training else { return Ok((network, None)) };
    let position = texts
        .get(STATE)
        .map(|text| serde_json::from_str::<State>(text).map_err(|error| notes_error(path, error)));
    let Some(State { epoch, iteration, colour }) = position.transpose()? else {
        return Ok((network, None));
    };
    let notes = texts.get(NOTES).map(|text| notes(path, text, &texts)).transpose()?;
    let colour = colour.map(|Colour { vectors, values }| ColourStatistics { vectors, values });
    let position = Position { epoch, iteration };
    Ok((network, Some(Saved { velocities, position, colour, notes })))
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
    let training = Training { velocities: snapshot.velocities.clone(), texts };
    Ok(safetensors::write_training(path, snapshot.network, &training)?)
}
