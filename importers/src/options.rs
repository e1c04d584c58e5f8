//! How to read and write.

use std::path::PathBuf;

use striate_tensor::DType;
use striate_tensor::ops::CustomOps;

use crate::preset::PixelOptions;
use crate::{Error, Result};

/// How a model file is read.
///
/// ```
/// use striate_importers::ReadOptions;
/// use striate_tensor::DType;
///
/// let options = ReadOptions::default().dtype(DType::F16).checkpoint_key("ema");
/// assert_eq!(options.dtype, Some(DType::F16));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// The precision of the weights on the device, [`DType::F32`] or [`DType::F16`]; `None` keeps
    /// what each layer is stored in. The mean image is always f32.
    pub dtype: Option<DType>,
    /// Whether finite values may become infinite where `dtype` has no place for them, with a warning.
    /// Otherwise that is an [`Error::Overflow`].
    pub allow_overflow: bool,
    /// Of a checkpoint of PyTorch's that holds several state dicts, the key of the one to read: `ema`, or
    /// `model.state_dict` for one within another. Files of other kinds have none.
    pub checkpoint_key: Option<String>,
    /// Of a caffemodel, the definition of its layers (`.prototxt`); `None` takes the one beside it. Files
    /// of other kinds have none.
    pub prototxt: Option<PathBuf>,
    /// Of a caffemodel, the mean image that is subtracted from pictures (`.binaryproto`); `None` takes what
    /// the definition says, or what is usual. Files of other kinds have none.
    pub mean_file: Option<PathBuf>,
    /// What is done to pixels, for files that do not say it: ONNX models of others, state dicts and
    /// caffemodels. Where nothing is said it is what the network's makers did.
    pub pixels: PixelOptions,
    /// The custom ops that a network in our own form may have as layers. A file holds their names,
    /// versions and parameters.
    pub custom_ops: CustomOps,
}

impl ReadOptions {
    /// With this precision of the weights.
    #[must_use]
    pub fn dtype(mut self, dtype: impl Into<Option<DType>>) -> Self {
        self.dtype = dtype.into();
        self
    }

    /// Whether finite values may become infinite.
    #[must_use]
    pub fn allow_overflow(mut self, allow: bool) -> Self {
        self.allow_overflow = allow;
        self
    }

    /// With the state dict under this key of a checkpoint.
    #[must_use]
    pub fn checkpoint_key(mut self, key: impl Into<String>) -> Self {
        self.checkpoint_key = Some(key.into());
        self
    }

    /// With this definition of a caffemodel's layers.
    #[must_use]
    pub fn prototxt(mut self, path: impl Into<PathBuf>) -> Self {
        self.prototxt = Some(path.into());
        self
    }

    /// With this mean image of a caffemodel.
    #[must_use]
    pub fn mean_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.mean_file = Some(path.into());
        self
    }

    /// With this done to pixels.
    #[must_use]
    pub fn pixels(mut self, pixels: PixelOptions) -> Self {
        self.pixels = pixels;
        self
    }

    /// With these custom ops.
    #[must_use]
    pub fn custom_ops(mut self, ops: CustomOps) -> Self {
        self.custom_ops = ops;
        self
    }
}

/// How a model file is written.
///
/// ```
/// use striate_importers::WriteOptions;
/// use striate_tensor::DType;
///
/// let options = WriteOptions::default().dtype(DType::F16).fold_batch_norms(true).strip(true);
/// assert!(options.strip);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// The precision of the weights in the file, [`DType::F32`] or [`DType::F16`], in safetensors also
    /// [`DType::I8`]: 8 bits with a scale for each output channel. `None` keeps what each layer is held
    /// in; of a network that [computes with integers](striate_nn::Network::with_levels), these. The mean image is always f32.
    pub dtype: Option<DType>,
    /// Whether batch norms and layer scales become part of the convolutions before them
    /// ([`Network::fold_batch_norms`]): the same function, for networks that train no more.
    ///
    /// [`Network::fold_batch_norms`]: striate_nn::Network::fold_batch_norms
    pub fold_batch_norms: bool,
    /// Whether the state of a training is left out: velocities, the position, what the trainer notes.
    /// The metadata stay: labels, protocol, the view that was tested with, recipe, note and extra.
    pub strip: bool,
    /// Whether finite values may become infinite where `dtype` has no place for them, with a warning.
    /// Otherwise that is an [`Error::Overflow`], and nothing is written.
    pub allow_overflow: bool,
}

impl WriteOptions {
    /// With this precision of the weights.
    #[must_use]
    pub fn dtype(mut self, dtype: impl Into<Option<DType>>) -> Self {
        self.dtype = dtype.into();
        self
    }

    /// With or without batch norms folded into the convolutions before them.
    #[must_use]
    pub fn fold_batch_norms(mut self, fold: bool) -> Self {
        self.fold_batch_norms = fold;
        self
    }

    /// With or without what only training needs.
    #[must_use]
    pub fn strip(mut self, strip: bool) -> Self {
        self.strip = strip;
        self
    }

    /// Whether finite values may become infinite.
    #[must_use]
    pub fn allow_overflow(mut self, allow: bool) -> Self {
        self.allow_overflow = allow;
        self
    }
}

/// Refuses a precision that weights cannot have.
pub(crate) fn check_dtype(file: &str, dtype: Option<DType>) -> Result<()> {
    match dtype {
        Some(got) if !got.is_float() => {
            let source = striate_tensor::Error::parameter("options", "dtype", "f32 or f16", got);
            Err(Error::tensor(file, "the weights", source))
        }
        _ => Ok(()),
    }
}
