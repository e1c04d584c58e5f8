//! Opening an sqlite file to read it, whatever state another program has left it in, and without
//! writing anything beside it.
//!
//! sqlite keeps changes outside the file for a while: in a write-ahead log (`-wal`, with an index
//! `-shm`) where the file is in that mode, or as the old pages in a rollback journal (`-journal`). A
//! model is what file and changes say together.
//!
//! | the file's mode | beside it | how it is read |
//! | --- | --- | --- |
//! | rollback | nothing | under sqlite's lock, for which writers wait |
//! | rollback | the journal of a program that was killed | a copy, in which sqlite undoes the change |
//! | rollback | a log with content | refused: it belongs to another file |
//! | log | no log, or an empty one | as a file that does not change; checked at the end that it did not |
//! | log | log and index | through both, as they are: each reader sees one state |
//! | log | a log alone | a copy, in which sqlite joins them |

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::TempDir;

use super::database::explain;
use crate::source::{Source, Stamp};
use crate::{Error, Result};

/// How a file is protected from writers while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By a lock.
    Locked,
    /// It is not: whether it has changed is seen at the end.
    Unlocked,
    /// By the log, in which a reader sees the state in which it began.
    Log,
}

/// A connection to a database, whose first statement began a transaction that ends with it.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) mode: Mode,
    /// The folder of the copy, where one is read.
    pub(super) copy: Option<TempDir>,
    /// What is read: the file, or its copy.
    pub(super) path: PathBuf,
    /// Bytes of it and of its log.
    pub(super) bytes: u64,
}

/// The place in the file's head of the version that a reader needs, which is the mode.
const READ_VERSION: usize = 19;
/// This version's value for files with a log.
const LOG_VERSION: u8 = 2;

/// Opens a database.
pub(super) fn open(source: &Source) -> Result<Opened> {
    let file = source.name();
    let failed = |e| explain(file, "the database", e);
    // sqlite puts its files beside the real one. A path from the root is never taken for a URI, for
    // `:memory:`, or for the empty name of a temporary database.
    let path = real_path(source.path()).map_err(|e| Error::io(file, "open", e))?;
    let size = |suffix| fs::metadata(beside(&path, suffix)).ok().map(|data| data.len());
    let (log, index) = (size("-wal"), size("-shm"));
    let journal = size("-journal").is_some_and(|bytes| bytes > 0);
    let log_bytes = log.unwrap_or(0);
    let mode = match (source.head().get(READ_VERSION), log) {
        (Some(&LOG_VERSION), Some(_)) if index.is_some() => Mode::Log,
        (Some(&LOG_VERSION), Some(1..)) => return copy(source, &path),
        (Some(&LOG_VERSION), _) => Mode::Unlocked,
        (_, Some(1..)) => {
            let place = beside(&path, "-wal").display().to_string();
            let expected = "no write-ahead log beside a database that has none";
            let got = format!("one of {log_bytes} bytes, left by another database; remove it");
            return Err(Error::content(file, place, expected, got));
        }
        // sqlite would take it for a file with a log.
        (_, Some(0)) if journal => return copy(source, &path),
        (_, Some(0)) => Mode::Unlocked,
        (_, None) => Mode::Locked,
    };
    match connect(&path, mode) {
        Ok(connection) => {
            let bytes = source.bytes().saturating_add(log_bytes);
            Ok(Opened { connection, mode, copy: None, path, bytes })
        }
        // Only a writer can undo the change of a program that was killed, or use a log whose index
        // cannot be written: of a copy we are.
        Err(e) if journal || mode == Mode::Log => match e.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => copy(source, &path),
            _ => Err(failed(e)),
        },
        Err(e) => Err(failed(e)),
    }
}

/// Opens a file for reading and begins a transaction.
fn connect(path: &Path, mode: Mode) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match mode {
        Mode::Unlocked => {
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(unchanging(path), flags)?
        }
        Mode::Locked | Mode::Log => Connection::open_with_flags(path, flags)?,
    };
    // A damaged page is reported where it is met, instead of read as if it were whole.
    // Functions and tables that the file's own schema brings in are not run.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch("BEGIN")?;
    // The transaction begins with the first look at the file, which is where it is refused.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// The names of a file's changes beside it.
const CHANGES: [&str; 2] = ["-wal", "-journal"];

/// Opens a copy of a file and of its changes, joined by sqlite: the file itself may not be writable,
/// and is not ours to write.
fn copy(source: &Source, path: &Path) -> Result<Opened> {
    let file = source.name();
    let failed = |e| Error::io(file, "copy to a temporary folder", e);
    let folder = tempfile::tempdir().map_err(failed)?;
    let target = folder.path().join("copy.sqlite3");
    let names: Vec<(PathBuf, PathBuf)> = [""]
        .iter()
        .chain(&CHANGES)
        .map(|suffix| (beside(path, suffix), beside(&target, suffix)))
        .collect();
    let stamps = || {
        let stamp = |(from, _): &(PathBuf, PathBuf)| fs::metadata(from).ok().map(|m| Stamp::of(&m));
        names.iter().map(stamp).collect::<Vec<_>>()
    };
    let before = stamps();
    for ((from, to), _) in names.iter().zip(&before).filter(|(_, stamp)| stamp.is_some()) {
        fs::copy(from, to).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let ours = fs::Permissions::from_mode(0o600);
            fs::set_permissions(to, ours).map_err(failed)?;
        }
    }
    // Several files are one state only if none has changed meanwhile.
    if stamps() != before {
        return Err(Error::Changed { file: file.into() });
    }
    let joined = || {
        let connection = Connection::open(&target)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        connection.close().map_err(|(_, e)| e)
    };
    let explain = |e| explain(file, "the database and its unfinished changes", e);
    joined().map_err(explain)?;
    log::info!("{file}: read together with the unfinished changes beside it");
    let bytes = fs::metadata(&target).map_err(failed)?.len();
    let connection = connect(&target, Mode::Locked).map_err(explain)?;
    Ok(Opened { connection, mode: Mode::Locked, copy: Some(folder), path: target, bytes })
}

/// The path from the root to the file itself, through links.
pub(super) fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    // Elsewhere the result is in a form that sqlite does not take.
    if cfg!(unix) { fs::canonicalize(path) } else { std::path::absolute(path) }
}

/// The name of what belongs to a file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The URI of a file that does not change: sqlite then makes no files beside it. Every byte that might
/// mean something in a URI is written as a number.
fn unchanging(path: &Path) -> String {
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    #[cfg(not(unix))]
    let bytes = format!("/{}", path.to_string_lossy().replace('\\', "/")).into_bytes();
    let mut uri = String::from("file:");
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(byte));
            }
            // The letter of a drive.
            b':' if cfg!(windows) => uri.push(':'),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_uri_has_every_special_byte_as_a_number() {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::OsStr::from_bytes(b"/a b/%41?x=1#\xff:memory:");
        let expected = "file:/a%20b/%2541%3fx%3d1%23%ff%3amemory%3a?immutable=1";
        assert_eq!(unchanging(Path::new(path)), expected);
    }
}
