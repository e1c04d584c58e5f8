//! What can go wrong with tensors.

use crate::DType;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: each variant names the op, what was expected and what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operand's shape does not fit the op.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// The op.
        op: &'static str,
        /// The shapes that it takes.
        expected: String,
        /// The shapes that it was given.
        got: String,
    },
    /// An operand's element type does not fit the op.
    #[error("{op}: expected {what} of type {expected}, got {got}")]
    DType {
        /// The op.
        op: &'static str,
        /// The operand.
        what: &'static str,
        /// The types that it takes.
        expected: &'static str,
        /// The type that it was given.
        got: DType,
    },
    /// A parameter of the op is out of its range.
    #[error("{op}: {parameter} must be {expected}, got {got}")]
    Parameter {
        /// The op.
        op: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// The values that it takes.
        expected: String,
        /// The value that it was given.
        got: String,
    },
    /// The op got another number of operands.
    #[error("{op}: expected {expected} operands, got {got}")]
    Operands {
        /// The op.
        op: &'static str,
        /// The number that it takes.
        expected: String,
        /// The number that it was given.
        got: usize,
    },
    /// A gradient was asked for that there is none of.
    #[error("{op}: no gradient: {reason}")]
    Gradient {
        /// The op, or `backward`.
        op: &'static str,
        /// Why not.
        reason: String,
    },
    /// Operands live on different devices.
    #[error(
        "{op}: operands are on different devices, {first} and {other}; move one with .to(&device)"
    )]
    Devices {
        /// The op.
        op: &'static str,
        /// The device of the first operand.
        first: String,
        /// The other device.
        other: String,
    },
    /// No device has this name.
    #[error("no device is called `{name}`: {reason}")]
    UnknownDevice {
        /// The name.
        name: String,
        /// Which names there are, or what is missing for this one.
        reason: String,
    },
    /// The device has no memory for a buffer.
    #[error("{device}: no memory for {bytes} bytes")]
    OutOfMemory {
        /// The device.
        device: String,
        /// The size of the buffer.
        bytes: usize,
    },
    /// The device cannot execute this op.
    #[error("{device} cannot execute {op}: {reason}")]
    Unsupported {
        /// The device.
        device: String,
        /// The op.
        op: &'static str,
        /// Why not.
        reason: String,
    },
    /// The device failed: it was lost, or refused what the backend asked of it.
    #[error("{device}: {message}")]
    Device {
        /// The device.
        device: String,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// A [`Error::Shape`].
    pub fn shape(op: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Error::Shape { op, expected: expected.into(), got: got.into() }
    }

    /// A [`Error::Gradient`].
    pub fn gradient(op: &'static str, reason: impl Into<String>) -> Self {
        Error::Gradient { op, reason: reason.into() }
    }

    /// A [`Error::Parameter`].
    pub fn parameter(
        op: &'static str,
        parameter: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Debug,
    ) -> Self {
        Error::Parameter { op, parameter, expected: expected.into(), got: format!("{got:?}") }
    }
}
