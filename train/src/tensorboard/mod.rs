//! TensorBoard event files.
//!
//! A file is a sequence of records (a length, its checksum, a message, its checksum), and each
//! message a protocol buffer `Event` of which only a few fields are needed here: no kept-up crate
//! writes them, and they are small.
//!
//! Each run writes a file of its own, for TensorBoard does not look again at what it has read. The
//! files of earlier runs of the training are cut after its checkpoint, so that no step is there
//! twice. For a TensorBoard that has already read what is cut, a file begins with a `SessionLog`
//! of status `START`, at which it drops what it knows of that step and later ones. The same record
//! says which training the file belongs to.

mod read;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::side::{self, Kin, Owner};
use crate::{EpochReport, Error, Observer, Result, RunStart, StepEvent};

/// In the name of each of our files: TensorBoard takes files with `tfevents` in the name.
const MARK: &str = "tfevents";
const OURS: &str = ".striate.";

/// `SessionLog.status`: a run has begun.
const START: u64 = 1;

/// The loss of a mini-batch.
const LOSS: &str = "loss";
/// The error rate on the test samples.
const TEST: &str = "miss-rate/test";

/// Writes scalars for TensorBoard: `loss`, `miss-rate/train`, `rate-factor`, and after each epoch
/// `miss-rate/test`, `miss-rate/test-top5`.
///
/// The files follow the checkpoint: when a session begins a run, events of the training after its
/// checkpoint are cut off. A folder that holds events of another training is refused.
pub struct TensorBoard {
    folder: PathBuf,
    /// Made with the first event.
    file: Option<EventFile>,
    /// The step at which this run begins, and of which training.
    start: Option<(u64, Owner)>,
}

impl fmt::Debug for TensorBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorBoard").field("folder", &self.folder).finish_non_exhaustive()
    }
}

struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoard {
    /// For a new event file in a folder, which is made where it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be made.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", e))?;
        Ok(TensorBoard { folder, file: None, start: None })
    }

    /// Cuts what earlier runs of this training have written after its checkpoint.
    fn follow(&mut self, start: &RunStart<'_>) -> Result<()> {
        self.flush()?;
        self.file = None;
        for name in names(&self.folder)? {
            if !name.to_string_lossy().contains(OURS) {
                continue;
            }
            let path = self.folder.join(&name);
            let refused =
                |reason: String| Err(Error::SideFile { file: path.display().to_string(), reason });
            let file = File::open(&path).map_err(|e| Error::io(&path, "read", e))?;
            if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                return refused("another training is writing to it".into());
            }
            let found = read::read(file, start).map_err(|e| Error::io(&path, "read", e))?;
            let kin = match found.is_empty {
                true => Kin::Ours,
                false => start.kin(found.owner.as_ref(), found.evidence),
            };
            match kin {
                Kin::Ours if found.kept_scalars == 0 => {
                    fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
                }
                Kin::Ours => drop(side::cut(&path, &found.kept)?),
                Kin::Earlier => {
                    let aside = name.to_string_lossy().replace(MARK, "earlier");
                    let aside = self.folder.join(aside);
                    fs::rename(&path, &aside).map_err(|e| Error::io(&path, "rename", e))?;
                    log::warn!(
                        "events of an earlier training, {}, are now in {}",
                        path.display(),
                        aside.display()
                    );
                }
                Kin::Other => {
                    let name = found.owner.map(|owner| format!(", {}", owner.working));
                    let name = name.unwrap_or_default();
                    return refused(format!("it holds events of another training{name}"));
                }
            }
        }
        self.start = Some((start.iterations + 1, start.owner()));
        Ok(())
    }

    /// The file of this run.
    fn file(&mut self) -> Result<&mut EventFile> {
        let file = match self.file.take() {
            Some(file) => file,
            None => EventFile::create(&self.folder, self.start.as_ref())?,
        };
        Ok(self.file.insert(file))
    }

    fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        // Summary.Value: tag is field 1, simple_value field 2.
        let mut inner = Vec::new();
        bytes_field(&mut inner, 1, tag.as_bytes());
        inner.push((2 << 3) | 5);
        inner.extend((value as f32).to_le_bytes());
        // Summary: value is field 1. Event: summary is field 5.
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &inner);
        let mut event = event(step);
        bytes_field(&mut event, 5, &summary);
        self.file()?.record(&event)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), EventFile::flush)
    }
}

