//! The names of prepared pictures.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::Dataset;
use crate::source::Picture;

/// Where each picture goes within the output folder: `CLASS/NAME.jpg`, the class being its class
/// folder in a folder of classes, else the folder that the source lies in. Sources that would get the same name all have a number made of their
/// paths added, so that a picture's name does not depend on the order of the list.
pub(super) fn output_names(dataset: &Dataset) -> Vec<PathBuf> {
    let sources: Vec<PathBuf> = (0..dataset.len())
        .map(|index| match dataset.picture(index) {
            Some(Picture::File(path)) => path.to_owned(),
            _ => PathBuf::from(index.to_string()),
        })
        .collect();
    let plain: Vec<PathBuf> = sources
        .iter()
        .zip(dataset.labels())
        .map(|(source, label)| {
            let class = class_folder(dataset, source, *label)
                .or_else(|| source.parent()?.file_name())
                .map(|name| clean(&name.to_string_lossy()));
            let class = class.unwrap_or_else(|| format!("class-{}", label + 1));
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            Path::new(&class).join(format!("{}.jpg", clean(&stem)))
        })
        .collect();
    // File systems may not tell upper from lower case.
    let key = |path: &Path| path.to_string_lossy().to_lowercase();
    let mut users: HashMap<String, usize> = HashMap::new();
    for path in &plain {
        *users.entry(key(path)).or_default() += 1;
    }
    sources
        .iter()
        .zip(plain)
        .map(|(source, plain)| match users.get(&key(&plain)) {
            Some(1) => plain,
            _ => {
                let stem = plain.file_stem().unwrap_or_default().to_string_lossy();
                plain.with_file_name(format!("{stem}-{:016x}.jpg", fnv1a(source)))
            }
        })
        .collect()
}

/// The class folder of a picture, which may lie in folders below it.
fn class_folder<'a>(dataset: &Dataset, source: &'a Path, label: u32) -> Option<&'a OsStr> {
    let first = source.strip_prefix(dataset.origin()).ok()?.components().next()?.as_os_str();
    let class = dataset.class_names()?.get(label as usize)?;
    (first.to_string_lossy() == *class).then_some(first)
}

/// A name that every file system and every list takes.
fn clean(name: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ' | '+');
    let name: String =
        name.trim().chars().map(|c| if keep(c) { c } else { '_' }).take(100).collect();
    match name.trim_start_matches('.') {
        "" => "_".to_owned(),
        rest => rest.to_owned(),
    }
}

/// A number made of a path: Fowler, Noll and Vo's hash, 1a, 64 bits.
pub(super) fn fnv1a(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
