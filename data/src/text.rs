//! The one reader of small text files: lists, labels, ground truths, results, JSON.
//!
//! All of them follow the same rules:
//!
//! * The text is UTF-8, with or without a byte order mark, or UTF-16 with one. (Some editors write
//!   the mark, and PowerShell's `>` writes UTF-16.)
//! * A line ends in `\n`, `\r\n` or a single `\r`; the last one may end without.
//! * Spaces and tabs around a line do not count. White space within it is kept.
//! * Empty lines are skipped, but counted: messages name the line that an editor shows. Where the
//!   number of a line is its meaning, as in a file of class names, an empty line within the text is
//!   an empty name.
//! * No character begins a comment: a path or a label may start with any.
//! * A file is read up to a limit, and a zero byte ends the reading at once: it is no text.
//!
//! ```
//! use std::path::Path;
//! use striate_data::text::{MAX_BYTES, Text};
//!
//! let text = Text::read(&b"\xef\xbb\xbfcat\r\n\r\n dog "[..], Path::new("pets.txt"), MAX_BYTES)?;
//! assert_eq!(text.entries().collect::<Vec<_>>(), [(1, "cat"), (3, "dog")]);
//! # Ok::<(), striate_data::Error>(())
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The most bytes read of a list, a ground truth or a file of results: 4 GiB. (The ranks of 100,000
/// pictures with 1,000 classes each take 1.4 GB.)
pub const MAX_BYTES: u64 = 4 << 30;

/// The most bytes read of class names or of JSON that describes something: 64 MiB.
pub const MAX_SMALL_BYTES: u64 = 64 << 20;

/// Bytes that are read before they are looked at.
const CHUNK_BYTES: u64 = 1 << 16;

/// U+FEFF, the byte order mark.
const MARK: char = '\u{feff}';

/// Space around a line that does not count.
pub(crate) const SPACE: [char; 4] = [' ', '\t', '\u{b}', '\u{c}'];

/// The text of a file, and the name that messages call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    /// Reads a file of at most `limit` bytes; it may be a pipe.
    ///
    /// # Errors
    /// [`Error::Read`] when the file cannot be read, [`Error::Directory`] when it is a folder, and
    /// what [`Text::read`] reports.
    pub fn open(path: impl AsRef<Path>, limit: u64) -> Result<Self> {
        let path = path.as_ref();
        let read_error = |source| Error::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.is_dir() {
            let expected = "expected a text file";
            return Err(Error::Directory { path: path.to_owned(), expected });
        }
        Self::read(file, path, limit)
    }

    /// Reads at most `limit` bytes from anything. `path` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Read`] when reading fails, [`Error::List`] for a line that is not text, and
    /// [`Error::Format`] when there are more bytes than the limit.
    pub fn read(mut reader: impl Read, path: &Path, limit: u64) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut wide = false;
        loop {
            let seen = bytes.len();
            let room = limit.saturating_add(1) - seen as u64;
            let read = reader.by_ref().take(room.min(CHUNK_BYTES)).read_to_end(&mut bytes);
            let read = read.map_err(|source| Error::Read { path: path.to_owned(), source })?;
            if seen == 0 {
                wide = utf16_order(&bytes).is_some();
            }
            if let (false, Some(zero)) = (wide, bytes[seen..].iter().position(|&byte| byte == 0)) {
                return Err(line_error(path, &bytes[..seen + zero], NO_TEXT));
            }
            if bytes.len() as u64 > limit {
                return Err(Error::Format {
                    path: path.to_owned(),
                    place: "size".to_owned(),
                    detail: format!("more than {limit} bytes, the most that are read of a text"),
                });
            }
            if read == 0 {
                break;
            }
        }
        Ok(Self { path: path.to_owned(), text: decode(bytes, path)? })
    }

    /// The name that messages call the text by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text, without a byte order mark.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All lines with their numbers, from 1; without the space around them.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        // Where marked files were put together, a mark stands at the start of a later line.
        let begins = |c: char| c == MARK || SPACE.contains(&c);
        let lines = Lines { rest: &self.text }
            .map(move |line| line.trim_start_matches(begins).trim_end_matches(SPACE));
        lines.enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines that are not empty, with their numbers, from 1.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.is_empty())
    }

    /// One name a line. An empty line is an empty name, except at the end of the text, where it is
    /// an accident.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lines().map(|(_, line)| line.to_owned()).collect();
        while names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        names
    }

    /// The value that the text is the JSON of.
    ///
    /// # Errors
    /// [`Error::Format`] with the line and column.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let wrong = |place: String, detail: String| Error::Format {
            path: self.path.clone(),
            place,
            detail,
        };
        if self.entries().next().is_none() {
            return Err(wrong("line 1".to_owned(), "expected JSON, but it is empty".to_owned()));
        }
        serde_json::from_str(&self.text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            wrong(place, json_fault(&error))
        })
    }

    /// An error in a line of the text.
    pub fn error(&self, line: usize, detail: impl Into<String>) -> Error {
        Error::List { path: self.path.clone(), line, detail: detail.into() }
    }
}

/// What is wrong with JSON, without the place, which messages name first.
pub fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

const NO_TEXT: &str = "a zero byte; expected text in UTF-8, or in UTF-16 with a byte order mark";

/// An error in the line after these bytes.
fn line_error(path: &Path, before: &[u8], detail: &str) -> Error {
    let before = String::from_utf8_lossy(before);
    // What is wrong may stand at the start of a line: the x makes it one.
    let line = Lines { rest: &format!("{before}x") }.count();
    Error::List { path: path.to_owned(), line, detail: detail.to_owned() }
}

