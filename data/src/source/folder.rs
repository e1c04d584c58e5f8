//! A folder of classes as a data set.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType};
use std::path::{Path, PathBuf};

use super::{Dataset, Kind, Pictures};
use crate::{Error, Result};

/// Extensions of the pictures that are decoded, in lower case.
const EXTENSIONS: [&str; 9] = ["jpeg", "jpg", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// What file managers and archives leave behind. Some of these folders hold pictures (thumbnails,
/// what was deleted) that are no samples.
const LEFT_BEHIND: [&str; 8] = [
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "#recycle",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
];

pub(super) fn open(path: &Path) -> Result<Dataset> {
    let top = entries(path)?;
    let (mut paths, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let mut others = Others::default();
    for class in &top.folders {
        let pictures = pictures_below(class, &mut others)?;
        labels.extend(std::iter::repeat_n(names.len() as u32, pictures.len()));
        paths.extend(pictures);
        names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let stray: Vec<&PathBuf> = top.files.iter().filter(|file| is_picture(file)).collect();
    if paths.is_empty() {
        let found = match (names.len(), stray.len()) {
            (0, 0) => "found no folder in it".to_owned(),
            (0, 1..) => format!(
                "found {} pictures in the folder itself; move the pictures of each class into a \
                 folder of the class's name",
                stray.len()
            ),
            (folders, _) => format!("found {folders} folders without a picture in them"),
        };
        let expected = "expected a folder of pictures for each class (such as n01440764/*.JPEG)";
        let detail = format!("{expected}, but {found}");
        return Err(Error::Dataset { path: path.to_owned(), detail });
    }
    if let [first, ..] = stray[..] {
        log::warn!(
            "{}: {} of the pictures are in the folder itself and belong to no class: left out (the \
             first is {})",
            path.display(),
            stray.len(),
            first.display()
        );
    }
    others.warn(path);
    let count = paths.len();
    let pictures = Pictures::Files { paths, lines: None };
    Dataset::assemble(path.to_owned(), Kind::Folder, pictures, count, labels, Some(names))
}

/// The pictures of a folder and of those below it, by their extensions, sorted by path.
///
/// # Errors
/// [`Error::Read`] where a folder cannot be read.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    pictures_below(folder, &mut Others::default())
}

/// Files that are no pictures.
#[derive(Default)]
struct Others {
    count: usize,
    first: Option<PathBuf>,
}

impl Others {
    fn add(&mut self, file: PathBuf) {
        self.count += 1;
        self.first.get_or_insert(file);
    }

    fn warn(&self, folder: &Path) {
        let Some(first) = &self.first else { return };
        log::warn!(
            "{}: left out files that are no pictures by their extension: {} (the first is {})",
            folder.display(),
            self.count,
            first.display()
        );
    }
}

/// The pictures of a folder and of all folders below it, sorted by path. A folder that is reached
/// twice, through symbolic links, counts once: a link may lead back to where it came from.
fn pictures_below(folder: &Path, others: &mut Others) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let place = fs::canonicalize(&folder)
            .map_err(|source| Error::Read { path: folder.clone(), source })?;
        if !seen.insert(place) {
            log::debug!("{}: reached before, through another path", folder.display());
            continue;
        }
        let mut found = entries(&folder)?;
        // The first name is the next to be looked into.
        found.folders.reverse();
        waiting.append(&mut found.folders);
        for file in found.files {
            if is_picture(&file) {
                pictures.push(file);
            } else {
                others.add(file);
            }
        }
    }
    pictures.sort();
    Ok(pictures)
}

fn is_picture(file: &Path) -> bool {
    let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What is in a folder, each sorted by name: no file system keeps an order.
struct Entries {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// What is in a folder. Hidden entries and what other programs leave behind are not.
fn entries(folder: &Path) -> Result<Entries> {
    let read_error = |source| Error::Read { path: folder.to_owned(), source };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if is_left_out(&entry.file_name()) {
            continue;
        }
        match is_folder(&entry).map_err(read_error)? {
            true => folders.push(entry.path()),
            false => files.push(entry.path()),
        }
    }
    folders.sort();
    files.sort();
    Ok(Entries { folders, files })
}

fn is_left_out(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    hidden || LEFT_BEHIND.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether an entry is a folder, also through a symbolic link. A link that leads nowhere is a file
/// that cannot be read.
fn is_folder(entry: &DirEntry) -> std::io::Result<bool> {
    let kind: FileType = entry.file_type()?;
    Ok(kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()))
}
