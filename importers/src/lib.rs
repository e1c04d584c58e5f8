//! Striate's model files.
//!
//! * [`ccv`]: the sqlite files of ccv's ConvNet, read and written as ccv itself does, and training
//!   checkpoints in them.
//! * [`safetensors`]: our own form, safetensors with the network's specification in its metadata;
//!   and the state dicts of torchvision and timm, imported.
//! * [`pth`]: PyTorch's own files, `.pth` and `.pt`, imported.
//! * Caffe's `.caffemodel` with its `.prototxt`, imported: see [`Format::Caffe`].
//! * [`torch`]: where each tensor of a PyTorch state dict is in a network.
//!
//! [`read`], [`write`](write()), [`convert`] and [`inspect`] choose by the file: what is read is recognised by its
//! content, what is written by its extension (`.sqlite3` or `.safetensors`).
//!
//! ```no_run
//! use striate_importers::{ReadOptions, WriteOptions, read, write};
//! use striate_tensor::{DType, Device, Reference};
//!
//! # fn main() -> striate_importers::Result<()> {
//! let device = Device::new(Reference::new());
//! let network = read("vgg-d.sqlite3", &device, &ReadOptions::default())?;
//! write("vgg-d.safetensors", &network, &WriteOptions::default().dtype(DType::F16))?;
//! # Ok(())
//! # }
//! ```
//!
//! [`ModelFile`] opens a file once and does any of these; it takes a pipe or standard input as well.
//!
//! Files are written beside their target and renamed, so a target is whole or untouched. Nothing that is
//! read is mapped into memory, unless an `unsafe` function is asked to
//! ([`TensorFile::map`](safetensors::TensorFile::map)): a file that is changed or made shorter while it
//! is read is an error. Every message names the file and the place in it. NaN and infinite weights are
//! no error: a warning (of the `log` crate) names the layer and counts them. Finite weights that would
//! become infinite in a narrower type are one ([`Error::Overflow`]).

mod caffe;
pub mod ccv;
mod error;
mod foreign;
mod format;
mod inspection;
mod limits;
mod model_file;
pub mod onnx;
mod options;
mod preset;
pub mod pth;
mod replace;
pub mod safetensors;
mod source;
mod state_dict;
pub mod torch;
mod torchvision;
mod values;
mod wire;

use std::path::Path;

use striate_nn::Network;
use striate_tensor::Device;

pub use error::{Error, Overflow, Result};
pub use format::Format;
pub use inspection::{Inspection, StoredParameters, StoredTensor, TrainingPosition};
pub use limits::{
    MAX_HEADER_BYTES, MAX_IMAGE_PIXELS, MAX_LAYERS, MAX_PIPE_BYTES, MAX_SPEC_BYTES, MAX_TENSORS,
};
pub use model_file::{AnyModel, ModelFile};
pub use options::{ReadOptions, WriteOptions};
pub use preset::{PixelOptions, Pixels};
pub use replace::remove_stale_temporaries;

/// Reads a network from a file of any kind that is known here, recognised by its content.
///
/// # Errors
/// [`Error::NotAModel`] where it is of no known kind, and what reading that kind says.
pub fn read(path: impl AsRef<Path>, device: &Device, options: &ReadOptions) -> Result<Network> {
    ModelFile::open(path)?.read(device, options)
}

/// Writes a network; the extension says in which format.
///
/// # Errors
/// [`Error::Target`] where the extension says none, and what writing that format says; then
/// nothing has changed.
pub fn write(path: impl AsRef<Path>, network: &Network, options: &WriteOptions) -> Result<()> {
    let path = path.as_ref();
    let folded;
    let network = match options.fold_batch_norms {
        true => {
            let failed = |e| Error::network(&path.display().to_string(), e);
            folded = network.fold_batch_norms().map_err(failed)?;
            &folded
        }
        false => network,
    };
    match Format::of_extension(path)? {
        Format::Ccv => ccv::write(path, network, options),
        Format::Safetensors | Format::Torchvision | Format::Pth | Format::Caffe => {
            safetensors::write(path, network, options)
        }
        Format::Onnx => Err(Error::Target {
            file: path.display().to_string(),
            reason: "ONNX is written by `export`".into(),
        }),
    }
}

/// Reads a model file and writes it as another, which may be of another format or precision, or the
/// same file.
///
/// From a form to the same form the state of a training stays, unless `options` strip it, or ask for half
/// precision in safetensors. Where it is left out without being asked for, a warning says so. The tensors
/// pass through `device`.
///
/// # Errors
/// As [`read`] and [`write`](write()); then nothing has changed.
pub fn convert(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    device: &Device,
    options: &WriteOptions,
) -> Result<()> {
    ModelFile::open(input)?.convert(output, device, options)
}

/// What a model file holds, without loading its weights.
///
/// # Errors
/// As [`read`], where the description of the network or the sizes of its weights are at fault.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    ModelFile::open(path)?.inspect()
}
