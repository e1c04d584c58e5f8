//! Which run a file of results belongs to.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Read};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use striate::image::Protocol;
use striate::importers::{self, Format as ModelFormat, Inspection, ModelFile};
use striate::tensor::DType;
use twox_hash::XxHash3_128;

use super::ClassifyArgs;
use crate::args::Format;
use crate::error::{Error, Result};
use crate::labels::Labels;

/// Grows when the same model gives the same picture other results than before. A file that an older
/// program began is then not continued by a newer one.
const RESULTS_VERSION: u32 = 1;

/// Bytes of a model file that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// The key of the model in an identity.
const MODEL: &str = "model";

/// What the results of a run depend on, by name. The device is not among it: devices agree within
/// the stated precision, and a run may be continued on another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// What is compared.
    pub(super) run: BTreeMap<String, String>,
    /// What people call the parts that are compared by a hash.
    pub(super) names: BTreeMap<String, String>,
}

impl Identity {
    fn add(&mut self, key: &str, value: impl Display) {
        self.run.insert(key.to_owned(), value.to_string());
    }

    /// What differs in a file that was made by `other`, in words; `None` where nothing does.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let shown =
            |identity: &Self, key: &str| match (identity.run.get(key), identity.names.get(key)) {
                (Some(value), Some(name)) => format!("{name} ({value})"),
                (Some(value), None) => value.clone(),
                (None, _) => "none".to_owned(),
            };
        let mut keys: Vec<&String> = self.run.keys().chain(other.run.keys()).collect();
        keys.sort();
        keys.dedup();
        let differ = keys.into_iter().filter(|key| self.run.get(*key) != other.run.get(*key));
        let words: Vec<String> = differ
            .map(|key| {
                let (own, others) = (shown(self, key), shown(other, key));
                format!("expected {key} {own}, the file was made with {others}")
            })
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// An identity whose model is still being hashed; only who needs it waits.
pub(super) struct Pending {
    identity: Identity,
    model: ModelHash,
}

impl Pending {
    /// Begins to identify a run over these images with this model, or the embedded one.
    ///
    /// # Errors
    /// Where the model cannot be read.
    pub(super) fn start(
        args: &ClassifyArgs,
        model: &ModelFile,
        images: &[PathBuf],
        labels: Option<&[String]>,
        format: Format,
    ) -> Result<Self> {
        let inspection = match model.inspect() {
            Ok(inspection) => Some(inspection),
            // An ONNX model that is run as its file has it.
            Err(importers::Error::Node { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut identity = Identity::default();
        identity.add("results version", RESULTS_VERSION);
        let form = match format {
            Format::Ccv if args.list.is_some() => "ccv",
            Format::Ccv => "ccv with times",
            _ => "json",
        };
        identity.add("format", form);
        identity.add("images", images_by_hash(images));
        // Sums are taken in another order for several images than for one.
        identity.add("images at a time", args.block());
        if images.iter().any(|path| path.is_relative()) {
            let folder = std::env::current_dir().unwrap_or_default();
            identity.add("current folder", folder.display());
        }
        identity.add("protocol", protocol(args, inspection.as_ref()));
        identity.add("dtype", dtype(args, inspection.as_ref()));
        // Files of before there was a choice say nothing.
        if args.compute.is_half() {
            identity.add("precision", "f16");
        }
        if let Some(key) = &args.read.file.state_dict {
            identity.add("state dict", key);
        }
        for (key, words) in [("pixels", args.read.words()), ("view", args.view.words())] {
            if !words.is_empty() {
                identity.add(key, words);
            }
        }
        // Of a model of Caffe's the layers and the mean image are in other files.
        if let Some(inspection) = inspection.filter(|file| file.format == ModelFormat::Caffe) {
            let spec = inspection.spec.to_json().unwrap_or_default();
            identity.add("network", hex(spec.as_bytes()));
        }
        if let Some(path) = &args.read.file.mean_file {
            let bytes = std::fs::read(path).map_err(|e| {
                Error::because(format!("cannot read the mean image {}", path.display()), e)
            })?;
            identity.add("mean image", hex(&bytes));
        }
        match args.top(format) {
            usize::MAX => identity.add("top", "all"),
            top => identity.add("top", top),
        }
        match labels {
            Some(labels) => identity.add("labels", hex(labels.join("\n").as_bytes())),
            None => identity.add("labels", "of the model"),
        }
        identity.add("max-pixels", args.max_pixels);
        let draw = args.draw.as_deref().map(|draw| {
            std::path::absolute(draw).unwrap_or_else(|_| draw.to_owned()).display().to_string()
        });
        identity.add("draw", draw.as_deref().unwrap_or("nothing"));

        let names = &mut identity.names;
        if let Some(first) = args.list.as_deref().or(images.first().map(PathBuf::as_path)) {
            let others = if args.list.is_none() && images.len() > 1 { ", …" } else { "" };
            names.insert("images".to_owned(), format!("{}{others}", first.display()));
        }
        let name = args.model.as_ref().map_or("embedded".to_owned(), |m| m.display().to_string());
        names.insert(MODEL.to_owned(), name);
        if let Some(Labels::File(path)) = &args.labels {
            names.insert("labels".to_owned(), path.display().to_string());
        }
        Ok(Pending { identity, model: ModelHash::start(model)? })
    }

    /// The identity, once the model is hashed.
    ///
    /// # Errors
    /// Where the model cannot be read.
    pub(super) fn wait(self) -> Result<Identity> {
        let Pending { mut identity, model } = self;
        identity.add(MODEL, model.wait()?);
        Ok(identity)
    }
}

/// The protocol in use, by name.
fn protocol(args: &ClassifyArgs, model: Option<&Inspection>) -> &'static str {
    let recommended = || {
        let name = model.and_then(|model| model.metadata.protocol.as_deref());
        name.and_then(|name| name.parse().ok()).unwrap_or(Protocol::Tested)
    };
    args.protocol.unwrap_or_else(recommended).name()
}

/// The precision of the weights, by name.
fn dtype(args: &ClassifyArgs, model: Option<&Inspection>) -> &'static str {
    let stored = || model.and_then(Inspection::dtype);
    args.dtype.map(DType::from).or_else(stored).map_or("as stored", |dtype| dtype.name())
}

/// How many, and a hash of their paths in order.
fn images_by_hash(images: &[PathBuf]) -> String {
    let mut hasher = XxHash3_128::new();
    for image in images {
        hasher.write(image.as_os_str().as_encoded_bytes());
        hasher.write(&[0]);
    }
    format!("{}, hash {:032x}", images.len(), hasher.finish_128())
}

/// A hash of bytes as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    format!("{:032x}", XxHash3_128::oneshot(bytes))
}

/// The hash of a model's file, computed on a thread of its own: a large one takes a while, in which
/// the network can be loaded already.
struct ModelHash(JoinHandle<io::Result<String>>);

impl ModelHash {
    fn start(model: &ModelFile) -> Result<Self> {
        let bytes = model.bytes();
        let hash = move || hash_all(bytes);
        thread::Builder::new()
            .name("hash".into())
            .spawn(hash)
            .map(ModelHash)
            .map_err(|e| Error::because("cannot start a thread to hash the model", e))
    }

