//! Metrics as lines of JSON.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beside::set_aside;
use crate::side::{self, Evidence, Kin, Owner};
use crate::{EpochReport, Error, Observer, Result, RunStart, StepEvent, StepReport};

/// A line is shorter than this; what is not is none of ours.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Writes a line of JSON for every mini-batch and every epoch:
/// `{"kind":"step","iteration":…,"loss":…}` and `{"kind":"epoch",…}`. The first line says which
/// training it is: `{"kind":"training",…}`.
///
/// A file follows the checkpoint: when a session begins a run, the lines after its checkpoint are
/// cut off, and what comes is appended. So each mini-batch is there once, also after a run was
/// killed.
pub struct MetricsFile {
    path: PathBuf,
    sink: Sink,
    /// The first line, until it is written.
    first: Option<Owner>,
}

impl fmt::Debug for MetricsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFile").field("path", &self.path).finish_non_exhaustive()
    }
}

enum Sink {
    File(BufWriter<File>),
    /// A pipe, a terminal, standard output: nothing to read, nothing to cut.
    Stream(Box<dyn Write + Send>),
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Training(&'a Owner),
    Step {
        epoch: u64,
        iteration: u64,
        loss: f64,
        miss_rate: f64,
        factor: f64,
        samples: usize,
        milliseconds: f64,
        waited_milliseconds: f64,
        #[serde(flatten)]
        exchange: Option<Exchanged>,
    },
    Epoch {
        #[serde(flatten)]
        report: &'a EpochReport,
        seconds: f64,
    },
}

/// What a rank exchanged in a step.
#[derive(Serialize)]
struct Exchanged {
    exchanged_bytes: u64,
    exchange_milliseconds: f64,
    exposed_milliseconds: f64,
}

/// What is read again of a line.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Known {
    Training(Owner),
    Step { iteration: u64, loss: Option<f64> },
    Epoch(EpochReport),
}

impl MetricsFile {
    /// Appends to a file, which is made where it is not there. What is no regular file (a pipe, a
    /// device) is written straight, each line at once.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written; [`Error::SideFile`] where it holds something else
    /// than metrics, or another training writes to it.
    pub fn append(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = open(&path)?;
        let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_regular {
            return Ok(MetricsFile { path, sink: Sink::Stream(Box::new(file)), first: None });
        }
        read(&path, None)?;
        Ok(MetricsFile { path, sink: Sink::File(BufWriter::new(file)), first: None })
    }

    /// Writes each line at once to anything, such as standard output; `name` is what messages call
    /// it.
    pub fn stream(writer: impl Write + Send + 'static, name: impl Into<PathBuf>) -> Self {
        MetricsFile { path: name.into(), sink: Sink::Stream(Box::new(writer)), first: None }
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        if let Some(owner) = self.first.take() {
            self.line(&Line::Training(&owner))?;
        }
        let MetricsFile { path, sink, .. } = self;
        let written = match sink {
            Sink::File(file) => write(file, line),
            Sink::Stream(stream) => write(stream, line).and_then(|()| stream.flush()),
        };
        written.map_err(|e| Error::io(path, "write", e))
    }

    /// Everything to the disk: a checkpoint is to follow.
    fn sync(&mut self) -> Result<()> {
        let MetricsFile { path, sink, .. } = self;
        let Sink::File(file) = sink else { return Ok(()) };
        let synced = file.flush().and_then(|()| file.get_ref().sync_data());
        synced.map_err(|e| Error::io(path, "write", e))
    }

    fn follow(&mut self, start: &RunStart<'_>) -> Result<()> {
        let Sink::File(file) = &mut self.sink else {
            self.first = Some(start.owner());
            return Ok(());
        };
        file.flush().map_err(|e| Error::io(&self.path, "write", e))?;
        let found = read(&self.path, Some(start))?;
        let kin = match found.lines {
            0 => Kin::Ours,
            _ => start.kin(found.owner.as_ref(), found.evidence),
        };
        let mut kept = found.kept;
        let is_replaced = match kin {
            Kin::Ours => side::cut(&self.path, &kept)?,
            Kin::Earlier => {
                set_aside(&self.path, "the metrics file")?;
                kept.clear();
                true
            }
            Kin::Other => {
                let name = found.owner.map(|owner| format!(", {}", owner.working));
                let name = name.unwrap_or_default();
                let reason = format!("it holds the metrics of another training{name}");
                return Err(refused(&self.path, reason));
            }
        };
        if is_replaced {
            *file = BufWriter::new(open(&self.path)?);
        }
        if !kept.is_empty() && found.last < start.iterations {
            log::warn!(
                "{}: the mini-batches {} to {} are missing: they were computed without it",
                self.path.display(),
                found.last + 1,
                start.iterations
            );
        }
        self.first = kept.is_empty().then(|| start.owner());
        Ok(())
    }
}

