//! List files: the paths of pictures, one a line, with or without class labels.

use std::path::{Path, PathBuf};

use crate::text::{MAX_BYTES, SPACE, Text};
use crate::{Error, Result};

/// Reads a list of paths, one a line, by the rules of [`text`](crate::text): blank lines are
/// skipped, and no character starts a comment. Relative paths stay as they are, so they are relative
/// to the current folder, as in ccv.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read, [`Error::Directory`] when it is a folder,
/// [`Error::List`] when a line is not text or when there is no path at all.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    paths(&open(path.as_ref())?)
}

/// The paths of a list that was read already, as [`read`] does it.
///
/// # Errors
/// [`Error::List`] when there is no path at all.
pub fn paths(text: &Text) -> Result<Vec<PathBuf>> {
    not_empty(text, text.entries().map(|(_, line)| PathBuf::from(line)).collect())
}

/// As [`read`], from the bytes of a list. `name` is what messages call it.
///
/// # Errors
/// [`Error::List`], as [`read`].
pub fn parse(bytes: &[u8], name: &str) -> Result<Vec<PathBuf>> {
    paths(&Text::read(bytes, Path::new(name), MAX_BYTES)?)
}

/// The labels of lists, as messages say it.
const LABELS: &str = "a number from 1: lists count classes from 1, as ccv's do";

/// One line of a labelled list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The line, from 1.
    pub line: usize,
    /// The class label as written, from 1.
    pub label: u32,
    /// The picture's path as written.
    pub path: PathBuf,
}

/// Reads a list of `<class label> <path>`, one a line, as in ccv's training lists: a number, spaces
/// or tabs, and the path, which may contain spaces. Otherwise as [`read`]. Labels are returned as
/// written: they count from 1.
///
/// # Errors
/// As [`read`], [`Error::List`] when a line does not start with a number or has no path, and
/// [`Error::Label`] for the label 0.
pub fn read_labelled(path: impl AsRef<Path>) -> Result<Vec<Labelled>> {
    labelled(&open(path.as_ref())?)
}

/// The entries of a labelled list that was read already, as [`read_labelled`] does it.
///
/// # Errors
/// [`Error::List`] as there.
pub fn labelled(text: &Text) -> Result<Vec<Labelled>> {
    let entry = |(number, line): (usize, &str)| {
        let (label, image) = line.split_once(SPACE).ok_or_else(|| {
            let got = shortened(line);
            text.error(number, format!("expected `<class label> <path>`, but got `{got}`"))
        })?;
        let label = label.parse().map_err(|_| {
            let got = shortened(label);
            text.error(number, format!("expected a class label ({LABELS}), but got `{got}`"))
        })?;
        if label == 0 {
            let place = format!("{}, line {number}", text.path().display());
            return Err(Error::Label { place, label, expected: LABELS.to_owned() });
        }
        Ok(Labelled { line: number, label, path: PathBuf::from(image.trim_start_matches(SPACE)) })
    };
    not_empty(text, text.entries().map(entry).collect::<Result<_>>()?)
}

fn open(path: &Path) -> Result<Text> {
    if path.is_dir() {
        let expected = "expected a text file with the path of a picture on each line";
        return Err(Error::Directory { path: path.to_owned(), expected });
    }
    Text::open(path, MAX_BYTES)
}

fn not_empty<T>(text: &Text, entries: Vec<T>) -> Result<Vec<T>> {
    if entries.is_empty() {
        let detail = "the list is empty, expected the path of a picture on each line";
        return Err(text.error(1, detail));
    }
    Ok(entries)
}

/// The start of a text, for messages.
fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_owned();
    }
    text.chars().take(60).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn paths_one_a_line() {
        let list =
            file(b"\xef\xbb\xbfa.png\r\n\r\n  b  c.jpg \n\n#not a comment.png\r/d\xc3\xa9.gif");
        let expected = ["a.png", "b  c.jpg", "#not a comment.png", "/dé.gif"];
        assert_eq!(read(list.path()).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn labels_before_paths() {
        let list = file(b"12 a.png\r\n\n1000\tfolder/b c.jpg\n");
        let entry = |line, label, path: &str| Labelled { line, label, path: path.into() };
        let expected = [entry(1, 12, "a.png"), entry(3, 1000, "folder/b c.jpg")];
        assert_eq!(read_labelled(list.path()).unwrap(), expected);
    }

    #[test]
    fn bad_lines_are_named() {
        // The last has a hair space, which may be part of a name: a label without a path.
        let cases: [(&[u8], usize); 4] =
            [(b"1 a\n\nb.png\n", 3), (b"x y\n", 1), (b"1 a\n-1 b\n", 2), (b"1\xe2\x80\x8a\n", 1)];
        for (content, bad) in cases {
            let error = read_labelled(file(content).path()).unwrap_err();
            assert!(matches!(error, Error::List { line, .. } if line == bad), "{error}");
        }
        let error = read(file(b"ok\n\xff\xfe\n").path()).unwrap_err();
        assert!(matches!(error, Error::List { line: 2, .. }), "{error}");
    }

    #[test]
    fn empty_missing_and_folder() {
        assert!(matches!(read(file(b"\n \r\n").path()), Err(Error::List { .. })));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(Error::Directory { .. })));
        let error = read(folder.path().join("none.txt")).unwrap_err();
        assert!(error.to_string().contains("none.txt"), "{error}");
    }
}
