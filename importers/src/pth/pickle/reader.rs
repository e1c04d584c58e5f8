//! The bytes of a pickle, read from one end to the other.

use crate::{Error, Result};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes of texts and blobs that are kept; longer ones are skipped, since no name and no number that is
/// asked for is so long.
pub(super) const MAX_KEPT_BYTES: u64 = 4096;

/// Copies bytes of what is read from a place on.
type Fill<'a> = Box<dyn Fn(&mut [u8], u64) -> Result<()> + 'a>;

/// Bytes that are read one after the other.
pub(in crate::pth) struct Reader<'a> {
    /// The file, for messages.
    pub(super) file: &'a str,
    /// What is read of it: `data.pkl`; nothing where it is the file itself.
    part: &'a str,
    fill: Fill<'a>,
    end: u64,
    /// The place of the buffer's first byte, and how many of its bytes are read.
    start: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a> Reader<'a> {
    /// Reads what `fill` copies, from `at` to `end`.
    pub(in crate::pth) fn new(
        file: &'a str,
        part: &'a str,
        at: u64,
        end: u64,
        fill: impl Fn(&mut [u8], u64) -> Result<()> + 'a,
    ) -> Self {
        let (fill, buffer) = (Box::new(fill), Vec::new());
        Reader { file, part, fill, end, start: at, buffer, used: 0 }
    }

    /// Where the next byte is.
    pub(in crate::pth) fn at(&self) -> u64 {
        self.start + self.used as u64
    }

    /// An error about what stands at `at`.
    pub(super) fn error(
        &self,
        at: u64,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Error {
        let part = if self.part.is_empty() { String::new() } else { format!("{}, ", self.part) };
        Error::content(self.file, format!("{part}offset {at}"), expected, got)
    }

    fn left(&self) -> u64 {
        self.end.saturating_sub(self.at())
    }

    fn ends(&self, wanted: u64) -> Error {
        let expected = format!("{wanted} more bytes of a pickle");
        self.error(self.at(), expected, format!("{}; the file is cut off", self.left()))
    }

    /// Fills the buffer, where all of it is read.
    fn refill(&mut self) -> Result<()> {
        if self.used < self.buffer.len() {
            return Ok(());
        }
        (self.start, self.used) = (self.at(), 0);
        let left = self.end.saturating_sub(self.start).min(BUFFER_BYTES as u64);
        self.buffer.resize(left as usize, 0);
        (self.fill)(&mut self.buffer, self.start)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        if self.used == self.buffer.len() {
            if self.left() == 0 {
                return Err(self.ends(1));
            }
            self.refill()?;
        }
        let byte = self.buffer.get(self.used).copied().ok_or_else(|| self.ends(1))?;
        self.used += 1;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.u8()?;
        }
        Ok(bytes)
    }

    /// So many bytes, or nothing where they are too many to be kept: then they are skipped.
    pub(super) fn take(&mut self, count: u64) -> Result<Option<Vec<u8>>> {
        if count > self.left() {
            return Err(self.ends(count));
        }
        if count > MAX_KEPT_BYTES {
            self.skip(count);
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(count as usize);
        for _ in 0..count {
            bytes.push(self.u8()?);
        }
        Ok(Some(bytes))
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        let (at, mut line) = (self.at(), Vec::new());
        loop {
            match self.u8()? {
                b'\n' => return Ok(line),
                _ if line.len() as u64 == MAX_KEPT_BYTES => {
                    return Err(self.error(at, "a line of at most 4096 bytes", "a longer one"));
                }
                byte => line.push(byte),
            }
        }
    }

    /// Within what is left.
    fn skip(&mut self, count: u64) {
        let at = self.at() + count;
        match usize::try_from(count).ok().filter(|count| self.used + count <= self.buffer.len()) {
            Some(count) => self.used += count,
            None => {
                (self.start, self.used) = (at, 0);
                self.buffer.clear();
            }
        }
    }
}
