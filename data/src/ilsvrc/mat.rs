//! MATLAB's `.mat` files of version 5 (also 6 and 7, not the HDF5 of 7.3), as far as a table of texts
//! and numbers needs: structs, cells, texts, and numbers without an imaginary part.
//!
//! Format: "MAT-File Format", MathWorks: a header of 128 bytes, then elements of a tag (type and
//! size in bytes) and data padded to 8 bytes; an element of at most 4 bytes lies within its tag.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use crate::{Error, Result};

/// A variable, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Numbers, column after column.
    Numbers(Vec<f64>),
    Text(String),
    /// The elements of an array of structs, each with its fields by name.
    Struct(Vec<Vec<(String, Value)>>),
    /// The elements of an array of anything.
    Cell(Vec<Value>),
    /// What nothing here needs: sparse arrays, objects, functions.
    Other,
}

/// The most bytes that compressed variables may unpack to, all together.
const MAX_UNPACKED: u64 = 256 << 20;

/// The most nested structs and cells.
const MAX_DEPTH: usize = 16;

const HEADER_BYTES: usize = 128;

/// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const INT64: u32 = 12;
const UINT64: u32 = 13;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
const UTF16: u32 = 17;

/// Classes of arrays.
const CELL_CLASS: u32 = 1;
const STRUCT_CLASS: u32 = 2;
const CHAR_CLASS: u32 = 4;
const FIRST_NUMBER_CLASS: u32 = 6;
const LAST_NUMBER_CLASS: u32 = 15;

/// What is wrong with a file.
type Flaw = String;

/// The named variables of a file; `path` is for messages only.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Vec<(String, Value)>> {
    variables(bytes).map_err(|(place, detail)| Error::Format {
        path: path.to_owned(),
        place: format!("byte {place}"),
        detail,
    })
}

fn variables(bytes: &[u8]) -> std::result::Result<Vec<(String, Value)>, (usize, Flaw)> {
    let order = match bytes.get(124..HEADER_BYTES) {
        Some([0, 1, b'I', b'M']) => Order { little: true },
        Some([1, 0, b'M', b'I']) => Order { little: false },
        _ => {
            let detail = "expected MATLAB's format, version 5 to 7 (`IM` or `MI` at byte 126); files \
                          of version 7.3 must be saved again with `-v7`";
            return Err((124, detail.to_owned()));
        }
    };
    let mut left = MAX_UNPACKED;
    let mut elements = Elements { order, bytes: &bytes[HEADER_BYTES..] };
    let mut variables = Vec::new();
    while !elements.bytes.is_empty() {
        let place = bytes.len() - elements.bytes.len();
        let variable = elements.next().and_then(|element| match element.kind {
            COMPRESSED => {
                let mut unpacked = Vec::new();
                let read = ZlibDecoder::new(element.data).take(left).read_to_end(&mut unpacked);
                read.map_err(|error| format!("the compressed data is damaged: {error}"))?;
                left -= unpacked.len() as u64;
                if left == 0 {
                    return Err(format!("it unpacks to more than {MAX_UNPACKED} bytes"));
                }
                matrix(Elements { order, bytes: &unpacked }.expect(&[MATRIX])?, order, 0)
            }
            MATRIX => matrix(element, order, 0),
            // Anything else that may stand here holds no variable.
            _ => Ok((String::new(), Value::Other)),
        });
        variables.push(variable.map_err(|flaw| (place, flaw))?);
    }
    Ok(variables)
}

/// The order of bytes.
#[derive(Clone, Copy)]
struct Order {
    little: bool,
}

impl Order {
    /// `N` bytes as they would stand in a little-endian file.
    fn little<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        if !self.little {
            bytes.reverse();
        }
        bytes
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(self.little(bytes))
    }
}

/// One element: a type and its data.
#[derive(Clone, Copy)]
struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

/// Elements one after another.
struct Elements<'a> {
    order: Order,
    bytes: &'a [u8],
}

impl<'a> Elements<'a> {
    fn next(&mut self) -> std::result::Result<Element<'a>, Flaw> {
        let ends = || "the file ends within an element".to_owned();
        let (tag, rest) = self.bytes.split_first_chunk::<4>().ok_or_else(ends)?;
        let tag = self.order.u32(*tag);
        // The small form: the size in the upper half of the type, the data in place of the size.
        if tag >> 16 != 0 {
            let (data, rest) = rest.split_first_chunk::<4>().ok_or_else(ends)?;
            let size = (tag >> 16) as usize;
            let data = data.get(..size).ok_or("a small element of more than 4 bytes")?;
            self.bytes = rest;
            return Ok(Element { kind: tag & 0xffff, data });
        }
        let (size, rest) = rest.split_first_chunk::<4>().ok_or_else(ends)?;
        let size = self.order.u32(*size) as usize;
        let data = rest
            .get(..size)
            .ok_or_else(|| format!("an element of {size} bytes, where {} are left", rest.len()))?;
        // Compressed elements are not padded; nor is the last one by every writer.
        let padded = if tag == COMPRESSED { size } else { size.next_multiple_of(8) };
        self.bytes = rest.get(padded..).unwrap_or_default();
        Ok(Element { kind: tag, data })
    }

    /// The next element, which must be of one of these types.
    fn expect(&mut self, kinds: &[u32]) -> std::result::Result<Element<'a>, Flaw> {
        let element = self.next()?;
        if kinds.contains(&element.kind) {
            return Ok(element);
        }
        Err(format!("expected an element of type {kinds:?}, but got {}", element.kind))
    }
}

