//! What can go wrong with model names.

/// The result of what is fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network has this name.
    #[error("no network is called `{name}`{}", did_you_mean(near))]
    UnknownModel {
        /// The name.
        name: String,
        /// The names that are closest to it, as [`near`](crate::near) gives them.
        near: Vec<&'static str>,
    },
}

fn did_you_mean(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        several => format!("; did you mean one of {}?", several.join(", ")),
    }
}
