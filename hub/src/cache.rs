//! The cache folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

use crate::table::{Size, Weights};
use crate::{Error, Result};

/// The environment variable that names the cache folder.
pub const CACHE_VARIABLE: &str = "STRIATE_CACHE";

/// The folder of pulled files: `models` in the folder that [`CACHE_VARIABLE`] names, else
/// `striate/models` in the user's cache folder. It may not exist yet.
///
/// # Errors
/// [`Error::NoCache`] if the system has no cache folder for this user.
pub fn cache_dir() -> Result<PathBuf> {
    let set = std::env::var_os(CACHE_VARIABLE).filter(|folder| !folder.is_empty());
    let users = || Some(choose_native_strategy().ok()?.cache_dir().join("striate"));
    Ok(set.map(PathBuf::from).or_else(users).ok_or(Error::NoCache)?.join("models"))
}

/// The path of these weights in a folder, if the file exists, is not empty, and has the exact size that the
/// table may give.
pub(crate) fn cached_in(folder: &Path, weights: &Weights) -> Result<Option<PathBuf>> {
    let file = folder.join(&weights.file);
    Ok(match length(&file)? {
        None | Some(0) => None,
        Some(length) => match weights.size {
            Size::Exactly(size) if size != length => None,
            _ => Some(file),
        },
    })
}

/// Writes the JSON that the table has for a file beside it.
pub(crate) fn write_config(file: &Path, weights: &Weights) -> Result<()> {
    let Some(config) = &weights.config else { return Ok(()) };
    let beside = file.with_extension("json");
    if std::fs::read(&beside).is_ok_and(|there| there == config.as_bytes()) {
        return Ok(());
    }
    // Renamed into place, so that a reader sees either the old text or the new one.
    let new = file.with_extension("json.part");
    let written = std::fs::write(&new, config).and_then(|()| std::fs::rename(&new, &beside));
    written.map_err(|e| Error::io(&beside, "write it", e))
}

/// The length of a file in bytes, or `None` if there is no such file.
pub(crate) fn length(file: &Path) -> Result<Option<u64>> {
    match std::fs::metadata(file) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::io(file, "look it up", error)),
    }
}