/// Whether the bytes start with the mark of UTF-16, and which order it says: true for little-endian.
fn utf16_order(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0xff, 0xfe, ..] => Some(true),
        [0xfe, 0xff, ..] => Some(false),
        _ => None,
    }
}

fn decode(bytes: Vec<u8>, path: &Path) -> Result<String> {
    let Some(little) = utf16_order(&bytes) else {
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let detail = "not text in UTF-8; save the file as UTF-8";
            line_error(path, &error.as_bytes()[..valid], detail)
        })?;
        if text.starts_with(MARK) {
            text.drain(..MARK.len_utf8());
        }
        return Ok(text);
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    let unit = |&pair: &[u8; 2]| match little {
        true => u16::from_le_bytes(pair),
        false => u16::from_be_bytes(pair),
    };
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(pairs.iter().map(unit)) {
        match character {
            Ok('\0') => return Err(line_error(path, text.as_bytes(), NO_TEXT)),
            Ok(character) => text.push(character),
            Err(_) => {
                let detail = "half a character; the file is no whole text in UTF-16";
                return Err(line_error(path, text.as_bytes(), detail));
            }
        }
    }
    if !rest.is_empty() {
        let detail = "half a character; the file is cut off within UTF-16";
        return Err(line_error(path, text.as_bytes(), detail));
    }
    Ok(text)
}

/// Lines that end in `\n`, `\r\n` or `\r`.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(end) = self.rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut self.rest));
        };
        let (line, rest) = self.rest.split_at(end);
        let after = if rest.starts_with("\r\n") { 2 } else { 1 };
        self.rest = &rest[after..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> Result<Text> {
        Text::read(bytes, Path::new("a.txt"), MAX_BYTES)
    }

    fn message(bytes: &[u8]) -> String {
        text(bytes).unwrap_err().to_string()
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn every_mark_and_line_end_is_read_alike() {
        let plain = "cat 猫\n\n dog\t\n# a b\n";
        let forms = [
            plain.to_owned(),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            plain.trim_end().to_owned(),
            // Two marked files, put together.
            plain.replace(" dog", "\u{feff}dog"),
            plain.replace(" dog", "\t\u{feff} dog"),
        ];
        for form in forms {
            let marked = format!("\u{feff}{form}").into_bytes();
            let wide = [utf16(&form, u16::to_le_bytes), utf16(&form, u16::to_be_bytes)].into_iter();
            for bytes in [form.clone().into_bytes(), marked].into_iter().chain(wide) {
                let text = text(&bytes).unwrap();
                let entries: Vec<_> = text.entries().collect();
                assert_eq!(entries, [(1, "cat 猫"), (3, "dog"), (4, "# a b")], "{bytes:?}");
                assert_eq!(text.names(), ["cat 猫", "", "dog", "# a b"]);
            }
        }
        for empty in [&b""[..], b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b" \t\r\n\r"] {
            assert_eq!(text(empty).unwrap().entries().next(), None);
            assert!(text(empty).unwrap().names().is_empty());
        }
    }

    #[test]
    fn what_is_no_text_is_named_with_its_line() {
        assert!(message(b"a\nb\xff\n").starts_with("a.txt, line 2: not text in UTF-8"));
        assert!(message(b"a\r\n\xe4").starts_with("a.txt, line 2: not text in UTF-8"));
        // UTF-16 without a mark, and UTF-32.
        assert!(message(b"a\0b\0").starts_with("a.txt, line 1: a zero byte"));
        assert!(message(b"\xff\xfe\0\0a\0\0\0").starts_with("a.txt, line 1: a zero byte"));
        assert!(message(b"\xff\xfea\0\n\0\0\xd8").contains("line 2: half a character"));
        assert!(message(b"\xff\xfea\0b").contains("cut off"));
    }

    #[test]
    fn reading_ends_at_the_limit_and_at_the_first_zero() {
        let read = |bytes: &[u8], limit| Text::read(bytes, Path::new("a.txt"), limit);
        assert!(read(b"abc", 3).is_ok());
        let error = read(b"abcd", 3).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert!(error.to_string().contains("a.txt: size: more than 3 bytes"), "{error}");
        // Both are without end.
        let error = Text::read(std::io::repeat(b'a'), Path::new("a"), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("1048576 bytes"), "{error}");
        let error = Text::read(std::io::repeat(0), Path::new("a"), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("a zero byte"), "{error}");
    }

    #[test]
    fn json_follows_the_same_rules() {
        let json = |text: &str| {
            let marked = format!("\u{feff}{text}");
            let text = Text::read(marked.as_bytes(), Path::new("a.json"), MAX_SMALL_BYTES);
            text.unwrap().json::<Vec<u32>>().map_err(|e| e.to_string())
        };
        assert_eq!(json("\n\n[1,\r\n2]\n\n"), Ok(vec![1, 2]));
        let wrong = json("[1,\n2,\n x]").unwrap_err();
        assert_eq!(wrong, "a.json: line 3, column 2: expected value");
        let wrong = json("[1, -2]").unwrap_err();
        assert!(wrong.starts_with("a.json: line 1, column 6: invalid value"), "{wrong}");
        assert!(json(" \n").unwrap_err().contains("it is empty"));
    }

    #[test]
    fn folders_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| Text::open(path, MAX_BYTES).unwrap_err();
        assert!(matches!(open(folder.path()), Error::Directory { .. }));
        let error = open(&folder.path().join("none.txt"));
        assert!(matches!(error, Error::Read { .. }) && error.to_string().contains("none.txt"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(text) = text(&bytes) {
                prop_assert!(text.lines().all(|(_, line)| !line.contains(['\n', '\r', '\0'])));
                prop_assert!(text.names().len() <= text.lines().count());
            }
        }
    }
}
