//! What can go wrong with model files.

use std::error::Error as StdError;

use striate_tensor::DType;

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: each variant names the file, and the place in it where there is one.
///
/// A message does not repeat the message of its [`source`](StdError::source): print the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("{file}: cannot {action}")]
    Io {
        /// The file.
        file: String,
        /// What was to be done with it.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no model file, or of another kind than its name says.
    #[error("{file}: not a model file: {reason}")]
    NotAModel {
        /// The file.
        file: String,
        /// What was looked for, and what it looks like instead.
        reason: String,
    },
    /// A value in the file is not what it should be.
    #[error("{file}: {place}: expected {expected}, got {got}")]
    Content {
        /// The file.
        file: String,
        /// The table, row and column, or the tensor, or the part of the header.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A tensor in the file has another shape than the network needs.
    #[error("{file}: {place}: expected the shape {expected:?}, got {got:?}")]
    Shape {
        /// The file.
        file: String,
        /// Which tensor.
        place: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape of the tensor in the file.
        got: Vec<usize>,
    },
    /// A text in the file is not in the form that it should have.
    #[error("{file}: {place}: expected {expected}")]
    Parse {
        /// The file.
        file: String,
        /// The table, row and column, or the part of the header.
        place: String,
        /// What should be there.
        expected: String,
        /// Where the text goes wrong, and how.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Values are too large for the type that they were to be converted to: they would become
    /// infinite, and a network with them computes nothing. `allow_overflow` of the
    /// [options](crate::ReadOptions) lets them.
    #[error("{file}: {place}: {overflow}{}", overflow.advice())]
    Overflow {
        /// The file that is read or written.
        file: String,
        /// Which tensor.
        place: String,
        /// Which of its values, and how many.
        overflow: Overflow,
    },
    /// The file was changed while it was read, so what was read may be a mixture of old and new.
    #[error("{file}: another program changed the file while it was read; read it again")]
    Changed {
        /// The file.
        file: String,
    },
    /// The database engine failed: the file is damaged, locked, or the disk is full.
    #[error("{file}: {place}: {problem}")]
    Database {
        /// The file.
        file: String,
        /// The table, row and column, or what was being done.
        place: String,
        /// What that means for the file.
        problem: String,
        /// What the engine said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The network in the file is impossible.
    #[error("{file}: the network is not possible")]
    Network {
        /// The file.
        file: String,
        /// What does not fit.
        source: Box<striate_nn::Error>,
    },
    /// A tensor could not be put on the device, or read from it.
    #[error("{file}: {place} cannot be used")]
    Tensor {
        /// The file.
        file: String,
        /// Which tensor.
        place: String,
        /// What the device said.
        source: Box<striate_tensor::Error>,
    },
    /// A node of the file's graph cannot be computed on what it is given.
    #[error("{file}: {place}: {problem}")]
    Node {
        /// The file.
        file: String,
        /// The node: its name and its operator.
        place: String,
        /// What was expected, and what it has.
        problem: String,
    },
    /// The file has operators that are not there.
    #[error("{file}: operators of opset {opset} that are not supported: {operators}")]
    Operators {
        /// The file.
        file: String,
        /// The version of the standard operators.
        opset: i64,
        /// Each operator, how often it stands there, and the first nodes.
        operators: String,
    },
    /// The file has layers that are not there.
    #[error("{file}: layers that are not supported: {layers}")]
    Layers {
        /// The file.
        file: String,
        /// Each type of layer, how often it stands there, and the first layers.
        layers: String,
    },
    /// The file's graph could not be run.
    #[error("{file}: the run failed")]
    Graph {
        /// The file.
        file: String,
        /// Why not.
        source: Box<striate_graph::Error>,
    },
    /// The network cannot be held by the format asked for.
    #[error("{file}: {format} cannot hold this network: {reason}")]
    Unrepresentable {
        /// The file that was to be written.
        file: String,
        /// The format.
        format: &'static str,
        /// What it has no place for.
        reason: String,
    },
    /// The output cannot be written to this path.
    #[error("{file}: cannot be written: {reason}")]
    Target {
        /// The path.
        file: String,
        /// Why not, and what to do.
        reason: String,
    },
}

/// Values of a tensor that are finite, and too large for the type that they were to be converted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Overflow {
    /// The first of them.
    pub value: f64,
    /// Where it is: the place along each axis of the tensor, counted from 0.
    pub index: Vec<usize>,
    /// The type.
    pub dtype: DType,
    /// How many there are.
    pub count: usize,
    /// How many values the tensor has.
    pub of: usize,
}

impl Overflow {
    /// What to do instead, at the end of a message.
    fn advice(&self) -> &'static str {
        match self.dtype {
            DType::F16 => "; keep f32",
            _ => "",
        }
    }

    /// The largest finite value of the type.
    pub fn limit(&self) -> f64 {
        match self.dtype {
            DType::F16 => f64::from(striate_tensor::f16::MAX.to_f32()),
            DType::F32 => f64::from(f32::MAX),
            DType::F64 => f64::MAX,
            DType::U32 => f64::from(u32::MAX),
            DType::I64 => i64::MAX as f64,
            DType::I32 => f64::from(i32::MAX),
            DType::I8 => f64::from(i8::MAX),
            DType::U8 => f64::from(u8::MAX),
            DType::Bool => 1.0,
        }
    }
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Overflow { value, index, dtype, count, of } = self;
        let limit = match dtype {
            DType::F32 => format!("{:e}", f32::MAX),
            _ => self.limit().to_string(),
        };
        // Large numbers are easier to read with an exponent.
        let value = match value.abs() {
            large if large >= 1e9 => format!("{value:e}"),
            _ => value.to_string(),
        };
        let are = if *count == 1 { "is" } else { "are" };
        write!(
            f,
            "{count} of {of} values {are} too large for {dtype}, which ends at {limit}: the first is \
             {value} at {index:?}"
        )
    }
}

