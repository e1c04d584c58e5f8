//! Which file a path means, however it is spelled.

use std::ffi::OsString;
use std::fs;
#[cfg(unix)]
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use striate::image::output::FileId;

use super::destination::is_stdout;
use crate::inputs::is_stdin;

/// Links that are followed before a path counts as one that leads nowhere; Linux follows as many.
const MAX_LINKS: usize = 40;

/// The file that a path means. Equal places are the same file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileTarget {
    /// A regular file.
    There(FileId),
    /// A file that is not there yet: a folder, and a name in it.
    New(Folder, OsString),
}

/// The folder of a new file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Folder {
    /// It exists.
    There(FileId),
    /// It is to be made.
    New(PathBuf),
}

impl FileTarget {
    /// The place of a path; `-` is what standard input, or for an output standard output, was
    /// redirected to. `None` where nothing can be lost: for a pipe, a device, a terminal; and for
    /// a folder.
    ///
    /// # Errors
    /// Where the system does not say, such as for a loop of links.
    pub(super) fn of(path: &Path, output: bool) -> io::Result<Option<Self>> {
        match output {
            true if is_stdout(path) => return Ok(redirected(io::stdout())),
            false if is_stdin(path) => return Ok(redirected(io::stdin())),
            _ => {}
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(FileTarget::There(FileId::of(path)?))),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => new(path).map(Some),
            Err(e) => Err(e),
        }
    }
}

/// Where a path leads through links, whether a file is there or not, as opening it does.
pub(crate) fn target_of(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

/// Where a file would be made: at the end of links that lead nowhere yet.
fn new(path: &Path) -> io::Result<FileTarget> {
    let path = target_of(path);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_owned();
    // These file systems usually do not tell upper from lower case.
    let name = match cfg!(any(windows, target_vendor = "apple")) {
        true => name.to_string_lossy().to_lowercase().into(),
        false => name,
    };
    let folder = match FileId::of(folder) {
        Ok(folder) => Folder::There(folder),
        Err(_) => Folder::New(std::path::absolute(folder)?),
    };
    Ok(FileTarget::New(folder, name))
}

/// The regular file that standard input or output was redirected to.
#[cfg(unix)]
fn redirected(stream: impl std::os::fd::AsFd) -> Option<FileTarget> {
    let file: fs::File = stream.as_fd().try_clone_to_owned().ok()?.into();
    let metadata = Some(file.metadata().ok()?).filter(Metadata::is_file)?;
    Some(FileTarget::There(FileId::of_metadata(&metadata)))
}

/// What is open has no path there to compare.
#[cfg(not(unix))]
fn redirected<T>(_: T) -> Option<FileTarget> {
    None
}
