//! The pages of an sqlite file, for blobs of many of them.
//!
//! sqlite keeps a large blob as a chain of pages, each of which begins with the number of the next. Its
//! own reader copies page after page through its cache, and passes through all pages before the part
//! that is asked for: one thread alone can use it. Here the row is found as sqlite finds it, and its
//! pages are read straight from the file, many at a time and by several threads. The file is not
//! mapped: one that is made shorter meanwhile is an error, and ends no process.
//!
//! The format is described in <https://www.sqlite.org/fileformat2.html>. What looks in any way unusual
//! is left to sqlite, which then says what is wrong with it.

use std::sync::Arc;

use super::database::CellName;
use crate::source::Source;
use crate::{Error, Result};

/// Bytes that are read at a time: they stay in the second-level cache while they are taken apart.
const BLOCK_BYTES: usize = 256 * 1024;

/// Steps from a table's first page down to a row: with two rows a page, this is enough for all numbers.
const MAX_DEPTH: usize = 64;

/// The number of the next page, before a page's part of a blob.
const LINK_BYTES: usize = 4;

/// The pages of a file, counted from 1.
pub(super) struct Pages {
    source: Arc<Source>,
    page_bytes: usize,
    /// Bytes of a page less those that are reserved at its end.
    usable: usize,
    count: u32,
}

/// A row of a table.
pub(super) struct StoredValues {
    /// The beginning of its bytes, which is in the table's own page.
    local: Vec<u8>,
    /// The page with the rest; 0 where there is none.
    first: u32,
    /// Its values, in the order of the columns.
    pub(super) values: Vec<StoredValue>,
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredValue {
    pub(super) is_blob: bool,
    /// Where it begins among the row's bytes.
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// A place in a chain: a page, and how many bytes of its part of the blob come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    page: u32,
    within: usize,
}

impl Pages {
    /// Nothing where the head of the file makes no sense.
    pub(super) fn of(source: Arc<Source>) -> Option<Self> {
        let head = source.head();
        let page_bytes = match u16_at(head, 16)? {
            1 => 65_536,
            bytes => usize::from(bytes),
        };
        let usable = page_bytes.checked_sub(usize::from(*head.get(20)?))?;
        // sqlite's own limits.
        if !page_bytes.is_power_of_two() || page_bytes < 512 || usable < 480 {
            return None;
        }
        let count = u32::try_from(source.bytes() / page_bytes as u64).ok()?;
        Some(Pages { source, page_bytes, usable, count })
    }

    /// Bytes of a blob in each page of its chain.
    fn content(&self) -> usize {
        self.usable - LINK_BYTES
    }

    fn read(&self, page: u32, bytes: &mut [u8]) -> Result<()> {
        self.source.read_exact_at(bytes, u64::from(page - 1) * self.page_bytes as u64)
    }

