//! The names of classes, as `--labels` gives them.

use std::fs;
use std::path::PathBuf;

use striate::models::imagenet::{self, Order};

use crate::error::{Error, Result};

/// What `--labels` takes: a list by name, else a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// The ImageNet classes in an order.
    ImageNet(Order),
    /// A text file, one label a line.
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
        let file = path.display();
        let text = fs::read(path)
            .map_err(|e| Error::because(format!("cannot read the labels in {file}"), e))?;
        let text = String::from_utf8(text).map_err(|_| {
            Error::message(format!("{file}: not text in UTF-8; labels stand one a line"))
        })?;
        // Editors for Windows begin a text with a mark, which is no part of the first label.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        // An empty line within stands for a class without a name; those at the end are an accident.
        while labels.last().is_some_and(String::is_empty) {
            labels.pop();
        }
        if labels.is_empty() {
            return Err(Error::message(format!("{file}: no labels; they stand one a line")));
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
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
