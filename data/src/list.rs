//! List files: the paths of pictures, one a line, with or without class labels.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Reads a list of paths, one a line. White space around a path is dropped, blank lines are skipped,
/// lines may end in `\r\n`, and no character starts a comment. Relative paths stay as they are, so
/// they are relative to the current folder, as in ccv.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read, [`Error::Directory`] when it is a folder,
/// [`Error::List`] when a line is not text in UTF-8 or when there is no path at all.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let mut paths = Vec::new();
    each_line(path, |_, line| {
        paths.push(PathBuf::from(line));
        Ok(())
    })?;
    Ok(paths)
}

/// One line of a labelled list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The line, from 1.
    pub line: usize,
    /// The class label as written.
    pub label: u32,
    /// The picture's path as written.
    pub path: PathBuf,
}

/// Reads a list of `<class label> <path>`, one a line, as in ccv's training lists: a number, white
/// space, and the path, which may contain spaces. Otherwise as [`read`]. Labels are returned as
/// written; ccv counts them from 1.
///
/// # Errors
/// As [`read`], and [`Error::List`] when a line does not start with a number or has no path.
pub fn read_labelled(path: impl AsRef<Path>) -> Result<Vec<Labelled>> {
    let path = path.as_ref();
    let mut entries = Vec::new();
    each_line(path, |number, line| {
        let fail = |detail| Error::List { path: path.to_owned(), line: number, detail };
        let (label, image) = line.split_once(char::is_whitespace).ok_or_else(|| {
            fail(format!("expected `<class label> <path>`, but got `{}`", shortened(line)))
        })?;
        let label = label.parse().map_err(|_| {
            let label = shortened(label);
            fail(format!("expected a class label (a number, from 0), but got `{label}`"))
        })?;
        let image = PathBuf::from(image.trim_start());
        entries.push(Labelled { line: number, label, path: image });
        Ok(())
    })?;
    Ok(entries)
}

/// Calls `entry` with the number (from 1) and the trimmed text of each line that is not blank.
fn each_line(path: &Path, mut entry: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    if path.is_dir() {
        let expected = "expected a text file with the path of a picture on each line";
        return Err(Error::Directory { path: path.to_owned(), expected });
    }
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    // Some editors start UTF-8 with a byte order mark; it would become part of the first path.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut found = false;
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = std::str::from_utf8(line).map_err(|_| Error::List {
            path: path.to_owned(),
            line: number,
            detail: "not text in UTF-8; is this really a list of paths?".to_owned(),
        })?;
        let line = line.trim();
        if !line.is_empty() {
            found = true;
            entry(number, line)?;
        }
    }
    if found {
        Ok(())
    } else {
        Err(Error::List {
            path: path.to_owned(),
            line: 1,
            detail: "the list is empty, expected the path of a picture on each line".to_owned(),
        })
    }
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
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn paths_one_a_line() {
        let list =
            file(b"\xef\xbb\xbfa.png\r\n\r\n  b c.jpg \n\n#not a comment.png\n/d\xc3\xa9.gif");
        let expected = ["a.png", "b c.jpg", "#not a comment.png", "/dé.gif"];
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
        let cases: [(&[u8], usize); 3] =
            [(b"1 a\n\nb.png\n", 3), (b"x y\n", 1), (b"1 a\n-1 b\n", 2)];
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
