//! The members of a zip archive, as far as `torch.save` uses the format.
//!
//! A crate for archives reads through one cursor; here several threads read ranges of stored members at
//! once, straight out of the file, so that no tensor is held twice. That needs the directory alone, which
//! is small enough to read ourselves.

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::read::DeflateDecoder;

use crate::limits::{MAX_HEADER_BYTES, MAX_TENSORS};
use crate::source::Source;
use crate::{Error, Result};

/// A member of an archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its bytes as they are in the file.
    packed: u64,
    /// Its bytes unpacked.
    pub(super) bytes: u64,
    is_deflated: bool,
    /// Where its own header is.
    header: u64,
}

/// The directory of an archive.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) members: Vec<Member>,
    places: HashMap<String, usize>,
    /// Where the directory begins, and the members end.
    start: u64,
}

/// Members of an archive: a file for each tensor, and a few more.
const MAX_MEMBERS: u64 = 2 * MAX_TENSORS as u64;

/// The record at the end, and the longest comment that may follow it.
const END: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const COMMENT_BYTES: u64 = 65_535;
/// The same for long archives, and what points to it.
const LONG_END: &[u8; 4] = b"PK\x06\x06";
const LONG_END_BYTES: usize = 56;
const LOCATOR: &[u8; 4] = b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
/// An entry of the directory, and the header before a member.
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const HEADER: &[u8; 4] = b"PK\x03\x04";
const HEADER_BYTES: u64 = 30;

/// Deflate makes at most this of a byte.
const MOST_UNPACKED: u64 = 1032;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

impl Directory {
    /// Reads the directory at the end of a file.
    pub(super) fn read(source: &Source) -> Result<Self> {
        let file = source.name();
        let fail = |expected: &str, got: String| {
            Err(Error::content(file, "the directory of the zip archive", expected, got))
        };
        let Some((count, size, start)) = find_end(source)? else {
            return fail(
                "a zip archive with its directory at the end, as torch.save writes",
                format!("none in {} bytes; the file is cut off", source.bytes()),
            );
        };
        let fits = start.checked_add(size).is_some_and(|end| end <= source.bytes());
        if !fits || size > MAX_HEADER_BYTES || count > MAX_MEMBERS {
            return fail(
                &format!(
                    "at most {MAX_MEMBERS} members in {MAX_HEADER_BYTES} bytes within the file"
                ),
                format!("{count} members in {size} bytes at {start}"),
            );
        }
        // Within the limit, which fits any address space.
        let mut bytes = vec![0; size as usize];
        source.read_exact_at(&mut bytes, start)?;
        let (mut members, mut places) = (Vec::new(), HashMap::new());
        let mut rest = &bytes[..];
        for index in 0..count {
            let Some((member, after)) = Member::parse(rest) else {
                return fail(
                    "an entry for each member, in UTF-8 and without encryption",
                    format!("{} bytes that are none, for member {index}", rest.len()),
                );
            };
            let member = member.check(file, start)?;
            if places.insert(member.name.clone(), members.len()).is_some() {
                return fail("one member of a name", format!("two of {:?}", member.name));
            }
            members.push(member);
            rest = after;
        }
        Ok(Directory { members, places, start })
    }

    pub(super) fn find(&self, name: &str) -> Option<&Member> {
        self.members.get(*self.places.get(name)?)
    }

    /// Where the bytes of a member are in the file: its own header, which the directory points to, has a
    /// length of its own.
    pub(super) fn place(&self, source: &Source, member: &Member) -> Result<u64> {
        let fail = |expected: &str, got: String| {
            let place = format!("zip member {}", member.name);
            Err(Error::content(source.name(), place, expected, got))
        };
        let mut header = [0; HEADER_BYTES as usize];
        source.read_exact_at(&mut header, member.header)?;
        let mut name = vec![0; member.name.len()];
        if header.starts_with(HEADER) && usize::from(u16_at(&header, 26)) == name.len() {
            source.read_exact_at(&mut name, member.header + HEADER_BYTES)?;
        }
        if name != member.name.as_bytes() {
            return fail("a header of this name", format!("another at {}", member.header));
        }
        let lengths = name.len() as u64 + u64::from(u16_at(&header, 28));
        let at = member.header + HEADER_BYTES + lengths;
        match at.checked_add(member.packed) {
            Some(end) if end <= self.start => Ok(at),
            _ => fail(
                "bytes before the directory",
                format!("{} at {at}, the directory at {}", member.packed, self.start),
            ),
        }
    }