/// Opens for appending, for this process alone where the file system knows locks.
fn open(path: &Path) -> Result<File> {
    let open = OpenOptions::new().create(true).append(true).open(path);
    let file = open.map_err(|e| Error::io(path, "write", e))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(refused(path, "another training is writing to it".into()));
    }
    Ok(file)
}

fn refused(path: &Path, reason: String) -> Error {
    Error::SideFile { file: path.display().to_string(), reason }
}

fn write(to: &mut impl Write, line: &Line<'_>) -> std::io::Result<()> {
    // In one piece, so that lines of several writers into a pipe stay whole.
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    to.write_all(&text)
}

/// What a metrics file holds.
#[derive(Default)]
struct Found {
    /// Whole lines.
    lines: u64,
    owner: Option<Owner>,
    evidence: Evidence,
    /// The bytes of the lines that belong to the checkpoint.
    kept: Vec<Range<u64>>,
    /// The last mini-batch of these.
    last: u64,
}

/// Reads a metrics file: up to what the checkpoint knows, or the first line only if there is no
/// checkpoint to compare with.
fn read(path: &Path, start: Option<&RunStart<'_>>) -> Result<Found> {
    let failed = |e| Error::io(path, "read", e);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut found, mut line, mut at) = (Found::default(), Vec::new(), 0u64);
    let mut epochs = 0;
    let mut damaged = 0u64;
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let range = at..at + read.map_err(failed)? as u64;
        at = range.end;
        if range.is_empty() {
            break;
        }
        let is_whole = line.last() == Some(&b'\n');
        found.lines += u64::from(is_whole);
        let is_first = range.start == 0;
        let known = serde_json::from_slice::<Known>(&line).ok().filter(|_| is_whole);
        if is_first && known.is_none() && (is_whole || !begins_alike(&line)) {
            let reason = "it exists and is no metrics file, so it is not written to".into();
            return Err(refused(path, reason));
        }
        let Some(start) = start else { break };
        let belongs = match known {
            None => {
                damaged += u64::from(is_whole);
                false
            }
            Some(Known::Training(owner)) => is_first && found.owner.replace(owner).is_none(),
            Some(Known::Step { iteration, loss }) if iteration <= start.iterations => {
                if let (Some(loss), Some(known)) = (loss, start.loss_of(iteration)) {
                    found.evidence.note(loss.to_bits() == known.to_bits());
                }
                let is_next = iteration > found.last;
                found.last = found.last.max(iteration);
                is_next
            }
            Some(Known::Epoch(report)) if report.iterations <= start.iterations => {
                found.evidence.note(start.knows_epoch(&report));
                let is_next = report.epoch >= epochs;
                epochs = epochs.max(report.epoch + 1);
                is_next
            }
            Some(_) => false,
        };
        if belongs {
            side::keep(&mut found.kept, range);
        }
    }
    if damaged > 0 {
        log::warn!("{}: {damaged} damaged lines are removed", path.display());
    }
    Ok(found)
}

/// Whether this is the beginning of a line of ours, cut off.
fn begins_alike(line: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"kind\":\"";
    let common = line.len().min(BEGINNING.len());
    line[..common] == BEGINNING[..common]
}

