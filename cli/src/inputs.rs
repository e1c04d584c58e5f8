//! What a command reads where a path will not do: standard input and pipes.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use striate::image::{self, Image, Limits};

use crate::error::{Error, Result};

/// The largest model that is taken from a pipe: it is kept in a temporary file.
const MAX_MODEL_BYTES: u64 = 16 << 30;

/// What is kept of a pipe that does not begin as a model: enough to say what it is.
const NO_MODEL_BYTES: u64 = 4096;

/// Whether a path means standard input. A file that is really called `-` is `./-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// All of standard input, up to a limit; `what` is what it should be.
///
/// # Errors
/// Where it is a terminal, cannot be read, or is longer than the limit.
pub(crate) fn read_stdin(what: &str, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = stdin(what)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(cannot_read)?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::message(format!(
            "standard input: expected {what} of at most {max_bytes} bytes, got more"
        )));
    }
    Ok(bytes)
}

/// A picture from a file, or from standard input for `-`.
pub(crate) fn picture(path: &Path, limits: &Limits) -> Result<Image> {
    match is_stdin(path) {
        true => {
            let bytes = read_stdin("a picture", limits.max_bytes)?;
            Ok(image::decode::decode_with(&bytes, "standard input", limits)?)
        }
        false => Ok(image::open_with(path, limits)?),
    }
}

/// Standard input, which a person at a terminal would not type.
fn stdin(what: &str) -> Result<io::StdinLock<'static>> {
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => Err(Error::Usage(format!(
            "'-' is standard input, which is a terminal here: pipe {what} into it"
        ))),
        false => Ok(stdin.lock()),
    }
}

fn cannot_read(error: io::Error) -> Error {
    Error::because("cannot read standard input", error)
}

/// A model file that can be opened by its path, also several times.
pub(crate) struct ModelFile {
    path: PathBuf,
    /// Holds what came through a pipe, and removes it in the end.
    _spool: Option<tempfile::TempDir>,
}

impl ModelFile {
    /// The model of a path. What comes through standard input (`-`) or a pipe is first written to a
    /// temporary file, for a model is not read from its beginning to its end.
    ///
    /// # Errors
    /// Where standard input cannot be read, or the temporary file not be written.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if is_stdin(path) {
            return Self::spool(stdin("a model")?, "standard-input");
        }
        if is_pipe(path) {
            let pipe = File::open(path)
                .map_err(|e| Error::because(format!("cannot read {}", path.display()), e))?;
            return Self::spool(pipe, "pipe");
        }
        Ok(ModelFile { path: path.to_owned(), _spool: None })
    }

    fn spool(mut from: impl Read, name: &str) -> Result<Self> {
        let read = |e| Error::because("cannot read the model from a pipe", e);
        let write = |e| Error::because("cannot keep the model in a temporary file", e);
        let spool = tempfile::Builder::new().prefix("striate-").tempdir().map_err(write)?;
        let path = spool.path().join(name);
        let mut file = File::create(&path).map_err(write)?;
        let mut head = Vec::new();
        from.by_ref().take(NO_MODEL_BYTES).read_to_end(&mut head).map_err(read)?;
        file.write_all(&head).map_err(write)?;
        if begins_as_a_model(&head) {
            let rest = MAX_MODEL_BYTES - head.len() as u64;
            // One of the two is at fault; the system's message says which.
            let copied = io::copy(&mut from.by_ref().take(rest + 1), &mut file)
                .map_err(|e| Error::because("cannot keep the model in a temporary file", e))?;
            if copied > rest {
                return Err(Error::message(format!(
                    "expected a model of at most {MAX_MODEL_BYTES} bytes from a pipe, got more"
                )));
            }
        }
        Ok(ModelFile { path, _spool: Some(spool) })
    }

    /// Where it can be opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether these are the first bytes of an sqlite 3 database, or of safetensors: the length of the
/// header, then a JSON object.
fn begins_as_a_model(head: &[u8]) -> bool {
    head.starts_with(b"SQLite format 3\0") || head.get(8) == Some(&b'{')
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_: &Path) -> bool {
    false
}
