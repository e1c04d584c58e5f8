//! Checkpoints: a training in its working file.
//!
//! The file is a model file at every moment, which anything can classify with. Its form follows its
//! name: [safetensors](safetensors) holds any network; [ccv's](ccv) sqlite, for names that end in
//! `.sqlite3`, `.sqlite` or `.db`, holds those that ccv's tables can describe.

mod ccv;
mod safetensors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use striate_data::Dataset;
use striate_data::augment::Recipe;
use striate_data::source::Samples;
use striate_importers::Format;
use striate_importers::ModelFile;
use striate_importers::ccv::ColourStatistics;
use striate_nn::{Method, Network, NetworkSpec, OptimizerState};
use striate_tensor::Device;

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
    /// What the optimizer remembers, and averages of the weights.
    pub(crate) state: OptimizerState,
    pub(crate) position: Position,
    pub(crate) colour: Option<ColourStatistics>,
    /// None in a file that ccv itself left.
    pub(crate) notes: Option<Notes>,
}

/// The curves of a training, out of its working file; `None` where the file holds none.
///
/// # Errors
/// Where the file is no model file, or its notes are damaged.
pub fn read_history(path: impl AsRef<Path>) -> Result<Option<History>> {
    let path = path.as_ref();
    history_of(&ModelFile::open(path)?)
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
    let notes = || ModelFile::open(path)?.training_notes();
    path.is_file() && notes().is_ok_and(|notes| notes.contains_key(NOTES))
}

/// The forms of working files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Safetensors,
    Ccv,
}

/// Endings of names that mean ccv's form.
const CCV_ENDINGS: [&str; 3] = ["sqlite3", "sqlite", "db"];

/// The form of a working file: that of a file that is there, else that of its name.
fn form(path: &Path) -> Form {
    let known = path.is_file().then(|| ModelFile::open(path).ok()).flatten();
    match known.map(|file| file.format()) {
        Some(Format::Ccv) => Form::Ccv,
        Some(_) => Form::Safetensors,
        None => {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            match CCV_ENDINGS.iter().any(|ccv| ending.eq_ignore_ascii_case(ccv)) {
                true => Form::Ccv,
                false => Form::Safetensors,
            }
        }
    }
}

/// Whether a training of this network can be stored in this file: worth asking before a training of
/// days.
///
/// # Errors
/// [`Error::Unstorable`] with the layer that the file's form has no place for; [`Error::Option`] with what
/// of the options it has none for.
pub(crate) fn check_storable(
    path: &Path,
    spec: &NetworkSpec,
    options: &TrainOptions,
) -> Result<()> {
    if form(path) == Form::Safetensors {
        return Ok(());
    }
    striate_importers::ccv::check_representable(spec)
        .map_err(|source| Error::Unstorable { source })?;
    let got = match options.optimizer {
        Method::Sgd if options.ema.is_none() => return Ok(()),
        Method::Sgd => "an average of the weights (ema)".to_owned(),
        other => format!("the optimizer {}", other.name()),
    };
    Err(Error::Option {
        expected: format!(
            "for {}, a file in ccv's form, ccv's gradient descent (sgd), whose momenta it has a place for; \
             a working file whose name ends in .safetensors holds every training",
            path.display()
        ),
        got,
    })
}

/// What a working file holds: the network alone where nobody has trained in it. Its custom ops are those of
/// the network that is asked for.
pub(crate) fn read(
    path: &Path,
    spec: &NetworkSpec,
    device: &Device,
) -> Result<(Network, Option<Saved>)> {
    match form(path) {
        Form::Safetensors => safetensors::read(path, spec, device),
        Form::Ccv => ccv::read(path, device),
    }
}

/// A training at a moment, to be saved.
pub(crate) struct Snapshot<'a> {
    pub(crate) network: &'a Network,
    /// As in [`Saved`].
    pub(crate) state: &'a OptimizerState,
    pub(crate) position: Position,
    /// The order of the samples in this epoch.
    pub(crate) order: Vec<u32>,
    pub(crate) colour: Option<ColourStatistics>,
    pub(crate) notes: &'a Notes,
}

/// Saves a training: the file is whole, or as it was before.
pub(crate) fn write(path: &Path, snapshot: Snapshot<'_>) -> Result<()> {
    match form(path) {
        Form::Safetensors => safetensors::write(path, &snapshot),
        Form::Ccv => ccv::write(path, snapshot),
    }
}

/// The notes as text, and the lists of samples that they are too short for.
fn texts(path: &Path, notes: &Notes) -> Result<(String, BTreeMap<String, String>)> {
    let text = serde_json::to_string(notes).map_err(|e| notes_error(path, e))?;
    let mut lists = BTreeMap::new();
    for (known, key) in [&notes.identity.train, &notes.identity.test].into_iter().zip(SAMPLES) {
        if let Some(list) = known.as_ref().and_then(|known| known.list.as_deref()) {
            lists.insert(key.to_owned(), list.to_owned());
        }
    }
    Ok((text, lists))
}

/// The notes out of their text and the lists of samples beside it.
fn notes(path: &Path, text: &str, lists: &BTreeMap<String, String>) -> Result<Notes> {
    let mut notes = parse::<Notes>(path, text)?;
    let Identity { train, test, .. } = &mut notes.identity;
    for (known, key) in [train, test].into_iter().zip(SAMPLES) {
        if let Some(known) = known {
            known.list = lists.get(key).map(|list| list.as_str().into());
        }
    }
    Ok(notes)
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