impl Observer for MetricsFile {
    fn begin(&mut self, start: &RunStart<'_>) -> Result<()> {
        self.follow(start)
    }

    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let StepReport { samples, misses, .. } = step.report;
        self.line(&Line::Step {
            epoch: step.position.epoch,
            iteration: step.iterations,
            loss: step.report.loss(),
            miss_rate: misses as f64 / samples.max(1) as f64,
            factor: step.factor,
            samples,
            milliseconds: step.time.as_secs_f64() * 1e3,
            waited_milliseconds: step.waited.as_secs_f64() * 1e3,
            exchange: step.exchange.map(|exchange| Exchanged {
                exchanged_bytes: exchange.traffic.bytes,
                exchange_milliseconds: exchange.traffic.time.as_secs_f64() * 1e3,
                exposed_milliseconds: exchange.exposed.as_secs_f64() * 1e3,
            }),
        })
    }

    fn epoch(&mut self, report: &EpochReport, time: Duration) -> Result<()> {
        self.line(&Line::Epoch { report, seconds: time.as_secs_f64() })
    }

    fn saving(&mut self, _: &Path) -> Result<()> {
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, Position};

    fn report(epoch: u64) -> EpochReport {
        let loss = 1.0 / (epoch + 3) as f64;
        EpochReport { epoch, iterations: 3 * (epoch + 1), loss, ..EpochReport::default() }
    }

    fn history(epochs: u64) -> History {
        History { epochs: (0..epochs).map(report).collect(), ..History::default() }
    }

    fn start<'a>(history: &'a History, iterations: u64, id: &'a str) -> RunStart<'a> {
        let position = Position { epoch: iterations / 3, iteration: iterations % 3 };
        let working = Path::new("somewhere/m.sqlite3");
        RunStart { working, position, iterations, per_epoch: 3, history, id }
    }

    /// Writes the lines of the mini-batches after `from`, up to `to`.
    fn go(file: &mut MetricsFile, from: u64, to: u64) {
        for iteration in from..to {
            let event = StepEvent {
                position: Position { epoch: iteration / 3, iteration: iteration % 3 },
                iterations: iteration + 1,
                per_epoch: 3,
                report: StepReport { samples: 2, loss_sum: iteration as f64, misses: 1 },
                factor: 1.0,
                time: Duration::ZERO,
                waited: Duration::ZERO,
                exchange: None,
            };
            file.step(&event).unwrap();
            if iteration % 3 == 2 {
                file.epoch(&report(iteration / 3), Duration::ZERO).unwrap();
            }
        }
        file.sync().unwrap();
    }

    fn begun(path: &Path, start: &RunStart<'_>) -> Result<MetricsFile> {
        let mut file = MetricsFile::append(path)?;
        file.begin(start)?;
        Ok(file)
    }

    /// The text without times, of 7 mini-batches that nobody interrupted.
    fn whole(folder: &Path) -> Vec<u8> {
        let path = folder.join("whole.jsonl");
        go(&mut begun(&path, &start(&history(0), 0, "a")).unwrap(), 0, 7);
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_killed_run_leaves_no_torn_line_and_no_step_twice() {
        let folder = tempfile::tempdir().unwrap();
        let whole = whole(folder.path());
        let path = folder.path().join("m.jsonl");
        // Cut off at any byte, and resumed at checkpoints that are not beyond it.
        for cut in (0..=whole.len()).rev().step_by(7) {
            let written = whole[..cut].iter().filter(|&&b| b == b'\n').count();
            for (checkpoint, lines) in [(0, 0), (2, 3), (3, 5), (6, 9)] {
                if written < lines {
                    continue;
                }
                std::fs::write(&path, &whole[..cut]).unwrap();
                let history = history(checkpoint / 3);
                let start = start(&history, checkpoint, "a");
                go(&mut begun(&path, &start).unwrap(), checkpoint, 7);
                let text = std::fs::read(&path).unwrap();
                assert!(text == whole, "cut at {cut}, resumed at {checkpoint}");
            }
        }
    }

    #[test]
    fn a_file_with_steps_twice_and_a_torn_line_in_the_middle_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let whole = whole(folder.path());
        let path = folder.path().join("m.jsonl");
        let ends: Vec<usize> =
            whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        // Steps 1 to 3 and half a line; then, from checkpoint 2 on: 3 again, the epoch, 4 and 5.
        let text = [&whole[..ends[3]], b"{\"kind\":\"st\n", &whole[ends[2]..ends[6]]].concat();
        std::fs::write(&path, text).unwrap();
        go(&mut begun(&path, &start(&history(1), 4, "a")).unwrap(), 4, 7);
        assert!(std::fs::read(&path).unwrap() == whole);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_not_of_this_training_is_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let whole = whole(folder.path());
        let path = folder.path().join("m.jsonl");
        let other_history = |epochs: u64| {
            let mut history = history(epochs);
            history.epochs[0].loss = 0.7;
            history
        };
        let refused = |before: &[u8], start: &RunStart<'_>, part: &str| {
            std::fs::write(&path, before).unwrap();
            let message = begun(&path, start).err().unwrap().to_string();
            assert!(message.contains(part) && message.contains("m.jsonl"), "{message}");
            assert!(std::fs::read(&path).unwrap() == before);
        };
        let (none, one) = (history(0), other_history(1));
        let elsewhere = RunStart { working: Path::new("n.sqlite3"), ..start(&none, 0, "a") };
        refused(&whole, &elsewhere, "of another training, m.sqlite3");
        refused(&whole, &start(&one, 3, "a"), "of another training, m.sqlite3");
        refused(b"1 a.png\n2 b.png\n", &start(&none, 0, "a"), "is no metrics file");
        refused(b"{}", &start(&none, 0, "a"), "is no metrics file");
        refused(b"{\"loss\":1}\n", &start(&none, 0, "a"), "is no metrics file");

        // The same working file, begun anew: what there was stays under another name.
        std::fs::write(&path, &whole).unwrap();
        go(&mut begun(&path, &start(&none, 0, "b")).unwrap(), 0, 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert!(std::fs::read(folder.path().join("m.1.jsonl")).unwrap() == whole);

        // What an older version wrote has no first line, and is known by its epochs.
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        std::fs::write(&path, &whole[first..]).unwrap();
        go(&mut begun(&path, &start(&history(2), 6, "b")).unwrap(), 6, 7);
        assert!(std::fs::read(&path).unwrap() == whole[first..]);

        let held = MetricsFile::append(&path).unwrap();
        let message = MetricsFile::append(&path).err().unwrap().to_string();
        assert!(message.contains("another training is writing"), "{message}");
        drop(held);
    }
}
