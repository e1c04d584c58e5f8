//! What stands beside a file of results: which run made it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use striate::image::output::write_whole;

use super::identity::Identity;
use crate::error::{Error, Result};

/// What is added to the name of the file of results.
const ENDING: &str = ".run";

/// A longer file is none of ours.
const MAX_BYTES: u64 = 1 << 20;

/// Which run made a file of results. It stands beside the results, `NAME.run`, and not in them:
/// those are one line an image, for whatever program reads them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The version of the program; not compared.
    striate: String,
    /// What the results depend on.
    run: BTreeMap<String, String>,
    /// What people call its parts; not compared.
    names: BTreeMap<String, String>,
    /// The mark of the first result: tells whether the file beside it is still the one that it speaks
    /// of.
    first: String,
}

impl Record {
    pub(super) fn new(identity: &Identity, first: String) -> Self {
        let Identity { run, names } = identity.clone();
        Record { striate: env!("CARGO_PKG_VERSION").to_owned(), run, names, first }
    }

    /// The path of the record of a file of results.
    pub(super) fn path(results: &Path) -> PathBuf {
        let mut name = results.as_os_str().to_owned();
        name.push(ENDING);
        PathBuf::from(name)
    }

    /// Reads a record. `None` where there is none: no file, or an empty one, which a full disk
    /// leaves.
    ///
    /// # Errors
    /// Where the file cannot be read, or is something else.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let file = path.display();
        let cannot = |e| Error::because(format!("cannot read {file}"), e);
        let bytes = match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(cannot(e)),
            Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_BYTES => Vec::from(b"?"),
            Ok(_) => fs::read(path).map_err(cannot)?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            let what = format!(
                "{file} should say which run made the results beside it, and is something else; \
                 name another --output, or move it away"
            );
            Error::because(what, e)
        })
    }

    /// Writes the record, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::because(format!("cannot write {}", path.display()), e))?;
        text.push(b'\n');
        Ok(write_whole(path, &text)?)
    }

    /// The run that made the results.
    pub(super) fn identity(&self) -> Identity {
        Identity { run: self.run.clone(), names: self.names.clone() }
    }

    /// Whether a file whose first result has this mark is the one that it speaks of.
    pub(super) fn begins(&self, first: &str) -> bool {
        self.first == first
    }
}
