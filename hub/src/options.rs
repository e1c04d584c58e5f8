//! Options of a pull, and the progress that it reports.

use std::path::PathBuf;
use std::time::Duration;

/// The environment variable that names a mirror: see [`PullOptions::base_url`].
pub const MIRROR_VARIABLE: &str = "STRIATE_PULL_FROM";

/// Options of a pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullOptions {
    /// The cache folder; [`cache_dir`](crate::cache_dir) if `None`.
    pub cache: Option<PathBuf>,
    /// A mirror: `<base_url>/<file name>` is requested instead of the publishers' URLs. Digests are checked as
    /// usual; a digest that is not whole finds damage, but no forgery (see
    /// [`Digest::is_whole`](crate::Digest::is_whole)).
    pub base_url: Option<String>,
    /// Also check the digest of a file that is already in the cache, and fetch it again if it is wrong.
    pub force: bool,
    /// Retries after consecutive failures. Receiving a mebibyte resets the count.
    pub retries: u32,
    /// The pause before the first retry; it doubles with each further one, up to 10 seconds.
    pub backoff: Duration,
    /// The longest wait for a connection, an answer, or the next bytes.
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
    /// The defaults, with the mirror that [`MIRROR_VARIABLE`] names.
    pub fn from_env() -> Self {
        let base_url = std::env::var(MIRROR_VARIABLE).ok().filter(|url| !url.is_empty());
        PullOptions { base_url, ..PullOptions::default() }
    }

    /// Sets the cache folder.
    #[must_use]
    pub fn cache(self, folder: impl Into<PathBuf>) -> Self {
        PullOptions { cache: Some(folder.into()), ..self }
    }

    /// Sets the mirror.
    #[must_use]
    pub fn base_url(self, url: impl Into<String>) -> Self {
        PullOptions { base_url: Some(url.into()), ..self }
    }

    /// Sets whether a cached file is checked.
    #[must_use]
    pub fn force(self, force: bool) -> Self {
        PullOptions { force, ..self }
    }

    /// Sets the number of retries, the first pause, and the longest wait for an answer.
    #[must_use]
    pub fn patience(self, retries: u32, backoff: Duration, timeout: Duration) -> Self {
        PullOptions { retries, backoff, timeout, ..self }
    }
}

/// An event during a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another pull of the same file is running, here or in another process, and this one waits for it.
    Waiting,
    /// The download starts or resumes.
    Fetching {
        /// The URL, without password.
        url: &'a str,
        /// Bytes that were already downloaded.
        from: u64,
        /// The size of the file, if known.
        total: Option<u64>,
    },
    /// More bytes arrived.
    Received {
        /// Bytes downloaded so far, earlier pulls included.
        bytes: u64,
    },
    /// The connection failed or was cut; the next try follows after a pause.
    Retrying {
        /// What went wrong.
        reason: &'a str,
        /// The pause.
        pause: Duration,
    },
    /// The digest is being computed.
    Checking,
}
