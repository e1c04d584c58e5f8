//! A folder of classes as a data set.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Dataset, Kind, Pictures};
use crate::{Error, Result};

/// Extensions of the pictures that are decoded, in lower case.
const EXTENSIONS: [&str; 9] = ["jpeg", "jpg", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff"];

pub(super) fn open(path: &Path) -> Result<Dataset> {
    let classes = sorted_entries(path, Path::is_dir)?;
    let (mut paths, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let pictures = pictures_in(class)?;
        labels.extend(std::iter::repeat_n(label as u32, pictures.len()));
        paths.extend(pictures);
        names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    if paths.is_empty() {
        return Err(Error::Dataset {
            path: path.to_owned(),
            detail: format!(
                "expected a folder of pictures for each class (such as n01440764/*.JPEG), but \
                 found {} folders without a picture in them",
                classes.len()
            ),
        });
    }
    let count = paths.len();
    let pictures = Pictures::Files { paths, lines: None };
    Dataset::assemble(path.to_owned(), Kind::Folder, pictures, count, labels, Some(names))
}

/// The pictures of a folder, by their extensions, sorted by name.
pub(crate) fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    sorted_entries(folder, |path| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// What is in a folder, sorted by name: no file system keeps an order. Hidden entries are left out.
fn sorted_entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let read_error = |source| Error::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && wanted(&entry.path()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
