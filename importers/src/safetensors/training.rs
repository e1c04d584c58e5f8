//! The state of a training, beside the network in our own form.

use std::collections::BTreeMap;
use std::path::Path;

use striate_nn::{Network, ParameterId};
use striate_tensor::{DType, Device, Tensor};

use super::file::TensorFile;
use super::model::{self, TRAINING, parameter_name};
use crate::options::{ReadOptions, WriteOptions};
use crate::{Error, Result};

/// What the names of velocities begin with; the parameter's name follows.
const VELOCITY: &str = "train.velocity.";
/// What the metadata keys of the training's texts begin with.
const TEXT: &str = "striate.train.";

/// The state of a training: what a network alone does not hold.
///
/// Velocities are the tensors `train.velocity.NAME`, f32, by the names of their parameters; texts are
/// metadata `striate.train.NAME`.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// The velocities of momentum; none of parameters that have not moved.
    pub velocities: BTreeMap<ParameterId, Tensor>,
    /// Texts by name; with the network's own metadata at most 32 MB.
    pub texts: BTreeMap<String, String>,
}

/// Writes a network and the state of its training, into a temporary file that then takes the target's
/// place: a crash, a kill or a full disk leaves the checkpoint that was there. Any network can be
/// written, and anything that reads our form reads the network.
///
/// # Errors
/// As [`write`](super::write()); [`Error::Content`] where a velocity is of no parameter.
pub fn write_training(
    path: impl AsRef<Path>,
    network: &Network,
    training: &Training,
) -> Result<()> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let mut extra = Vec::with_capacity(training.velocities.len());
    for (id, velocity) in &training.velocities {
        let Some(info) = network.parameter_infos().get(id.index()) else {
            let expected = "velocities of the network's parameters";
            return Err(Error::content(&file, "the velocities", expected, format!("of {}", id.0)));
        };
        let name = parameter_name(network.spec(), info);
        extra.push((format!("{VELOCITY}{name}"), velocity.clone()));
    }
    let texts =
        training.texts.iter().map(|(name, text)| (format!("{TEXT}{name}"), text.clone())).collect();
    model::write_with(path, network, &WriteOptions::default(), &extra, texts)
}

/// Reads a network, and the state of its training where there is one. Weights are in the precision of
/// the file, the state in f32.
///
/// # Errors
/// As [`read`](super::read()), and where a velocity is of no parameter or of another shape.
pub fn read_training(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<(Network, Option<Training>)> {
    let file = TensorFile::open(path)?;
    let network = model::read(&file, device, &ReadOptions::default())?;
    let texts = texts(&file);
    if texts.is_empty() {
        return Ok((network, None));
    }
    let mut training = Training { texts, ..Training::default() };
    let spec = network.spec();
    let ids: BTreeMap<String, ParameterId> = (network.parameter_infos().iter().enumerate())
        .map(|(id, info)| (parameter_name(spec, info), ParameterId(id as u32)))
        .collect();
    for name in file.names() {
        let place = || format!("tensor {name}");
        if let Some(parameter) = name.strip_prefix(VELOCITY) {
            let Some(id) = ids.get(parameter) else {
                let expected = "velocities of the network's parameters";
                return Err(Error::content(file.name(), place(), expected, "another"));
            };
            model::check_shape(&file, name, &network.parameter_infos()[id.index()].shape)?;
            training.velocities.insert(*id, file.tensor(name, device, Some(DType::F32))?);
        }
    }
    file.check_unchanged()?;
    Ok((network, Some(training)))
}

/// The texts of a training by name; none where the file holds none.
pub(crate) fn texts(file: &TensorFile) -> BTreeMap<String, String> {
    let named = file.metadata().iter();
    named
        .filter_map(|(key, text)| Some((key.strip_prefix(TEXT)?.to_owned(), text.clone())))
        .collect()
}

const _: () = assert!(TRAINING.len() < VELOCITY.len());
