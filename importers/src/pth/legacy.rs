//! The form that `torch.save` wrote before PyTorch 1.6: pickles one after the other, then the storages.

use std::collections::HashMap;

use super::pickle::{self, Heap, Node, Reader, Value};
use crate::source::Source;
use crate::{Error, Result};

/// The version that all files of this form have.
const VERSION: i64 = 1001;

/// Bytes before each storage: the number of its elements.
const LENGTH_BYTES: u64 = 8;

/// How such a file begins, with any protocol: a number of ten bytes, the magic number.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";

/// Whether a file begins so.
pub(crate) fn is_legacy(head: &[u8]) -> bool {
    let beginning = &head[..head.len().min(2 * MAGIC.len())];
    beginning.starts_with(b"\x80") && beginning.windows(MAGIC.len()).any(|bytes| bytes == MAGIC)
}

/// Where each storage is, and how many bytes it has.
pub(super) type StorageExtents = HashMap<String, (u64, u64)>;

/// The value of a file, and where its storages are.
pub(super) fn read(source: &Source) -> Result<(Value, Heap, StorageExtents)> {
    let file = source.name();
    let fill = |bytes: &mut [u8], at| source.read_exact_at(bytes, at);
    let mut reader = Reader::new(file, "", 0, source.bytes(), fill);
    // The magic number was seen; the machine that wrote it is of no importance.
    pickle::read(&mut reader)?;
    let (version, _) = pickle::read(&mut reader)?;
    if version != Value::Int(VERSION) {
        let expected = format!("version {VERSION} of the legacy form");
        return Err(Error::content(file, "the head", expected, "another"));
    }
    pickle::read(&mut reader)?;
    let (root, heap) = pickle::read(&mut reader)?;
    let (keys, named) = pickle::read(&mut reader)?;
    let Some(keys) = named.sequence(keys) else {
        let (expected, got) = ("a list of the storages' names", named.describe(keys));
        return Err(Error::content(file, "the list of storages", expected, got));
    };
    let keys = keys.iter().filter_map(|key| match key {
        Value::Int(number) => Some(number.to_string()),
        other => named.text(*other).map(str::to_owned),
    });
    let places = places(source, &heap, keys, reader.at())?;
    Ok((root, heap, places))
}

/// Storages follow each other in the order of their names; the pickle says how long their elements are.
fn places(
    source: &Source,
    heap: &Heap,
    keys: impl Iterator<Item = String>,
    mut at: u64,
) -> Result<StorageExtents> {
    let mut known = HashMap::new();
    for node in &heap.nodes {
        let Node::Storage(storage) = node else { continue };
        let size = storage.element.map_or(1, |element| element.size());
        let before = known.insert(storage.key.as_str(), (storage.whole, size));
        if before.is_some_and(|before| before != (storage.whole, size)) {
            let place = format!("storage {:?}", storage.key);
            let expected = "one type and number of elements";
            return Err(Error::content(source.name(), place, expected, "two"));
        }
    }
    let mut places = StorageExtents::new();
    for key in keys {
        let fail = |expected: String, got: String| {
            let place = format!("storage {key:?}, offset {at}");
            Err(Error::content(source.name(), place, expected, got))
        };
        let Some(&(whole, size)) = known.get(key.as_str()) else {
            return fail("a storage that the pickle names".into(), "another".into());
        };
        let bytes = whole.checked_mul(size);
        let end = bytes.and_then(|bytes| at.checked_add(LENGTH_BYTES)?.checked_add(bytes));
        let (Some(bytes), Some(end)) = (bytes, end.filter(|end| *end <= source.bytes())) else {
            let left = source.bytes().saturating_sub(at);
            return fail(
                format!("{LENGTH_BYTES} bytes and {whole} elements of {size} bytes"),
                format!("{left} bytes to the end of the file; it is cut off"),
            );
        };
        let mut length = [0; LENGTH_BYTES as usize];
        source.read_exact_at(&mut length, at)?;
        let length = u64::from_le_bytes(length);
        if length != whole {
            return fail(format!("{whole} elements, as the pickle says"), length.to_string());
        }
        places.insert(key, (at + LENGTH_BYTES, bytes));
        at = end;
    }
    Ok(places)
}
