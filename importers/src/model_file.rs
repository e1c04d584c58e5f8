//! A model file of any kind, opened once.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use striate_nn::Network;
use striate_tensor::ops::CustomOps;
use striate_tensor::{DType, Device, SharedBytes};

use crate::source::Source;
use crate::{
    Error, Format, Inspection, PixelOptions, ReadOptions, Result, StoredTensor, WriteOptions,
    caffe, ccv, onnx, pth, safetensors, write,
};

/// A model that classifies pictures, as [`ModelFile::read_any`] reads it.
#[derive(Clone, Debug)]
pub enum AnyModel {
    /// A network of layers.
    Network(Network),
    /// An ONNX model that is run as its file has it.
    Onnx(onnx::ImageModel),
}

impl From<Network> for AnyModel {
    fn from(network: Network) -> Self {
        AnyModel::Network(network)
    }
}

impl From<onnx::ImageModel> for AnyModel {
    fn from(model: onnx::ImageModel) -> Self {
        AnyModel::Onnx(model)
    }
}

/// A model file of any kind that is known here, open for reading and recognised by its content.
///
/// Everything that is asked of it comes from the file that was opened, also where another one takes its
/// name meanwhile.
pub struct ModelFile {
    source: Arc<Source>,
    /// The state dict that is asked for.
    key: Option<String>,
    /// Of a caffemodel, the definition and the mean image that are given.
    prototxt: Option<PathBuf>,
    mean_file: Option<PathBuf>,
    /// What is done to pixels, where the file does not say it.
    pixels: PixelOptions,
    /// The custom ops that its network may have.
    ops: CustomOps,
    /// A file of PyTorch's, once its pickle is read.
    pth: OnceLock<pth::TensorFile>,
}

