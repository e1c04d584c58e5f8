//! Whether prepared pictures would go among their sources.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::names::output_names;
use crate::output::FileId;
use crate::source::{Kind, Picture};
use crate::{Dataset, Error, Result};

/// Refuses a folder to prepare a set into where a source would be overwritten, or prepared pictures
/// would be taken for sources the next time: the folder of the set itself or one in it, one whose
/// folders of classes hold sources, and one in which the list of the set would be replaced. Links
/// are looked through. Nothing is written.
///
/// # Errors
/// [`Error::AmongInputs`], which names both.
pub fn check_places(dataset: &Dataset, folder: impl AsRef<Path>, name: &str) -> Result<()> {
    let folder = folder.as_ref();
    let origin = dataset.origin();
    let refuse = |path: &Path, detail| Err(Error::AmongInputs { path: path.to_owned(), detail });
    if dataset.kind() == Kind::Folder && is_within(folder, origin) {
        let set = origin.display();
        let detail = match (FileId::of(folder), FileId::of(origin)) {
            (Ok(own), Ok(other)) if own == other => format!("the set is read from {set}"),
            _ => format!("it lies in {set}, from which the set is read"),
        };
        return refuse(folder, detail);
    }
    for (output, input) in [
        (folder.join(format!("{name}.txt")), origin.to_owned()),
        (folder.join(format!("{name}.labels")), origin.with_extension("labels")),
    ] {
        if let (Ok(own), Ok(other)) = (FileId::of(&output), FileId::of(&input))
            && own == other
        {
            let input = input.display();
            return refuse(&output, format!("it is {input}, which belongs to the set"));
        }
    }

    let mut sources: HashSet<&Path> = HashSet::new();
    for index in 0..dataset.len() {
        if let Some(Picture::File(path)) = dataset.picture(index) {
            sources.insert(folder_of(path));
        }
    }
    let sources: HashMap<FileId, &Path> =
        sources.into_iter().filter_map(|path| Some((FileId::of(path).ok()?, path))).collect();
    let names = output_names(dataset);
    let outputs: HashSet<&Path> = names.iter().map(|name| folder_of(name)).collect();
    let mut clashes: Vec<_> = outputs
        .into_iter()
        .map(|class| folder.join(class))
        .filter_map(|output| {
            let source = *sources.get(&FileId::of(&output).ok()?)?;
            Some((output, source))
        })
        .collect();
    // The same message each time.
    clashes.sort();
    match clashes.first() {
        Some((output, source)) => {
            let detail = format!("pictures of the set are in that folder ({})", source.display());
            refuse(output, detail)
        }
        None => Ok(()),
    }
}

/// The folder that a path names a file in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a folder, which may not be there yet, is another one or lies in it.
fn is_within(folder: &Path, other: &Path) -> bool {
    let Ok(other) = FileId::of(other) else { return false };
    // The nearest one that is there; what is still to be made in it is no link.
    let mut there = folder;
    let there = loop {
        if let Ok(path) = std::fs::canonicalize(match there.as_os_str().is_empty() {
            true => Path::new("."),
            false => there,
        }) {
            break path;
        }
        match there.parent() {
            Some(parent) => there = parent,
            None => return false,
        }
    };
    there.ancestors().any(|ancestor| FileId::of(ancestor).is_ok_and(|id| id == other))
}
