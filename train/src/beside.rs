//! The files beside a working file: which names they have, and how the best network gets there.
//!
//! | file | beside `m.sqlite3` | beside `m.lr001` |
//! | --- | --- | --- |
//! | lock | `m.sqlite3.lock` | `m.lr001.lock` |
//! | best network | `m.best.safetensors` | `m.lr001.best.safetensors` |
//!
//! Only `.sqlite3` is left out of the best network's name. So `m` and `m.sqlite3` are the only kind
//! of pair that would share one; a session refuses the second of such a pair.
//!
//! The best network must be one that the checkpoint knows of. It is therefore written under a name
//! of its own first ([`pending_best`]), then the checkpoint is written, and then the file gets its
//! final name. Whoever is killed in between finds it at the next start ([`settle_best`]).

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::holds_training;
use crate::lock::Lock;
use crate::{Error, History, Position, Result};

/// The extensions of working files, which the names of other files leave out.
const EXTENSIONS: [&str; 2] = ["sqlite3", "safetensors"];

/// Whether a name ends as working files' usually do.
fn is_usual(working: &Path) -> bool {
    working.extension().is_some_and(|own| EXTENSIONS.iter().any(|usual| own == *usual))
}

/// The file of the best network beside a working file.
pub(crate) fn best_of(working: &Path) -> PathBuf {
    named(working, ".best.safetensors")
}

/// Where the network of an epoch waits for its checkpoint, if it is the best so far.
fn pending_best(working: &Path, epoch: u64) -> PathBuf {
    named(working, &format!(".best.epoch-{epoch}.safetensors"))
}

/// The working file's name without `.sqlite3` or `.safetensors`, and this after it.
fn named(working: &Path, suffix: &str) -> PathBuf {
    let stem = if is_usual(working) { working.file_stem() } else { working.file_name() };
    let mut name = stem.unwrap_or(working.as_os_str()).to_owned();
    name.push(suffix);
    working.with_file_name(name)
}

/// The other working files whose best network would have the same name.
fn sharing(working: &Path) -> Vec<PathBuf> {
    let stem = if is_usual(working) { working.with_extension("") } else { working.to_owned() };
    let with = |extension: &str| {
        let mut name = OsString::from(stem.as_os_str());
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    };
    let mut others: Vec<PathBuf> = EXTENSIONS.into_iter().map(with).collect();
    others.insert(0, stem);
    others.retain(|other| other != working);
    others
}

/// Refuses a working file whose best network would overwrite that of another training. Who calls
/// this holds the lock of `working`: of two that begin at once, one at least sees the other.
///
/// # Errors
/// [`Error::SharedBest`].
pub(crate) fn refuse_shared_best(working: &Path) -> Result<()> {
    let is_training = |other: &PathBuf| Lock::is_held(other) || holds_training(other);
    let Some(other) = sharing(working).into_iter().find(is_training) else { return Ok(()) };
    Err(Error::SharedBest {
        file: working.display().to_string(),
        other: other.display().to_string(),
        best: best_of(working).display().to_string(),
    })
}

/// The file that an epoch's network is to be written to before the checkpoint.
pub(crate) fn pending_of(working: &Path, epoch: u64) -> PathBuf {
    let best = best_of(working);
    match fs::canonicalize(&best) {
        // A link: the file stays in the folder that it is in.
        Ok(target) if fs::read_link(&best).is_ok() => {
            let name = pending_best(working, epoch);
            target.with_file_name(name.file_name().unwrap_or_default())
        }
        _ => pending_best(working, epoch),
    }
}

/// Gives the network of an epoch its final name. The checkpoint knows of the epoch.
pub(crate) fn keep_best(working: &Path, epoch: u64, history: &History) -> Result<()> {
    let best = best_of(working);
    let is_first = !history.epochs.iter().any(|e| e.test.is_some() && e.epoch < epoch);
    if is_first {
        set_aside(&best, "the best network")?;
    }
    let target = match fs::read_link(&best) {
        Ok(_) => fs::canonicalize(&best).unwrap_or_else(|_| best.clone()),
        Err(_) => best.clone(),
    };
    fs::rename(pending_of(working, epoch), target).map_err(|e| Error::io(&best, "write", e))
}

