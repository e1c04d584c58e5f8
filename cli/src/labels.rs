//! The names of classes, as `--labels` gives them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use striate::image::render::without_glyph;
use striate::models::imagenet::{self, Order};

use crate::error::{Error, Result};
use crate::inputs::shown;
use crate::text;

/// Characters that a warning lists.
const MOST_TOLD: usize = 20;

/// What `--labels` takes: a list by name, else a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// The ImageNet classes in an order.
    ImageNet(Order),
    /// A text file, one label a line; `-` is standard input.
    File(PathBuf),
}

impl From<std::ffi::OsString> for Labels {
    fn from(text: std::ffi::OsString) -> Self {
        match text.to_str() {
            Some("imagenet") => Labels::ImageNet(Order::Devkit),
            Some("imagenet-sorted") => Labels::ImageNet(Order::Sorted),
            _ => Labels::File(text.into()),
        }
    }
}

impl Labels {
    /// The labels, in the order of the classes.
    pub(crate) fn read(&self) -> Result<Vec<String>> {
        let path = match self {
            Labels::ImageNet(order) => return Ok(imagenet::labels(*order)),
            Labels::File(path) => path,
        };
        let labels = text::read_names(path, "the labels")?;
        if labels.is_empty() {
            let file = shown(path);
            return Err(Error::message(format!("{file}: no labels; they stand one a line")));
        }
        Ok(labels)
    }

    /// An error about these labels, which it names.
    pub(crate) fn error(&self, error: impl Into<Error>) -> Error {
        let name = match self {
            Labels::ImageNet(Order::Devkit) => "'--labels imagenet'".into(),
            Labels::ImageNet(Order::Sorted) => "'--labels imagenet-sorted'".into(),
            Labels::File(path) => shown(path).to_string(),
        };
        Error::because(name, error.into())
    }
}

/// Warns, once for each character, of those that a painted text has and the font has not: they are
/// boxes in the picture.
pub(crate) fn warn_of_boxes<'a>(texts: impl IntoIterator<Item = &'a str>) {
    static TOLD: Mutex<Vec<char>> = Mutex::new(Vec::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut boxes = String::new();
    let mut count = 0;
    for text in texts {
        // A font that cannot be read is an error of painting itself.
        for c in without_glyph(text).unwrap_or_default() {
            if !told.contains(&c) {
                told.push(c);
                count += 1;
                if count <= MOST_TOLD {
                    boxes.extend([' ', c]);
                }
            }
        }
    }
    if count > 0 {
        let more = count.saturating_sub(MOST_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        log::warn!(
            "the font has no glyph for{boxes}{more}: they are painted as boxes; it has Latin, \
             Greek and Cyrillic letters (--labels FILE gives other names)"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_and_files() {
        let labels = |text: &str| Labels::from(std::ffi::OsString::from(text));
        assert_eq!(labels("imagenet-sorted"), Labels::ImageNet(Order::Sorted));
        assert_eq!(labels("words.txt"), Labels::File("words.txt".into()));
        assert_eq!(labels("imagenet").read().unwrap()[0], "kit fox");
        assert_eq!(labels("imagenet-sorted").read().unwrap()[0], "tench");
    }

    #[test]
    fn one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        fs::write(&path, "\u{feff}cat\r\n\ndog \n\n\n").unwrap();
        assert_eq!(Labels::File(path.clone()).read().unwrap(), ["cat", "", "dog"]);
        fs::write(&path, "\n\n").unwrap();
        let error = Labels::File(path).read().unwrap_err().to_string();
        assert!(error.contains("labels.txt"), "{error}");
    }
}
