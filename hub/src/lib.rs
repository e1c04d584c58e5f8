//! Published weights by name: torchvision's, timm's and ccv's own.
//!
//! [`pull`] fetches a file once, checks its pinned digest, resumes what was cut, and keeps it in the user's
//! cache, where [`cached`] finds it without asking the network anything. What there is stands in one table,
//! `assets/weights.tsv`; a table of one's own comes before it ([`TABLE_VARIABLE`]), and a mirror replaces the
//! publishers' servers ([`PullOptions::base_url`]).
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
mod part;
mod pull;
mod table;

use std::path::PathBuf;

pub use cache::{CACHE_VARIABLE, cache_dir};
pub use digest::Digest;
pub use error::{Error, Result};
pub use options::{MIRROR_VARIABLE, Progress, PullOptions};
pub use pull::pull_weights;
pub use table::{Size, TABLE_VARIABLE, Weights, all, find, near, parse_table};

/// The file of the weights of this name in the user's cache; none where it is not there. Nothing is asked of
/// the network.
///
/// # Errors
/// [`Error::Unknown`] where the table has no such name; where the table of one's own is wrong, or there is no
/// cache folder.
pub fn cached(name: &str) -> Result<Option<PathBuf>> {
    find(name)?.ok_or_else(|| unknown(name))?.cached()
}

/// Fetches the weights of this name into the cache, unless they are there, and gives their file. What happens
/// meanwhile is told to `progress`.
///
/// # Errors
/// [`Error::Unknown`] where the table has no such name; where the file cannot be fetched or written, or is not
/// the one whose digest is pinned.
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
