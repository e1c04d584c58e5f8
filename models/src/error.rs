//! What can go wrong with model names.

/// The result of what is fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network has this name.
    #[error("no network is called `{name}`{}; there are {known}", did_you_mean(*suggestion))]
    UnknownModel {
        /// The name.
        name: String,
        /// The name that was probably meant.
        suggestion: Option<&'static str>,
        /// All names.
        known: String,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