impl Error {
    pub(crate) fn io(file: &str, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { file: file.into(), action, source }
    }

    pub(crate) fn not_a_model(file: &str, reason: impl Into<String>) -> Self {
        Error::NotAModel { file: file.into(), reason: reason.into() }
    }

    pub(crate) fn content(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Error::Content {
            file: file.into(),
            place: place.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    pub(crate) fn parse(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let (place, expected) = (place.into(), expected.into());
        Error::Parse { file: file.into(), place, expected, source: Box::new(source) }
    }

    pub(crate) fn network(file: &str, source: striate_nn::Error) -> Self {
        Error::Network { file: file.into(), source: Box::new(source) }
    }

    pub(crate) fn graph(file: &str, source: striate_graph::Error) -> Self {
        Error::Graph { file: file.into(), source: Box::new(source) }
    }

    pub(crate) fn tensor(
        file: &str,
        place: impl Into<String>,
        source: striate_tensor::Error,
    ) -> Self {
        Error::Tensor { file: file.into(), place: place.into(), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_repeat_its_source() {
        let io = || std::io::Error::other("disk on fire");
        let tensor = || striate_tensor::Error::parameter("read", "dtype", "f32", "u32");
        let network = || striate_nn::Error::Tensor(tensor());
        let errors = [
            Error::io("x", "read", io()),
            Error::parse("x", "header", "JSON", io()),
            Error::tensor("x", "tensor a", tensor()),
            Error::network("x", network()),
            Error::Database {
                file: "x".into(),
                place: "layer_data".into(),
                problem: "sqlite failed".into(),
                source: Box::new(io()),
            },
        ];
        for error in errors {
            let source = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&source), "{error}");
            assert!(error.to_string().starts_with("x: "), "{error}");
        }
    }

    #[test]
    fn an_overflow_says_what_where_and_the_limit() {
        let overflow = |value, dtype, count| {
            Overflow { value, index: vec![0, 3], dtype, count, of: 9 }.to_string()
        };
        assert_eq!(
            overflow(1e5, DType::F16, 1),
            "1 of 9 values is too large for f16, which ends at 65504: the first is 100000 at [0, 3]"
        );
        let text = overflow(-1e300, DType::F32, 2);
        assert!(text.contains("2 of 9 values are too large for f32"), "{text}");
        assert!(text.contains("ends at 3.4028235e38: the first is -1e300"), "{text}");
    }
}
