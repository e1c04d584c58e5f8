//! What a command reads where a path will not do: standard input and pipes.

use std::io::{self, IsTerminal, Read};
use std::path::{Display, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use striate::Embedded;
#[cfg(feature = "pull")]
use striate::hub;
use striate::image::{self, Dataset, Image, Limits};
use striate::importers::ModelFile;

use crate::args::ReadArgs;
use crate::error::{Error, Result};
#[cfg(feature = "pull")]
use crate::pull;
use crate::text;

/// Stands for standard input in place of a file.
const STDIN: &str = "-";

/// What messages call it.
pub(crate) const STDIN_NAME: &str = "standard input";

/// Whether a path means standard input. A file that is really called `-` is `./-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// What messages call an input.
pub(crate) fn shown(path: &Path) -> Display<'_> {
    if is_stdin(path) { Path::new(STDIN_NAME) } else { path }.display()
}

/// Standard input, for the one thing that is read from it; `what` is what it should be: `a model`.
///
/// # Errors
/// [`Error::Usage`] where something else was read from it already, and where it is a terminal: nobody
/// would type what is expected.
pub(crate) fn stdin(what: &str) -> Result<io::StdinLock<'static>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::Usage(format!(
            "'-' is standard input, which can be read once: name a file for {what}"
        )));
    }
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => Err(Error::Usage(format!(
            "'-' is standard input, which is a terminal here: pipe {what} into it"
        ))),
        false => Ok(stdin.lock()),
    }
}

/// All of standard input, up to a limit; `what` is what it should be.
///
/// # Errors
/// As [`stdin`]; where it cannot be read, or is longer than the limit.
pub(crate) fn read_stdin(what: &str, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = stdin(what)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::because(format!("cannot read {STDIN_NAME}"), e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::message(format!(
            "{STDIN_NAME}: expected {what} of at most {max_bytes} bytes, got more"
        )));
    }
    Ok(bytes)
}

/// A picture from a file, or from standard input for `-`.
pub(crate) fn picture(path: &Path, limits: &Limits) -> Result<Image> {
    match is_stdin(path) {
        true => {
            let bytes = read_stdin("a picture", limits.max_bytes)?;
            Ok(image::decode::decode_with(&bytes, STDIN_NAME, limits)?)
        }
        false => Ok(image::open_with(path, limits)?),
    }
}

/// An error about a picture from a file, or from standard input for `-`, with its name: a picture in
/// memory has none.
pub(crate) fn about_picture(path: &Path, error: striate::Error) -> Error {
    match &error {
        striate::Error::Image(image::Error::Elongated { .. }) => {
            let name =
                if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
            Error::because(name, error)
        }
        _ => error.into(),
    }
}

/// A model from a file or a pipe, or from standard input for `-`; where there is no such file, an embedded
/// one by its name, or pulled weights by theirs.
///
/// # Errors
/// Where it cannot be read, or is no model, or was not pulled yet.
pub(crate) fn model(path: &Path) -> Result<ModelFile> {
    if is_stdin(path) {
        return Ok(ModelFile::from_reader(stdin("a model")?, STDIN_NAME)?);
    }
    match embedded(path) {
        Some(embedded) => Ok(embedded.open()?),
        #[cfg(feature = "pull")]
        None => pull::model(path),
        #[cfg(not(feature = "pull"))]
        None => Ok(ModelFile::open(path)?),
    }
}

/// Whether this is the path of a model, or the name of an embedded one or of published weights: for
/// commands that take other things as well.
pub(crate) fn is_model(path: &Path) -> bool {
    #[cfg(feature = "pull")]
    // A table that cannot be read may name it: opening the model says what is wrong with the table.
    let is_published = path.to_str().is_some_and(|name| !matches!(hub::find(name), Ok(None)));
    #[cfg(not(feature = "pull"))]
    let is_published = false;
    path.exists() || path.extension().is_some() || embedded(path).is_some() || is_published
}

/// The embedded model that a path names, where there is no such file.
fn embedded(path: &Path) -> Option<&'static Embedded> {
    let name = path.to_str().filter(|_| !path.exists())?;
    Embedded::by_name(name)
}

/// As [`model`], read as the options say.
pub(crate) fn model_of(path: &Path, args: &ReadArgs) -> Result<ModelFile> {
    args.applied(model(path)?)
}

/// As [`model_of`], and the usual embedded model where there is no path.
pub(crate) fn model_or_usual(path: Option<&Path>, args: &ReadArgs) -> Result<ModelFile> {
    match path {
        Some(path) => model_of(path, args),
        None => args.applied(Embedded::usual().open()?),
    }
}

/// The samples at a path; `-` is a list of them from standard input, and what is no file or folder, such
/// as a pipe, is a list as well. It is read once.
///
/// # Errors
/// Where it cannot be read, or holds no samples.
pub(crate) fn samples(path: &Path) -> Result<Dataset> {
    let is_stream = || std::fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
    match is_stdin(path) || is_stream() {
        true => Ok(Dataset::from_text(&text::read(path, "the list of samples")?)?),
        false => Ok(Dataset::open(path)?),
    }
}
