//! Every format but JPEG and the rarer kinds of TIFF, through the `image` crate.

use std::error::Error as _;
use std::io::{Cursor, ErrorKind};

use image::error::{ImageError, UnsupportedErrorKind};
use image::metadata::Orientation;
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};

use super::{Limits, format_name};
use crate::{Error, Image, Result};

pub(super) fn decode(
    bytes: &[u8],
    name: &str,
    format: ImageFormat,
    limits: &Limits,
) -> Result<(Image, Orientation)> {
    if let Some([rows, cols]) = announced(bytes, format) {
        limits.check(name, rows, cols)?;
    }
    let explain = |error: ImageError| explain(error, name, format, bytes.len());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder_limits = image::Limits::no_limits();
    // Up to 16 bytes a pixel come out of a decoder, and it may need as much again to work.
    decoder_limits.max_alloc = Some(limits.max_pixels.saturating_mul(32).max(64 << 20));
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (cols, rows) = decoder.dimensions();
    let (rows, cols) = (rows as usize, cols as usize);
    limits.check(name, rows, cols)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let color = decoder.color_type();
    let length = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut samples = Vec::new();
    if samples.try_reserve_exact(length).is_err() {
        return Err(Error::Unsupported {
            name: name.to_owned(),
            what: format!("a picture that needs {length} bytes of memory, more than there is,"),
        });
    }
    samples.resize(length, 0);
    decoder.read_image(&mut samples).map_err(explain)?;
    let (channels, values) = to_bytes(samples, color).ok_or_else(|| Error::Unsupported {
        name: name.to_owned(),
        what: format!("the colour type {color:?}"),
    })?;
    Ok((Image::new(rows, cols, channels, values)?, orientation))
}

/// Rows and columns where they are easily read from the header. The decoders refuse an empty
/// picture in words that do not say so.
fn announced(bytes: &[u8], format: ImageFormat) -> Option<[usize; 2]> {
    let bytes = bytes.get(..26)?;
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let quad = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match format {
        ImageFormat::Png if &bytes[12..16] == b"IHDR" => {
            Some([u32::from_be_bytes(quad(20)) as usize, u32::from_be_bytes(quad(16)) as usize])
        }
        ImageFormat::Gif => Some([u16_at(8), u16_at(6)]),
        // 12 is the header of OS/2, with sides of 16 bits. Negative rows mean top down.
        ImageFormat::Bmp if quad(14) != 12u32.to_le_bytes() => Some([
            i32::from_le_bytes(quad(22)).unsigned_abs() as usize,
            i32::from_le_bytes(quad(18)).unsigned_abs() as usize,
        ]),
        _ => None,
    }
}

/// Decoded samples to 8-bit grey or RGB: alpha dropped, the low byte of 16 bits dropped, floats
/// (0..1) scaled. Returns the channels and the values, or `None` for a colour type that is none of
/// those.
fn to_bytes(samples: Vec<u8>, color: ColorType) -> Option<(usize, Vec<u8>)> {
    let high = |s: &[u8]| (u16::from_ne_bytes([s[0], s[1]]) >> 8) as u8;
    let scaled = |s: &[u8]| (f32::from_ne_bytes([s[0], s[1], s[2], s[3]]) * 255.0).round() as u8;
    Some(match color {
        ColorType::L8 => (1, samples),
        ColorType::Rgb8 => (3, samples),
        ColorType::La8 => (1, pick(&samples, 2, 1, 1, |s| s[0])),
        ColorType::Rgba8 => (3, pick(&samples, 4, 3, 1, |s| s[0])),
        ColorType::L16 => (1, pick(&samples, 1, 1, 2, high)),
        ColorType::La16 => (1, pick(&samples, 2, 1, 2, high)),
        ColorType::Rgb16 => (3, pick(&samples, 3, 3, 2, high)),
        ColorType::Rgba16 => (3, pick(&samples, 4, 3, 2, high)),
        ColorType::Rgb32F => (3, pick(&samples, 3, 3, 4, scaled)),
        ColorType::Rgba32F => (3, pick(&samples, 4, 3, 4, scaled)),
        _ => return None,
    })
}

/// The first `keep` of every `channels` samples of `size` bytes, each made a byte by `convert`.
fn pick(
    samples: &[u8],
    channels: usize,
    keep: usize,
    size: usize,
    convert: impl Fn(&[u8]) -> u8,
) -> Vec<u8> {
    let mut values = Vec::with_capacity(samples.len() / (channels * size) * keep);
    for pixel in samples.chunks_exact(channels * size) {
        values.extend(pixel.chunks_exact(size).take(keep).map(&convert));
    }
    values
}

fn explain(error: ImageError, name: &str, format: ImageFormat, bytes: usize) -> Error {
    let name = name.to_owned();
    let format = format_name(format);
    let detail = error.to_string();
    if let ImageError::Unsupported(unsupported) = &error {
        let what = match unsupported.kind() {
            UnsupportedErrorKind::Color(ExtendedColorType::Unknown(bits)) => {
                format!("{format} with {bits} bits a pixel in these colours")
            }
            UnsupportedErrorKind::Color(color) => format!("{format} with the colours {color:?}"),
            UnsupportedErrorKind::GenericFeature(text) => {
                format!("{format} with {}", feature(text.as_str()))
            }
            _ => format!("this kind of {format}"),
        };
        return Error::Unsupported { name, what };
    }
    if let ImageError::Limits(_) = &error {
        return Error::Unsupported {
            name,
            what: format!("{format} that takes more memory than its size explains ({detail})"),
        };
    }
    if ends_early(&error) {
        Error::Truncated { name, format, bytes, detail }
    } else {
        Error::Corrupt { name, format, detail }
    }
}

/// A decoder's name for what it does not support, so that "... is not supported" can follow.
pub(super) fn feature(text: &str) -> String {
    let mut text = text.trim().trim_end_matches('.');
    for said in [" is unsupported", " is not supported", " not supported", " unsupported"] {
        text = text.strip_suffix(said).unwrap_or(text);
    }
    let lower = text.to_lowercase();
    for said in ["unsupported ", "unhandled ", "unknown "] {
        if lower.starts_with(said) {
            text = &text[said.len()..];
        }
    }
    let mut letters = text.chars();
    match letters.next() {
        // A word in capitals is a name.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        Some(_) => text.to_owned(),
        None => "something unusual in it".to_owned(),
    }
}

/// Whether the decoder ran into the end of the file. Some say so by an I/O error somewhere among
/// the causes, some in words only.
fn ends_early(error: &ImageError) -> bool {
    if matches!(error, ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == ErrorKind::UnexpectedEof;
        }
        cause = error.source();
    }
    let words = error.to_string().to_lowercase();
    ["unexpected eof", "unexpected end", "end of file"].iter().any(|w| words.contains(w))
}
