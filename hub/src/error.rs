//! Errors.

use std::error::Error as StdError;
use std::fmt;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: each variant names the file or the URL.
///
/// A message does not repeat the message of its [`source`](StdError::source): print the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The table has no weights of this name.
    #[error("no weights '{name}' to pull{}", Near(near))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// A line of a table is invalid.
    #[error("{file}: line {line}: expected {expected}, got {got}")]
    Table {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// The system has no cache folder for this user.
    #[error("no cache folder is known here: set {} to one", crate::CACHE_VARIABLE)]
    NoCache,
    /// A file or folder cannot be read or written.
    #[error("{file}: cannot {action}")]
    Io {
        /// The file or folder.
        file: String,
        /// What cannot be done with it.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The download cannot be written, because the disk is full, say. The bytes written so far are kept, and
    /// the next pull resumes after them.
    #[error("{file}: cannot write beyond {kept} bytes, which are kept for the next try")]
    Write {
        /// The file.
        file: String,
        /// Bytes written so far.
        kept: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// The URL is invalid, or redirects to one that may not be followed.
    #[error("{url}: cannot be requested")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server answered with another status than success.
    #[error("{url}: expected the file, got the HTTP status {status}{}", status_text(*status))]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// Too many redirects.
    #[error("{url}: redirected more than {limit} times")]
    Redirects {
        /// The URL.
        url: String,
        /// The most redirects followed.
        limit: u32,
    },
    /// The connection failed or was cut, and retrying did not help.
    #[error(
        "{url}: cannot be fetched ({tries}; {kept} bytes are kept for the next try)",
        tries = Tries(*tries)
    )]
    Fetch {
        /// The URL.
        url: String,
        /// Consecutive failed tries.
        tries: u32,
        /// Bytes kept for the next pull.
        kept: u64,
        /// Why the last try failed.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server's file has another size.
    #[error("{url}: expected {expected} bytes, got {got}")]
    Size {
        /// The URL.
        url: String,
        /// The size in the table, or the largest one accepted.
        expected: String,
        /// The bytes that the server announced or sent.
        got: u64,
    },
    /// The digest of the downloaded file is not the pinned one. The file was removed.
    #[error("{url}: expected a file with the digest {expected}, got {got}; it was removed")]
    Digest {
        /// The URL.
        url: String,
        /// The pinned digest.
        expected: String,
        /// The digest of the downloaded file.
        got: String,
    },
}

impl Error {
    pub(crate) fn io(
        file: &std::path::Path,
        action: &'static str,
        source: std::io::Error,
    ) -> Error {
        Error::Io { file: file.display().to_string(), action, source }
    }

    /// Whether another server may succeed where this one failed.
    pub(crate) fn is_of_the_server(&self) -> bool {
        matches!(
            self,
            Error::Url { .. }
                | Error::Status { .. }
                | Error::Redirects { .. }
                | Error::Fetch { .. }
                | Error::Size { .. }
                | Error::Digest { .. }
        )
    }
}

/// `; did you mean a or b?`, or nothing.
struct Near<'a>(&'a [String]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [one] => write!(f, "; did you mean '{one}'?"),
            several => write!(f, "; did you mean one of {}?", several.join(", ")),
        }
    }
}

struct Tries(u32);

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "tried once"),
            many => write!(f, "tried {many} times"),
        }
    }
}

fn status_text(status: u16) -> &'static str {
    match status {
        401 | 407 => " (authentication required)",
        403 => " (forbidden)",
        404 => " (not found)",
        410 => " (gone)",
        429 => " (too many requests)",
        500..=599 => " (the server failed)",
        _ => "",
    }
}
