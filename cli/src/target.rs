//! Paths that a command is going to write.

use std::path::Path;

use crate::error::{Error, Result};

/// Refuses an output path that cannot be written, before the long work whose result would be lost.
pub(crate) fn check(path: &Path) -> Result<()> {
    let file = path.display();
    if path.is_dir() {
        return Err(Error::message(format!("{file} is a directory; name a file in it")));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let folder = folder.display();
            Err(Error::message(format!("cannot write {file}: there is no folder {folder}")))
        }
        _ => Ok(()),
    }
}

/// Whether the name of a file ends in this extension, whatever the case.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}
