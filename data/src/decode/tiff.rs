//! TIFF, as viewers show it.
//!
//! The `tiff` crate reads strips and tiles and undoes their compression, but refuses palettes and
//! subsampled YCbCr. For those the file's directory is edited in a copy, so that the crate takes the
//! samples for grey, and what they mean is decided here. Strips and tiles of JPEG go to our own
//! decoder of that. What needs none of it goes the way of all other formats.

mod directory;
mod samples;

use std::io::{Cursor, ErrorKind};

use image::ImageFormat;
use image::metadata::Orientation;
use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult, Limits as TiffLimits};

use self::directory::{Directory, tag};
use super::{Limits, jpeg, other};
use crate::{Error, Image, Result};

const FORMAT: &str = "TIFF";

/// What a sample means, by the photometric tag.
mod photometric {
    pub(super) const WHITE_IS_ZERO: u64 = 0;
    pub(super) const BLACK_IS_ZERO: u64 = 1;
    pub(super) const RGB: u64 = 2;
    pub(super) const PALETTE: u64 = 3;
    pub(super) const CMYK: u64 = 5;
    pub(super) const YCBCR: u64 = 6;
}

/// The compression tag's value for JPEG of today.
const JPEG: u64 = 7;
/// That for JPEG as version 6 of the format tried it.
const OLD_JPEG: u64 = 6;

/// What the directory says of a picture.
struct Layout {
    rows: usize,
    cols: usize,
    photometric: u64,
    /// Bits a sample.
    bits: u64,
    /// Samples a pixel.
    samples: usize,
    compression: u64,
}

pub(super) fn decode(bytes: &[u8], name: &str, limits: &Limits) -> Result<(Image, Orientation)> {
    let otherwise = || other::decode(bytes, name, ImageFormat::Tiff, limits);
    let Some(directory) = Directory::of(bytes) else { return otherwise() };
    let Some(layout) = Layout::of(&directory) else { return otherwise() };
    limits.check(name, layout.rows, layout.cols)?;
    let orientation = directory
        .number(tag::ORIENTATION)
        .and_then(|value| Orientation::from_exif(value.min(255) as u8))
        .unwrap_or(Orientation::NoTransforms);
    let file = File { bytes, name, limits, directory: &directory };
    let unsupported =
        |what: &str| Err(Error::Unsupported { name: name.to_owned(), what: what.to_owned() });
    let plain = matches!(directory.number(tag::SAMPLE_FORMAT), None | Some(1));
    let interleaved = layout.samples == 1 || directory.number_or(tag::PLANAR, 1) == 1;
    let (channels, values) = match (layout.photometric, layout.bits, layout.samples) {
        _ if !plain || !interleaved => return otherwise(),
        _ if layout.compression == OLD_JPEG => {
            return unsupported("TIFF with the outdated form of JPEG compression");
        }
        (_, 8, _) if layout.compression == JPEG => file.jpeg(&layout)?,
        (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, 1 | 2 | 4 | 8 | 16, 1)
        | (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, 8 | 16, 2) => {
            let values = file.samples(&layout)?;
            let invert = layout.photometric == photometric::WHITE_IS_ZERO;
            (1, samples::grey(&values, layout.bits, layout.samples, invert))
        }
        (photometric::PALETTE, 1 | 2 | 4 | 8 | 16, 1) => {
            let values = file.samples(&layout)?;
            let colours =
                samples::palette(&values, &directory.numbers(tag::COLOUR_MAP), layout.bits);
            (3, colours.map_err(|detail| file.damaged(detail))?)
        }
        (photometric::YCBCR, 8, 3) => file.ycbcr(&layout)?,
        (photometric::YCBCR, ..) => {
            return unsupported("TIFF in YCbCr with other than three samples of 8 bits");
        }
        (photometric::PALETTE, ..) => return unsupported("TIFF with a palette of this kind"),
        _ => return otherwise(),
    };
    Ok((Image::new(layout.rows, layout.cols, channels, values)?, orientation))
}

impl Layout {
    /// None where the directory says too little, or contradicts itself: the crate then says what is
    /// wrong.
    fn of(directory: &Directory) -> Option<Self> {
        let bits = directory.numbers(tag::BITS);
        let first = bits.first().copied().unwrap_or(1);
        if bits.iter().any(|&bits| bits != first) {
            return None;
        }
        Some(Self {
            rows: directory.number(tag::ROWS)?.try_into().ok()?,
            cols: directory.number(tag::COLS)?.try_into().ok()?,
            photometric: directory.number(tag::PHOTOMETRIC)?,
            bits: first,
            samples: directory.number_or(tag::SAMPLES, 1).try_into().ok()?,
            compression: directory.number_or(tag::COMPRESSION, 1),
        })
    }
}

/// A file, and what it is checked against.
struct File<'a> {
    bytes: &'a [u8],
    name: &'a str,
    limits: &'a Limits,
    directory: &'a Directory<'a>,
}

