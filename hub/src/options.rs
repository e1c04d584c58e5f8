//! How to pull, and what is told meanwhile.

use std::path::PathBuf;
use std::time::Duration;

/// The environment variable that names a mirror: see [`PullOptions::base_url`].
pub const MIRROR_VARIABLE: &str = "STRIATE_PULL_FROM";

/// How to pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullOptions {
    /// The folder that files are kept in; [`cache_dir`](crate::cache_dir) where none is given.
    pub cache: Option<PathBuf>,
    /// A mirror: the file is asked for at this URL and its own name, and nowhere else. Digests are checked
    /// as ever; one that is not whole (see [`Digest::is_whole`](crate::Digest::is_whole)) only tells damage.
    pub base_url: Option<String>,
    /// Checks the digest of a file that is there already, and fetches it again where that is wrong.
    pub force: bool,
    /// How often a try that brought next to nothing is repeated.
    pub retries: u32,
    /// The pause before the first repeated try. Each further one is twice as long.
    pub backoff: Duration,
    /// How long to wait for a connection, an answer, or the next bytes.
    pub timeout: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        PullOptions {
            cache: None,
            base_url: None,
            force: false,
            retries: 5,
            backoff: Duration::from_millis(500),
            timeout: Duration::from_secs(60),
        }
    }
}

impl PullOptions {
    /// The usual ones, with the mirror that [`MIRROR_VARIABLE`] names.
    pub fn from_env() -> Self {
        let base_url = std::env::var(MIRROR_VARIABLE).ok().filter(|url| !url.is_empty());
        PullOptions { base_url, ..PullOptions::default() }
    }

    /// With another cache folder.
    pub fn cache(self, folder: impl Into<PathBuf>) -> Self {
        PullOptions { cache: Some(folder.into()), ..self }
    }

    /// From a mirror.
    pub fn base_url(self, url: impl Into<String>) -> Self {
        PullOptions { base_url: Some(url.into()), ..self }
    }

    /// With or without a check of what is there.
    pub fn force(self, force: bool) -> Self {
        PullOptions { force, ..self }
    }

    /// With other patience: how often a try is repeated, the first pause, and the wait for an answer.
    pub fn patience(self, retries: u32, backoff: Duration, timeout: Duration) -> Self {
        PullOptions { retries, backoff, timeout, ..self }
    }
}

/// What happens during a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another pull of the same file is at work, here or in another process. This one waits for it.
    Waiting,
    /// The file comes.
    Fetching {
        /// From where.
        url: &'a str,
        /// How many bytes were there already.
        from: u64,
        /// How many bytes it has, where that is known.
        total: Option<u64>,
    },
    /// So much of it is there.
    Received {
        /// How many bytes.
        bytes: u64,
    },
    /// The connection failed or was cut, and is tried again after a pause.
    Retrying {
        /// What went wrong.
        reason: &'a str,
        /// How long the pause is.
        pause: Duration,
    },
    /// The digest is computed.
    Checking,
}
