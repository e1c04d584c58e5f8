//! What can go wrong with tensors.

use crate::{DType, Shape, TensorType};

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
        /// The shapes that it takes, in words: a rule, not always one shape.
        expected: String,
        /// The shapes that it was given.
        got: Given,
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
    /// A registry of custom ops cannot make this op.
    #[error("custom op `{name}`, version {version}: {reason}")]
    CustomOp {
        /// The name of the op.
        name: String,
        /// Its version.
        version: u32,
        /// Why not, and what is registered.
        reason: String,
    },
    /// Values that were read cannot be given.
    #[error("read: {reason}")]
    Read {
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// A [`Error::Shape`]. What was given may be shapes, tensor types, extents or a text.
    pub fn shape(op: &'static str, expected: impl Into<String>, got: impl Into<Given>) -> Self {
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

/// What was given where something else was expected: values for programs, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Given {
    /// Shapes, in the order of the operands that they are of.
    Shapes(Vec<Shape>),
    /// Shapes and element types, in the order of the operands that they are of.
    Types(Vec<TensorType>),
    /// Extents that make no [`Shape`].
    Extents(Vec<usize>),
    /// Shapes, and a text that says more of them: how each is stored.
    Described(Vec<Shape>, String),
    /// Something that is no shape, in words.
    Text(String),
}

impl Given {
    /// The shapes that were given, if it was shapes.
    pub fn shapes(&self) -> Vec<Shape> {
        match self {
            Given::Shapes(shapes) | Given::Described(shapes, _) => shapes.clone(),
            Given::Types(types) => types.iter().map(|ty| ty.shape).collect(),
            Given::Extents(_) | Given::Text(_) => Vec::new(),
        }
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn list<T: ToString>(items: &[T]) -> String {
            items.iter().map(T::to_string).collect::<Vec<_>>().join(" and ")
        }
        match self {
            Given::Shapes(shapes) => f.pad(&list(shapes)),
            Given::Types(types) => f.pad(&list(types)),
            Given::Extents(extents) => f.pad(&format!("{extents:?}")),
            Given::Described(_, text) | Given::Text(text) => f.pad(text),
        }
    }
}

impl From<Shape> for Given {
    fn from(shape: Shape) -> Self {
        Given::Shapes(vec![shape])
    }
}

impl From<&Shape> for Given {
    fn from(shape: &Shape) -> Self {
        Given::Shapes(vec![*shape])
    }
}

impl<const N: usize> From<[Shape; N]> for Given {
    fn from(shapes: [Shape; N]) -> Self {
        Given::Shapes(shapes.to_vec())
    }
}

impl From<TensorType> for Given {
    fn from(ty: TensorType) -> Self {
        Given::Types(vec![ty])
    }
}

impl From<&TensorType> for Given {
    fn from(ty: &TensorType) -> Self {
        Given::Types(vec![*ty])
    }
}

impl From<&[TensorType]> for Given {
    fn from(types: &[TensorType]) -> Self {
        Given::Types(types.to_vec())
    }
}

impl From<&[usize]> for Given {
    fn from(extents: &[usize]) -> Self {
        Given::Extents(extents.to_vec())
    }
}

impl From<String> for Given {
    fn from(text: String) -> Self {
        Given::Text(text)
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Given::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_error_tells_programs_and_people_what_was_given() {
        let [a, b] = [[2, 3], [4, 5]].map(|dims| Shape::new(&dims).unwrap());
        let error = Error::shape("matmul", "one k", [a, b]);
        assert_eq!(error.to_string(), "matmul: expected one k, got [2, 3] and [4, 5]");
        let Error::Shape { got, .. } = error else { panic!("another kind of error") };
        assert_eq!(got.shapes(), [a, b]);
        assert_eq!(Given::from(TensorType::f32(a)).to_string(), "f32[2, 3]");
        assert_eq!(Given::from(TensorType::f32(a)).shapes(), [a]);
        assert_eq!(Given::from(&[1usize, 2][..]).to_string(), "[1, 2]");
        let text = Given::from("7 bytes");
        assert_eq!((text.to_string().as_str(), text.shapes()), ("7 bytes", vec![]));
    }
}
