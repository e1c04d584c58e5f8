//! One training a working file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Holds a working file for this process: a lock on a file beside it (the working file itself is
/// replaced at each checkpoint). The system lets go of it however the process ends.
///
/// The file beside it stays when the training ends: removing it could take it away from a process
/// that has just opened it, and two would hold a lock then.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Option<File>,
}

impl Lock {
    /// Whether another process, or another session of this one, holds a working file.
    pub(crate) fn is_held(working: &Path) -> bool {
        // Nothing is made: where there is no lock file, nobody holds it.
        let Ok(file) = OpenOptions::new().write(true).open(lock_of(working)) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Takes the lock of a working file.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it, [`Error::Io`] where there can be none.
    pub(crate) fn take(working: &Path) -> Result<Self> {
        let path = lock_of(working);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|e| Error::io(&path, "create", e))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _held: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                file: working.display().to_string(),
                lock: path.display().to_string(),
            }),
            // A file system without locks: better unguarded than not at all.
            Err(TryLockError::Error(source)) => {
                log::warn!("{}: cannot be locked: {source}", path.display());
                Ok(Lock { _held: None })
            }
        }
    }
}

/// The lock file beside a working file.
pub(crate) fn lock_of(working: &Path) -> PathBuf {
    let mut name = working.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_training_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let working = folder.path().join("model.sqlite3");
        assert!(!Lock::is_held(&working));
        let first = Lock::take(&working).unwrap();
        assert!(Lock::is_held(&working));
        let message = Lock::take(&working).unwrap_err().to_string();
        assert!(message.contains("another training is using it"), "{message}");
        drop(first);
        Lock::take(&working).unwrap();
    }
}
