//! What can go wrong with model files.

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: each variant names the file, and the place in it where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("{file}: cannot {action}: {source}")]
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
    /// The database engine failed: the file is damaged, locked, or the disk is full.
    #[error("{file}: {place}: {message}")]
    Database {
        /// The file.
        file: String,
        /// The table, row and column, or what was being done.
        place: String,
        /// What the engine said.
        message: String,
    },
    /// The network in the file is impossible.
    #[error("{file}: {source}")]
    Network {
        /// The file.
        file: String,
        /// What does not fit.
        source: Box<striate_nn::Error>,
    },
    /// A tensor could not be put on the device, or read from it.
    #[error("{file}: {place}: {source}")]
    Tensor {
        /// The file.
        file: String,
        /// Which tensor.
        place: String,
        /// What the device said.
        source: Box<striate_tensor::Error>,
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

impl Error {
    pub(crate) fn io(file: &str, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { file: file.into(), action, source }
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

    pub(crate) fn network(file: &str, source: striate_nn::Error) -> Self {
        Error::Network { file: file.into(), source: Box::new(source) }
    }

    pub(crate) fn tensor(
        file: &str,
        place: impl Into<String>,
        source: striate_tensor::Error,
    ) -> Self {
        Error::Tensor { file: file.into(), place: place.into(), source: Box::new(source) }
    }
}
