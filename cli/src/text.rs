//! Small text files that a command reads, by the rules of `striate::image::text`.

use std::path::Path;

use serde::de::DeserializeOwned;
use striate::image::text::{MAX_BYTES, MAX_SMALL_BYTES, Text};

use crate::error::{Error, Result};
use crate::inputs::{STDIN_NAME, is_stdin, stdin};

/// Reads a text of many lines; `-` is standard input. `what` says what it is needed for: `the
/// results`.
pub(crate) fn read(path: &Path, what: &str) -> Result<Text> {
    open(path, what, MAX_BYTES)
}

/// As [`read`], of names, one a line: labels.
pub(crate) fn read_names(path: &Path, what: &str) -> Result<Vec<String>> {
    Ok(open(path, what, MAX_SMALL_BYTES)?.names())
}

/// Reads a value of JSON; `what` says what it should be: `training options`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let text = open(path, &format!("the {what}"), MAX_SMALL_BYTES)?;
    text.json().map_err(|error| match error {
        striate::image::Error::Format { path, place, detail } => {
            Error::message(format!("{}: no {what}: {place}: {detail}", path.display()))
        }
        other => other.into(),
    })
}

fn open(path: &Path, what: &str, limit: u64) -> Result<Text> {
    let text = match is_stdin(path) {
        true => Text::read(stdin(what)?, Path::new(STDIN_NAME), limit),
        false => Text::open(path, limit),
    };
    text.map_err(|error| cannot_read(what, path, error))
}

/// Says what a file that cannot be read is needed for; other messages say enough by themselves.
fn cannot_read(what: &str, path: &Path, error: striate::image::Error) -> Error {
    match error {
        striate::image::Error::Read { source, .. } => {
            Error::because(format!("cannot read {what} in {}", path.display()), source)
        }
        other => other.into(),
    }
}
