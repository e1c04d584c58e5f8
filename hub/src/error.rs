//! What can go wrong on the way from a name to a file.

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
    /// A table of one's own is not in the form that it should have.
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
    /// A table of one's own cannot be read.
    #[error("{file}: cannot read the table of weights: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The system names no cache folder.
    #[error("no cache folder is known here: set {} to one", crate::CACHE_VARIABLE)]
    NoCache,
    /// The operating system refused something.
    #[error("{file}: cannot {action}")]
    Io {
        /// The file or folder.
        file: String,
        /// What was to be done with it.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// What comes cannot be written: the disk is full, say. What was written is kept, and the next pull
    /// resumes from there.
    #[error("{file}: cannot write beyond {kept} bytes, which are kept for the next try")]
    Write {
        /// The file.
        file: String,
        /// How many bytes it has.
        kept: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// The URL is none, or leads to none that may be followed.
    #[error("{url}: cannot be asked")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server has no such file, or does not give it.
    #[error("{url}: expected the file, got the HTTP status {status}{}", status_text(*status))]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// One redirect led to the next, too often.
    #[error("{url}: redirected more than {limit} times")]
    Redirects {
        /// The URL.
        url: String,
        /// The most redirects that are followed.
        limit: u32,
    },
    /// The connection failed, or was cut, as often as it was tried.
    #[error(
        "{url}: cannot be fetched ({tries}; {kept} bytes are kept for the next try)",
        tries = Tries(*tries)
    )]
    Fetch {
        /// The URL.
        url: String,
        /// How often in a row it was tried.
        tries: u32,
        /// How many bytes are there.
        kept: u64,
        /// What went wrong the last time.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server's file has another size.
    #[error("{url}: expected {expected} bytes, got {got}")]
    Size {
        /// The URL.
        url: String,
        /// How many bytes the table says, or the most that it lets be.
        expected: String,
        /// How many the server says, or sent.
        got: u64,
    },
    /// What came is not the file whose digest is pinned. It was removed.
    #[error("{url}: expected a file of the digest {expected}, got {got}; it was removed")]
    Digest {
        /// The URL.
        url: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what came.
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

    /// Whether another server could do better.
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
        401 | 407 => " (it wants to know who asks)",
        403 => " (forbidden)",
        404 => " (not found)",
        410 => " (gone)",
        429 => " (too many requests)",
        500..=599 => " (the server failed)",
        _ => "",
    }
}
