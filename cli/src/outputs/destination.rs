//! Where one output goes.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use striate::image::output::write_whole;

use crate::args::Format;
use crate::error::{Error, Result};
use crate::output::Output;

/// Names of what standard output is open as, on systems that have such names.
const STDOUT_NAMES: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Folders of names for files that this process has open.
const OPEN_FILES: [&str; 2] = ["/dev/fd", "/proc/self/fd"];

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output: `-`.
    Stdout,
    /// A pipe, a device, or a file that is open already: written from its present position on,
    /// never read, never replaced.
    Stream(PathBuf),
    /// A regular file, there or not.
    File(PathBuf),
}

/// Whether a path means standard output. A file that is really called `-` is `./-`.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || cfg!(unix) && STDOUT_NAMES.iter().any(|name| path == Path::new(name))
}

/// Whether a path names a file that this process has open, such as what a shell makes of `>(…)`.
fn is_open_file(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    cfg!(unix)
        && (OPEN_FILES.iter().any(|open| folder == Path::new(open))
            || path == Path::new("/dev/stderr"))
}

impl Destination {
    /// Where an output with this name goes. Refuses one that cannot be written, before the long
    /// work whose result would be lost. Writes nothing.
    ///
    /// # Errors
    /// For a folder, a file without a folder to be in, and what the system does not let us write.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        if is_stdout(path) {
            return Ok(Destination::Stdout);
        }
        let file = path.display();
        let cannot = |why: String| Err(Error::message(format!("cannot write {file}: {why}")));
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::message(format!("{file} is a directory; name a file in it")))
            }
            Ok(metadata) if metadata.is_file() && !is_open_file(path) => {
                match metadata.permissions().readonly() {
                    true => cannot("it is read-only".into()),
                    false => Ok(Destination::File(path.to_owned())),
                }
            }
            Ok(_) => Ok(Destination::Stream(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
                if path.file_name().is_none() || ends_as_folder {
                    return cannot("expected the name of a file".into());
                }
                match path.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                        cannot(format!("there is no folder {}", folder.display()))
                    }
                    _ => Ok(Destination::File(path.to_owned())),
                }
            }
            Err(e) => Err(Error::because(format!("cannot write {file}"), e)),
        }
    }

    /// As [`of`](Self::of), for an output that is replaced as a whole; `what` is not for a
    /// terminal if it is `binary`.
    pub(crate) fn of_whole(path: &Path, what: &str, binary: bool) -> Result<Self> {
        let destination = Destination::of(path)?;
        if let Destination::File(path) = &destination {
            // The new file is written beside the old one, so its folder is what must be writable.
            let folder = fs::canonicalize(path).ok().and_then(|p| p.parent().map(Path::to_owned));
            let folder = folder.unwrap_or_else(|| folder_of(path).to_owned());
            tempfile::tempfile_in(folder).map_err(|e| {
                let kind = io::Error::from(e.kind());
                Error::because(format!("cannot write {} into its folder", path.display()), kind)
            })?;
        }
        if binary && destination.is_terminal() {
            return Err(Error::Usage(format!(
                "{what} is not for a terminal: redirect standard output, or name a file"
            )));
        }
        Ok(destination)
    }

    /// Whether standard output is taken by what goes here.
    pub(crate) fn is_stdout(&self) -> bool {
        *self == Destination::Stdout
    }

    /// Refuses a report in JSON on standard output where this goes there.
    pub(crate) fn check_report(&self, output: &Output) -> Result<()> {
        match self.is_stdout() && output.format() == Format::Json {
            true => Err(Error::Usage(
                "'--output -' takes standard output for itself, so '--format json' has no place \
                 there"
                    .into(),
            )),
            false => Ok(()),
        }
    }

    fn is_terminal(&self) -> bool {
        match self {
            Destination::Stdout => io::stdout().is_terminal(),
            Destination::Stream(path) => is_open_file(path) && is_tty(path),
            Destination::File(_) => false,
        }
    }

    /// Opens a stream to write into; a named pipe waits for its reader.
    pub(crate) fn open_stream(path: &Path) -> Result<File> {
        // What is open already may be a file with something in it.
        let open = fs::OpenOptions::new().append(true).open(path);
        open.map_err(|e| stream_error(path, e))
    }

    /// Writes an output that is in a file already, such as one too large to hold in memory.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn copy(&self, from: &Path) -> Result<()> {
        let cannot_read = |e| Error::because(format!("cannot read {}", from.display()), e);
        let mut from_file = File::open(from).map_err(cannot_read)?;
        match self {
            // As whole as the others, by way of memory.
            Destination::File(_) => self.write(&fs::read(from).map_err(cannot_read)?),
            Destination::Stream(path) => {
                let mut stream = Self::open_stream(path)?;
                io::copy(&mut from_file, &mut stream).map_err(|e| stream_error(path, e))?;
                Ok(())
            }
            Destination::Stdout => {
                let mut stdout = io::stdout().lock();
                let copied = io::copy(&mut from_file, &mut stdout).and_then(|_| stdout.flush());
                copied.map_err(|e| stream_error(Path::new("standard output"), e))
            }
        }
    }

    /// Writes an output: a regular file whole or not at all. For the main thread, which holds
    /// standard output.
    ///
    /// # Errors
    /// What the system reports, such as a full disk; [`Error::Closed`] where the reader has gone.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Destination::File(path) => Ok(write_whole(path, bytes)?),
            Destination::Stream(path) => {
                let mut stream = Self::open_stream(path)?;
                stream.write_all(bytes).map_err(|e| stream_error(path, e))
            }
            Destination::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
                written.map_err(|e| stream_error(Path::new("standard output"), e))
            }
        }
    }
}

/// The folder that a path names a file in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn is_tty(path: &Path) -> bool {
    fs::OpenOptions::new().append(true).open(path).is_ok_and(|file| file.is_terminal())
}

/// Why writing to a stream failed. A reader that has gone has seen enough: that is no fault.
pub(crate) fn stream_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::because(format!("cannot write {}", path.display()), error),
    }
}
