//! Networks in safetensors files: our own form, and the state dicts of torchvision and timm.
//!
//! # Our own form
//! A convolution or full connect at layer N is the tensors `layers.N.weight` (convolutions
//! `[out, kernel rows, kernel cols, in / groups]`, full connects `[out, in]`) and
//! `layers.N.bias`, in f32 or f16; the mean image is `mean`, f32. The metadata hold the
//! specification in JSON under `striate.spec`, labels and notes in JSON under `striate.metadata`,
//! and the version of this form, 1, under `striate.format`. A node with a name has it in place of
//! `layers.N`; running statistics are `running_mean` and `running_var` beside the weights. Names that
//! begin with `train.` are the state of a training ([`Training`]). Any reader of safetensors can open such a file.
//!
//! Weights may also be stored as integers of 8 bits, with a scale for each output channel in
//! `layers.N.weight.scale`, f32: half the size of f16, widened to f32 where they are read. All other
//! parameters of such a file are f16. Where `layers.N.weight.levels` is beside them, f32 `[scale, level of 0]`,
//! the layer [computes with integers](striate_nn::Network::with_levels).
//!
//! The data begin at a multiple of 64 bytes, and so does each tensor whose size is one, for those who
//! map the file ([`TensorFile::map`]). [`read`] and [`TensorFile::open`] map nothing: each tensor is
//! read straight into the memory that the device takes over.
//!
//! # torchvision
//! State dicts of torchvision's convolutional networks are recognised by their tensors' names and shapes,
//! with any number of classes. Where all names have the same beginning, such as the `module.` of a training
//! on several devices, that is left out, and a warning says so. Weights are brought into the order used
//! here, and the makers' normalisation becomes part of the network: it takes pixels of 0..255 less a mean
//! image, see [`read`]. How the makers resized and cut pictures is in the metadata.
//!
//! # timm
//! So are timm's, where they are the same networks: `resnet*`, `resnext*`, `wide_resnet*`, `densenet*`,
//! `vgg*`, `mobilenetv2_100`, `mobilenetv3_large_100` and `_small_100`, `efficientnet_b0` to `b7`,
//! `efficientnet_lite0` to `4` (MobileNetV3 and EfficientNet also as `tf_` variants), `convnext_tiny` to
//! `large`, `regnetx_*` and `regnety_*`. Constants and pads are timm's where they differ from torchvision's.
//!
//! The `config.json` that timm publishes beside its weights is read: the one of the file's own name
//! (`STEM.json`), or `config.json` in its folder. It decides where the tensors of several networks have the
//! same names, and says how pictures were prepared (`mean`, `std`, `interpolation`, `crop_pct`, `crop_mode`,
//! `input_size`), and what classes are called (`label_names`). Without it a file is torchvision's where its
//! names are also torchvision's; between networks of timm's own the beginning of the file's name decides, as
//! in `efficientnet_lite0_ra-37913777.pth`, and where it says nothing a warning tells what was assumed:
//! `tf_efficientnet_lite*`, `efficientnet_b*`, `mobilenetv3_*`. A `config.json` of something else is left out
//! with a warning; one of timm's with impossible values is an error.

mod file;
mod header;
mod int8;
mod model;
mod modules;
mod training;
mod write;

use std::path::Path;
use std::sync::Arc;

use striate_nn::Network;
use striate_tensor::ops::CustomOps;
use striate_tensor::{Device, SharedBytes};

pub use file::TensorFile;
pub(crate) use model::{FORMAT, METADATA, SPEC, VERSION, metadata, parameter_name, prefix, spec};
pub use modules::{load, load_file, save, save_with};
pub use training::{Training, read_training, read_training_with, state_name, write_training};
pub use write::{write_numbers_to, write_tensors};

use crate::options::{ReadOptions, WriteOptions};
use crate::source::Source;
use crate::{Inspection, Result};

/// Reads a network, its weights in the precision of the file.
///
/// A state dict of torchvision's or timm's expects `(pixel / 255 - mean) / std`. The division by `255 · std`
/// goes into the first convolution's weights, channel by channel, and `255 · mean` becomes the mean
/// image. That is the same function, up to rounding, also at the border: a padding zero is a zero
/// after the subtraction of the mean in both. Where a state dict is f16, the first convolution's
/// weights become f32, since they would lose bits by being divided.
///
/// # Errors
/// Where the file is no safetensors file, is damaged, has no specification and is no known state
/// dict, or tensors are missing or of another shape or type; the message names the tensor.
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Network> {
    read_with(path, device, &ReadOptions::default())
}

/// Reads a network.
///
/// Where `options` ask for f16 and the file holds more, values are rounded to the nearest.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    path: impl AsRef<Path>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    model::read(&TensorFile::open(path)?, device, options)
}

/// Reads a network from a safetensors file that is open already, such as a mapped one
/// ([`TensorFile::map`]).
///
/// # Errors
/// As [`read`].
pub fn read_file(file: &TensorFile, device: &Device, options: &ReadOptions) -> Result<Network> {
    model::read(file, device, options)
}

/// Reads a network from a file in memory, such as one that is embedded in a program; `name` stands
/// for the file in messages. The bytes are used in place where the device can.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(
    bytes: SharedBytes,
    name: &str,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    model::read(&TensorFile::from_bytes(bytes, name)?, device, options)
}

/// Writes a network in our own form, into a temporary file that then takes the target's place. No
/// more than one layer's weights are copied at a time.
///
/// Where `options` ask for f16, values are rounded to the nearest; where they ask for i8, weights of
/// convolutions and full-connect layers are integers of 8 bits with a scale for each output channel, and
/// all else is f16.
///
/// # Errors
/// [`Error::Overflow`](crate::Error::Overflow) where f16 has no place for a value and `options` do not
/// allow that; [`Error::Target`](crate::Error::Target) and [`Error::Io`](crate::Error::Io) where the file
/// cannot be written, [`Error::Tensor`](crate::Error::Tensor) where a device fails; then nothing has
/// changed.
pub fn write(path: impl AsRef<Path>, network: &Network, options: &WriteOptions) -> Result<()> {
    model::write(path.as_ref(), network, options)
}

pub(crate) fn read_source(
    source: Arc<Source>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    model::read(&TensorFile::of(source)?, device, options)
}

pub(crate) fn read_training_source(
    source: Arc<Source>,
    device: &Device,
    options: &ReadOptions,
) -> Result<(Network, Option<Training>)> {
    training::read_open(&TensorFile::of(source)?, device, options)
}

/// What whoever trained noted, texts by name.
pub(crate) fn read_training_texts(
    source: Arc<Source>,
) -> Result<std::collections::BTreeMap<String, String>> {
    Ok(training::texts(&TensorFile::of(source)?))
}

pub(crate) fn inspect(source: Arc<Source>, ops: &CustomOps) -> Result<Inspection> {
    model::inspect(&TensorFile::of(source)?, ops)
}