/// At the start of a run: finishes what a killed one left between its checkpoint and the renaming of
/// its best network, and removes the network of an epoch that no checkpoint knows of.
pub(crate) fn settle_best(working: &Path, position: Position, history: &History) -> Result<()> {
    if let Some(last) = history.epochs.last() {
        let pending = pending_of(working, last.epoch);
        if last.epoch + 1 == position.epoch && pending.is_file() {
            if history.last_is_best() {
                keep_best(working, last.epoch, history)?;
            } else {
                remove(&pending)?;
            }
        }
    }
    let pending = pending_of(working, position.epoch);
    striate_importers::remove_stale_temporaries(&pending)?;
    remove(&pending)
}

/// Renames a file of an earlier training, so that it is not overwritten: `m.best.safetensors`
/// becomes `m.best.1.safetensors`.
pub(crate) fn set_aside(file: &Path, what: &str) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let stem = file.file_stem().unwrap_or_default();
    let name = |number: u32| {
        let mut name = stem.to_owned();
        name.push(format!(".{number}"));
        if let Some(extension) = file.extension() {
            name.push(".");
            name.push(extension);
        }
        file.with_file_name(name)
    };
    let Some(free) = (1..u32::MAX).map(name).find(|name| fs::symlink_metadata(name).is_err())
    else {
        return Ok(());
    };
    fs::rename(file, &free).map_err(|e| Error::io(file, "rename", e))?;
    log::warn!("{what} of an earlier training, {}, is now {}", file.display(), free.display());
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(file, "remove", e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EpochReport, EvaluationReport};

    #[test]
    fn names_of_side_files_keep_the_whole_name_of_the_working_file() {
        for (working, best) in [
            ("a/m.sqlite3", "a/m.best.safetensors"),
            ("m", "m.best.safetensors"),
            ("m.safetensors", "m.best.safetensors"),
            ("m.lr001", "m.lr001.best.safetensors"),
            ("m.lr0", "m.lr0.best.safetensors"),
            ("m.db", "m.db.best.safetensors"),
            ("m.v1.sqlite3", "m.v1.best.safetensors"),
            (".sqlite3", ".sqlite3.best.safetensors"),
        ] {
            assert_eq!(best_of(Path::new(working)), Path::new(best));
        }
        assert_eq!(sharing(Path::new("a/m.sqlite3")), ["a/m", "a/m.safetensors"].map(Path::new));
        let others = ["a/m.lr1.sqlite3", "a/m.lr1.safetensors"].map(Path::new);
        assert_eq!(sharing(Path::new("a/m.lr1")), others);
    }

    fn tested(epoch: u64, misses: u64) -> EpochReport {
        let test = Some(EvaluationReport { samples: 10, misses, ..EvaluationReport::default() });
        EpochReport { epoch, test, ..EpochReport::default() }
    }

    #[test]
    fn the_best_network_is_that_of_the_checkpoint_after_a_kill_at_any_moment() {
        let folder = tempfile::tempdir().unwrap();
        let working = folder.path().join("m.sqlite3");
        let best = best_of(&working);
        let read = || fs::read_to_string(&best).unwrap_or_default();
        let history = |misses: &[u64]| History {
            epochs: misses.iter().enumerate().map(|(i, &m)| tested(i as u64, m)).collect(),
            ..History::default()
        };
        let at = |epoch| Position { epoch, iteration: 0 };
        let pend = |epoch: u64| {
            fs::write(pending_of(&working, epoch), format!("epoch {epoch}")).unwrap();
        };
        // Killed before the checkpoint of epoch 0: it is trained again, perhaps otherwise.
        pend(0);
        settle_best(&working, at(0), &history(&[])).unwrap();
        assert_eq!((read().as_str(), pending_of(&working, 0).exists()), ("", false));
        // Killed after it.
        pend(0);
        settle_best(&working, at(1), &history(&[5])).unwrap();
        assert_eq!(read(), "epoch 0");
        // Killed before the checkpoint of epoch 1, whose network is better.
        pend(1);
        settle_best(&working, at(1), &history(&[5])).unwrap();
        assert_eq!((read().as_str(), pending_of(&working, 1).exists()), ("epoch 0", false));
        pend(1);
        settle_best(&working, at(2), &history(&[5, 4])).unwrap();
        assert_eq!(read(), "epoch 1");
        // The first best network of another training does not overwrite it.
        pend(0);
        keep_best(&working, 0, &history(&[7])).unwrap();
        assert_eq!(read(), "epoch 0");
        let aside = fs::read_to_string(folder.path().join("m.best.1.safetensors")).unwrap();
        assert_eq!(aside, "epoch 1");
    }
}
