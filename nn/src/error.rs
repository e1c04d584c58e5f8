//! What can go wrong with networks.

use std::ops::Range;

use striate_tensor::Given;

use crate::LayerKind;

/// The result of what is fallible in this crate, modules aside: a [`Module`](crate::Module) gives
/// the tensor crate's result, so that its `forward` may end in a tensor op.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: where in the network, what was expected and what was given. A message does not
/// repeat that of its [`source`](std::error::Error::source): print the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer that does not fit its input, or whose parameters or weights make no sense.
    #[error("layer {layer} ({kind}): expected {expected}, got {got}")]
    Layer {
        /// The layer, counted from 0, pooling and normalization included.
        layer: usize,
        /// What kind of layer it is.
        kind: LayerKind,
        /// What would be right.
        expected: String,
        /// What was given: shapes as values where it is shapes.
        got: Given,
    },
    /// The network as a whole makes no sense, or does not fit what it was given.
    #[error("network: expected {expected}, got {got}")]
    Network {
        /// What would be right.
        expected: String,
        /// What was given: shapes as values where it is shapes.
        got: Given,
    },
    /// A range of layers that the network does not have.
    #[error("network: expected a range of its {layers} layers, got {}..{}", range.start, range.end)]
    Range {
        /// How many layers there are.
        layers: usize,
        /// The range that was asked for.
        range: Range<usize>,
    },
    /// A tensor op failed inside a layer.
    #[error("layer {layer} ({kind})")]
    Op {
        /// The layer, counted from 0.
        layer: usize,
        /// What kind of layer it is.
        kind: LayerKind,
        /// What the op says.
        source: striate_tensor::Error,
    },
    /// A tensor op failed outside any layer.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
    /// Text that is not the JSON of a network specification.
    #[error("network specification: {0}")]
    Json(serde_json::Error),
    /// The caller's own function, run on each activation, failed.
    #[error(transparent)]
    Visit(Box<dyn std::error::Error + Send + Sync>),
}

/// Its message is in the text, so it is no source as well.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::Json(error)
    }
}

impl Error {
    /// A failure of the caller's own function in
    /// [`Network::activations`](crate::Network::activations).
    pub fn visit(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Visit(source.into())
    }

    pub(crate) fn layer(
        layer: usize,
        kind: LayerKind,
        expected: impl Into<String>,
        got: impl Into<Given>,
    ) -> Self {
        Error::Layer { layer, kind, expected: expected.into(), got: got.into() }
    }

    pub(crate) fn network(expected: impl Into<String>, got: impl Into<Given>) -> Self {
        Error::Network { expected: expected.into(), got: got.into() }
    }

    /// The nearest error of the tensor crate, for where a network stands as a module among others.
    pub(crate) fn into_tensor_error(self) -> striate_tensor::Error {
        match self {
            Error::Op { source, .. } | Error::Tensor(source) => source,
            Error::Layer { layer, kind, expected, got } => striate_tensor::Error::shape(
                "network",
                format!("{expected} in layer {layer} ({kind})"),
                got,
            ),
            Error::Network { expected, got } => {
                striate_tensor::Error::shape("network", expected, got)
            }
            other => striate_tensor::Error::shape("network", "a forward pass", other.to_string()),
        }
    }
}
