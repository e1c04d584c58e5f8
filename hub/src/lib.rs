//! Published weights by name: torchvision's, timm's and ccv's own.
//!
//! [`pull`] downloads a file once, checks its pinned digest, resumes interrupted downloads, and keeps the file
//! in the user's cache, where [`cached`] finds it without using the network. The table `assets/weights.tsv`
//! lists all weights; [`TABLE_VARIABLE`] names a user's own table, whose lines take precedence, and
//! [`PullOptions::base_url`] a mirror that replaces the publishers' servers.
//!
//! ```no_run
//! use striate_hub::{Progress, PullOptions};
//!
//! # fn main() -> striate_hub::Result<()> {
//! let file = striate_hub::pull("mobilenet_v2", &PullOptions::from_env(), &mut |progress| {
//!     if let Progress::Received { bytes } = progress {
//!         eprintln!("{bytes} bytes");
//!     }
//! })?;
//! println!("{}", file.display());
//! # Ok(())
//! # }
//! ```

mod cache;
mod digest;
mod error;
mod http;
mod options;
mod partial_file;
mod pull;
mod table;

use std::path::PathBuf;

pub use cache::{CACHE_VARIABLE, cache_dir};
pub use digest::Digest;
pub use error::{Error, Result};
pub use options::{MIRROR_VARIABLE, Progress, PullOptions};
pub use pull::pull_weights;
pub use table::{Size, TABLE_VARIABLE, Weights, all, find, near, parse_table};

/// The path of these weights in the user's cache, or `None` if they were not pulled yet. Does not use the
/// network.
///
/// # Errors
/// [`Error::Unknown`] if the table has no such name; if the user's own table is invalid, or there is no cache
/// folder.
pub fn cached(name: &str) -> Result<Option<PathBuf>> {
    find(name)?.ok_or_else(|| unknown(name))?.cached()
}

/// Downloads the weights of this name into the cache, unless they are already there, and returns their path.
/// Calls `progress` along the way.
///
/// # Errors
/// [`Error::Unknown`] if the table has no such name; if the file cannot be fetched or written, or its digest is
/// not the pinned one.
pub fn pull(
    name: &str,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let weights = find(name)?.ok_or_else(|| unknown(name))?;
    pull_weights(weights, options, progress)
}

fn unknown(name: &str) -> Error {
    Error::Unknown { name: name.to_owned(), near: near(name) }
}
