//! What can go wrong on the way from a picture to its classes.

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the part of the house that says so as its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device, or an op on it.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
    /// A network or one of its layers.
    #[error(transparent)]
    Network(#[from] striate_nn::Error),
    /// A model file.
    #[error(transparent)]
    Model(#[from] striate_importers::Error),
    /// A picture, a list or a protocol.
    #[error(transparent)]
    Image(#[from] striate_data::Error),
    /// A training.
    #[error(transparent)]
    Train(#[from] striate_train::Error),
    /// The network cannot classify pictures.
    #[error("this network cannot classify: expected {expected}, got {got}")]
    NotAClassifier {
        /// What classifying needs.
        expected: String,
        /// What the network has.
        got: String,
    },
    /// Labels do not fit the network.
    #[error("expected {classes} labels, one a class, got {labels}")]
    Labels {
        /// Classes of the network.
        classes: usize,
        /// Labels that were given.
        labels: usize,
    },
    /// What a network holds or does cannot be drawn so.
    #[error("cannot draw {what}: expected {expected}, got {got}")]
    Visualize {
        /// What was to be drawn.
        what: &'static str,
        /// What that needs.
        expected: String,
        /// What there is.
        got: String,
    },
}
