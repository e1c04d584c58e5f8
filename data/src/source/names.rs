//! Names of classes: the file beside a list, and matching two sets of them.

use std::collections::HashMap;
use std::path::Path;

use crate::Result;
use crate::output::write_whole;
use crate::text::{MAX_SMALL_BYTES, Text};

/// The names in the file that belongs to a list: the list's path with the extension `labels`.
pub(super) fn names_beside(list: &Path) -> Result<Option<Vec<String>>> {
    let path = list.with_extension("labels");
    if path == list || !path.is_file() {
        return Ok(None);
    }
    lines(&path).map(Some)
}

/// The names in a text file, one a line.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    Ok(Text::open(path, MAX_SMALL_BYTES)?.names())
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
