//! Names of classes: the file beside a list, and matching two sets of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::output::write_whole;
use crate::{Error, Result};

/// The names in the file that belongs to a list: the list's path with the extension `labels`.
pub(super) fn names_beside(list: &Path) -> Result<Option<Vec<String>>> {
    let path = list.with_extension("labels");
    if path == list || !path.is_file() {
        return Ok(None);
    }
    lines(&path).map(Some)
}

/// The lines of a text; empty ones at the end do not count.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Dataset {
        path: path.to_owned(),
        detail: "not text in UTF-8; expected the name of a class on each line".to_owned(),
    })?;
    let mut names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    Ok(names)
}

/// Writes the names that [`names_beside`] reads.
pub(crate) fn write_names(list: &Path, names: &[String]) -> Result<()> {
    let mut text = String::new();
    for name in names {
        text.extend(name.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    write_whole(list.with_extension("labels"), text.as_bytes())
}

/// The place in `wanted` of each of `own`, or the first name that is not there.
pub(super) fn places<'a>(
    own: &'a [String],
    wanted: &[String],
) -> std::result::Result<Vec<u32>, &'a str> {
    let places: HashMap<&str, u32> =
        wanted.iter().enumerate().map(|(place, name)| (name.as_str(), place as u32)).collect();
    // The same list of names needs no matching, even where two classes share a name.
    if own == wanted {
        return Ok((0..own.len() as u32).collect());
    }
    own.iter().map(|name| places.get(name.as_str()).copied().ok_or(name.as_str())).collect()
}
