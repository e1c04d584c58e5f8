//! PyTorch's own files, `.pth` and `.pt`: state dicts and checkpoints.
//!
//! Both forms of `torch.save` are read: the zip archive (since PyTorch 1.6) and the stream of pickles
//! before it. A pickle is a program, and this module runs none: it interprets the opcodes that plain data
//! need, knows by name the few functions that make tensors, and remembers of all others only what they are
//! called. A checkpoint with the state of an optimizer, a trainer's options, or a whole configuration in it
//! gives its state dict all the same.
//!
//! Where a checkpoint holds several state dicts (`model` and `ema`, say), the obvious one is read and a
//! warning names the others; [`checkpoint_key`](crate::ReadOptions::checkpoint_key) chooses another. A model
//! that was pickled as a whole, and an archive of TorchScript, give the tensors of their modules.
//!
//! The tensors make a network as state dicts of torchvision's and timm's in safetensors do: see
//! [`safetensors`](crate::safetensors#torchvision).

mod element;
mod file;
mod find;
mod legacy;
mod pickle;
mod strided;
mod zip;

use std::path::Path;
use std::sync::Arc;

use striate_nn::Network;
use striate_tensor::Device;

pub use file::TensorFile;
pub(crate) use legacy::is_legacy;

use crate::options::{ReadOptions, check_dtype};
use crate::source::Source;
use crate::state_dict::StateDict;
use crate::{Format, Inspection, Result, StoredTensor, torchvision};

/// Reads a network of torchvision's or timm's out of a file that `torch.save` wrote.
///
/// # Errors
/// As [`TensorFile::open`], and where the tensors are not those of a network that is known here, with what
/// differs from the nearest.
pub fn read(path: impl AsRef<Path>, device: &Device, options: &ReadOptions) -> Result<Network> {
    read_source(Arc::new(Source::expect(path.as_ref(), Format::Pth)?), device, options)
}

pub(crate) fn read_source(
    source: Arc<Source>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    read_open(&TensorFile::of(source, options.checkpoint_key.as_deref())?, device, options)
}

pub(crate) fn read_open(
    file: &TensorFile,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    check_dtype(file.file(), options.dtype)?;
    let network = torchvision::read(file, device, options)?;
    file.check()?;
    Ok(network)
}

pub(crate) fn inspect(file: &TensorFile) -> Result<Inspection> {
    torchvision::inspect(file)
}

/// The tensors, whether or not they are a network's.
pub(crate) fn tensors(file: &TensorFile) -> Vec<StoredTensor> {
    let tensor = |name: &str| StoredTensor {
        name: name.to_owned(),
        dtype: file.element_type(name).unwrap_or_default().to_owned(),
        shape: file.shape(name).unwrap_or_default().to_vec(),
    };
    file.names().map(tensor).collect()
}
