//! Times kept by commit and machine: what an earlier build took here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use striate::tensor::DeviceInfo;

use crate::error::{Error, Result};
use crate::outputs::Destination;

/// Where a line comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The commit that was checked out, or what the user calls the build.
    pub(super) label: String,
    /// The device's product and its threads: times of another are not compared.
    pub(super) machine: String,
    /// Seconds since 1970.
    time: u64,
}

/// A file of lines of JSON, those of `striate bench --format json` with where they come from.
pub(super) struct History {
    path: PathBuf,
    /// As it was, and what was measured since.
    text: String,
    origin: Origin,
}

impl History {
    /// Reads a file; one that is not there is empty.
    pub(super) fn open(
        path: &Path,
        label: Option<&str>,
        info: &DeviceInfo,
        threads: usize,
    ) -> Result<Self> {
        if !matches!(Destination::of(path)?, Destination::File(_)) {
            let text = format!("'{}' must be a file: a history is read as well", path.display());
            return Err(Error::Usage(text));
        }
        let mut text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::message(format!("{}: {error}", path.display()))),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let machine = format!("{}, threads: {threads}", info.description);
        let label = label.map_or_else(build, str::to_owned);
        Ok(History { path: path.to_owned(), text, origin: Origin { label, machine, time } })
    }

    /// The lines of this machine, from the oldest, with what their build is called.
    pub(super) fn earlier(&self) -> Result<Vec<(String, Value)>> {
        let mut found = Vec::new();
        for (number, line) in
            self.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty())
        {
            let wrong = |error: serde_json::Error| {
                Error::message(format!(
                    "{}: line {}: expected a line that `striate bench --history` has written: {error}",
                    self.path.display(),
                    number + 1
                ))
            };
            let value: Value = serde_json::from_str(line).map_err(wrong)?;
            let origin = Origin::deserialize(&value).map_err(wrong)?;
            if origin.machine == self.origin.machine {
                found.push((origin.label, value));
            }
        }
        Ok(found)
    }

    /// Keeps a line of ours.
    pub(super) fn keep(&mut self, line: &impl Serialize) -> Result<()> {
        #[derive(Serialize)]
        struct Kept<'a, T> {
            #[serde(flatten)]
            origin: &'a Origin,
            #[serde(flatten)]
            line: &'a T,
        }
        let kept = Kept { origin: &self.origin, line };
        let json = serde_json::to_string(&kept)
            .map_err(|error| Error::message(format!("a time that JSON cannot hold: {error}")))?;
        self.text.push_str(&json);
        self.text.push('\n');
        Ok(())
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self) -> Result<()> {
        Destination::of(&self.path)?.write(self.text.as_bytes())
    }
}

/// What the build is called where nobody says: the commit that is checked out in this folder, with a `+`
/// where files have changed since, else the version.
fn build() -> String {
    let git = |args: &[&str]| {
        let run =
            Command::new("git").args(args).output().ok().filter(|run| run.status.success())?;
        Some(String::from_utf8_lossy(&run.stdout).trim().to_owned())
    };
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) => {
            let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
            let mark = if changed.is_some_and(|files| !files.is_empty()) { "+" } else { "" };
            format!("{commit}{mark}")
        }
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}
