//! The file of results that a run goes on with.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Format;
use crate::error::{Error, Result};

/// Results of the first images of a list, a line each; more are appended.
pub(super) struct Results {
    path: PathBuf,
    file: BufWriter<File>,
    done: usize,
    failed: usize,
}

/// What a line of JSON must say.
#[derive(Deserialize)]
struct Line {
    image: String,
    error: Option<String>,
}

impl Results {
    /// Opens or makes the file, and cuts off what a killed run left of a line.
    ///
    /// # Errors
    /// Where it cannot be read or written, or holds something else than results of these images.
    pub(super) fn open(path: &Path, format: Format, images: &[PathBuf]) -> Result<Self> {
        let failed_to = |action: &str| format!("cannot {action} {}", path.display());
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::because(failed_to("read"), e)),
        };
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let (mut done, mut failed) = (0, 0);
        for line in text[..whole].split_inclusive(|&byte| byte == b'\n') {
            let Some(image) = images.get(done) else {
                return Err(other(path, done, "no more images", "a result"));
            };
            failed += usize::from(check(path, format, done, line, image)?);
            done += 1;
        }
        // The rest of a line that is none of ours is nothing to cut off.
        if done == 0 && whole < text.len() && !begins_like(format, &text) {
            return Err(other(path, 0, "results", "something else"));
        }
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let mut file = open.map_err(|e| Error::because(failed_to("write"), e))?;
        file.set_len(whole as u64)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(|e| Error::because(failed_to("write"), e))?;
        Ok(Results { path: path.to_owned(), file: BufWriter::new(file), done, failed })
    }

    /// Images whose results it held.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// How many of them could not be classified.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Appends whole lines.
    pub(super) fn add(&mut self, lines: &str) -> Result<()> {
        self.file.write_all(lines.as_bytes()).map_err(|e| self.cannot_write(e))
    }

    /// What was added outlives this process.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| self.cannot_write(e))
    }

    fn cannot_write(&self, error: std::io::Error) -> Error {
        Error::because(format!("cannot write {}", self.path.display()), error)
    }
}

fn other(path: &Path, line: usize, expected: &str, got: &str) -> Error {
    Error::message(format!(
        "{}, line {}: cannot go on: expected {expected}, got {got}; name another file, or remove \
         this one to start anew",
        path.display(),
        line + 1
    ))
}

/// Refuses a line that is no result of this image; whether it says that there is none.
fn check(path: &Path, format: Format, number: usize, line: &[u8], image: &Path) -> Result<bool> {
    if format != Format::Json {
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

fn begins_like(format: Format, text: &[u8]) -> bool {
    match format {
        Format::Json => text.starts_with(b"{"),
        _ => text.starts_with(b"error: ") || text.first().is_some_and(u8::is_ascii_digit),
    }
}