impl EventFile {
    fn create(folder: &Path, start: Option<&(u64, Owner)>) -> Result<Self> {
        // TensorBoard reads files in the order of their names: this one is the last.
        let seconds = |name: &OsStr| {
            let name = name.to_string_lossy();
            let digits = name.split_once(MARK)?.1.trim_start_matches('.').split('.').next()?;
            digits.parse::<u64>().ok().filter(|&seconds| seconds < u64::from(u32::MAX))
        };
        let last = names(folder)?.iter().filter_map(|name| seconds(name)).max();
        let now = since_epoch().as_secs().max(last.map_or(0, |last| last + 1));
        let name =
            |try_: u32| format!("events.out.{MARK}.{now}{OURS}{}.{try_}", std::process::id());
        let mut try_ = 0;
        let (path, file) = loop {
            let path = folder.join(name(try_));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && try_ < 100 => try_ += 1,
                Err(e) => return Err(Error::io(&path, "create", e)),
            }
        };
        // Held until the end of the run. Not every file system knows locks.
        let _ = file.try_lock();
        let mut file = EventFile { path, file: BufWriter::new(file) };
        let mut version = event(0);
        // file_version, field 3.
        bytes_field(&mut version, 3, b"brain.Event:2");
        file.record(&version)?;
        if let Some((step, owner)) = start {
            // SessionLog: status is field 1, checkpoint_path 2, msg 3. Event: session_log is field 7.
            let mut session = vec![1 << 3];
            varint(&mut session, START);
            bytes_field(&mut session, 2, owner.working.as_bytes());
            bytes_field(&mut session, 3, owner.id.as_bytes());
            let mut event = event(*step);
            bytes_field(&mut event, 7, &session);
            file.record(&event)?;
        }
        file.flush()?;
        Ok(file)
    }

    fn record(&mut self, message: &[u8]) -> Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [
            &length,
            &masked_checksum(&length).to_le_bytes(),
            message,
            &masked_checksum(message).to_le_bytes(),
        ];
        let written = parts.iter().try_for_each(|part| self.file.write_all(part));
        written.map_err(|e| Error::io(&self.path, "write", e))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.path, "write", e))
    }

    /// Everything to the disk: a checkpoint is to follow.
    fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|e| Error::io(&self.path, "write", e))
    }
}

/// The names of all event files in a folder, in their order.
fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let failed = |e| Error::io(folder, "read", e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_string_lossy().contains(MARK) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Observer for TensorBoard {
    fn begin(&mut self, start: &RunStart<'_>) -> Result<()> {
        self.follow(start)
    }

    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let report = step.report;
        self.scalar(LOSS, step.iterations, report.loss())?;
        let miss_rate = report.misses as f64 / report.samples.max(1) as f64;
        self.scalar("miss-rate/train", step.iterations, miss_rate)?;
        self.scalar("rate-factor", step.iterations, step.factor)
    }

    fn epoch(&mut self, epoch: &EpochReport, _: Duration) -> Result<()> {
        if let Some(test) = &epoch.test {
            self.scalar(TEST, epoch.iterations, test.miss_rate())?;
            self.scalar("miss-rate/test-top5", epoch.iterations, test.miss_rate_top5())?;
        }
        Ok(())
    }

    fn saving(&mut self, _: &Path) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), EventFile::sync)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An event's first fields: wall_time, 1, and step, 2.
fn event(step: u64) -> Vec<u8> {
    let mut event = vec![(1 << 3) | 1];
    event.extend(since_epoch().as_secs_f64().to_le_bytes());
    event.push(2 << 3);
    varint(&mut event, step);
    event
}

/// A field of bytes: its number, their length, themselves.
fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push((number << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The checksum of TFRecord files: CRC-32C, turned and shifted so that checksums of what contains
/// checksums stay good ones.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
