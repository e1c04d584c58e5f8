//! What can go wrong with networks.

use std::ops::Range;

use striate_tensor::Given;

use crate::{LayerKind, NetworkSpec};

/// The result of what is fallible in this crate, modules aside: a [`Module`](crate::Module) gives
/// the tensor crate's result, so that its `forward` may end in a tensor op.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: where in the network, what was expected and what was given. A message does not
/// repeat that of its [`source`](std::error::Error::source): print the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer that does not fit its input, or whose parameters or weights make no sense.
    #[error("{}: expected {expected}, got {got}", place(*layer, name, *kind))]
    Layer {
        /// The layer, counted from 0, pooling and normalization included.
        layer: usize,
        /// Its name; empty where it has none.
        name: Box<str>,
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
    #[error("{}", place(*layer, name, *kind))]
    Op {
        /// The layer, counted from 0.
        layer: usize,
        /// Its name; empty where it has none.
        name: Box<str>,
        /// What kind of layer it is.
        kind: LayerKind,
        /// What the op says.
        source: Box<striate_tensor::Error>,
    },
    /// A tensor op failed outside any layer.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
    /// The run was cancelled.
    #[error("the run was cancelled")]
    Cancelled,
    /// The run would need more memory than it may have; nothing was run.
    #[error("the run needs {needed} bytes for activations, of which it may have {limit}")]
    Memory {
        /// Bytes of activations at the peak.
        needed: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A graph could not be made ready or run.
    #[error(transparent)]
    Graph(striate_graph::Error),
    /// Text that is not the JSON of a network specification.
    #[error("network specification: {0}")]
    Json(serde_json::Error),
    /// The caller's own function, run on each activation, failed.
    #[error(transparent)]
    Visit(Box<dyn std::error::Error + Send + Sync>),
}

/// `layer 3 (conv)`, or `layer 3 (conv1, conv)`.
fn place(layer: usize, name: &str, kind: LayerKind) -> String {
    if name.is_empty() {
        format!("layer {layer} ({kind})")
    } else {
        format!("layer {layer} ({name}, {kind})")
    }
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

    /// A layer of this network that does not fit.
    pub(crate) fn layer(
        spec: &NetworkSpec,
        layer: usize,
        expected: impl Into<String>,
        got: impl Into<Given>,
    ) -> Self {
        let (name, kind) = named(spec, layer);
        Error::Layer { layer, name, kind, expected: expected.into(), got: got.into() }
    }

    /// A layer of this network in which an op failed.
    pub(crate) fn op(spec: &NetworkSpec, layer: usize, source: striate_tensor::Error) -> Self {
        let (name, kind) = named(spec, layer);
        Error::Op { layer, name, kind, source: Box::new(source) }
    }

    /// What a run of this network's graph says.
    pub(crate) fn from_graph(spec: &NetworkSpec, error: striate_graph::Error) -> Self {
        match error {
            striate_graph::Error::Node { origin: Some(layer), source, .. }
                if layer < spec.nodes.len() =>
            {
                Error::op(spec, layer, *source)
            }
            striate_graph::Error::Visit(source) => match source.downcast::<Error>() {
                Ok(own) => *own,
                Err(source) => Error::Visit(source),
            },
            striate_graph::Error::Cancelled => Error::Cancelled,
            striate_graph::Error::Memory { needed, limit } => Error::Memory { needed, limit },
            striate_graph::Error::Tensor(source) => Error::Tensor(source),
            other => Error::Graph(other),
        }
    }

    pub(crate) fn network(expected: impl Into<String>, got: impl Into<Given>) -> Self {
        Error::Network { expected: expected.into(), got: got.into() }
    }

    /// The nearest error of the tensor crate, for where a network stands as a module among others.
    pub(crate) fn into_tensor_error(self) -> striate_tensor::Error {
        match self {
            Error::Op { source, .. } => *source,
            Error::Tensor(source) => source,
            Error::Layer { layer, name, kind, expected, got } => striate_tensor::Error::shape(
                "network",
                format!("{expected} in {}", place(layer, &name, kind)),
                got,
            ),
            Error::Network { expected, got } => {
                striate_tensor::Error::shape("network", expected, got)
            }
            other => striate_tensor::Error::shape("network", "a forward pass", other.to_string()),
        }
    }
}

/// A layer's own name and its kind.
fn named(spec: &NetworkSpec, layer: usize) -> (Box<str>, LayerKind) {
    let node = spec.nodes.get(layer);
    let name = node.map(|node| node.name.as_str().into()).unwrap_or_default();
    (name, node.map_or(LayerKind::Conv, crate::spec::Node::kind))
}