    fn wait(self) -> Result<String> {
        let hash = self.0.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        hash.map_err(|e| Error::because("cannot read the model to identify it", e))
    }
}

fn hash_all(mut file: impl Read) -> io::Result<String> {
    let mut hasher = XxHash3_128::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.write(&buffer[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(format!("{:032x}", hasher.finish_128()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said() {
        let identity = |protocol: &str, hash: &str, name: &str| {
            let mut identity = Identity::default();
            identity.add("protocol", protocol);
            identity.add(MODEL, hash);
            identity.names.insert(MODEL.into(), name.into());
            identity
        };
        let one = identity("centre", "12", "a.sqlite3");
        assert_eq!(one.difference(&one), None);
        // A model that was moved is the same.
        assert_eq!(one.difference(&identity("centre", "12", "moved.sqlite3")), None);
        assert_eq!(
            one.difference(&identity("ccv-cpu", "34", "b.sqlite3")).unwrap(),
            "expected model a.sqlite3 (12), the file was made with b.sqlite3 (34); \
             expected protocol centre, the file was made with ccv-cpu"
        );
        let mut newer = one.clone();
        newer.add("views", 3);
        let difference = one.difference(&newer).unwrap();
        assert_eq!(difference, "expected views none, the file was made with 3");
    }

    #[test]
    fn the_order_and_the_borders_of_paths_count() {
        let hash =
            |paths: &[&str]| images_by_hash(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }

    #[test]
    fn a_file_and_its_bytes_have_one_hash() {
        let bytes: Vec<u8> = (0..3 * HASH_BYTES / 2).map(|i| (i * 7 / 3) as u8).collect();
        assert_eq!(hash_all(&bytes[..]).unwrap(), hex(&bytes));
    }
}
