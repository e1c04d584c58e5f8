//! Which form of data set a path holds.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::{cifar, idx};
use crate::{Error, Result};

/// The forms of data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A list of `<class label> <path>`.
    List,
    /// A folder of classes.
    Folder,
    /// An IDX file of pictures.
    Idx,
    /// CIFAR binary files.
    Cifar,
    /// Pictures given in memory.
    Memory,
}

/// Recognises the form by content; what is no other form is taken for a list, whose reader says in
/// which line it is none.
pub(super) fn detect(path: &Path) -> Result<Kind> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(read_error)?;
    if metadata.is_dir() {
        let is_cifar = !cifar::training_files(path)?.is_empty();
        return Ok(if is_cifar { Kind::Cifar } else { Kind::Folder });
    }
    let mut start = Vec::new();
    File::open(path).map_err(read_error)?.take(512).read_to_end(&mut start).map_err(read_error)?;
    if idx::starts_one(&start) {
        return Ok(Kind::Idx);
    }
    let wrong = |detail: &str| Error::Dataset { path: path.to_owned(), detail: detail.to_owned() };
    if image::guess_format(&start).is_ok() {
        return Err(wrong(
            "this is a picture; expected a list of `<class label> <path>`, a folder of classes, an \
             IDX file or a CIFAR file",
        ));
    }
    let is_text_byte = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    // A character that is only cut off at the end is none of binary data's.
    let is_utf8 = !std::str::from_utf8(&start).is_err_and(|error| error.error_len().is_some());
    let is_utf16 = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    let is_binary = !is_utf16 && (!is_utf8 || !start.iter().all(is_text_byte));
    if is_binary {
        if cifar::fits(metadata.len()) {
            return Ok(Kind::Cifar);
        }
        return Err(wrong(
            "neither text (a list of `<class label> <path>`) nor an IDX file of pictures (it would \
             start with 0, 0, 8, 3) nor CIFAR (its size would be a multiple of 3,073 or 3,074)",
        ));
    }
    Ok(Kind::List)
}
