//! The file of results that a run resumes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::identity::{Identity, Pending, hex};
use super::record::Record;
use crate::args::Format;
use crate::error::{Error, Result};

/// A longer line is no result of ours; nobody has so many classes.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// How the time begins that ccv prints after each result.
const TIME: &[u8] = b"elapsed time ";

/// Results of the first images of a list; more are appended. Beside it stands a [`Record`] of the
/// run that they are of.
pub(super) struct Results {
    path: PathBuf,
    form: Form,
    file: File,
    /// Keeps the lock where the file itself cannot.
    _lock: Option<File>,
    record: PathBuf,
    /// The run, until its record is written.
    unrecorded: Option<Unrecorded>,
    /// What is not yet in the file.
    pending: String,
    /// Bytes of the file that are whole results.
    whole: u64,
    done: usize,
    failed: usize,
}

/// A run whose record is not written yet.
enum Unrecorded {
    /// Its model may still be being hashed.
    Pending(Box<Pending>),
    Known(Box<Identity>),
}

/// What a line of JSON must say.
#[derive(Deserialize)]
struct Line {
    image: String,
    error: Option<String>,
}

/// What a file of results holds.
struct Scan {
    done: usize,
    failed: usize,
    /// Bytes of whole results.
    whole: u64,
    /// The mark of the first one.
    first: Option<String>,
}

impl Results {
    /// Opens or makes the file, and cuts off what a killed run left of a result.
    ///
    /// # Errors
    /// Where the file cannot be read or written, another run has it open, or it holds something
    /// else than results of this run; then it is left as it is.
    pub(super) fn open(path: &Path, form: Form, images: &[PathBuf], run: Pending) -> Result<Self> {
        let cannot =
            |action: &str, e| Error::because(format!("cannot {action} {}", path.display()), e);
        let open =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = open.map_err(|e| cannot("write", e))?;
        // One record and one lock, by whichever link the file is named.
        let record = Record::path(&fs::canonicalize(path).map_err(|e| cannot("find", e))?);
        let lock = lock(path, &file, &record)?;
        let mut results = Results {
            path: path.to_owned(),
            form,
            file,
            _lock: lock,
            record,
            unrecorded: None,
            pending: String::new(),
            whole: 0,
            done: 0,
            failed: 0,
        };
        let bytes = results.file.metadata().map_err(|e| cannot("read", e))?.len();
        let record = Record::read(&results.record)?;
        if bytes == 0 {
            results.unrecorded = Some(Unrecorded::Pending(Box::new(run)));
            return Ok(results);
        }
        let Some(record) = record else { return Err(results.without_record()) };
        let identity = run.wait()?;
        if let Some(difference) = identity.difference(&record.identity()) {
            return Err(Error::message(format!(
                "{} holds the results of another run: {difference}; name another --output, or \
                 remove it to start anew",
                path.display()
            )));
        }
        let scan = scan(path, BufReader::new(&results.file), form, images)?;
        if scan.first.as_ref().is_some_and(|first| !record.begins(first)) {
            return Err(Error::message(format!(
                "{} is not the file that {} was written for; name another --output, or remove both \
                 to start anew",
                path.display(),
                results.record.display()
            )));
        }
        Scan { done: results.done, failed: results.failed, whole: results.whole, .. } = scan;
        if results.done == 0 {
            results.unrecorded = Some(Unrecorded::Known(Box::new(identity)));
        }
        if results.whole < bytes {
            results.file.set_len(results.whole).map_err(|e| cannot("write", e))?;
        }
        results.file.seek(SeekFrom::Start(results.whole)).map_err(|e| cannot("write", e))?;
        Ok(results)
    }

    /// Images whose results it held.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// How many of them could not be classified.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Appends the result of an image, whole lines. [`flush`](Self::flush) writes it.
    pub(super) fn add(&mut self, lines: &str) -> Result<()> {
        if let Some(run) = self.unrecorded.take() {
            // Before the first result: no result is ever without its record.
            let identity = match run {
                Unrecorded::Pending(run) => run.wait()?,
                Unrecorded::Known(identity) => *identity,
            };
            Record::new(&identity, mark(self.form, lines.as_bytes())).write(&self.record)?;
        }
        self.pending.push_str(lines);
        Ok(())
    }

