//! What can go wrong while training.

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that makes no sense.
    #[error("training options: expected {expected}, got {got}")]
    Option {
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A plan that cannot be carried out.
    #[error("plan: expected {expected}, got {got}")]
    Plan {
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// What an optimizer remembers, of another network or of another optimizer.
    #[error("state of the optimizer: expected {expected}, got {got}")]
    State {
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The loss or the weights are no numbers any more.
    #[error(
        "training diverged at iteration {iteration}: the loss is {loss}; what was saved before stays \
         as it is. Try a smaller learning rate (a tenth) or a warm-up, or look for wrong labels"
    )]
    Diverged {
        /// The mini-batch, counted from 0 over the whole training.
        iteration: u64,
        /// The mean loss of it.
        loss: f64,
    },
    /// A mini-batch could not be computed.
    #[error("iteration {iteration} failed; what was saved before stays as it is")]
    Step {
        /// The mini-batch, counted from 0 over the whole training.
        iteration: u64,
        /// Why not: which device, and what it says.
        source: Box<Error>,
    },
    /// The working file belongs to another training.
    #[error(
        "{file}: cannot resume: expected {expected}, got {got}; name another working file, or \
             remove this one to start anew"
    )]
    Mismatch {
        /// The working file.
        file: String,
        /// What this training is.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// Another training uses the working file.
    #[error("{file}: another training is using it (it holds {lock})")]
    Locked {
        /// The working file.
        file: String,
        /// The lock file.
        lock: String,
    },
    /// Two working files whose best networks would have the same name.
    #[error(
        "{file}: its best network would overwrite that of the training {other}: both have the name \
         {best}; name another working file"
    )]
    SharedBest {
        /// The working file.
        file: String,
        /// The working file of the other training.
        other: String,
        /// The file of the best network.
        best: String,
    },
    /// A file for metrics or events that belongs to something else.
    #[error("{file}: {reason}; name another one, or remove this one")]
    SideFile {
        /// The file.
        file: String,
        /// What is in the way.
        reason: String,
    },
    /// The form of the working file has no place for this network.
    #[error(
        "a working file of ccv's form cannot hold this network: give the working file a name that \
         ends in .safetensors, which holds any"
    )]
    Unstorable {
        /// Which layer, and why.
        source: striate_importers::Error,
    },
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
    /// What the training noted in its working file cannot be read.
    #[error("{file}: the notes of the training are damaged")]
    Notes {
        /// The working file.
        file: String,
        /// What is wrong with them.
        source: serde_json::Error,
    },
    /// What the training noted in its working file has a form of a later version.
    #[error(
        "{file}: the notes of the training have form {version}, and this program knows form {known}: \
         a newer version wrote them"
    )]
    NotesVersion {
        /// The working file.
        file: String,
        /// The form of the notes.
        version: u32,
        /// The form that is known.
        known: u32,
    },
    /// The samples do not fit the network.
    #[error("training data: expected {expected}, got {got}")]
    Data {
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// One of those that compute together is lost: all others end too.
    #[error("rank {rank} is lost: {reason}")]
    Rank {
        /// Which one, from 0.
        rank: usize,
        /// What is known of why.
        reason: String,
    },
    /// The thread that communicates with the other ranks failed.
    #[error("the exchange with other ranks: {message}")]
    Exchange {
        /// How.
        message: String,
    },
    /// The description of a training, its network and its options, is not readable as JSON.
    #[error("the description of the training cannot be written or read as JSON")]
    Encode {
        /// Why not.
        source: serde_json::Error,
    },
    /// An observer could not do its work.
    #[error("telling how the training goes: {message}")]
    Observer {
        /// What it could not do.
        message: String,
    },
    /// The data could not be read.
    #[error(transparent)]
    Samples(#[from] striate_data::Error),
    /// A checkpoint could not be written.
    #[error("the training could not be saved; what was saved before is intact")]
    NotSaved {
        /// Why not, and which file.
        source: Box<Error>,
    },
    /// The working file could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] striate_importers::Error),
    /// The network refused.
    #[error(transparent)]
    Network(#[from] striate_nn::Error),
    /// The device refused.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
}

impl Error {
    pub(crate) fn plan(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Error::Plan { expected: expected.into(), got: got.into() }
    }

    /// This, as what ended a mini-batch. What says so itself stays as it is.
    pub(crate) fn in_step(self, iteration: u64) -> Self {
        match self {
            Error::Network(_) | Error::Tensor(_) => {
                Error::Step { iteration, source: Box::new(self) }
            }
            other => other,
        }
    }

    /// The message and those of its sources, in one sentence.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let message = error.to_string();
            // A transparent error has the text of its source.
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            source = error.source();
        }
        text
    }

    pub(crate) fn io(file: &std::path::Path, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { file: file.display().to_string(), action, source }
    }
}
