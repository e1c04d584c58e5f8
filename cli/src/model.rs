//! The model that a command works with.

use std::path::Path;

use striate::importers::{self, ModelFile, ReadOptions};
use striate::models;
use striate::nn::{Network, NetworkSpec};
use striate::tensor::{DType, Device};

use crate::error::{Error, Result};
use crate::inputs::{self, is_stdin};
use crate::outputs::has_extension;
use crate::text;

/// Reads a model.
pub(crate) fn load(file: &ModelFile, dtype: Option<DType>, device: &Device) -> Result<Network> {
    let network = file.read(device, &ReadOptions::default().dtype(dtype))?;
    log::info!("read {}", file.name());
    Ok(network)
}

/// The network of the catalogue that a path names, where there is no such file.
pub(crate) fn catalogue(path: &Path) -> Option<&'static models::Model> {
    let name = path.to_str().filter(|_| !path.exists())?;
    models::find(name)
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
        let names: Vec<_> = models::all().iter().map(|model| model.name).collect();
        let names = names.join(", ");
        return Err(Error::Usage(format!("no network or file '{text}'; networks: {names}")));
    }
    if has_extension(path, "json") {
        let spec: NetworkSpec = text::read_json(path, "network")?;
        // Here the file can still be named.
        spec.summary().map_err(|e| Error::because(text, e))?;
        return Ok((spec, false));
    }
    Ok((importers::inspect(path)?.spec, false))
}
