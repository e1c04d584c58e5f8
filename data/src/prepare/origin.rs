//! Where a prepared picture is from, as it says itself.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::names::fnv1a;

/// How the comment begins, with the version of its form.
const MARK: &[u8] = b"striate prepared 1 ";

/// JPEG's marker of a comment.
const COMMENT: [u8; 2] = [0xff, 0xfe];

/// JPEG's marker of the segment that JFIF wants first.
const APP0: [u8; 2] = [0xff, 0xe0];

/// Which file a picture was prepared from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// A hash of the absolute path.
    path: u64,
    bytes: u64,
    /// The time of its last change, in seconds since 1970: file systems disagree about fractions.
    modified: u64,
}

impl Origin {
    /// That of a picture prepared from this file; `None` where it is not to be read.
    pub(super) fn of(source: &Path) -> Option<Self> {
        let metadata = fs::metadata(source).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
        Some(Origin { path: fnv1a(&path), bytes: metadata.len(), modified: modified.as_secs() })
    }

    /// Whether this is of that very file, which may have been moved.
    pub(super) fn is_of(&self, source: &Self) -> bool {
        (self.bytes, self.modified) == (source.bytes, source.modified)
    }

    /// Whether this is of what was at that path before it was changed.
    pub(super) fn is_earlier(&self, source: &Self) -> bool {
        self.path == source.path
    }

    /// Adds the comment to a JPEG file.
    pub(super) fn add_to(&self, jpeg: &mut Vec<u8>) {
        let Origin { path, bytes, modified } = self;
        let text = format!("{path:016x} {bytes} {modified}\n");
        let length = (2 + MARK.len() + text.len()) as u16;
        let segment = [&COMMENT[..], &length.to_be_bytes(), MARK, text.as_bytes()].concat();
        // After the beginning of the file, and the segment that has to follow it.
        let at = match jpeg.get(2..6) {
            Some(&[a, b, high, low]) if [a, b] == APP0 => {
                4 + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => 2,
        };
        let at = at.min(jpeg.len());
        jpeg.splice(at..at, segment);
    }

    /// What the comment of a JPEG file says, by the file's beginning.
    pub(super) fn find(head: &[u8]) -> Option<Self> {
        let at = head.windows(MARK.len()).position(|bytes| bytes == MARK)? + MARK.len();
        let line = head[at..].split(|&byte| byte == b'\n').next()?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        Some(Origin {
            path: u64::from_str_radix(words.next()?, 16).ok()?,
            bytes: words.next()?.parse().ok()?,
            modified: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_where_it_is_from() {
        let origin = Origin { path: 0xabc, bytes: 12_345, modified: 1_700_000_000 };
        let app0 = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xdb, 0, 2];
        for jpeg in [&app0[..], &[0xff, 0xd8, 0xff, 0xdb, 0, 2], &[0xff, 0xd8], &[]] {
            let mut with = jpeg.to_vec();
            origin.add_to(&mut with);
            assert_eq!(Origin::find(&with), Some(origin));
            assert_eq!(Origin::find(jpeg), None);
        }
        let mut with = app0.to_vec();
        origin.add_to(&mut with);
        assert_eq!((&with[..8], &with[8..10]), (&app0[..8], &COMMENT[..]));
        assert_eq!(Origin::find(&with[..30]), None);
    }
}
