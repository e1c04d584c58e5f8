//! The model that a command works with.

use std::path::Path;

use striate::importers::{self, ReadOptions};
use striate::nn::Network;
use striate::tensor::{DType, Device};

use crate::error::Result;

/// Reads a model file; the embedded model where none is named.
pub(crate) fn load(path: Option<&Path>, dtype: Option<DType>, device: &Device) -> Result<Network> {
    let Some(path) = path else {
        let network = striate::default_model(device)?;
        return Ok(match dtype {
            Some(dtype) => network.cast(dtype)?,
            None => network,
        });
    };
    let network = importers::read(path, device, &ReadOptions::default().dtype(dtype))?;
    log::info!("read {}", path.display());
    Ok(network)
}
