//! TensorBoard event files.
//!
//! A file is a sequence of records (a length, its checksum, a message, its checksum), and each
//! message a protocol buffer `Event` of which only four fields are needed here: no kept-up crate
//! writes them, and they are small.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{EpochReport, Error, Observer, Result, StepEvent};

/// Writes scalars for TensorBoard: `loss`, `miss-rate/train`, `rate-factor`, and after each epoch
/// `miss-rate/test`, `miss-rate/test-top5`.
pub struct TensorBoard {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoard {
    /// A new event file in a folder, which is made where it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let name = |try_: u32| {
            let now = since_epoch();
            // TensorBoard takes files with `tfevents` in the name, in the order of the names.
            format!("events.out.tfevents.{}.striate.{}.{try_}", now.as_secs(), std::process::id())
        };
        let mut try_ = 0;
        let (path, file) = loop {
            let path = folder.join(name(try_));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && try_ < 100 => try_ += 1,
                Err(e) => return Err(Error::io(&path, "create", e)),
            }
        };
        let mut board = TensorBoard { path, file: BufWriter::new(file) };
        let mut event = event(0);
        // file_version, field 3.
        bytes_field(&mut event, 3, b"brain.Event:2");
        board.record(&event)?;
        board.flush()?;
        Ok(board)
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
        self.record(&event)
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
}

impl Observer for TensorBoard {
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let report = step.report;
        self.scalar("loss", step.iterations, report.loss())?;
        let miss_rate = report.misses as f64 / report.samples.max(1) as f64;
        self.scalar("miss-rate/train", step.iterations, miss_rate)?;
        self.scalar("rate-factor", step.iterations, step.factor)
    }

    fn epoch(&mut self, epoch: &EpochReport, _: Duration) -> Result<()> {
        if let Some(test) = &epoch.test {
            self.scalar("miss-rate/test", epoch.iterations, test.miss_rate())?;
            self.scalar("miss-rate/test-top5", epoch.iterations, test.miss_rate_top5())?;
        }
        self.flush()
    }

    fn saved(&mut self, _: &Path) -> Result<()> {
        self.flush()
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
mod tests {
    use super::*;

    #[test]
    fn records_have_the_published_form() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(folder.path().join("run")).unwrap();
        board.scalar("loss", 300, 0.5).unwrap();
        board.flush().unwrap();
        let bytes = std::fs::read(&board.path).unwrap();
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let check = u32::from_le_bytes(rest[8..12].try_into().unwrap());
            assert_eq!(check, masked_checksum(&rest[..8]));
            messages.push(&rest[12..12 + length]);
            let check = u32::from_le_bytes(rest[12 + length..][..4].try_into().unwrap());
            assert_eq!(check, masked_checksum(messages[messages.len() - 1]));
            rest = &rest[16 + length..];
        }
        let [version, scalar] = messages[..] else { panic!("{} records", messages.len()) };
        assert!(version.ends_with(b"\x1a\x0dbrain.Event:2"));
        // wall_time; step 300; summary of 13 bytes: a value of 11: tag loss, value 0.5.
        assert_eq!(scalar[9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f");
    }
}
