//! Picture files to 8-bit pictures, recognised by their content, within limits.
//!
//! A picture comes out as a viewer would show it, except where ccv says otherwise:
//!
//! * EXIF orientation is applied; of an animation the first frame is taken;
//! * JPEG is decoded to the very pixels of libjpeg, which ccv uses;
//! * CMYK and YCCK JPEG become RGB, each of red, green and blue as light of its ink x light of the
//!   black / 255, rounded; Adobe's inversion is undone;
//! * TIFF may be grey, palette, RGB, YCbCr or CMYK, in strips or tiles;
//! * alpha is dropped, not blended; 16 bits a channel become 8 by dropping the low byte; a palette
//!   becomes RGB; neither gamma nor colour profiles are applied (all as in ccv);
//! * grey pictures stay grey ([`Image::to_rgb`] makes them RGB).
//!
//! A truncated or damaged file is an error, never half a picture.

mod guard;
mod jpeg;
mod other;
mod tiff;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::ImageFormat;
use image::metadata::Orientation;

use crate::{Error, Image, Result};

/// What a picture file may cost. Everything is checked before memory is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most pixels (rows x columns) that a header may announce.
    pub max_pixels: u64,
    /// The longest side that a header may announce, in pixels.
    pub max_side: u32,
    /// The largest file, in bytes.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 100 megapixels, a million pixels a side, 512 MiB of file.
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_side: 1_000_000, max_bytes: 512 << 20 }
    }
}

impl Limits {
    /// Checks a picture's announced size.
    fn check(&self, name: &str, rows: usize, cols: usize) -> Result<()> {
        if rows == 0 || cols == 0 {
            return Err(Error::NoPixels { name: name.to_owned(), rows, cols });
        }
        let name = name.to_owned();
        let pixels = (rows as u64).saturating_mul(cols as u64);
        if pixels > self.max_pixels {
            return Err(Error::TooManyPixels { name, rows, cols, pixels, limit: self.max_pixels });
        }
        if rows.max(cols) as u64 > u64::from(self.max_side) {
            return Err(Error::SideTooLong { name, rows, cols, limit: self.max_side });
        }
        Ok(())
    }
}

/// Reads a picture file with the default [`Limits`].
///
/// # Errors
/// Everything that [`open_with`] reports.
pub fn open(path: impl AsRef<Path>) -> Result<Image> {
    open_with(path, &Limits::default())
}

/// Reads a picture file.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read, [`Error::Directory`] when it is a folder,
/// [`Error::TooManyBytes`] when it is larger than the limit, and everything that [`decode_with`]
/// reports.
pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Image> {
    let path = path.as_ref();
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if metadata.is_dir() {
        return Err(Error::Directory {
            path: path.to_owned(),
            expected: "name a picture in it, or list its pictures in a file, one a line",
        });
    }
    let name = path.display().to_string();
    let too_large = |name| Error::TooManyBytes { name, limit: limits.max_bytes };
    if metadata.len() > limits.max_bytes {
        return Err(too_large(name));
    }
    // A pipe or a device does not say how long it is: read no more than the limit.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_large(name));
    }
    decode_with(&bytes, &name, limits)
}

/// Decodes a picture file's bytes with the default [`Limits`]. `name` is what messages call it.
///
/// # Errors
/// Everything that [`decode_with`] reports.
pub fn decode(bytes: &[u8], name: &str) -> Result<Image> {
    decode_with(bytes, name, &Limits::default())
}

/// Decodes a picture file's bytes. `name` is what messages call it.
///
/// # Errors
/// [`Error::EmptyFile`], [`Error::TooManyBytes`], [`Error::NotAnImage`], [`Error::Unsupported`],
/// [`Error::Truncated`], [`Error::Corrupt`], [`Error::NoPixels`], [`Error::TooManyPixels`] and
/// [`Error::SideTooLong`].
pub fn decode_with(bytes: &[u8], name: &str, limits: &Limits) -> Result<Image> {
    if bytes.is_empty() {
        return Err(Error::EmptyFile { name: name.to_owned() });
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(Error::TooManyBytes { name: name.to_owned(), limit: limits.max_bytes });
    }
    let format = recognise(bytes, name)?;
    // The decoders see hostile bytes. A panic in one must not take down a run over a list of
    // pictures, nor print a report.
    let decoded = guard::run(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, name, limits),
        ImageFormat::Tiff => tiff::decode(bytes, name, limits),
        format => other::decode(bytes, name, format, limits),
    });
    let (image, orientation) = decoded.unwrap_or_else(|detail| {
        let name = name.to_owned();
        Err(match format {
            // Our own: a bug, and to be reported as one.
            ImageFormat::Jpeg => Error::Panicked { name, detail },
            _ => Error::Corrupt {
                name,
                format: format_name(format),
                detail: "the decoder gave up on it".to_owned(),
            },
        })
    })?;
    Ok(oriented(image, orientation))
}

/// Rows and columns of a JPEG picture by its header; none where that is damaged or unsupported.
pub(crate) fn jpeg_size(bytes: &[u8]) -> Option<[usize; 2]> {
    jpeg::size(bytes)
}

/// The format, by the first bytes alone: a file's extension may be wrong or absent.
fn recognise(bytes: &[u8], name: &str) -> Result<ImageFormat> {
    let unsupported = |what: String| Error::Unsupported { name: name.to_owned(), what };
    // Phones write these, and "not an image" would puzzle their owners.
    if bytes.get(4..8) == Some(b"ftyp") {
        return Err(match bytes.get(8..12) {
            Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1") => {
                unsupported("HEIC (a phone's high efficiency format)".into())
            }
            Some(b"avif" | b"avis") => unsupported("AVIF".into()),
            _ => unsupported("a video".into()),
        });
    }
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif
            | ImageFormat::Tiff),
        ) => Ok(format),
        Ok(format) => Err(unsupported(format!("the format {format:?}"))),
        Err(_) => Err(Error::NotAnImage {
            name: name.to_owned(),
            start: format!("\"{}\"", bytes[..bytes.len().min(12)].escape_ascii()),
        }),
    }
}

/// A format's name as people write it.
fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Tiff => "TIFF",
        _ => "unknown",
    }
}

/// Turns and mirrors a picture as its metadata asks.
fn oriented(image: Image, orientation: Orientation) -> Image {
    match orientation {
        Orientation::NoTransforms => image,
        Orientation::FlipHorizontal => image.flip_horizontal(),
        Orientation::FlipVertical => image.flipped_vertical(),
        Orientation::Rotate180 => image.flip_horizontal().flipped_vertical(),
        Orientation::Rotate90 => image.transposed().flip_horizontal(),
        Orientation::Rotate270 => image.transposed().flipped_vertical(),
        // Rotated clockwise, then mirrored left to right: the main diagonal; and the other one.
        Orientation::Rotate90FlipH => image.transposed(),
        Orientation::Rotate270FlipH => image.transposed().flip_horizontal().flipped_vertical(),
    }
}

#[cfg(test)]
mod tests;
