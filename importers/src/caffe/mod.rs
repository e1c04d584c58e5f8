//! Caffe's models: a `.caffemodel` with the weights, and a `.prototxt` that says what the layers are.
//!
//! The definition is the file that is [given](crate::ReadOptions::prototxt), else the one beside the
//! caffemodel: of the same name, `deploy.prototxt`, or the only one. Without any the caffemodel's own
//! layers are taken, where they say how large the image is that the network sees.
//!
//! The network is that of inference: layers for training alone are left out, as are the layers that read
//! pictures, and a softmax at the end. Caffe's networks see pixels from 0 to 255 in the order blue, green,
//! red, less a mean; the network here sees red, green, blue, less the same mean: of the file that is
//! [given](crate::ReadOptions::mean_file), of what the definition says, or what is usual (104, 117, 123).

mod file;
mod layers;
mod lift;
mod mean;
mod net;
mod network;
mod pixels;
mod proto;
mod prototxt;
mod text;
mod weighted;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use striate_nn::Network;
use striate_tensor::Device;

use crate::source::Source;
use crate::{Error, Inspection, PixelOptions, ReadOptions, Result};
use file::File;
use net::Definition;
use proto::Net;

/// The files that belong to a caffemodel, where they are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    pub(crate) prototxt: Option<&'a Path>,
    pub(crate) mean_file: Option<&'a Path>,
    /// What is done to pixels in place of what the files say.
    pub(crate) pixels: PixelOptions,
}

/// Reads the network of a caffemodel.
pub(crate) fn read_source(
    source: Arc<Source>,
    device: &Device,
    options: &Options<'_>,
    read: &ReadOptions,
) -> Result<Network> {
    network::network(&File::read(source)?, device, options, read)
}

/// What a caffemodel holds, without loading its weights.
pub(crate) fn inspect(source: Arc<Source>, options: &Options<'_>) -> Result<Inspection> {
    network::inspect(&File::read(source)?, options)
}

/// The definition of the network whose weights are in a file.
fn definition(file: &File, options: &Options<'_>) -> Result<Definition> {
    let own = || Definition::new(file.source.name(), file.net.clone());
    let path = match options.prototxt {
        Some(path) => Some(path.to_path_buf()),
        None => beside(&file.source),
    };
    let Some(path) = path else { return own() };
    log::info!("{}: the definition is {}", file.source.name(), path.display());
    let text = prototxt::read_text(&path)?;
    let name = path.display().to_string();
    let net: Net = text::record(&name, &prototxt::parse(&name, &text)?)?;
    if net.layer.is_empty() && net.v1.is_empty() {
        let expected = "the definition of a network, with layers; name another as --prototxt";
        return Err(Error::content(&name, "text", expected, "none"));
    }
    let mut definition = Definition::new(&name, net)?;
    if definition.transform.is_none() {
        // A definition for inference has no layers that read pictures; what it was trained with does.
        definition.transform = own().ok().and_then(|own| own.transform);
    }
    Ok(definition)
}

/// The bytes of a file that belongs to a caffemodel; `what` it is, for messages.
fn read_file(path: &Path, what: &str, max_bytes: usize) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Error::io(&name, "open", e))?;
    let mut bytes = Vec::new();
    let most = max_bytes as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|e| Error::io(&name, "read", e))?;
    if bytes.len() > max_bytes {
        let expected = format!("{what} of at most {max_bytes} bytes");
        return Err(Error::content(&name, "file", expected, "more"));
    }
    Ok(bytes)
}

/// The definition beside a caffemodel.
fn beside(source: &Source) -> Option<PathBuf> {
    let folder = source.folder()?;
    let named = [source.path().with_extension("prototxt"), folder.join("deploy.prototxt")];
    if let Some(path) = named.into_iter().find(|path| path.is_file()) {
        return Some(path);
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_text = |path: &PathBuf| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("prototxt")) && path.is_file()
    };
    let mut found = paths.filter(is_text);
    let first = found.next()?;
    match found.next() {
        None => Some(first),
        Some(_) => {
            let (file, folder) = (source.name(), folder.display());
            log::warn!(
                "{file}: several definitions (.prototxt) are in {folder}, none of them by its name"
            );
            None
        }
    }
}