impl File<'_> {
    fn damaged(&self, detail: impl Into<String>) -> Error {
        Error::Corrupt { name: self.name.to_owned(), format: FORMAT, detail: detail.into() }
    }

    /// All samples, one each, as they are stored: the crate takes them for grey.
    fn samples(&self, layout: &Layout) -> Result<Vec<u16>> {
        let mut bytes = self.bytes.to_vec();
        self.directory.set(&mut bytes, tag::PHOTOMETRIC, photometric::BLACK_IS_ZERO);
        let across = layout.cols * layout.samples;
        Ok(match self.read(&bytes)? {
            DecodingResult::U8(values) => samples::unpack(&values, layout.bits, across),
            DecodingResult::U16(values) => values,
            _ => return Err(self.damaged("the samples have another type than the header says")),
        })
    }

    /// Has the crate decode an edited copy.
    fn read(&self, edited: &[u8]) -> Result<DecodingResult> {
        let most = self.limits.max_pixels.saturating_mul(16).max(64 << 20);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut limits = TiffLimits::default();
        limits.decoding_buffer_size = most;
        limits.intermediate_buffer_size = most;
        let decoder = Decoder::new(Cursor::new(edited)).map(|decoder| decoder.with_limits(limits));
        decoder.and_then(|mut decoder| decoder.read_image()).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: TiffError) -> Error {
        let name = self.name.to_owned();
        let detail = error.to_string();
        match error {
            TiffError::UnsupportedError(_) => {
                Error::Unsupported { name, what: format!("TIFF with {}", other::feature(&detail)) }
            }
            TiffError::LimitsExceeded => Error::Unsupported {
                name,
                what: "TIFF that takes more memory than its size explains".to_owned(),
            },
            TiffError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let bytes = self.bytes.len();
                Error::Truncated { name, format: FORMAT, bytes, detail }
            }
            _ => Error::Corrupt { name, format: FORMAT, detail },
        }
    }

    /// Luma and chroma without JPEG, subsampled or not, to RGB.
    fn ycbcr(&self, layout: &Layout) -> Result<(usize, Vec<u8>)> {
        let factors = match self.directory.numbers(tag::SUBSAMPLING)[..] {
            [across, down] => [down, across],
            _ => [2, 2],
        };
        if factors.iter().any(|factor| !matches!(factor, 1 | 2 | 4)) {
            return Err(self.damaged(format!("chroma subsampling of {factors:?} [rows, columns]")));
        }
        let [down, across] = factors.map(|factor| factor as usize);
        let mut bytes = self.bytes.to_vec();
        let equations = samples::Equations::of(
            &self.directory.fractions(tag::COEFFICIENTS),
            &self.directory.fractions(tag::REFERENCE),
        );
        if [down, across] == [1, 1] {
            self.directory.set(&mut bytes, tag::PHOTOMETRIC, photometric::RGB);
            let DecodingResult::U8(values) = self.read(&bytes)? else {
                return Err(self.damaged("the samples have another type than the header says"));
            };
            return Ok((
                3,
                values.chunks_exact(3).flat_map(|v| equations.rgb(v[0], v[1], v[2])).collect(),
            ));
        }
        if self.directory.number_or(tag::PREDICTOR, 1) != 1 {
            return Err(Error::Unsupported {
                name: self.name.to_owned(),
                what: "TIFF in subsampled YCbCr with a predictor".to_owned(),
            });
        }
        // The file holds units of `down` x `across` lumas and two chromas. The crate reads each as
        // so many grey pixels in a row.
        let tile = self.directory.number(tag::TILE_COLS).zip(self.directory.number(tag::TILE_ROWS));
        let chunk_cols = tile.map_or(layout.cols, |(cols, _)| cols as usize);
        let chunk_rows = match tile {
            Some((_, rows)) => rows as usize,
            None => (self.directory.number_or(tag::STRIP_ROWS, u64::MAX) as usize).min(layout.rows),
        };
        if chunk_cols == 0
            || chunk_rows == 0
            || (chunk_rows < layout.rows && !chunk_rows.is_multiple_of(down))
        {
            return Err(self.damaged(format!(
                "strips or tiles of {chunk_rows} x {chunk_cols} for chroma of {down} x {across}"
            )));
        }
        let unit = down * across + 2;
        let units = chunk_cols.div_ceil(across);
        let chunks = layout.cols.div_ceil(chunk_cols);
        let set =
            |bytes: &mut Vec<u8>, tag, value: usize| self.directory.set(bytes, tag, value as u64);
        set(&mut bytes, tag::PHOTOMETRIC, photometric::BLACK_IS_ZERO as usize);
        set(&mut bytes, tag::BITS, 8);
        set(&mut bytes, tag::SAMPLES, 1);
        set(&mut bytes, tag::SAMPLE_FORMAT, 1);
        set(&mut bytes, tag::COLS, chunks.saturating_mul(units).saturating_mul(unit));
        set(&mut bytes, tag::ROWS, layout.rows.div_ceil(down));
        set(&mut bytes, tag::STRIP_ROWS, chunk_rows.div_ceil(down));
        set(&mut bytes, tag::TILE_COLS, units.saturating_mul(unit));
        set(&mut bytes, tag::TILE_ROWS, chunk_rows.div_ceil(down));
        let DecodingResult::U8(packed) = self.read(&bytes)? else {
            return Err(self.damaged("the samples have another type than the header says"));
        };
        let width = chunks * units * unit;
        let mut values = vec![0; layout.rows * layout.cols * 3];
        for (row, line) in values.chunks_exact_mut(layout.cols * 3).enumerate() {
            let Some(packed) = packed.get(row / down * width..(row / down + 1) * width) else {
                return Err(self.damaged("there are fewer samples than pixels"));
            };
            for (col, pixel) in line.chunks_exact_mut(3).enumerate() {
                let (chunk, within) = (col / chunk_cols, col % chunk_cols);
                let unit = &packed[(chunk * units + within / across) * unit..][..unit];
                let luma = unit[row % down * across + within % across];
                let chroma = &unit[down * across..];
                pixel.copy_from_slice(&equations.rgb(luma, chroma[0], chroma[1]));
            }
        }
        Ok((3, values))
    }

    /// Strips or tiles of JPEG.
    fn jpeg(&self, layout: &Layout) -> Result<(usize, Vec<u8>)> {
        let colours = match (layout.photometric, layout.samples) {
            (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, 1) => jpeg::Colours::Grey,
            (photometric::RGB, 3) => jpeg::Colours::Rgb,
            (photometric::YCBCR, 3) => jpeg::Colours::YCbCr,
            (photometric::CMYK, 4) => jpeg::Colours::Cmyk,
            _ => {
                return Err(Error::Unsupported {
                    name: self.name.to_owned(),
                    what: "TIFF with JPEG compression of colours other than grey, RGB, YCbCr and \
                           CMYK"
                        .to_owned(),
                });
            }
        };
        let directory = self.directory;
        let (rows, cols, channels) = (layout.rows, layout.cols, layout.samples);
        let tile = directory.number(tag::TILE_COLS).zip(directory.number(tag::TILE_ROWS));
        let (size, starts, lengths) = match tile {
            Some((cols, rows)) => ([rows, cols], tag::TILE_STARTS, tag::TILE_LENGTHS),
            None => {
                let strip = directory.number_or(tag::STRIP_ROWS, u64::MAX).min(rows as u64);
                ([strip, cols as u64], tag::STRIP_STARTS, tag::STRIP_LENGTHS)
            }
        };
        let size = size.map(|side| usize::try_from(side).unwrap_or(usize::MAX));
        let (starts, lengths) = (directory.numbers(starts), directory.numbers(lengths));
        if size.iter().any(|&side| side == 0 || side > 65_535) {
            return Err(
                self.damaged(format!("strips or tiles of {} x {} pixels", size[0], size[1]))
            );
        }
        let across = cols.div_ceil(size[1]);
        if starts.len() != across * rows.div_ceil(size[0]) || lengths.len() != starts.len() {
            return Err(
                self.damaged(format!("{} strips or tiles do not make the picture", starts.len()))
            );
        }
        let tables = directory.bytes(tag::JPEG_TABLES);
        let mut values = vec![0; rows * cols * channels];
        for (index, (&start, &length)) in starts.iter().zip(&lengths).enumerate() {
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let Some(coded) = self.bytes.get(start..end) else {
                let (name, bytes) = (self.name.to_owned(), self.bytes.len());
                let detail = format!("strip or tile {index} is missing");
                return Err(Error::Truncated { name, format: FORMAT, bytes, detail });
            };
            let (top, left) = (index / across * size[0], index % across * size[1]);
            // A last strip holds what is left, a last tile is whole.
            let kept = [size[0].min(rows - top), size[1].min(cols - left)];
            let part = jpeg::part(tables, coded, colours, size);
            let ([part_rows, part_cols], part) = part.map_err(|fault| self.fault(fault))?;
            if part_rows < kept[0]
                || part_cols < kept[1]
                || part.len() != part_rows * part_cols * channels
            {
                return Err(self.damaged(format!(
                    "strip or tile {index} is {part_rows} x {part_cols} pixels, where {} x {} of \
                     {channels} channels are due",
                    kept[0], kept[1]
                )));
            }
            let lines = part.chunks_exact(part_cols * channels).take(kept[0]);
            for (row, line) in lines.enumerate() {
                let at = ((top + row) * cols + left) * channels;
                values[at..at + kept[1] * channels].copy_from_slice(&line[..kept[1] * channels]);
            }
        }
        if layout.photometric == photometric::WHITE_IS_ZERO {
            values.iter_mut().for_each(|value| *value = 255 - *value);
        }
        if channels == 4 {
            return Ok((3, jpeg::rgb_of_inks(&values, false)));
        }
        Ok((channels, values))
    }

    fn fault(&self, fault: jpeg::Fault) -> Error {
        let name = self.name.to_owned();
        match fault {
            jpeg::Fault::Unsupported(what) => {
                Error::Unsupported { name, what: format!("TIFF with {what}") }
            }
            jpeg::Fault::Damaged(detail) => Error::Corrupt { name, format: FORMAT, detail },
        }
    }
}