    /// What was added outlives this process.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Err(error) = self.file.write_all(self.pending.as_bytes()) {
            // Half a result, as a full disk leaves it. If this fails, the next run cuts it off.
            let _ = self.file.set_len(self.whole);
            return Err(Error::because(format!("cannot write {}", self.path.display()), error));
        }
        self.whole += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn without_record(&self) -> Error {
        Error::message(format!(
            "{} holds something already, and there is no {} that says which run made it; name \
             another --output, or remove it to start anew",
            self.path.display(),
            self.record.display()
        ))
    }
}

/// Keeps other runs away from the results, until this process ends, in whichever way.
///
/// # Errors
/// Where another run has them.
fn lock(path: &Path, file: &File, record: &Path) -> Result<Option<File>> {
    // On Windows a locked file cannot be read by others either, and people look at results that
    // are being written: there a file beside it is locked.
    let beside = cfg!(windows).then(|| {
        let mut name = record.as_os_str().to_owned();
        name.push(".lock");
        OpenOptions::new().create(true).truncate(false).write(true).open(name)
    });
    let beside = beside.transpose();
    let beside =
        beside.map_err(|e| Error::because(format!("cannot lock {}", path.display()), e))?;
    match beside.as_ref().unwrap_or(file).try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::message(format!(
                "another run is writing its results into {}: wait for it, or name another --output",
                path.display()
            )));
        }
        // A file system without locks: better unguarded than not at all.
        Err(TryLockError::Error(e)) => log::warn!("{}: cannot be locked: {e}", path.display()),
    }
    Ok(beside)
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A line of JSON.
    Json,
    /// A line of ccv's.
    Ccv,
    /// A line of ccv's, and one that says how long it took.
    CcvWithTimes,
}

impl Form {
    pub(super) fn new(format: Format, list: bool) -> Self {
        match (format, list) {
            (Format::Ccv, true) => Form::Ccv,
            (Format::Ccv, false) => Form::CcvWithTimes,
            _ => Form::Json,
        }
    }
}

/// Goes through a file of results.
///
/// # Errors
/// Where one of them is none, or of another image.
fn scan(path: &Path, mut file: impl BufRead, form: Form, images: &[PathBuf]) -> Result<Scan> {
    let mut scan = Scan { done: 0, failed: 0, whole: 0, first: None };
    let mut number = 0;
    let (mut line, mut time) = (Vec::new(), Vec::new());
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        file.by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', line)
            .map_err(|e| Error::because(format!("cannot read {}", path.display()), e))?;
        Ok::<_, Error>(line.last() == Some(&b'\n'))
    };
    while next(&mut line)? {
        let Some(image) = images.get(scan.done) else {
            return Err(other(path, number, "no more images", "a result"));
        };
        let failed = check(path, form, number, &line, image)?;
        number += 1;
        if form == Form::CcvWithTimes && !failed {
            if !next(&mut time)? {
                return Ok(scan);
            }
            if !time.starts_with(TIME) {
                return Err(other(path, number, "`elapsed time …`", "something else"));
            }
            number += 1;
            line.append(&mut time);
        }
        scan.first.get_or_insert_with(|| mark(form, &line));
        scan.whole += line.len() as u64;
        scan.failed += usize::from(failed);
        scan.done += 1;
    }
    // The rest of a line that is none of ours is nothing to cut off.
    let is_long = line.len() as u64 == MAX_LINE_BYTES;
    if is_long || (!line.is_empty() && scan.done == 0 && !begins_like(form, &line)) {
        return Err(other(path, number, "results", "something else"));
    }
    Ok(scan)
}

