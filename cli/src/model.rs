//! The model that a command works with.

use std::path::{Component, Path};

use striate::importers::{self, AnyModel, ModelFile, ReadOptions};
use striate::models;
use striate::nn::{Network, NetworkSpec, Seed};
use striate::tensor::{DType, Device};

use crate::error::{Error, Result};
use crate::inputs::{self, is_stdin};
use crate::output::Output;
use crate::outputs::has_extension;
use crate::text;

/// Reads a model.
pub(crate) fn load(file: &ModelFile, dtype: Option<DType>, device: &Device) -> Result<Network> {
    let network = file.read(device, &ReadOptions::default().dtype(dtype))?;
    log::info!("read {}", file.name());
    Ok(network)
}

/// Reads a model for what classifies: an ONNX model with operators that are no layers as it is.
pub(crate) fn load_any(
    file: &ModelFile,
    dtype: Option<DType>,
    device: &Device,
) -> Result<AnyModel> {
    let model = file.read_any(device, &ReadOptions::default().dtype(dtype))?;
    log::info!("read {}", file.name());
    Ok(model)
}

/// What is said of a name that means no network: those like it, and the command that lists all.
pub(crate) fn hint(name: &str) -> String {
    let meant = match &models::near(name)[..] {
        [] => String::new(),
        [one] => format!("did you mean {one}? "),
        several => format!("did you mean one of {}? ", several.join(", ")),
    };
    format!("{meant}'striate bench --list' lists all names")
}

/// A network that comes without weights.
pub(crate) enum Unweighted {
    /// Of the catalogue.
    Known(&'static models::Model),
    /// Of a specification in a JSON file.
    Specified(NetworkSpec),
}

impl Unweighted {
    /// The network that a path means: one of the catalogue by its name, where there is no such file, or the
    /// specification in a JSON file. None where it means anything else.
    ///
    /// # Errors
    /// Where the JSON file cannot be read, or is no network.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>> {
        let name = path.to_str().filter(|_| !path.exists());
        if let Some(known) = name.and_then(models::find) {
            return Ok(Some(Unweighted::Known(known)));
        }
        has_extension(path, "json").then(|| read_spec(path).map(Unweighted::Specified)).transpose()
    }

    /// Its layers.
    pub(crate) fn spec(self) -> NetworkSpec {
        match self {
            Unweighted::Known(known) => known.spec(),
            Unweighted::Specified(spec) => spec,
        }
    }

    /// The network with fresh weights, for commands that write a model. Who gives a file may think that the
    /// weights are in it, and is told that they are not.
    pub(crate) fn build(
        self,
        path: &Path,
        device: &Device,
        seed: u64,
        output: &Output,
    ) -> Result<Network> {
        if matches!(self, Unweighted::Specified(_)) {
            let path = path.display();
            output.note(&format!("{path} is a network without weights: it gets fresh ones"));
        }
        Ok(self.spec().build(device, Seed(seed))?)
    }
}

/// The specification in a JSON file.
fn read_spec(path: &Path) -> Result<NetworkSpec> {
    let spec: NetworkSpec = text::read_json(path, "network")?;
    // Here the file can still be named.
    spec.summary().map_err(|e| Error::because(path.display().to_string(), e))?;
    Ok(spec)
}

/// A model from a file or a pipe, or pulled weights by their name, for commands that know networks by name, too.
///
/// # Errors
/// As [`inputs::model`]. Of a name that means nothing, it says which networks have similar names: their user
/// has mistyped one more often than a file.
pub(crate) fn file(path: &Path) -> Result<ModelFile> {
    let mut parts = path.components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    match path.to_str().filter(|_| is_plain && !is_stdin(path) && !inputs::is_model(path)) {
        Some(name) => Err(Error::message(format!("no network or file '{name}'; {}", hint(name)))),
        None => inputs::model(path),
    }
}

/// The layers of a network by name, out of a JSON file, or of a model file (`-` is standard input); and whether it is one of
/// a name.
pub(crate) fn spec(text: &str) -> Result<(NetworkSpec, bool)> {
    if let Ok(spec) = models::by_name(text) {
        return Ok((spec, true));
    }
    let path = Path::new(text);
    if is_stdin(path) {
        return Ok((inputs::model(path)?.inspect()?.spec, false));
    }
    if !path.exists() {
        return Err(Error::Usage(format!("no network or file '{text}'; {}", hint(text))));
    }
    if has_extension(path, "json") {
        return Ok((read_spec(path)?, false));
    }
    Ok((importers::inspect(path)?.spec, false))
}
