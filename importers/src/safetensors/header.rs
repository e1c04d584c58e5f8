//! The head of a safetensors file: its length, then JSON that says where each tensor is.
//!
//! The `safetensors` crate's own parser does not serve: it keeps the last of two tensors of one name
//! without a word, refuses a whole file for one element type that it does not know, reports a wrong
//! size without the sizes, and wants the whole file in memory. For 50,000 names in 3.7 MB both take the
//! same time. It is what the tests compare with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use striate_tensor::DType;

use crate::limits::{MAX_HEADER_BYTES, MAX_TENSORS};
use crate::values::Stored;
use crate::{Error, Result};

/// Bytes of the header's length.
pub(super) const LENGTH_BYTES: usize = 8;

/// The key of the metadata among the tensors' names.
pub(super) const METADATA: &str = "__metadata__";

/// What the header says, checked against the size of the file.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors in the order of their data.
    pub(super) tensors: Vec<Entry>,
    pub(super) metadata: BTreeMap<String, String>,
    /// The place of each name among the tensors.
    places: HashMap<String, usize>,
}

/// Where a tensor is, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The element type as the format names it.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(super) bytes: Range<u64>,
}

impl Entry {
    /// How its floats are stored, or nothing for other elements.
    pub(super) fn stored(&self) -> Option<Stored> {
        match self.dtype.as_str() {
            "F16" => Some(Stored::F16),
            "BF16" => Some(Stored::Bf16),
            "F32" => Some(Stored::F32),
            "F64" => Some(Stored::F64),
            _ => None,
        }
    }

    /// The tensor type whose elements are stored as they are, or nothing where there is none.
    pub(super) fn dtype(&self) -> Option<DType> {
        DType::ALL.iter().copied().find(|dtype| name_of(*dtype) == self.dtype)
    }
}

/// The format's name of an element type.
pub(super) fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::F64 => "F64",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// Bits of an element, or nothing for a type that is newer than this.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

impl Header {
    /// Reads the head of `file`, which has `len` bytes; `read(bytes, at)` copies some of them.
    pub(super) fn read(
        file: &str,
        len: u64,
        read: impl Fn(&mut [u8], u64) -> Result<()>,
    ) -> Result<Self> {
        let fail = |expected: &str, got: String| Err(Error::content(file, "header", expected, got));
        let mut length = [0; LENGTH_BYTES];
        let Some(rest) = len.checked_sub(LENGTH_BYTES as u64) else {
            return fail("8 bytes with its length", format!("a file of {len} bytes"));
        };
        read(&mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return fail(&format!("at most {MAX_HEADER_BYTES} bytes"), format!("{length} bytes"));
        }
        if length > rest {
            return fail(
                "a length within the file",
                format!("{length} bytes where {rest} follow; the file is cut off"),
            );
        }
        // Within the limit, which fits any address space.
        let mut json = vec![0; length as usize];
        read(&mut json, LENGTH_BYTES as u64)?;
        Self::parse(file, &json, len)
    }

    /// The header of a file of `len` bytes, out of its JSON.
    fn parse(file: &str, json: &[u8], len: u64) -> Result<Self> {
        let data = (LENGTH_BYTES + json.len()) as u64;
        let parsed: Parsed = serde_json::from_slice(json)
            .map_err(|e| Error::parse(file, "header", "JSON that describes each tensor", e))?;
        let mut tensors = parsed
            .tensors
            .into_iter()
            .map(|(name, raw)| raw.check(file, name, data, len))
            .collect::<Result<Vec<_>>>()?;
        tensors.sort_by_key(|t| (t.bytes.start, t.bytes.end));
        check_order(file, &tensors, data, len)?;
        let places = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Header { tensors, metadata: parsed.metadata, places })
    }

    /// The tensor of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(*self.places.get(name)?)
    }
}

/// The format lets no tensor share bytes with another, and no byte belong to none: hidden or
/// aliased data is refused.
fn check_order(file: &str, tensors: &[Entry], data: u64, len: u64) -> Result<()> {
    let mut end = data;
    let mut before = "the header";
    for tensor in tensors {
        if tensor.bytes.start != end {
            let place = format!("tensor {}, data_offsets", tensor.name);
            let expected = format!("a beginning at {}, where {before} ends", end - data);
            let got = format!("{}", tensor.bytes.start - data);
            return Err(Error::content(file, place, expected, got));
        }
        (end, before) = (tensor.bytes.end, &tensor.name);
    }
    if end != len {
        let expected = format!("{} bytes, the end of {before}", end - data);
        return Err(Error::content(file, "data", expected, format!("{} bytes", len - data)));
    }
    Ok(())
}

/// The header's JSON, as it stands.
#[derive(Default)]
struct Parsed {
    tensors: Vec<(String, RawEntry)>,
    metadata: BTreeMap<String, String>,
}

/// Texts by name, no name twice.
struct Texts(BTreeMap<String, String>);

#[derive(serde::Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl RawEntry {
    fn check(self, file: &str, name: String, data: u64, len: u64) -> Result<Entry> {
        let RawEntry { dtype, shape, data_offsets: [start, end] } = self;
        let fail = |expected: String, got: String| {
            Err(Error::content(file, format!("tensor {name}"), expected, got))
        };
        let available = len - data;
        if start > end || end > available {
            return fail(
                format!("data_offsets that rise, within the {available} bytes of data"),
                format!("[{start}, {end}]"),
            );
        }
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        let bits = bits(&dtype);
        let expected = match (count, bits) {
            // A type that is not known here may belong to a tensor that nobody asks for.
            (Some(_), None) => Some(end - start),
            (Some(count), Some(bits)) => count.checked_mul(bits).map(|bits| bits.div_ceil(8)),
            (None, _) => None,
        };
        match expected {
            None => fail("a shape that can be counted".into(), format!("{shape:?}")),
            Some(expected) if expected != end - start => fail(
                format!("{expected} bytes for {dtype}{shape:?}"),
                format!("{} bytes (data_offsets [{start}, {end}])", end - start),
            ),
            Some(_) => Ok(Entry { name, dtype, shape, bytes: data + start..data + end }),
        }
    }
}

/// Calls `each` for every entry of an object, by hand, because a map would silently keep the last of
/// two entries of one name.
fn visit_entries<'de, A: MapAccess<'de>>(
    mut map: A,
    mut each: impl FnMut(String, &mut A) -> std::result::Result<(), A::Error>,
) -> std::result::Result<(), A::Error> {
    let mut names = std::collections::HashSet::new();
    while let Some(name) = map.next_key::<String>()? {
        if names.contains(&name) {
            return Err(A::Error::custom(format!("two entries of the name {name}")));
        }
        names.insert(name.clone());
        each(name, &mut map)?;
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                visit_entries(map, |name, map| {
                    let text = map.next_value().map_err(|e| named(&name, &e))?;
                    texts.insert(name, text);
                    Ok(())
                })?;
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An error inside an entry, with the entry's name.
fn named<E: serde::de::Error>(name: &str, error: &E) -> E {
    E::custom(format!("{name}: {error}"))
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a description of each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Parsed, A::Error> {
                let mut parsed = Parsed::default();
                visit_entries(map, |name, map| {
                    if name == METADATA {
                        let texts: Texts = map.next_value().map_err(|e| named(&name, &e))?;
                        parsed.metadata = texts.0;
                        return Ok(());
                    }
                    if parsed.tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let entry = map.next_value().map_err(|e| named(&name, &e))?;
                    parsed.tensors.push((name, entry));
                    Ok(())
                })?;
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
