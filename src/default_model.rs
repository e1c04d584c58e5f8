//! The model that ships with the program.

use std::sync::Arc;

use striate_importers::ReadOptions;
use striate_nn::Network;
use striate_tensor::{Device, SharedBytes};

use crate::Result;

/// What to tell whoever uses the default model.
pub const DEFAULT_MODEL_NOTE: &str =
    "no model was given: the embedded one knows handwritten digits only";

/// The model that is used where none is given: a LeNet for handwritten digits, half precision.
///
/// # Errors
/// Where the device has no memory for it.
pub fn default_model(device: &Device) -> Result<Network> {
    let bytes = SharedBytes::new(Arc::new(striate_models::digits()));
    let name = "the embedded digits model";
    Ok(striate_importers::safetensors::read_bytes(bytes, name, device, &ReadOptions::default())?)
}
