//! Modules in code: their parameters and buffers by name.

use std::collections::BTreeMap;
use std::path::Path;

use striate_nn::{Module, named_buffers, named_parameters, set_tensors};
use striate_tensor::Tensor;

use super::file::TensorFile;
use super::write::{Item, write_items};
use crate::{Error, Result};

/// Saves a module's parameters and buffers by their full names (`a.weight`), as a safetensors file that
/// takes the place of `path` when it is whole. Tied parameters are written under each of their names.
///
/// ```
/// use striate_importers::safetensors::{load, save};
/// use striate_nn::FullConnect;
/// use striate_tensor::{Device, RandomKey, Reference};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("layer.safetensors");
/// let device = Device::new(Reference::new());
/// let layer = FullConnect::new(2, 3, RandomKey::new(7, 0), &device)?;
/// save(&layer, &path)?;
/// let mut other = FullConnect::new(2, 3, RandomKey::new(8, 0), &device)?;
/// load(&mut other, &path)?;
/// assert_eq!(other.weight().to_vec::<f32>()?, layer.weight().to_vec::<f32>()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Target`] and [`Error::Io`] where the file cannot be written, [`Error::Tensor`] where a
/// device fails, [`Error::Content`] where two parameters have one name; then nothing has changed.
pub fn save(module: &dyn Module, path: impl AsRef<Path>) -> Result<()> {
    save_with(path, module, &[], &BTreeMap::new())
}

/// As [`save`], with more tensors and texts.
///
/// # Errors
/// As [`save`].
pub fn save_with(
    path: impl AsRef<Path>,
    module: &dyn Module,
    extra: &[(String, Tensor)],
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    let parameters = named_parameters(module);
    let buffers = named_buffers(module);
    let named = parameters.iter().map(|(name, tensor)| (name, tensor));
    let named = named.chain(buffers.iter().map(|(name, buffer)| (name, buffer.value())));
    let named = named.chain(extra.iter().map(|(name, tensor)| (name, tensor)));
    let items = named.map(|(name, tensor)| Item::new(name, tensor.into(), tensor.dtype()));
    write_items(path.as_ref(), items.collect(), texts, false)
}

/// Loads a module's parameters and buffers by their full names. Each takes the type that the module's has.
/// All are read before the first one changes; parameters that were tied stay so. Parameters that were
/// marked for gradients keep their marks.
///
/// # Errors
/// [`Error::Shape`] and [`Error::Content`] where the file has no tensor of a name, or one of another
/// shape; then the module is as it was.
pub fn load(module: &mut dyn Module, path: impl AsRef<Path>) -> Result<()> {
    load_file(&TensorFile::open(path)?, module)
}

/// As [`load`], from a file that is open already.
///
/// # Errors
/// As [`load`].
pub fn load_file(file: &TensorFile, module: &mut dyn Module) -> Result<()> {
    let read = |name: &str, like: &Tensor| -> Result<Tensor> {
        let place = || format!("tensor {name}");
        match file.shape(name) {
            Some(shape) if shape == like.dims() => {
                file.tensor(name, like.device(), Some(like.dtype()))
            }
            Some(shape) => Err(Error::Shape {
                file: file.name().into(),
                place: place(),
                expected: like.dims().to_vec(),
                got: shape.to_vec(),
            }),
            None => Err(Error::content(file.name(), place(), "a tensor of this name", "none")),
        }
    };
    let parameters = named_parameters(module);
    let parameters = parameters.iter().map(|(name, tensor)| read(name, tensor));
    let parameters = parameters.collect::<Result<Vec<_>>>()?;
    let buffers = named_buffers(module);
    let buffers = buffers.iter().map(|(name, buffer)| read(name, buffer.value()));
    let buffers = buffers.collect::<Result<Vec<_>>>()?;
    set_tensors(module, parameters, buffers);
    Ok(())
}