impl ModelFile {
    /// Opens a file. What is no regular file, such as a pipe, is copied to a temporary one first.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where it cannot be opened,
    /// [`Error::NotAModel`](crate::Error::NotAModel) where it is of no known kind: what it is instead, and
    /// what to do with it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(Source::open(path.as_ref())?))
    }

    /// Copies a file that comes out of a reader, such as standard input, to a temporary one; `name` stands
    /// for it in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open); also where more than [`MAX_PIPE_BYTES`](crate::MAX_PIPE_BYTES) come, or
    /// there is no room for them.
    pub fn from_reader(reader: impl Read, name: impl Into<String>) -> Result<Self> {
        Ok(Self::of(Source::spool(reader, name, "")?))
    }

    /// A file whose content is in memory, such as one that is embedded in a program; `name` stands for it
    /// in messages. Of safetensors a device that computes in host memory uses the tensors in place.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for ccv's sqlite files, which are read from a disk only.
    pub fn from_bytes(bytes: SharedBytes, name: &str) -> Result<Self> {
        Ok(Self::of(Source::of_bytes(bytes, name)?))
    }

    fn of(source: Source) -> Self {
        ModelFile {
            source: Arc::new(source),
            key: None,
            prototxt: None,
            mean_file: None,
            pixels: PixelOptions::default(),
            ops: CustomOps::new(),
            pth: OnceLock::new(),
        }
    }

    /// The same file, and the state dict under this key of it: of a checkpoint of PyTorch's that holds
    /// several. Nothing leaves the choice to the file. See [`ReadOptions::checkpoint_key`], which goes
    /// first.
    ///
    /// # Errors
    /// [`Error::Content`](crate::Error::Content) where files of its kind have no keys.
    pub fn with_checkpoint_key(mut self, key: Option<String>) -> Result<Self> {
        check_key(&self.source, key.as_deref())?;
        (self.key, self.pth) = (key, OnceLock::new());
        Ok(self)
    }

    /// The same file, with this definition of its layers: of a caffemodel. Nothing takes the one beside
    /// it. See [`ReadOptions::prototxt`], which goes first.
    ///
    /// # Errors
    /// [`Error::Content`](crate::Error::Content) where files of its kind have none.
    pub fn with_prototxt(mut self, path: Option<PathBuf>) -> Result<Self> {
        check_caffe(&self.source, "definition", path.as_deref())?;
        self.prototxt = path;
        Ok(self)
    }

    /// The same file, with this mean image: of a caffemodel. See [`ReadOptions::mean_file`], which goes
    /// first.
    ///
    /// # Errors
    /// [`Error::Content`](crate::Error::Content) where files of its kind have none.
    pub fn with_mean_file(mut self, path: Option<PathBuf>) -> Result<Self> {
        check_caffe(&self.source, "mean image", path.as_deref())?;
        self.mean_file = path;
        Ok(self)
    }

    /// The files that belong to a caffemodel.
    fn caffe<'a>(&'a self, options: Option<&'a ReadOptions>) -> caffe::Options<'a> {
        let prototxt = options.and_then(|options| options.prototxt.as_ref());
        let mean_file = options.and_then(|options| options.mean_file.as_ref());
        let pixels = options.map(|options| options.pixels).filter(|pixels| !pixels.is_empty());
        caffe::Options {
            prototxt: prototxt.or(self.prototxt.as_ref()).map(PathBuf::as_path),
            mean_file: mean_file.or(self.mean_file.as_ref()).map(PathBuf::as_path),
            pixels: pixels.unwrap_or(self.pixels),
        }
    }

    /// The same file, where this is done to pixels: for files that do not say it, see
    /// [`ReadOptions::pixels`], which goes first.
    #[must_use]
    pub fn with_pixels(self, pixels: PixelOptions) -> Self {
        ModelFile { pixels, ..self }
    }

    /// The same file, whose network may have these custom ops as layers. See
    /// [`ReadOptions::custom_ops`], which goes first.
    #[must_use]
    pub fn with_custom_ops(self, ops: CustomOps) -> Self {
        ModelFile { ops, ..self }
    }

    /// The options of a network that is read for another file.
    fn options(&self) -> ReadOptions {
        ReadOptions::default().custom_ops(self.ops.clone())
    }

    /// The tensors of a file of PyTorch's: its pickle is read once.
    fn pth(&self) -> Result<&pth::TensorFile> {
        if let Some(file) = self.pth.get() {
            return Ok(file);
        }
        let file = pth::TensorFile::of(Arc::clone(&self.source), self.key.as_deref())?;
        Ok(self.pth.get_or_init(|| file))
    }

    /// What stands for the file in messages: its path, or the name that was given.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// Its kind, as far as its first bytes tell: a state dict of torchvision's begins as
    /// [`Format::Safetensors`] does.
    pub fn format(&self) -> Format {
        self.source.format()
    }

    /// Reads the network.
    ///
    /// # Errors
    /// What reading a file of its kind says, see [`ccv::read`] and [`safetensors::read`].
    pub fn read(&self, device: &Device, options: &ReadOptions) -> Result<Network> {
        let source = Arc::clone(&self.source);
        let options = &self.checked(options)?;
        match self.format() {
            Format::Ccv => ccv::read_source(source, device, options),
            Format::Safetensors | Format::Torchvision => {
                safetensors::read_source(source, device, options)
            }
            Format::Onnx => onnx::Model::of_source(&source)?.to_classifier(device, options),
            Format::Caffe => {
                caffe::read_source(source, device, &self.caffe(Some(options)), options)
            }
            Format::Pth => match options.checkpoint_key {
                Some(_) => pth::read_source(source, device, options),
                None => pth::read_open(self.pth()?, device, options),
            },
        }
    }

    /// Reads what classifies pictures: the network; of an ONNX model with operators that are no layers, the
    /// model as it is.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`onnx::ImageModel::new`].
    pub fn read_any(&self, device: &Device, options: &ReadOptions) -> Result<AnyModel> {
        if self.format() != Format::Onnx {
            return self.read(device, options).map(AnyModel::Network);
        }
        let options = self.checked(options)?;
        let model = onnx::Model::of_source(&self.source)?;
        match model.to_classifier(device, &options) {
            Ok(network) if network.shapes().last().is_some_and(|last| !last.flat) => {
                // Classes may be the channels of an image of one pixel.
                Ok(match onnx::ImageModel::new(model, device, &options) {
                    Ok(model) => AnyModel::Onnx(model),
                    Err(_) => AnyModel::Network(network),
                })
            }
            Ok(network) => Ok(AnyModel::Network(network)),
            Err(Error::Node { file, place, .. }) => {
                log::info!("{file}: no network of layers ({place}): the model is run as it is");
                onnx::ImageModel::new(model, device, &options).map(AnyModel::Onnx)
            }
            Err(error) => Err(error),
        }
    }

    /// The options, once it is clear that files of its kind have what they name.
    fn checked(&self, options: &ReadOptions) -> Result<ReadOptions> {
        check_key(&self.source, options.checkpoint_key.as_deref())?;
        check_caffe(&self.source, "definition", options.prototxt.as_deref())?;
        check_caffe(&self.source, "mean image", options.mean_file.as_deref())?;
        let mut options = options.clone();
        if options.pixels.is_empty() {
            options.pixels = self.pixels;
        }
        if options.custom_ops.is_empty() {
            options.custom_ops = self.ops.clone();
        }
        Ok(options)
    }

    /// What it holds, without loading its weights.
    ///
    /// # Errors
    /// As [`read`](Self::read), where the description of the network or the sizes of its weights are at
    /// fault.
    pub fn inspect(&self) -> Result<Inspection> {
        let source = Arc::clone(&self.source);
        match self.format() {
            Format::Ccv => ccv::inspect(source),
            Format::Safetensors | Format::Torchvision => safetensors::inspect(source, &self.ops),
            Format::Pth => pth::inspect(self.pth()?),
            Format::Onnx => onnx::Model::of_source(&source)?.inspect(source.bytes()),
            Format::Caffe => caffe::inspect(source, &self.caffe(None)),
        }
    }

    /// The tensors of a file of PyTorch's, also where they are of no network that is known here; nothing
    /// for other kinds.
    ///
    /// # Errors
    /// As [`pth::TensorFile::open`].
    pub fn tensors(&self) -> Result<Option<Vec<StoredTensor>>> {
        match self.format() {
            Format::Pth => Ok(Some(pth::tensors(self.pth()?))),
            Format::Ccv
            | Format::Safetensors
            | Format::Torchvision
            | Format::Onnx
            | Format::Caffe => Ok(None),
        }
    }

    /// What whoever trained noted in it, texts by name; nothing where no one did.
    ///
    /// # Errors
    /// As [`ccv::read_training_notes`].
    pub fn training_notes(&self) -> Result<BTreeMap<String, String>> {
        match self.format() {
            Format::Ccv => ccv::read_training_notes_source(Arc::clone(&self.source)),
            Format::Safetensors | Format::Torchvision => {
                safetensors::read_training_texts(Arc::clone(&self.source))
            }
            Format::Pth | Format::Onnx | Format::Caffe => Ok(BTreeMap::new()),
        }
    }

    /// Its bytes, from the first to the last; each reader has a place of its own.
    pub fn bytes(&self) -> impl Read + Send + use<> {
        Bytes { source: Arc::clone(&self.source), at: 0 }
    }

    /// Writes it as another file, see [`convert`](crate::convert()).
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`write`](crate::write()); then nothing has changed.
    pub fn convert(
        &self,
        output: impl AsRef<Path>,
        device: &Device,
        options: &WriteOptions,
    ) -> Result<()> {
        let output = output.as_ref();
        let to = Format::of_extension(output)?;
        if options.fold_batch_norms {
            // What is left of it trains no more.
            return write(output, &self.read(device, &self.options())?, options);
        }
        if self.format() == Format::Ccv {
            self.pixels.refuse(self.name())?;
        }
        if self.format() == Format::Ccv && to == Format::Ccv && !options.strip {
            let checkpoint = ccv::read_checkpoint_source(Arc::clone(&self.source), device)?;
            if let Some(state) = &checkpoint.state {
                return ccv::write_checkpoint_with(output, &checkpoint.network, state, options);
            }
            return write(output, &checkpoint.network, options);
        }
        // With weights of another precision no training could go on as it was.
        let keeps_bits = options.dtype.is_none_or(|dtype| dtype == DType::F32);
        if self.format() == Format::Safetensors
            && to == Format::Safetensors
            && !options.strip
            && keeps_bits
            && self.pixels.is_empty()
        {
            let (network, training) = safetensors::read_training_source(
                Arc::clone(&self.source),
                device,
                &self.options(),
            )?;
            if let Some(training) = training {
                return safetensors::write_training(output, &network, &training);
            }
            return write(output, &network, options);
        }
        let may_train = self.format() != Format::Pth && !options.strip;
        if may_train && !self.inspect()?.training_state.is_empty() {
            let (output, input) = (output.display(), self.source.name());
            log::warn!(
                "{output}: the training state of {input} is left out: it stays from a file to one of its \
                 own form, in the precision that it has"
            );
        }
        write(output, &self.read(device, &self.options())?, options)
    }
}

/// Refuses a key where files of its kind have none.
fn check_key(source: &Source, key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if source.format() != Format::Pth => {
            let (place, got) = (format!("state dict {key:?}"), source.format().to_string());
            let expected = "a checkpoint of PyTorch's, which may hold several state dicts";
            Err(Error::content(source.name(), place, expected, got))
        }
        _ => Ok(()),
    }
}

/// Refuses a file that belongs to a caffemodel where the model is none.
fn check_caffe(source: &Source, what: &str, path: Option<&Path>) -> Result<()> {
    match path {
        Some(path) if source.format() != Format::Caffe => {
            let place = format!("{what} {}", path.display());
            let expected = "a caffemodel, to which such a file belongs";
            Err(Error::content(source.name(), place, expected, source.format().to_string()))
        }
        _ => Ok(()),
    }
}

struct Bytes {
    source: Arc<Source>,
    at: u64,
}

impl Read for Bytes {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelFile({}, {})", self.source.name(), self.format())
    }
}
