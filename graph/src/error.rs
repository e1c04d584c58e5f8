//! What can go wrong with graphs.

use striate_tensor::TensorType;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. A message does not repeat that of its [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An op failed, or its operands do not fit.
    #[error("node `{node}`")]
    Node {
        /// The node's name.
        node: String,
        /// What the node was made from, where its maker says so: [`Node::origin`](crate::Node::origin).
        origin: Option<usize>,
        /// What the op says.
        source: Box<striate_tensor::Error>,
    },
    /// A graph was run on inputs other than those it was made for.
    #[error("graph: expected {expected} as input `{input}`, got {got}")]
    Input {
        /// The input's name.
        input: String,
        /// Its type in the graph.
        expected: Box<TensorType>,
        /// The type that it was given.
        got: Box<TensorType>,
    },
    /// A graph was run on another number of inputs.
    #[error("graph: expected {expected} inputs, got {got}")]
    Inputs {
        /// How many the graph has.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// A parameter or buffer that the graph reads was not given, or has another shape.
    #[error("graph: expected {what} {index} of shape {expected}, got {got}")]
    Unbound {
        /// `parameter` or `buffer`.
        what: &'static str,
        /// Its number.
        index: u32,
        /// The type in the graph.
        expected: Box<TensorType>,
        /// What was given: a type, or `none`.
        got: String,
    },
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
    /// A tensor op failed outside any node.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
    /// The caller's own function, shown a value, failed.
    #[error(transparent)]
    Visit(Box<dyn std::error::Error + Send + Sync>),
}

/// What cannot be: every value is made before it is read. An error all the same.
pub(crate) fn missing(what: &str) -> Error {
    Error::Tensor(striate_tensor::Error::shape(
        "graph",
        format!("operands of {what}"),
        "none".to_owned(),
    ))
}
