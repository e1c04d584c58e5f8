//! Where the results of a run go.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::identity::Pending;
use super::results::{Form, Results};
use crate::error::Result;
use crate::output::Output;
use crate::outputs::{Destination, stream_error};

/// Where the results of a run go.
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// A pipe or a device: written as it is, and never resumed.
    Stream(PathBuf, File),
    /// A file that a later run can resume.
    Results(Box<Results>),
}

impl Sink {
    /// Opens what `--output` names. `run` identifies the run, where it can be resumed.
    pub(super) fn open(
        path: &Path,
        form: Form,
        images: &[PathBuf],
        run: impl FnOnce() -> Result<Pending>,
    ) -> Result<Self> {
        Ok(match Destination::of(path)? {
            Destination::Stdout => Sink::Stdout,
            Destination::Stream(path) => {
                let stream = Destination::open_stream(&path)?;
                Sink::Stream(path, stream)
            }
            Destination::File(path) => {
                Sink::Results(Box::new(Results::open(&path, form, images, run()?)?))
            }
        })
    }

    /// Images that are done already, and how many of them could not be classified.
    pub(super) fn begin(&self) -> (usize, usize) {
        match self {
            Sink::Results(results) => (results.done(), results.failed()),
            _ => (0, 0),
        }
    }

    /// Takes the result of an image, whole lines.
    pub(super) fn add(&mut self, text: &str, output: &mut Output) -> Result<()> {
        match self {
            Sink::Stdout => output.text(text),
            Sink::Stream(path, stream) => {
                stream.write_all(text.as_bytes()).map_err(|e| stream_error(path, e))
            }
            Sink::Results(results) => results.add(text),
        }
    }

    /// What was added outlives this process.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Sink::Results(results) => results.flush(),
            _ => Ok(()),
        }
    }
}