/// A matrix and its name.
fn matrix(
    element: Element<'_>,
    order: Order,
    depth: usize,
) -> std::result::Result<(String, Value), Flaw> {
    // An element without data is an empty matrix.
    if element.data.is_empty() {
        return Ok((String::new(), Value::Other));
    }
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} structs and cells within each other"));
    }
    let mut parts = Elements { order, bytes: element.data };
    let flags = parts.expect(&[UINT32])?;
    let flags = flags.data.first_chunk::<4>().ok_or("array flags without a class")?;
    let class = order.u32(*flags) & 0xff;
    if !matches!(
        class,
        CELL_CLASS | STRUCT_CLASS | CHAR_CLASS | FIRST_NUMBER_CLASS..=LAST_NUMBER_CLASS
    ) {
        return Ok((String::new(), Value::Other));
    }
    let sides = parts.expect(&[INT32])?.data.as_chunks::<4>().0;
    let count = sides
        .iter()
        .try_fold(1usize, |n, side| n.checked_mul(order.u32(*side) as usize))
        // Every element of a matrix takes at least a byte; a larger count is a lie.
        .filter(|&n| n <= element.data.len())
        .ok_or("the sides of an array are more than its data")?;
    let name = parts.expect(&[INT8])?;
    let name = String::from_utf8_lossy(name.data).into_owned();
    let value = match class {
        CELL_CLASS => {
            let cells =
                (0..count).map(|_| Ok(matrix(parts.expect(&[MATRIX])?, order, depth + 1)?.1));
            Value::Cell(cells.collect::<std::result::Result<_, Flaw>>()?)
        }
        STRUCT_CLASS => Value::Struct(structs(&mut parts, order, count, depth)?),
        CHAR_CLASS => Value::Text(text(parts.next()?, order)?),
        _ => {
            let numbers = numbers(parts.next()?, order)?;
            if numbers.len() != count {
                return Err(format!("an array of {count} numbers with {}", numbers.len()));
            }
            Value::Numbers(numbers)
        }
    };
    Ok((name, value))
}

/// The elements of a struct array: all fields of the first, then of the second …
fn structs(
    parts: &mut Elements<'_>,
    order: Order,
    count: usize,
    depth: usize,
) -> std::result::Result<Vec<Vec<(String, Value)>>, Flaw> {
    let width = parts.expect(&[INT32])?;
    let width = width.data.first_chunk::<4>().ok_or("a struct without the length of its names")?;
    let width = order.u32(*width) as usize;
    let names = parts.expect(&[INT8])?.data;
    if width == 0 && !names.is_empty() {
        return Err("names of fields of length 0".to_owned());
    }
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let fields: Vec<String> = names.chunks_exact(width.max(1)).map(name).collect();
    let mut elements = Vec::new();
    for _ in 0..count {
        let mut element = Vec::with_capacity(fields.len());
        for field in &fields {
            let value = matrix(parts.expect(&[MATRIX])?, order, depth + 1)?.1;
            element.push((field.clone(), value));
        }
        elements.push(element);
    }
    Ok(elements)
}

/// The data of a text, of one row.
fn text(element: Element<'_>, order: Order) -> std::result::Result<String, Flaw> {
    let wide =
        || element.data.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(order.little(b)));
    match element.kind {
        UTF8 => Ok(String::from_utf8_lossy(element.data).into_owned()),
        // One byte a character: Latin-1.
        INT8 | UINT8 => Ok(element.data.iter().map(|&byte| char::from(byte)).collect()),
        UINT16 | UTF16 => Ok(String::from_utf16_lossy(&wide().collect::<Vec<_>>())),
        kind => Err(format!("a text of elements of type {kind}")),
    }
}

/// The data of numbers, which are stored as small as they fit, whatever their class.
fn numbers(element: Element<'_>, order: Order) -> std::result::Result<Vec<f64>, Flaw> {
    fn all<const N: usize>(data: &[u8], order: Order, number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|&bytes| number(order.little(bytes))).collect()
    }
    let data = element.data;
    Ok(match element.kind {
        INT8 => all(data, order, |b| f64::from(i8::from_le_bytes(b))),
        UINT8 => all(data, order, |b| f64::from(u8::from_le_bytes(b))),
        INT16 => all(data, order, |b| f64::from(i16::from_le_bytes(b))),
        UINT16 => all(data, order, |b| f64::from(u16::from_le_bytes(b))),
        INT32 => all(data, order, |b| f64::from(i32::from_le_bytes(b))),
        UINT32 => all(data, order, |b| f64::from(u32::from_le_bytes(b))),
        SINGLE => all(data, order, |b| f64::from(f32::from_le_bytes(b))),
        DOUBLE => all(data, order, f64::from_le_bytes),
        INT64 => all(data, order, |b| i64::from_le_bytes(b) as f64),
        UINT64 => all(data, order, |b| u64::from_le_bytes(b) as f64),
        kind => return Err(format!("numbers of elements of type {kind}")),
    })
}