/// A hash of a result, without the time that it took: the same whenever the run is the same.
fn mark(form: Form, lines: &[u8]) -> String {
    match form {
        Form::Json => match serde_json::from_slice::<serde_json::Value>(lines) {
            Ok(serde_json::Value::Object(mut result)) => {
                result.remove("milliseconds");
                hex(serde_json::Value::Object(result).to_string().as_bytes())
            }
            _ => hex(lines),
        },
        Form::Ccv | Form::CcvWithTimes => {
            hex(lines.split(|&byte| byte == b'\n').next().unwrap_or_default())
        }
    }
}

fn other(path: &Path, line: usize, expected: &str, got: &str) -> Error {
    Error::message(format!(
        "{}, line {}: cannot resume: expected {expected}, got {got}; name another file, or remove \
         this one to start anew",
        path.display(),
        line + 1
    ))
}

/// Refuses a line that is no result of this image; whether it says that there is none.
fn check(path: &Path, form: Form, number: usize, line: &[u8], image: &Path) -> Result<bool> {
    if form != Form::Json {
        let is_error = line.starts_with(b"error: ");
        return match is_error || line.first().is_some_and(u8::is_ascii_digit) {
            true => Ok(is_error),
            false => Err(other(path, number, "`id confidence …`", "something else")),
        };
    }
    let image = image.to_string_lossy();
    match serde_json::from_slice::<Line>(line) {
        Ok(line) if line.image == image => Ok(line.error.is_some()),
        Ok(line) => Err(other(path, number, &format!("the result of {image}"), &line.image)),
        Err(_) => Err(other(path, number, &format!("the result of {image}"), "something else")),
    }
}

fn begins_like(form: Form, text: &[u8]) -> bool {
    match form {
        Form::Json => text.starts_with(b"{"),
        _ => {
            let error = b"error: ";
            text.starts_with(&error[..text.len().min(error.len())])
                || text.first().is_some_and(u8::is_ascii_digit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_ccv_is_whole_with_its_time() {
        let images = ["a.png", "b.png", "c.png"].map(PathBuf::from);
        let text = "1 0.5 2 0.5\nelapsed time 3ms\nerror: b.png is gone\n3 0.7\nelapsed time 4ms\n";
        let scan = |bytes: usize| {
            let text = &text.as_bytes()[..bytes];
            let scan = scan(Path::new("r.txt"), text, Form::CcvWithTimes, &images).unwrap();
            (scan.done, scan.failed, scan.whole as usize)
        };
        let whole = text.len();
        assert_eq!(scan(whole), (3, 1, whole));
        let error = text.find("error").unwrap();
        let third = text.find("3 0.7").unwrap();
        for bytes in 0..whole {
            let expected = match bytes {
                _ if bytes < error => (0, 0, 0),
                _ if bytes < third => (1, 0, error),
                _ => (2, 1, third),
            };
            assert_eq!(scan(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn the_time_makes_no_other_result() {
        let json = |time, confidence| {
            let line = format!("{{\"image\":\"a\",\"c\":{confidence},\"milliseconds\":{time}}}\n");
            mark(Form::Json, line.as_bytes())
        };
        assert_eq!(json(1.5, 0.1), json(2.0, 0.1));
        assert_ne!(json(1.5, 0.1), json(1.5, 0.2));
        let ccv = |text: &str| mark(Form::CcvWithTimes, text.as_bytes());
        assert_eq!(ccv("1 0.5\nelapsed time 1ms\n"), ccv("1 0.5\nelapsed time 2ms\n"));
        assert_ne!(ccv("1 0.5\n"), ccv("1 0.6\n"));
    }

    #[test]
    fn what_is_no_result_is_named() {
        let images = ["a.png"].map(PathBuf::from);
        let message = |form, text: &str| {
            let scan = scan(Path::new("r"), text.as_bytes(), form, &images);
            scan.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let times = Form::CcvWithTimes;
        assert!(
            message(times, "1 0.5\n1 0.5\n").contains("line 2: cannot resume: expected `elapsed")
        );
        assert!(message(times, "hello").contains("expected results"));
        assert!(message(Form::Ccv, "1 0.5\n1 0.5\n").contains("expected no more images"));
        assert!(message(Form::Json, "1 0.5\n").contains("the result of a.png"));
        assert_eq!(message(Form::Ccv, "err"), "");
    }
}