    /// The row of a table that begins at the page `root`. Nothing where it is not found or is in a form
    /// that is left to sqlite.
    pub(super) fn row(&self, root: u32, rowid: i64) -> Result<Option<StoredValues>> {
        let mut bytes = vec![0; self.page_bytes];
        let mut page = root;
        for _ in 0..MAX_DEPTH {
            if page == 0 || page > self.count {
                return Ok(None);
            }
            self.read(page, &mut bytes)?;
            match self.step(&bytes[..self.usable], page, rowid) {
                Some(Step::Down(below)) => page = below,
                Some(Step::Found(row)) => return Ok(Some(row)),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a page of a table says of a row.
    fn step(&self, bytes: &[u8], page: u32, rowid: i64) -> Option<Step> {
        const INNER: u8 = 5;
        const LEAF: u8 = 13;
        // The first page begins with the head of the file.
        let head = if page == 1 { 100 } else { 0 };
        let kind = *bytes.get(head)?;
        let cells = usize::from(u16_at(bytes, head + 3)?);
        let pointers = head + if kind == INNER { 12 } else { 8 };
        for cell in 0..cells {
            let at = usize::from(u16_at(bytes, pointers + 2 * cell)?);
            match kind {
                // The page below, and the last row in it.
                INNER => {
                    let (last, _) = varint(bytes, at + LINK_BYTES)?;
                    if rowid <= last as i64 {
                        return Some(Step::Down(u32_at(bytes, at)?));
                    }
                }
                LEAF => {
                    let (payload, at) = varint(bytes, at)?;
                    let (row, at) = varint(bytes, at)?;
                    if row as i64 == rowid {
                        return self.values(bytes, at, payload).map(Step::Found);
                    }
                }
                _ => return None,
            }
        }
        (kind == INNER).then_some(Step::Down(u32_at(bytes, head + 8)?))
    }

    /// The values of a row whose bytes begin at `at` in a page.
    fn values(&self, bytes: &[u8], at: usize, payload: u64) -> Option<StoredValues> {
        let local_bytes = self.local_bytes(payload)?;
        let local = bytes.get(at..at.checked_add(local_bytes)?)?.to_vec();
        let first = match payload == local_bytes as u64 {
            true => 0,
            false => u32_at(bytes, at + local_bytes)?,
        };
        // The head of the row: its own length, then a number for each value.
        let (head, mut at) = varint(&local, 0)?;
        let mut start = head;
        let mut values = Vec::new();
        while (at as u64) < head {
            let (kind, next) = varint(&local, at)?;
            let bytes = match kind {
                0 | 8 | 9 => 0,
                1..=4 => kind,
                5 => 6,
                6 | 7 => 8,
                10 | 11 => return None,
                12.. => (kind - 12) / 2,
            };
            values.push(StoredValue { is_blob: kind >= 12 && kind % 2 == 0, start, bytes });
            start = start.checked_add(bytes)?;
            at = next;
        }
        (start == payload).then_some(StoredValues { local, first, values })
    }

    /// How many of a row's bytes are in the table's own page, by sqlite's rule.
    fn local_bytes(&self, payload: u64) -> Option<usize> {
        let most = self.usable - 35;
        if payload <= most as u64 {
            return usize::try_from(payload).ok();
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = least as u64 + (payload - least as u64) % self.content() as u64;
        let local = usize::try_from(local).ok()?;
        Some(if local <= most { local } else { least })
    }

    /// Where a byte of a row is, if the pages of its chain follow each other in the file, as they do
    /// where a row was written at once.
    pub(super) fn guess(&self, row: &StoredValues, at: u64) -> Position {
        let Some(after) = at.checked_sub(row.local.len() as u64) else {
            return Position { page: row.first, within: 0 };
        };
        let content = self.content() as u64;
        let page = u32::try_from(after / content).unwrap_or(u32::MAX);
        let within = (after % content) as usize;
        Position { page: row.first.saturating_add(page), within }
    }

    /// Reads a row from the byte `at`, which is at this position of its chain.
    pub(super) fn reader<'a>(
        &'a self,
        row: &'a StoredValues,
        at: u64,
        position: Position,
        file: &'a str,
        place: CellName<'a>,
    ) -> Reader<'a> {
        let local = usize::try_from(at).ok().and_then(|at| row.local.get(at..)).unwrap_or(&[]);
        let block = Vec::new();
        Reader { pages: self, local, position, block, first: 0, ahead: 1, file, place }
    }
}

enum Step {
    Down(u32),
    Found(StoredValues),
}

/// Reads the bytes of a row one after the other.
pub(super) struct Reader<'a> {
    pages: &'a Pages,
    /// What is left of the bytes before the chain.
    local: &'a [u8],
    position: Position,
    /// Pages that follow each other in the file, and the number of the first.
    block: Vec<u8>,
    first: u32,
    /// How many pages to read at a time: more as long as they follow each other.
    ahead: usize,
    file: &'a str,
    place: CellName<'a>,
}

impl Reader<'_> {
    /// Where it is: never at the end of a page.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Fills `out` with what comes next.
    pub(super) fn read(&mut self, mut out: &mut [u8]) -> Result<()> {
        let local = self.local.len().min(out.len());
        out[..local].copy_from_slice(&self.local[..local]);
        self.local = &self.local[local..];
        out = &mut out[local..];
        let content = self.pages.content();
        while !out.is_empty() {
            let Position { page, within } = self.position;
            let start = self.page(page)?;
            let n = (content - within).min(out.len());
            let from = start + LINK_BYTES + within;
            out[..n].copy_from_slice(&self.block[from..from + n]);
            out = &mut out[n..];
            self.position.within += n;
            if self.position.within == content {
                let next = u32_at(&self.block, start).unwrap_or(0);
                self.ahead = match next == page.wrapping_add(1) {
                    true => (self.ahead * 2).min((BLOCK_BYTES / self.pages.page_bytes).max(1)),
                    false => 1,
                };
                self.position = Position { page: next, within: 0 };
            }
        }
        Ok(())
    }

    /// Where a page begins in the block, read first where it is not there.
    fn page(&mut self, page: u32) -> Result<usize> {
        let bytes = self.pages.page_bytes;
        let there = (self.block.len() / bytes) as u32;
        if let Some(at) = page.checked_sub(self.first).filter(|at| *at < there) {
            return Ok(at as usize * bytes);
        }
        let count = self.pages.count;
        if page == 0 || page > count {
            let expected = format!("a page from 1 to {count} with the rest of the blob");
            let got = format!("page {page}; the file is damaged");
            return Err(Error::content(self.file, self.place.to_string(), expected, got));
        }
        let ahead = self.ahead.min((count - page) as usize + 1);
        self.block.resize(ahead * bytes, 0);
        self.first = page;
        let read = self.pages.read(page, &mut self.block);
        read.inspect_err(|_| self.block.clear())?;
        Ok(0)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of one to nine bytes, 7 bits in each of the first eight, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (i, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        if i == 8 {
            return Some((number << 8 | u64::from(*byte), at + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        assert_eq!(varint(&[0x05], 0), Some((5, 1)));
        assert_eq!(varint(&[9, 0x81, 0x00], 1), Some((128, 3)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80, 0x80], 0), None);
        assert_eq!(varint(&[], 3), None);
    }
}
