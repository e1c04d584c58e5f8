//! Side files that follow the checkpoint: whose they are, and where they are cut.
//!
//! A training that was killed resumes at its last checkpoint. Metrics and events of mini-batches
//! after it are on disk already, perhaps half a record. They are cut off before the run begins, so
//! that every mini-batch is there once. What is to be cut must be of this training: a file of
//! another one is refused.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use striate_data::output::write_whole;

use crate::{EpochReport, Error, History, Position, Result};

/// Where a run of a training begins: at its first mini-batch, or at a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct RunStart<'a> {
    /// The working file.
    pub working: &'a Path,
    /// What comes next.
    pub position: Position,
    /// Mini-batches that the checkpoint knows of, over the whole training.
    pub iterations: u64,
    /// Mini-batches an epoch.
    pub per_epoch: u64,
    /// The curves up to there.
    pub history: &'a History,
    /// What the training is: network, samples, options. Equal for trainings that would compute the
    /// same.
    pub id: &'a str,
}

/// What a training is, as 16 digits: equal for those that compute the same.
pub(crate) fn id_of(what: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(what).map_err(|source| Error::Encode { source })?;
    // FNV-1a.
    let sum = text.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Ok(format!("{sum:016x}"))
}

/// What a side file says of the training that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The name of the working file, without its folder.
    pub(crate) working: String,
    /// As [`RunStart::id`] when the file was begun.
    pub(crate) id: String,
}

/// What the records of a side file tell, compared with the curves of the checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Something is the same.
    pub(crate) agrees: bool,
    /// Something is not.
    pub(crate) differs: bool,
}

impl Evidence {
    pub(crate) fn note(&mut self, is_equal: bool) {
        self.agrees |= is_equal;
        self.differs |= !is_equal;
    }
}

/// Whose a side file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// This training's.
    Ours,
    /// That of an earlier training in a working file of the same name.
    Earlier,
    /// Another training's.
    Other,
}

impl RunStart<'_> {
    /// How a side file is to name this training.
    pub(crate) fn owner(&self) -> Owner {
        let name = self.working.file_name().unwrap_or(self.working.as_os_str());
        Owner { working: name.to_string_lossy().into_owned(), id: self.id.to_owned() }
    }

    /// Whose a file is that names this owner, or none if an older version of this program wrote it.
    pub(crate) fn kin(&self, owner: Option<&Owner>, evidence: Evidence) -> Kin {
        let own = self.owner();
        let same_name = owner.is_some_and(|owner| owner.working == own.working);
        let same_id = owner.is_some_and(|owner| owner.id == own.id);
        if self.iterations == 0 {
            // Nothing was saved: what there is must be what this run will compute again.
            return match (same_name, same_id) {
                (true, true) => Kin::Ours,
                (true, false) => Kin::Earlier,
                _ => Kin::Other,
            };
        }
        // Rates may have changed since, and the working file may have another name now; what was
        // computed has not.
        match (evidence.differs, evidence.agrees, owner.is_none() || same_name) {
            (true, ..) => Kin::Other,
            (false, true, _) | (false, false, true) => Kin::Ours,
            (false, false, false) => Kin::Other,
        }
    }

    /// Whether the curves have this epoch, with these values.
    pub(crate) fn knows_epoch(&self, epoch: &EpochReport) -> bool {
        // As text, in which values that are not finite are equal.
        let text = |epoch: &EpochReport| serde_json::to_string(epoch).ok();
        let known = self.history.epochs.iter().find(|known| known.epoch == epoch.epoch);
        known.is_some_and(|known| text(known) == text(epoch))
    }

    /// The loss of a mini-batch, counted from 1, where the curves still have it.
    pub(crate) fn loss_of(&self, iteration: u64) -> Option<f64> {
        if self.history.stride != 1 {
            return None;
        }
        let points = &self.history.points;
        let at = points.binary_search_by_key(&iteration, |point| point.iteration).ok()?;
        Some(points[at].loss)
    }
}

/// Keeps these ranges of a file, which are in order, and cuts the rest. Gives whether another file
/// has taken its place.
pub(crate) fn cut(path: &Path, kept: &[Range<u64>]) -> Result<bool> {
    let failed = |e| Error::io(path, "cut", e);
    let end = match kept {
        [] => 0,
        [Range { start: 0, end }] => *end,
        _ => return cut_out(path, kept).map(|()| true),
    };
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > end {
        file.set_len(end).map_err(failed)?;
    }
    Ok(false)
}

/// As [`cut`], where something in the middle goes: the rest replaces the file as a whole.
fn cut_out(path: &Path, kept: &[Range<u64>]) -> Result<()> {
    let failed = |e| Error::io(path, "cut", e);
    let mut from = File::open(path).map_err(failed)?;
    let mut rest = Vec::new();
    for Range { start, end } in kept {
        from.seek(SeekFrom::Start(*start)).map_err(failed)?;
        from.by_ref().take(end - start).read_to_end(&mut rest).map_err(failed)?;
    }
    Ok(write_whole(path, &rest)?)
}

/// Adds a range that follows or touches the last one.
pub(crate) fn keep(kept: &mut Vec<Range<u64>>, range: Range<u64>) {
    match kept.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => kept.push(range),
    }
}
