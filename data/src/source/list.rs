//! ccv's training lists as data sets.

use std::path::{Path, PathBuf};

use super::{Dataset, Kind, Pictures, names_beside};
use crate::Result;
use crate::list::{Labelled, labelled, read_labelled};
use crate::text::Text;

/// How many pictures are looked for to find out what relative paths are relative to: one may be
/// missing, but not all of these.
const PATHS_TRIED: usize = 100;

pub(super) fn open(path: &Path) -> Result<Dataset> {
    let entries = read_labelled(path)?;
    let base = base_of(path, &entries);
    assemble(path, entries, base, names_beside(path)?)
}

/// A list that has no place of its own: what came through standard input.
pub(super) fn of_text(text: &Text) -> Result<Dataset> {
    assemble(text.path(), labelled(text)?, None, None)
}

fn assemble(
    path: &Path,
    entries: Vec<Labelled>,
    base: Option<&Path>,
    names: Option<Vec<String>>,
) -> Result<Dataset> {
    let count = entries.len();
    let (mut paths, mut lines, mut labels) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    for Labelled { line, label, path: picture } in entries {
        // From 1 in the list, from 0 in memory.
        labels.push(label.saturating_sub(1));
        lines.push(u32::try_from(line).unwrap_or(u32::MAX));
        // An absolute path stays what it is.
        paths.push(if let Some(base) = base { base.join(picture) } else { picture });
    }
    let pictures = Pictures::Files { paths, lines: Some(lines) };
    Dataset::assemble(path.to_owned(), Kind::List, pictures, count, labels, names)
}

/// The list's folder, where its pictures are to be found there and not from the current folder.
fn base_of<'a>(list: &'a Path, entries: &[Labelled]) -> Option<&'a Path> {
    let folder = list.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let tried = || entries.iter().map(|entry| &entry.path).take(PATHS_TRIED);
    let there = |path: &PathBuf| path.is_file();
    let is_relative = tried().any(|path| path.is_relative());
    (is_relative && !tried().any(there) && tried().any(|path| there(&folder.join(path))))
        .then_some(folder)
}
