//! A partial download, and the lock that lets only one pull at a time write it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::options::Progress;
use crate::{Error, Result};

/// The longest validator that is kept.
const MAX_VALIDATOR_BYTES: usize = 256;

/// The path with an ending appended.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Held by the one pull that writes a file. The system releases it when the process ends, for whatever reason.
/// The lock file is never removed: a pull that waits for the removed file and one that creates a new file would
/// both hold the lock.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Option<File>,
}

impl Lock {
    /// Waits until no other pull writes the file.
    pub(crate) fn take(file: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Lock> {
        let path = beside(file, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| Error::io(&path, "make it", e))?;
        let taken = match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                progress(Progress::Waiting);
                lock.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        match taken {
            Ok(()) => Ok(Lock { _file: Some(lock) }),
            // Some network file systems have no locks. Two pulls at once may then corrupt each other's file,
            // which the digest detects.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                log::info!("{}: this file system has no locks", path.display());
                Ok(Lock { _file: None })
            }
            Err(error) => Err(Error::io(&path, "lock it", error)),
        }
    }
}

/// The first bytes of a file, in `FILE.part`. `FILE.from` beside it records their URL and their version: the
/// validator (ETag or date) that the server gave.
#[derive(Debug)]
pub(crate) struct PartialFile {
    path: PathBuf,
    from: PathBuf,
    file: File,
    len: u64,
}

impl PartialFile {
    /// Opens the partial download of a file, or creates an empty one.
    pub(crate) fn open(file: &Path) -> Result<PartialFile> {
        let path = beside(file, ".part");
        let open = || {
            let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
            let mut part = options.open(&path)?;
            let len = part.seek(SeekFrom::End(0))?;
            Ok((part, len))
        };
        let (part, len) = open().map_err(|e| Error::io(&path, "open it to write", e))?;
        Ok(PartialFile { from: beside(file, ".from"), path, file: part, len })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes downloaded so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The recorded validator, if these bytes are from this URL.
    pub(crate) fn validator(&self, url: &str) -> Option<String> {
        let text = std::fs::read_to_string(&self.from).ok()?;
        let (from, validator) = text.trim_end().split_once('\n')?;
        (from == url && is_validator(validator)).then(|| validator.to_owned())
    }

    /// Records which version these bytes are from.
    pub(crate) fn note(&self, url: &str, validator: Option<&str>) {
        let noted = match validator.filter(|validator| is_validator(validator)) {
            Some(validator) => std::fs::write(&self.from, format!("{url}\n{validator}\n")),
            None => remove(&self.from),
        };
        // Not needed: without it the digest alone decides whether the rest fits the beginning.
        if let Err(error) = noted {
            log::info!("{}: cannot write it: {error}", self.from.display());
        }
    }

    /// Empties it.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| Error::io(&self.path, "empty it", e))?;
        self.len = 0;
        remove(&self.from).map_err(|e| Error::io(&self.from, "remove it", e))
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.len = self.len.saturating_add(bytes.len() as u64);
                Ok(())
            }
            Err(source) => {
                // Some of them may have been written.
                self.len = self.file.metadata().map_or(self.len, |metadata| metadata.len());
                let file = self.path.display().to_string();
                Err(Error::Write { file, kept: self.len, source })
            }
        }
    }

    /// Renames the complete download to its final name.
    pub(crate) fn finish(self, file: &Path) -> Result<()> {
        // Flushed to disk first: a file with the final name is trusted.
        self.file.sync_all().map_err(|source| Error::Write {
            file: self.path.display().to_string(),
            kept: self.len,
            source,
        })?;
        drop(self.file);
        std::fs::rename(&self.path, file).map_err(|e| Error::io(file, "put it in its place", e))?;
        remove(&self.from).map_err(|e| Error::io(&self.from, "remove it", e))
    }

    /// Removes the partial download.
    pub(crate) fn remove(self) -> Result<()> {
        drop(self.file);
        remove(&self.from).map_err(|e| Error::io(&self.from, "remove it", e))?;
        remove(&self.path).map_err(|e| Error::io(&self.path, "remove it", e))
    }
}

fn remove(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a text from a server or a file is safe as the value of a header.
fn is_validator(text: &str) -> bool {
    let is_printable = |b: u8| b == b' ' || b.is_ascii_graphic();
    !text.is_empty() && text.len() <= MAX_VALIDATOR_BYTES && text.bytes().all(is_printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_remembers_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("net.pth");
        let mut part = PartialFile::open(&file).unwrap();
        part.append(b"abc").unwrap();
        part.note("https://a.b/net.pth", Some("\"v1\""));
        drop(part);

        let mut part = PartialFile::open(&file).unwrap();
        assert_eq!(part.len(), 3);
        assert_eq!(part.validator("https://a.b/net.pth").as_deref(), Some("\"v1\""));
        assert_eq!(part.validator("https://other/net.pth"), None);
        part.append(b"de").unwrap();
        part.finish(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"abcde");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let mut part = PartialFile::open(&file).unwrap();
        assert_eq!(part.len(), 0);
        part.append(b"xyz").unwrap();
        part.note("u", Some("v"));
        part.restart().unwrap();
        assert_eq!((part.len(), part.validator("u")), (0, None));
        part.append(b"12").unwrap();
        assert_eq!(std::fs::read(part.path()).unwrap(), b"12");
        part.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn unsafe_validators_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let part = PartialFile::open(&folder.path().join("x")).unwrap();
        for text in ["u\nv\r\nX-Evil: 1\n", "u\n\u{e9}\n", "u\n\n", "u", "", "u\n\0\n"] {
            std::fs::write(&part.from, text).unwrap();
            assert_eq!(part.validator("u"), None, "{text:?}");
        }
        std::fs::write(&part.from, format!("u\n{}\n", "v".repeat(257))).unwrap();
        assert_eq!(part.validator("u"), None);
        part.note("u", Some("bad\u{7f}"));
        assert!(!part.from.exists());
    }
}
