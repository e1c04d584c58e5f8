//! The head of a safetensors file: its length, then JSON that says where each tensor is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::values::Stored;
use crate::{Error, Result};

/// The format's own limit of the header.
const MAX_HEADER_BYTES: u64 = 100_000_000;

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
}

/// Where a tensor is, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The element type as the format names it.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(super) bytes: Range<usize>,
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
}

/// Bits of an element, or nothing for a type that is newer than this.
fn bits(dtype: &str) -> Option<usize> {
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
    /// Parses the head of `file`, whose whole content is `bytes`.
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let fail = |expected: &str, got: String| Err(Error::content(file, "header", expected, got));
        let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return fail("8 bytes with its length", format!("a file of {} bytes", bytes.len()));
        };
        let length = u64::from_le_bytes(*length);
        let rest = (bytes.len() - LENGTH_BYTES) as u64;
        if length > MAX_HEADER_BYTES {
            return fail(
                "at most 100,000,000 bytes (or this is no safetensors file)",
                format!("a length of {length}"),
            );
        }
        if length > rest {
            return fail(
                "a length within the file",
                format!("{length} bytes where {rest} follow; the file is cut off"),
            );
        }
        let data = LENGTH_BYTES + length as usize;
        let parsed: Parsed = serde_json::from_slice(&bytes[LENGTH_BYTES..data]).map_err(|e| {
            Error::content(file, "header", "JSON that describes each tensor", e.to_string())
        })?;
        let mut tensors = parsed
            .tensors
            .into_iter()
            .map(|(name, raw)| raw.check(file, name, data, bytes.len()))
            .collect::<Result<Vec<_>>>()?;
        tensors.sort_by_key(|t| (t.bytes.start, t.bytes.end));
        check_order(file, &tensors, data, bytes.len())?;
        Ok(Header { tensors, metadata: parsed.metadata })
    }

    /// The tensor of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

/// The format lets no tensor share bytes with another, and no byte belong to none: hidden or
/// aliased data is refused.
fn check_order(file: &str, tensors: &[Entry], data: usize, len: usize) -> Result<()> {
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

#[derive(serde::Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl RawEntry {
    fn check(self, file: &str, name: String, data: usize, len: usize) -> Result<Entry> {
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
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
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

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parsed;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with a description of each tensor")
            }

            // By hand, because a map would silently keep the last of two tensors of one name.
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Parsed, A::Error> {
                let mut parsed = Parsed::default();
                let mut names = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("two entries of the name {name}")));
                    }
                    let named = |e| A::Error::custom(format!("{name}: {e}"));
                    if name == METADATA {
                        parsed.metadata = map.next_value().map_err(named)?;
                    } else {
                        let entry = map.next_value().map_err(named)?;
                        parsed.tensors.push((name, entry));
                    }
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    fn message(json: &str, data: usize) -> String {
        Header::parse("f", &file(json, data)).unwrap_err().to_string()
    }

    #[test]
    fn reads_tensors_in_the_order_of_their_data() {
        let json = r#"{"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},
            "__metadata__":{"k":"v"},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}  "#;
        let header = Header::parse("f", &file(json, 12)).unwrap();
        assert_eq!(header.metadata["k"], "v");
        let names: Vec<_> = header.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(header.find("b").unwrap().stored(), Some(Stored::F32));
        assert_eq!(header.find("b").unwrap().bytes.len(), 8);
    }

    #[test]
    fn says_what_is_wrong_with_a_bad_header() {
        let entry = |name: &str, dtype: &str, shape: &str, offsets: &str| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        };
        let one = |dtype, shape, offsets| format!("{{{}}}", entry("a", dtype, shape, offsets));
        let two =
            |a, b| format!("{{{},{}}}", entry("a", "U8", "[4]", a), entry("b", "U8", "[4]", b));
        let cases = [
            (one("F32", "[2]", "[0,4]"), 4, "tensor a: expected 8 bytes for F32[2], got 4 bytes"),
            (one("F32", "[2]", "[0,8]"), 4, "within the 4 bytes of data"),
            (one("F32", "[2]", "[8,0]"), 8, "data_offsets that rise"),
            (one("F32", "[4294967296,4294967296,4]", "[0,8]"), 8, "can be counted"),
            (one("F32", "[-1]", "[0,8]"), 8, "a: invalid value"),
            (one("F32", "[1]", "[0,4]"), 9, "expected 4 bytes, the end of a, got 9 bytes"),
            (two("[0,4]", "[2,6]"), 6, "tensor b, data_offsets: expected a beginning at 4"),
            (two("[0,4]", "[6,10]"), 10, "where a ends, got 6"),
            (two("[0,4]", "[0,4]"), 4, "tensor b, data_offsets"),
            (format!("{{{0},{0}}}", entry("a", "U8", "[0]", "[0,0]")), 0, "two entries"),
            (r#"{"a":{"dtype":"F32"}}"#.into(), 0, "a: missing field `shape`"),
            (r#"{"a":3}"#.into(), 0, "a: invalid type"),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "__metadata__: invalid type"),
            ("{".into(), 0, "EOF"),
            ("[]".into(), 0, "description of each tensor"),
        ];
        for (json, data, expected) in cases {
            let message = message(&json, data);
            assert!(message.starts_with("f: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn refuses_impossible_lengths() {
        let message = |bytes: &[u8]| Header::parse("f", bytes).unwrap_err().to_string();
        assert!(message(b"1234").contains("a file of 4 bytes"));
        assert!(message(&u64::MAX.to_le_bytes()).contains("100,000,000"));
        assert!(message(&9u64.to_le_bytes()).contains("9 bytes where 0 follow"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::parse("f", &bytes);
            let mut with_length = (bytes.len() as u64).to_le_bytes().to_vec();
            with_length.extend(&bytes);
            let _ = Header::parse("f", &with_length);
        }

        #[test]
        fn no_numbers_panic(
            shape in proptest::collection::vec(any::<u64>(), 0..4),
            small in proptest::collection::vec(0u64..4, 0..4),
            offsets in any::<[u64; 2]>(),
            size in 0usize..64,
        ) {
            for shape in [&shape, &small] {
                for [a, b] in [offsets, offsets.map(|o| o % 64)] {
                    let json = format!(
                        r#"{{"a":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{a},{b}]}}}}"#
                    );
                    if let Ok(header) = Header::parse("f", &file(&json, size)) {
                        prop_assert_eq!(header.tensors[0].bytes.len(), size);
                    }
                }
            }
        }
    }
}
