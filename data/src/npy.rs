//! `.npy` files: arrays of numbers in numpy's format, read as and written from `f32`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::f16;

use crate::output::write_whole;
use crate::{Error, FloatImage, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header accepted, in bytes. Those of plain arrays have about a hundred.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// The most axes accepted, numpy's own limit.
const MAX_AXES: usize = 64;

/// An array as stored in a `.npy` file: values in C order (the last axis fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The length of each axis; no axis for a single number.
    pub shape: Vec<usize>,
    /// The values; as many as the axes multiply to.
    pub values: Vec<f32>,
}

impl Array {
    /// The array as a picture, when it has the axes `[rows, cols, channels]`, or `[rows, cols]` for
    /// one channel.
    ///
    /// # Errors
    /// [`Error::Npy`] for another number of axes, [`Error::NoPixels`] or [`Error::Channels`] for an
    /// axis of length 0.
    pub fn into_picture(self) -> Result<FloatImage> {
        match self.shape[..] {
            [rows, cols] => FloatImage::new(rows, cols, 1, self.values),
            [rows, cols, channels] => FloatImage::new(rows, cols, channels, self.values),
            _ => Err(Error::Npy {
                name: "array".to_owned(),
                place: "shape",
                detail: format!(
                    "a picture has the axes [rows, cols, channels], but this has {:?}",
                    self.shape
                ),
            }),
        }
    }
}

impl From<&FloatImage> for Array {
    fn from(image: &FloatImage) -> Self {
        Self { shape: image.shape().to_vec(), values: image.values().to_vec() }
    }
}

/// The types of element that are read.
#[derive(Clone, Copy)]
enum Element {
    U8,
    F16,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Reads a `.npy` file of little-endian `float16`, `float32` or `float64`, or of `uint8`, as `f32`.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read, [`Error::Directory`] when it is a folder, and
/// everything that [`parse`] reports.
pub fn read(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_error)?;
    if file.metadata().map_err(read_error)?.is_dir() {
        let expected = "expected a .npy file";
        return Err(Error::Directory { path: path.to_owned(), expected });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(read_error)?;
    parse(&bytes, &path.display().to_string())
}

/// Writes a `.npy` file of little-endian `float32`, C order, whole or not at all.
///
/// # Errors
/// [`Error::Npy`] when the values are not as many as the shape says, and what
/// [`crate::output::write_whole`] reports.
pub fn write(path: impl AsRef<Path>, array: &Array) -> Result<()> {
    let path = path.as_ref();
    let expected = count(&array.shape);
    if expected != Some(array.values.len()) {
        return Err(Error::Npy {
            name: path.display().to_string(),
            place: "values",
            detail: format!(
                "an array of shape {:?} cannot have {} values",
                array.shape,
                array.values.len()
            ),
        });
    }
    write_whole(path, &serialise(array))
}

/// The bytes of a `.npy` file, version 1.0 (2.0 where the header is too long for it).
fn serialise(array: &Array) -> Vec<u8> {
    let axes: String = array.shape.iter().map(|axis| format!("{axis}, ")).collect();
    // A tuple of one has a comma, others may have.
    let axes = if array.shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}");
    let before = if header.len() + 64 < usize::from(u16::MAX) { 10 } else { 12 };
    // Padded with spaces and ended by a new line, so that the values are aligned to 64 bytes.
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    header.push_str(&" ".repeat(length - header.len() - 1));
    header.push('\n');

