//! JPEG. The usual decoders paint what is missing of a truncated file grey and call it a picture, so
//! the end-of-image marker is looked for here, and the decoder is set to be strict about its codes.
//!
//! Known gap: of a file that lost coded data but has its end-of-image marker, only damage that makes
//! invalid codes is noticed.

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::Limits;
use crate::{Error, Image, Result};

const FORMAT: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], name: &str, limits: &Limits) -> Result<(Image, Orientation)> {
    let structure = Structure::of(bytes);
    match decode_scans(bytes, name, limits, structure, true) {
        // Junk between the segments of the header harms nothing, and viewers skip it.
        Err(Error::Corrupt { detail, .. }) if detail.contains("between headers") => {
            decode_scans(bytes, name, limits, structure, false)
        }
        decoded => decoded,
    }
}

/// Rows and columns by the header.
pub(super) fn size(bytes: &[u8]) -> Option<[usize; 2]> {
    let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
    decoder.decode_headers().ok()?;
    decoder.dimensions().map(|(cols, rows)| [rows, cols])
}

fn decode_scans(
    bytes: &[u8],
    name: &str,
    limits: &Limits,
    structure: Structure,
    strict: bool,
) -> Result<(Image, Orientation)> {
    let explain = |error: DecodeErrors| explain(error, name, bytes.len(), structure);
    // The limits are checked here, so that the message names them.
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(explain)?;
    let (cols, rows) = decoder.dimensions().unwrap_or((0, 0));
    limits.check(name, rows, cols)?;
    if !structure.complete {
        return Err(Error::Truncated {
            name: name.to_owned(),
            format: FORMAT,
            bytes: bytes.len(),
            detail: "no end-of-image marker".to_owned(),
        });
    }
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    let (output, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        // Taken raw: whether the inks are inverted is decided below.
        Some(ColorSpace::CMYK) => (ColorSpace::CMYK, 4),
        _ => (ColorSpace::RGB, 3),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let mut values = decoder.decode().map_err(explain)?;
    if channels == 4 {
        values = rgb_of_inks(&values, structure.adobe);
    }
    let channels = if channels == 4 { 3 } else { channels };
    Ok((Image::new(rows, cols, channels, values)?, orientation))
}

/// Cyan, magenta, yellow, black to red, green, blue. Adobe's files (and with them nearly all) store
/// the inks inverted: 255 is no ink. Those without Adobe's marker store them plainly.
fn rgb_of_inks(inks: &[u8], inverted: bool) -> Vec<u8> {
    let light = |ink: u8| u32::from(if inverted { ink } else { 255 - ink });
    let mut values = Vec::with_capacity(inks.len() / 4 * 3);
    for ink in inks.chunks_exact(4) {
        let black = light(ink[3]);
        values.extend([ink[0], ink[1], ink[2]].map(|c| ((light(c) * black + 127) / 255) as u8));
    }
    values
}

fn explain(error: DecodeErrors, name: &str, bytes: usize, structure: Structure) -> Error {
    let name = name.to_owned();
    let detail = match error {
        DecodeErrors::Unsupported(scheme) => {
            return Error::Unsupported { name, what: format!("this kind of JPEG ({scheme:?})") };
        }
        DecodeErrors::ZeroError => return Error::NoPixels { name, rows: 0, cols: 0 },
        DecodeErrors::Format(text)
        | DecodeErrors::HuffmanDecode(text)
        | DecodeErrors::DqtError(text)
        | DecodeErrors::SosError(text)
        | DecodeErrors::SofError(text)
        | DecodeErrors::MCUError(text) => text,
        DecodeErrors::FormatStatic(text) => text.to_owned(),
        error => format!("{error:?}"),
    };
    if structure.complete {
        Error::Corrupt { name, format: FORMAT, detail }
    } else {
        Error::Truncated { name, format: FORMAT, bytes, detail }
    }
}

/// What a walk over a file's markers tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Structure {
    /// The end-of-image marker of the (first) picture is there.
    complete: bool,
    /// There is an Adobe segment, so that CMYK is stored inverted.
    adobe: bool,
}

impl Structure {
    /// Walks from marker to marker. Segments are skipped by their length, so that the end of a
    /// thumbnail within the metadata is not taken for the picture's.
    fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut at = 2;
        loop {
            // To the next marker: past the coded data of a scan, where 0xff is followed by 0, and
            // past padding.
            let Some(offset) = bytes.get(at..).and_then(|b| b.iter().position(|&b| b == 0xff))
            else {
                return found;
            };
            at += offset + 1;
            match bytes.get(at) {
                None => return found,
                // Stuffing, restart markers, TEM and a second SOI stand alone.
                Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
                Some(0xff) => {}
                Some(0xd9) => {
                    found.complete = true;
                    return found;
                }
                Some(marker) => {
                    let Some(&[high, low]) = bytes.get(at + 1..at + 3) else {
                        return found;
                    };
                    let body = bytes.get(at + 3..).unwrap_or_default();
                    found.adobe |= *marker == 0xee && body.starts_with(b"Adobe");
                    at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_pictures() {
        // SOI, APP1 of 6 bytes with an EOI inside, SOS of 2, data with stuffing.
        let mut bytes = b"\xff\xd8\xff\xe1\0\x06\xff\xd9ab\xff\xda\0\x02x\xff\0y".to_vec();
        assert!(!Structure::of(&bytes).complete);
        bytes.extend(b"\xff\xd9");
        assert!(Structure::of(&bytes).complete);
    }

    #[test]
    fn walks_over_anything() {
        for bytes in [&b""[..], b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0", b"\xff\xff\xff"] {
            assert_eq!(Structure::of(bytes), Structure::default());
        }
    }

    #[test]
    fn inks() {
        assert_eq!(rgb_of_inks(&[255, 255, 255, 255], true), [255, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 255, 255, 255], true), [0, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 0, 0, 0], false), [255, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 0, 0, 255], false), [0, 0, 0]);
    }
}
