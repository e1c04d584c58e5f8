//! The state of a training, beside the network in our own form.

use std::collections::BTreeMap;
use std::path::Path;

use striate_nn::{Network, OptimizerState, ParameterId};
use striate_tensor::{DType, Device};

use super::file::TensorFile;
use super::model::{self, TRAINING, parameter_name};
use crate::options::{ReadOptions, WriteOptions};
use crate::state_dict::check_shape;
use crate::{Error, Result, TrainingPosition};

/// What the metadata keys of the training's texts begin with.
const TEXT: &str = "striate.train.";
/// The text with the number of the optimizer's steps.
const STEPS: &str = "steps";

/// The name under which files hold what an optimizer remembers of a parameter: `train.velocity.NAME`, for
/// example.
pub fn state_name(kind: &str, parameter: &str) -> String {
    format!("{TRAINING}{kind}.{parameter}")
}

/// The state of a training: what a network alone does not hold.
///
/// What the optimizer remembers are tensors `train.KIND.NAME`, f32, by what they are and by the names of
/// their parameters ([`state_name`]); texts are metadata `striate.train.NAME`, and the number of the
/// optimizer's steps is the text `steps`, where it counts them.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// What the optimizer remembers; nothing of parameters that have not moved.
    pub state: OptimizerState,
    /// Texts by name; with the network's own metadata at most 32 MB.
    pub texts: BTreeMap<String, String>,
}

/// Writes a network and the state of its training, into a temporary file that then takes the target's
/// place: a crash, a kill or a full disk leaves the checkpoint that was there. Any network can be
/// written, and anything that reads our form reads the network.
///
/// # Errors
/// As [`write`](super::write()); [`Error::Content`] where a tensor of the state is of no parameter.
pub fn write_training(
    path: impl AsRef<Path>,
    network: &Network,
    training: &Training,
) -> Result<()> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let mut extra = Vec::new();
    for (kind, tensors) in &training.state.tensors {
        for (id, tensor) in tensors {
            let Some(info) = network.parameter_infos().get(id.index()) else {
                let (place, expected) = (format!("the {kind}"), "that of the network's parameters");
                return Err(Error::content(&file, place, expected, format!("of {}", id.0)));
            };
            extra.push((state_name(kind, &parameter_name(network.spec(), info)), tensor.clone()));
        }
    }
    let texts = training.texts.iter();
    let mut texts: BTreeMap<String, String> =
        texts.map(|(name, text)| (format!("{TEXT}{name}"), text.clone())).collect();
    if training.state.steps > 0 {
        texts.insert(format!("{TEXT}{STEPS}"), training.state.steps.to_string());
    }
    model::write_with(path, network, &WriteOptions::default(), &extra, texts)
}

/// Reads a network, and the state of its training where there is one. Weights are in the precision of
/// the file, the state in f32.
///
/// # Errors
/// As [`read`](super::read()), and where a tensor of the state is of no parameter or of another shape.
pub fn read_training(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<(Network, Option<Training>)> {
    read_training_with(path, device, &ReadOptions::default())
}

/// As [`read_training`], with options for the network: its [custom ops](ReadOptions::custom_ops), for
/// example.
///
/// # Errors
/// As [`read_training`].
pub fn read_training_with(
    path: impl AsRef<Path>,
    device: &Device,
    options: &ReadOptions,
) -> Result<(Network, Option<Training>)> {
    read_open(&TensorFile::open(path)?, device, options)
}

/// As [`read_training_with`], of an open file.
pub(super) fn read_open(
    file: &TensorFile,
    device: &Device,
    options: &ReadOptions,
) -> Result<(Network, Option<Training>)> {
    let network = model::read(file, device, options)?;
    let mut texts = texts(file);
    if texts.is_empty() {
        return Ok((network, None));
    }
    let steps = match texts.remove(STEPS) {
        Some(text) => text.parse().map_err(|_| {
            let place = format!("metadata {TEXT}{STEPS}");
            Error::content(file.name(), place, "a number of steps", text)
        })?,
        None => 0,
    };
    let mut state = OptimizerState { steps, ..OptimizerState::default() };
    let spec = network.spec();
    let ids: BTreeMap<String, ParameterId> = (network.parameter_infos().iter().enumerate())
        .map(|(id, info)| (parameter_name(spec, info), ParameterId(id as u32)))
        .collect();
    for name in file.names() {
        let Some(own) = name.strip_prefix(TRAINING) else { continue };
        let known = own.split_once('.').and_then(|(kind, name)| Some((kind, *ids.get(name)?)));
        let Some((kind, id)) = known else {
            let expected = "state of the network's parameters";
            return Err(Error::content(file.name(), format!("tensor {name}"), expected, "another"));
        };
        check_shape(file, name, &network.parameter_infos()[id.index()].shape)?;
        let tensor = file.tensor(name, device, Some(DType::F32))?;
        state.tensors.entry(kind.to_owned()).or_default().insert(id, tensor);
    }
    file.check_unchanged()?;
    Ok((network, Some(Training { state, texts })))
}

/// The texts of a training by name; none where the file holds none.
pub(crate) fn texts(file: &TensorFile) -> BTreeMap<String, String> {
    let named = file.metadata().iter();
    named
        .filter_map(|(key, text)| Some((key.strip_prefix(TEXT)?.to_owned(), text.clone())))
        .collect()
}

/// Where a training is, and with which options it goes on, as far as its texts say so: for people, and so
/// nothing is wrong with what they do not say.
pub(super) fn noted(file: &TensorFile) -> Option<(TrainingPosition, Option<serde_json::Value>)> {
    let texts = texts(file);
    let parsed = |name: &str| serde_json::from_str::<serde_json::Value>(texts.get(name)?).ok();
    let (state, mut notes) = (parsed("state")?, parsed("training"));
    let number = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_u64);
    let samples = notes.as_ref().and_then(|notes| number(notes["identity"].get("samples")));
    let position = TrainingPosition {
        epoch: number(state.get("epoch"))?,
        iteration: number(state.get("iteration"))?,
        samples: samples.unwrap_or(0),
    };
    Some((position, notes.as_mut().map(|notes| notes["options"].take())))
}
