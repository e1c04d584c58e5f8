//! A protobuf message in a file, read field by field, so that a large one is never in memory as a whole.

use prost::bytes::Bytes;

use crate::source::Source;
use crate::{Error, Result};

/// Bytes that are read at a time, where a field is shorter.
const WINDOW_BYTES: usize = 64 << 10;

/// A place in a file, inside a message.
pub(crate) struct Wire<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// A field: its number and where it is.
pub(crate) struct Field {
    pub(crate) number: u32,
    /// The kind of encoding: 2 where it has a length.
    pub(crate) wire_type: u8,
    /// Where its key begins.
    pub(crate) begin: u64,
    /// Where its contents begin, behind key and length.
    pub(crate) contents: u64,
    /// Where it ends.
    pub(crate) end: u64,
}

impl<'a> Wire<'a> {
    /// A message from one place of a file to another.
    pub(crate) fn new(source: &'a Source, at: u64, end: u64) -> Self {
        Wire { source, at, end, window: Vec::new(), window_at: 0 }
    }

    fn damaged(&self, expected: &str) -> Error {
        let place = format!("byte {}", self.at);
        Error::content(self.source.name(), place, expected, "something else")
    }

    /// The next field, or none at the end of the message.
    pub(crate) fn field(&mut self) -> Result<Option<Field>> {
        if self.at == self.end {
            return Ok(None);
        }
        let begin = self.at;
        let key = self.varint()?;
        let wire_type = (key & 7) as u8;
        let number = u32::try_from(key >> 3).map_err(|_| self.damaged("the number of a field"))?;
        let bytes = match wire_type {
            0 => {
                let contents = self.at;
                self.varint()?;
                let end = self.at;
                return Ok(Some(Field { number, wire_type, begin, contents, end }));
            }
            1 => 8,
            2 => self.varint()?,
            5 => 4,
            _ => return Err(self.damaged("the key of a field of a protobuf message")),
        };
        let contents = self.at;
        let end = contents.checked_add(bytes).filter(|&end| end <= self.end);
        let Some(end) = end else {
            let place = format!("byte {begin}");
            let expected = format!("a field that ends by byte {}", self.end);
            let got = format!("one of {bytes} bytes: the file is cut off or damaged");
            return Err(Error::content(self.source.name(), place, expected, got));
        };
        self.at = end;
        Ok(Some(Field { number, wire_type, begin, contents, end }))
    }

    /// The bytes from one place to another.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> Result<Bytes> {
        let len = usize::try_from(to - from).map_err(|_| self.damaged("fewer bytes"))?;
        let start = from.checked_sub(self.window_at).and_then(|at| usize::try_from(at).ok());
        let held = start.and_then(|at| self.window.get(at..at.checked_add(len)?));
        if let Some(held) = held {
            return Ok(Bytes::copy_from_slice(held));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| {
            let expected = "fewer bytes than there is memory for";
            Error::content(self.source.name(), format!("byte {from}"), expected, len.to_string())
        })?;
        bytes.resize(len, 0);
        self.source.read_exact_at(&mut bytes, from)?;
        Ok(Bytes::from(bytes))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number of at most ten bytes"))
    }

    fn byte(&mut self) -> Result<u8> {
        if self.at >= self.end {
            return Err(self.damaged("more bytes: the file is cut off"));
        }
        let inside = self.at.checked_sub(self.window_at).map(|i| i as usize);
        if let Some(&byte) = inside.and_then(|i| self.window.get(i)) {
            self.at += 1;
            return Ok(byte);
        }
        let len = (self.end - self.at).min(WINDOW_BYTES as u64) as usize;
        self.window.resize(len, 0);
        self.source.read_exact_at(&mut self.window, self.at)?;
        self.window_at = self.at;
        self.at += 1;
        Ok(self.window[0])
    }
}