    /// The bytes of a member that is small, at most so many.
    pub(super) fn contents(&self, source: &Source, member: &Member, most: u64) -> Result<Vec<u8>> {
        if member.bytes > most {
            let place = format!("zip member {}", member.name);
            let expected = format!("at most {most} bytes");
            return Err(Error::content(source.name(), place, expected, member.bytes.to_string()));
        }
        let mut bytes = Vec::new();
        self.unpack(source, member, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Hands the bytes of a member to `put`, piece by piece: as many as the directory says.
    pub(super) fn unpack(
        &self,
        source: &Source,
        member: &Member,
        mut put: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<()> {
        let at = self.place(source, member)?;
        let mut packed = Range { source, at, end: at + member.packed };
        let mut reader: Box<dyn Read> = match member.is_deflated {
            true => Box::new(DeflateDecoder::new(packed)),
            false => Box::new(&mut packed),
        };
        let mut left = member.bytes;
        let mut piece = vec![0; member.bytes.min(64 << 10) as usize];
        let failed = |e| Error::io(source.name(), "unpack a member of the zip archive", e);
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = match reader.read(&mut piece[..most]) {
                Ok(0) => {
                    let place = format!("zip member {}", member.name);
                    let expected = format!("{} bytes", member.bytes);
                    let got = format!("{}", member.bytes - left);
                    return Err(Error::content(source.name(), place, expected, got));
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e)),
            };
            put(&piece[..n]).map_err(failed)?;
            left -= n as u64;
        }
        Ok(())
    }
}

impl Member {
    /// An entry of the directory, and what follows it.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        const ENCRYPTED: u16 = 1;
        if !bytes.starts_with(ENTRY) || bytes.len() < ENTRY_BYTES {
            return None;
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(bytes, at)));
        let (own, after) = bytes.split_at_checked(ENTRY_BYTES + name + extra + comment)?;
        let (name, extra) = own[ENTRY_BYTES..].split_at(name);
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let extra = &extra[..extra.len() - comment];
        let method = u16_at(own, 10);
        if u16_at(own, 8) & ENCRYPTED != 0 || !matches!(method, 0 | 8) {
            return None;
        }
        // What does not fit in four bytes is in an extra field, in this order.
        let mut long = long_numbers(extra);
        let mut number = |at| match u32_at(own, at) {
            u32::MAX => long.next(),
            short => Some(u64::from(short)),
        };
        let (bytes, packed, header) = (number(24)?, number(20)?, number(42)?);
        Some((Member { name, packed, bytes, is_deflated: method == 8, header }, after))
    }

    /// Refuses sizes that the file does not justify; the directory is at `start`.
    fn check(self, file: &str, start: u64) -> Result<Self> {
        let fail = |expected: String, got: String| {
            Err(Error::content(file, format!("zip member {}", self.name), expected, got))
        };
        let end = self.header.checked_add(HEADER_BYTES).and_then(|at| at.checked_add(self.packed));
        if end.is_none_or(|end| end > start) {
            let expected = format!("bytes before the directory at {start}");
            return fail(expected, format!("{} at {}", self.packed, self.header));
        }
        let most = match self.is_deflated {
            true => self.packed.saturating_mul(MOST_UNPACKED),
            false => self.packed,
        };
        if self.bytes > most || (!self.is_deflated && self.bytes < self.packed) {
            let expected = format!("at most {most} bytes out of {}", self.packed);
            return fail(expected, self.bytes.to_string());
        }
        Ok(self)
    }

    /// Whether its bytes are in the file as they are.
    pub(super) fn is_stored(&self) -> bool {
        !self.is_deflated
    }
}

/// The numbers of eight bytes in the extra fields of an entry.
fn long_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    const LONG: u16 = 1;
    let mut numbers: &[u8] = &[];
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(field) = extra.get(4..4 + length) else { break };
        if kind == LONG {
            numbers = field;
            break;
        }
        extra = &extra[4 + length..];
    }
    numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The number of members, the size of the directory, and its place.
fn find_end(source: &Source) -> Result<Option<(u64, u64, u64)>> {
    let length = source.bytes().min(END_BYTES as u64 + COMMENT_BYTES + LOCATOR_BYTES as u64);
    let mut tail = vec![0; length as usize];
    source.read_exact_at(&mut tail, source.bytes() - length)?;
    let is_end = |at: &usize| {
        let comment = usize::from(u16_at(&tail, at + 20));
        tail[*at..].starts_with(END) && at + END_BYTES + comment == tail.len()
    };
    let last = tail.len().checked_sub(END_BYTES);
    let Some(at) = last.and_then(|last| (0..=last).rev().find(is_end)) else { return Ok(None) };
    let end = &tail[at..];
    let short = (u16_at(end, 10).into(), u32_at(end, 12).into(), u32_at(end, 16).into());
    let locator = at.checked_sub(LOCATOR_BYTES).map(|from| &tail[from..at]);
    let Some(locator) = locator.filter(|bytes| bytes.starts_with(LOCATOR)) else {
        return Ok(Some(short));
    };
    let at = u64_at(locator, 8);
    let mut long = [0; LONG_END_BYTES];
    if at.checked_add(LONG_END_BYTES as u64).is_none_or(|end| end > source.bytes()) {
        return Ok(None);
    }
    source.read_exact_at(&mut long, at)?;
    Ok(long
        .starts_with(LONG_END)
        .then(|| (u64_at(&long, 32), u64_at(&long, 40), u64_at(&long, 48))))
}

/// A part of a file, read from its beginning.
struct Range<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = bytes.len().min(left);
        let n = self.source.read_at(&mut bytes[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