    let mut bytes = Vec::with_capacity(before + length + array.values.len() * 4);
    bytes.extend(MAGIC);
    if before == 10 {
        bytes.extend([1, 0]);
        bytes.extend((length as u16).to_le_bytes());
    } else {
        bytes.extend([2, 0]);
        bytes.extend((length as u32).to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    for value in &array.values {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// Understands the bytes of a `.npy` file. `name` is what messages call it.
///
/// # Errors
/// [`Error::Npy`] when the bytes are no such file, are fewer or more than the shape says, or hold
/// elements or an order that are not read.
pub fn parse(bytes: &[u8], name: &str) -> Result<Array> {
    let fail = |place, detail: String| Error::Npy { name: name.to_owned(), place, detail };
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(fail("first bytes", "not a .npy file (no \\x93NUMPY)".to_owned()));
    };
    let short = || fail("header", "the file ends within it".to_owned());
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        [1..=3, ..] | [] => return Err(short()),
        [version, ..] => {
            return Err(fail("header", format!("version {version}, expected 1, 2 or 3")));
        }
    };
    if length > MAX_HEADER_BYTES {
        return Err(fail("header", format!("{length} bytes, at most {MAX_HEADER_BYTES} are read")));
    }
    let Some((header, data)) = rest.split_at_checked(length) else { return Err(short()) };
    let header =
        std::str::from_utf8(header).map_err(|_| fail("header", "not text in UTF-8".to_owned()))?;
    let header = Header::parse(header).map_err(|detail| fail("header", detail))?;

    let count = count(&header.shape);
    let length = count.and_then(|count| count.checked_mul(header.element.bytes()));
    let (Some(count), Some(length)) = (count, length) else {
        return Err(fail("shape", format!("{:?} is too large", header.shape)));
    };
    // Checked before memory is taken, so that a header cannot ask for more than the file has.
    if data.len() != length {
        return Err(fail(
            "values",
            format!("shape {:?} takes {length} bytes, but {} follow", header.shape, data.len()),
        ));
    }
    let mut values = Vec::with_capacity(count);
    match header.element {
        Element::U8 => values.extend(data.iter().map(|&v| f32::from(v))),
        Element::F16 => {
            let (chunks, _) = data.as_chunks();
            values.extend(chunks.iter().map(|&b| f16::from_le_bytes(b).to_f32()));
        }
        Element::F32 => {
            let (chunks, _) = data.as_chunks();
            values.extend(chunks.iter().map(|&b| f32::from_le_bytes(b)));
        }
        Element::F64 => {
            let (chunks, _) = data.as_chunks();
            values.extend(chunks.iter().map(|&b| f64::from_le_bytes(b) as f32));
        }
    }
    Ok(Array { shape: header.shape, values })
}

/// The product of the axes, 1 for none.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis))
}

/// What the header says: a Python dictionary with three keys.
struct Header {
    element: Element,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let descr = value_of(text, "descr")?;
        let element = match quoted(descr) {
            Some("|u1" | "<u1" | "u1") => Element::U8,
            Some("<f2") => Element::F16,
            Some("<f4") => Element::F32,
            Some("<f8") => Element::F64,
            _ => {
                let shown: String = descr.chars().take(24).collect();
                return Err(format!(
                    "element type {shown}, expected one of '<f4', '<f2', '<f8' and '|u1'; convert \
                     it with `array.astype('<f4')`"
                ));
            }
        };
        let order = value_of(text, "fortran_order")?;
        if order.starts_with("True") {
            return Err("the array is in Fortran order, expected C order; save it with \
                        `numpy.ascontiguousarray(array)`"
                .to_owned());
        }
        if !order.starts_with("False") {
            return Err("fortran_order is neither True nor False".to_owned());
        }
        let shape = value_of(text, "shape")?;
        let axes = shape
            .strip_prefix('(')
            .and_then(|s| s.split_once(')'))
            .ok_or("shape is not a tuple in parentheses")?
            .0;
        let axes = axes.trim();
        let axes = axes.strip_suffix(',').unwrap_or(axes);
        let shape = if axes.is_empty() {
            Vec::new()
        } else {
            axes.split(',')
                // Python 2 wrote long numbers with an L.
                .map(|axis| axis.trim().trim_end_matches('L').parse::<usize>())
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|e| format!("shape ({axes}) has an axis that is no length: {e}"))?
        };
        if shape.len() > MAX_AXES {
            return Err(format!("{} axes, at most {MAX_AXES} are read", shape.len()));
        }
        Ok(Self { element, shape })
    }
}

/// The text after `'key':`, up to the end of the header.
fn value_of<'a>(text: &'a str, key: &str) -> std::result::Result<&'a str, String> {
    let find = |quote: char| text.split_once(&format!("{quote}{key}{quote}"));
    find('\'')
        .or_else(|| find('"'))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("no key '{key}'"))
}

/// The content of a string in quotes at the start of the text.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| "'\"".contains(*c))?;
    text[1..].split_once(quote).map(|(content, _)| content)
}

#[cfg(test)]
mod tests;
