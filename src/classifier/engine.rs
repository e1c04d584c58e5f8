//! What gives views their probabilities.

use striate_data::{FloatImage, Prepared, Protocol, five_windows};
use striate_importers::onnx::ImageModel;
use striate_nn::{Network, Scan};
use striate_tensor::{DType, Device, Tensor};

use super::batch;
use crate::{Error, Result};

/// Views that go through the layers before the first full-connect one together. More would only
/// hold more memory: convolutions are already wide enough.
pub(super) const VIEWS_AT_ONCE: usize = 10;

/// What gives views their probabilities.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    /// A network of layers.
    Layers(Layers),
    /// An ONNX model as its file has it. It takes views of its own size alone.
    Onnx(ImageModel),
}

/// A network of layers, and where its parts are.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    pub(super) network: Network,
    /// None for a network without a convolution, which only takes views of its input's size.
    pub(super) scan: Option<Scan>,
    /// The first full-connect layer.
    pub(super) head: usize,
}

impl Engine {
    pub(super) fn device(&self) -> &Device {
        match self {
            Engine::Layers(layers) => layers.network.device(),
            Engine::Onnx(model) => model.device(),
        }
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Engine::Layers(layers) => &layers.network.spec().name,
            Engine::Onnx(model) => model.model().name(),
        }
    }

    /// Whether there are weights in half precision.
    pub(super) fn is_half(&self) -> bool {
        match self {
            Engine::Layers(layers) => {
                layers.network.parameters().iter().any(|weight| weight.dtype() == DType::F16)
            }
            Engine::Onnx(_) => false,
        }
    }

    /// The network of layers.
    pub(super) fn layers(&self) -> Result<&Layers> {
        match self {
            Engine::Layers(layers) => Ok(layers),
            Engine::Onnx(model) => Err(Error::NotAClassifier {
                expected: "a network of layers, for what layers give".into(),
                got: format!("{}, which is run as its file has it", model.model().name()),
            }),
        }
    }

    /// The logits of prepared pictures, `[views, classes]`, in their order.
    pub(super) fn logits(
        &self,
        pictures: impl Iterator<Item = Result<Prepared>>,
        protocol: Protocol,
    ) -> Result<Tensor> {
        match self {
            Engine::Layers(layers) => {
                let mut features = Vec::new();
                for prepared in pictures {
                    features.extend(layers.features(prepared?, protocol)?);
                }
                let features = Tensor::concatenate(&features.iter().collect::<Vec<_>>(), 0)?;
                let head = layers.head..layers.network.spec().nodes.len();
                Ok(layers.network.forward_layers(head, &features)?)
            }
            Engine::Onnx(model) => {
                let mut views = Vec::new();
                for prepared in pictures {
                    match prepared? {
                        Prepared::Crops(crops) => views.extend(crops),
                        Prepared::Scans(_) => return Err(cannot_scan(model, protocol)),
                    }
                }
                let mut logits = Vec::with_capacity(views.len().div_ceil(VIEWS_AT_ONCE));
                for views in views.chunks(VIEWS_AT_ONCE) {
                    logits.push(model.forward(&batch(views, model.device())?)?);
                }
                Ok(Tensor::concatenate(&logits.iter().collect::<Vec<_>>(), 0)?)
            }
        }
    }

    /// The logits of views of the network's own size.
    pub(super) fn logits_of_views(&self, views: &[FloatImage]) -> Result<Tensor> {
        let views = batch(views, self.device())?;
        match self {
            Engine::Layers(layers) => Ok(layers.network.forward(&views)?),
            Engine::Onnx(model) => Ok(model.forward(&views)?),
        }
    }

    /// The probabilities of all classes for these logits. A model whose outputs are probabilities gives
    /// them in their place.
    pub(super) fn probabilities(&self, logits: Tensor) -> Result<Tensor> {
        match self {
            Engine::Onnx(model) if model.is_probabilities() => Ok(logits),
            _ => Ok(logits.softmax(1)?),
        }
    }
}

/// Refuses a protocol that scans pictures.
fn cannot_scan(model: &ImageModel, protocol: Protocol) -> Error {
    Error::NotAClassifier {
        expected: format!("a network of layers, for the protocol {protocol}"),
        got: format!(
            "{}, which is run as its file has it and takes views of its own size; choose another \
             protocol",
            model.model().name()
        ),
    }
}

impl Layers {
    /// The input of the first full-connect layer for every view of a prepared picture, in parts.
    pub(super) fn features(&self, prepared: Prepared, protocol: Protocol) -> Result<Vec<Tensor>> {
        let device = self.network.device();
        let mut features = Vec::new();
        match prepared {
            Prepared::Crops(crops) => {
                for crops in crops.chunks(VIEWS_AT_ONCE) {
                    let x = batch(crops, device)?;
                    let y = self.network.forward_layers(0..self.head, &x)?;
                    features.push(y.flatten()?);
                }
            }
            Prepared::Scans(slices) => {
                let Some(scan) = self.scan else {
                    return Err(Error::NotAClassifier {
                        expected: format!("a convolution, for the protocol {protocol}"),
                        got: format!("{} layers without one", self.network.spec().nodes.len()),
                    });
                };
                let after = scan.layer + 1;
                for slice in slices {
                    let x = batch(std::slice::from_ref(&slice), device)?;
                    let scanned = self.network.forward_layers(0..after, &x)?;
                    let [_, rows, cols, _] =
                        scanned.shape().nhwc("scan", "the last convolution")?;
                    let window = scan.window;
                    let windows = five_windows([rows, cols], window)?
                        .into_iter()
                        .map(|[row, col]| {
                            let rows = scanned.narrow(1, row..row + window[0])?;
                            rows.narrow(2, col..col + window[1])
                        })
                        .collect::<striate_tensor::Result<Vec<_>>>()?;
                    drop(scanned);
                    let windows = Tensor::concatenate(&windows.iter().collect::<Vec<_>>(), 0)?;
                    let y = self.network.forward_layers(after..self.head, &windows)?;
                    features.push(y.flatten()?);
                }
            }
        }
        Ok(features)
    }
}
