//! The first directory of a TIFF file: its tags, read and edited in place.

/// The tags that are looked at.
pub(super) mod tag {
    pub(in crate::decode) const COLS: u16 = 256;
    pub(in crate::decode) const ROWS: u16 = 257;
    pub(in crate::decode) const BITS: u16 = 258;
    pub(in crate::decode) const COMPRESSION: u16 = 259;
    pub(in crate::decode) const PHOTOMETRIC: u16 = 262;
    pub(in crate::decode) const STRIP_STARTS: u16 = 273;
    pub(in crate::decode) const ORIENTATION: u16 = 274;
    pub(in crate::decode) const SAMPLES: u16 = 277;
    pub(in crate::decode) const STRIP_ROWS: u16 = 278;
    pub(in crate::decode) const STRIP_LENGTHS: u16 = 279;
    pub(in crate::decode) const PLANAR: u16 = 284;
    pub(in crate::decode) const PREDICTOR: u16 = 317;
    pub(in crate::decode) const COLOUR_MAP: u16 = 320;
    pub(in crate::decode) const TILE_COLS: u16 = 322;
    pub(in crate::decode) const TILE_ROWS: u16 = 323;
    pub(in crate::decode) const TILE_STARTS: u16 = 324;
    pub(in crate::decode) const TILE_LENGTHS: u16 = 325;
    pub(in crate::decode) const SAMPLE_FORMAT: u16 = 339;
    pub(in crate::decode) const JPEG_TABLES: u16 = 347;
    pub(in crate::decode) const COEFFICIENTS: u16 = 529;
    pub(in crate::decode) const SUBSAMPLING: u16 = 530;
    pub(in crate::decode) const REFERENCE: u16 = 532;
}

/// One tag's entry.
struct Entry {
    tag: u16,
    kind: u16,
    /// How many values there are.
    count: usize,
    /// Where the entry's type stands in the file.
    at: usize,
    /// Where the values stand.
    values: usize,
}

/// The entries of the first directory.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// BigTIFF, whose counts and offsets have 64 bits.
    wide: bool,
    entries: Vec<Entry>,
}

impl<'a> Directory<'a> {
    /// None where the file is cut off within it, or is no TIFF.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = match bytes.get(..2)? {
            b"MM" => true,
            b"II" => false,
            _ => return None,
        };
        let mut directory = Self { bytes, big_endian, wide: false, entries: Vec::new() };
        directory.wide = directory.unsigned(2, 2)? == 43;
        let (word, size) = if directory.wide { (8, 20) } else { (4, 12) };
        let start = directory.place(if directory.wide { 8 } else { 4 })?;
        let length = if directory.wide { 8 } else { 2 };
        let count = usize::try_from(directory.unsigned(start, length)?).ok()?;
        for index in 0..count.min(65_536) {
            let at = start.checked_add(length)?.checked_add(index * size)?;
            let tag = directory.unsigned(at, 2)? as u16;
            let kind = directory.unsigned(at + 2, 2)? as u16;
            let count = usize::try_from(directory.unsigned(at + 4, word)?).ok()?;
            let inline = at + 4 + word;
            let values = match value_size(kind) {
                Some(size) if size.saturating_mul(count) <= word => inline,
                _ => directory.place(inline)?,
            };
            directory.entries.push(Entry { tag, kind, count, at: at + 2, values });
        }
        Some(directory)
    }

    /// An unsigned number of `length` bytes at a place.
    fn unsigned(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.big_endian {
            bytes.iter().fold(0, join)
        } else {
            bytes.iter().rev().fold(0, join)
        })
    }

    /// The offset that stands at a place.
    fn place(&self, at: usize) -> Option<usize> {
        usize::try_from(self.unsigned(at, if self.wide { 8 } else { 4 })?).ok()
    }

    fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// A tag's whole numbers; none where it is missing, cut off, or of another type.
    pub(super) fn numbers(&self, tag: u16) -> Vec<u64> {
        let read = || {
            let entry = self.entry(tag)?;
            let size = match entry.kind {
                1 | 3 | 4 | 13 | 16 | 18 => value_size(entry.kind)?,
                _ => return None,
            };
            // Before memory is taken for them.
            self.unsigned(
                entry.values.checked_add(entry.count.checked_mul(size)?)?.checked_sub(1)?,
                1,
            )?;
            (0..entry.count).map(|index| self.unsigned(entry.values + index * size, size)).collect()
        };
        read().unwrap_or_default()
    }

    /// A tag's first whole number.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        self.numbers(tag).first().copied()
    }

    /// A tag's first whole number, or what it means where it is missing.
    pub(super) fn number_or(&self, tag: u16, missing: u64) -> u64 {
        self.number(tag).unwrap_or(missing)
    }

    /// A tag's fractions.
    pub(super) fn fractions(&self, tag: u16) -> Vec<f64> {
        let read = || -> Option<Vec<f64>> {
            let entry = self.entry(tag).filter(|entry| entry.kind == 5 && entry.count <= 6)?;
            (0..entry.count)
                .map(|index| {
                    let at = entry.values + index * 8;
                    Some(self.unsigned(at, 4)? as f64 / self.unsigned(at + 4, 4)? as f64)
                })
                .collect()
        };
        read().unwrap_or_default()
    }

    /// A tag's bytes.
    pub(super) fn bytes(&self, tag: u16) -> &'a [u8] {
        let read = || {
            let entry = self.entry(tag).filter(|entry| matches!(entry.kind, 1 | 7))?;
            self.bytes.get(entry.values..entry.values.checked_add(entry.count)?)
        };
        read().unwrap_or_default()
    }

    /// Sets a tag to one number in a copy of the file. A tag that is not there stays away.
    pub(super) fn set(&self, copy: &mut [u8], tag: u16, value: u64) {
        let Some(entry) = self.entry(tag) else { return };
        let word = if self.wide { 8 } else { 4 };
        let short = value <= u64::from(u16::MAX);
        let mut write = |at: usize, length: usize, value: u64| {
            let bytes = value.to_be_bytes();
            let Some(into) = copy.get_mut(at..at + length) else { return };
            into.copy_from_slice(&bytes[8 - length..]);
            if !self.big_endian {
                into.reverse();
            }
        };
        // The type (16 or 32 bits), the count, and the value at the front of its field.
        write(entry.at, 2, if short { 3 } else { 4 });
        write(entry.at + 2, word, 1);
        write(entry.at + 2 + word, if short { 2 } else { 4 }, value.min(u64::from(u32::MAX)));
    }
}

/// The size of a value in bytes, by its type.
fn value_size(kind: u16) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}
