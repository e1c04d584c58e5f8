//! Resampling by a filter that widens as the picture shrinks, so that nothing aliases: as Pillow does it,
//! and as torchvision and timm therefore prepare the pictures of their networks. The arithmetic is
//! Pillow's own for 8-bit pictures (weights rounded to 22 binary places, bytes between the passes), so
//! that the bytes are the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Image, Result};

/// Binary places of a weight: 32 bits less 8 for a byte and 2 for sums beyond it.
const PLACES: u32 = 22;

/// The shape of the weights around a pixel that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// A triangle, 1 pixel to each side: torchvision's usual.
    Bilinear,
    /// Keys' cubic with the coefficient -1/2, 2 pixels to each side: timm's usual.
    Bicubic,
}

impl Kernel {
    /// How far it reaches to each side, in pixels of whichever picture has the larger ones.
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

/// The source pixels of one target pixel along one axis, and their weights, which sum to 1.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The whole picture, resized to `rows` x `cols`.
///
/// # Errors
/// [`Error::NoPixels`] where the target is empty.
pub fn antialias(image: &Image, rows: usize, cols: usize, kernel: Kernel) -> Result<Image> {
    antialias_part(image, [rows, cols], [0, 0], [rows, cols], kernel)
}

/// A part of the picture resized to `target`, `[rows, cols]`: `size` pixels from `at` on, the same as
/// cutting them from the whole result. What is outside is not computed.
///
/// # Errors
/// [`Error::NoPixels`] where the part is empty, [`Error::Crop`] where it reaches out of the target.
pub fn antialias_part(
    image: &Image,
    target: [usize; 2],
    at: [usize; 2],
    size: [usize; 2],
    kernel: Kernel,
) -> Result<Image> {
    let [rows, cols] = size;
    if rows == 0 || cols == 0 {
        return Err(Error::NoPixels { name: "antialiased resampling".to_owned(), rows, cols });
    }
    let fits =
        |axis: usize| at[axis].checked_add(size[axis]).is_some_and(|end| end <= target[axis]);
    if !fits(0) || !fits(1) {
        let ([top, left], [image_rows, image_cols]) = (at, target);
        return Err(Error::Crop { top, left, rows, cols, image_rows, image_cols });
    }
    let row_taps = taps(image.rows(), target[0], at[0], rows, kernel);
    let col_taps = taps(image.cols(), target[1], at[1], cols, kernel);
    let channels = image.channels();
    let values = if rows_first(image, target) {
        let seen = seen(&col_taps);
        let narrow = down(image, &row_taps, seen.clone());
        let lines = narrow.chunks_exact(seen.len() * channels);
        across(lines, &col_taps, seen.start, channels)
    } else {
        let seen = seen(&row_taps);
        let wide = across(seen.clone().map(|row| image.row(row)), &col_taps, 0, channels);
        let wide = Image::from_parts(seen.len(), cols, channels, wide);
        let shifted: Vec<Taps> = row_taps
            .into_iter()
            .map(|taps| Taps { first: taps.first - seen.start, ..taps })
            .collect();
        down(&wide, &shifted, 0..cols)
    };
    Ok(Image::from_parts(rows, cols, channels, values))
}

/// Whether rows are summed before columns are. Values are bytes between both passes, so that the order
/// shows in the result: this is when Pillow 13 does it, as its results tell. Pillow before 13 never does.
fn rows_first(image: &Image, target: [usize; 2]) -> bool {
    let less = |axis: usize, side: usize| side as i128 - target[axis] as i128;
    let (rows, cols) = (less(0, image.rows()), less(1, image.cols()));
    rows > 0 && rows > 2 * cols
}

/// The source pixels that any target pixel is made of.
fn seen(taps: &[Taps]) -> std::ops::Range<usize> {
    let first = taps.iter().map(|taps| taps.first).min().unwrap_or(0);
    first..taps.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(first)
}

/// The target's rows of some of a picture's columns.
fn down(image: &Image, row_taps: &[Taps], cols: std::ops::Range<usize>) -> Vec<u8> {
    let channels = image.channels();
    let part = cols.start * channels..cols.end * channels;
    let mut values = vec![0u8; row_taps.len() * part.len()];
    let mut sums = vec![0i32; part.len()];
    for (taps, line) in row_taps.iter().zip(values.chunks_exact_mut(part.len().max(1))) {
        sums.fill(HALF);
        for (weight, row) in taps.weights.iter().zip(taps.first..) {
            for (sum, value) in sums.iter_mut().zip(&image.row(row)[part.clone()]) {
                *sum += weight * i32::from(*value);
            }
        }
        for (value, sum) in line.iter_mut().zip(&sums) {
            *value = byte(*sum);
        }
    }
    values
}

/// The target's columns of rows whose first pixel is the source's of number `start`.
fn across<'a>(
    rows: impl ExactSizeIterator<Item = &'a [u8]>,
    col_taps: &[Taps],
    start: usize,
    channels: usize,
) -> Vec<u8> {
    let width = col_taps.len() * channels;
    let mut values = vec![0u8; rows.len() * width];
    for (row, line) in rows.zip(values.chunks_exact_mut(width.max(1))) {
        match channels {
            1 => line_of::<1>(row, col_taps, start, line),
            3 => line_of::<3>(row, col_taps, start, line),
            _ => line_of_any(row, col_taps, start, line, channels),
        }
    }
    values
}

/// Half of the last place, so that cutting a sum off rounds it.
const HALF: i32 = 1 << (PLACES - 1);

fn byte(sum: i32) -> u8 {
    (sum >> PLACES).clamp(0, 255) as u8
}

/// The taps of `count` target pixels from `at` on, of a side of `source` pixels resized to `target`.
fn taps(source: usize, target: usize, at: usize, count: usize, kernel: Kernel) -> Vec<Taps> {
    let scale = source as f64 / target as f64;
    let widening = scale.max(1.0);
    let reach = kernel.reach() * widening;
    (at..at + count)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(source);
            let weight = |pixel: usize| kernel.at((pixel as f64 - centre + 0.5) / widening);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (weight / total * f64::from(1 << PLACES)).round() as i32;
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

/// One row (`[cols, CHANNELS]`) resampled to the target's columns.
fn line_of<const CHANNELS: usize>(row: &[u8], col_taps: &[Taps], start: usize, line: &mut [u8]) {
    let (pixels, _) = row.as_chunks::<CHANNELS>();
    let (cells, _) = line.as_chunks_mut::<CHANNELS>();
    for (taps, cell) in col_taps.iter().zip(cells) {
        let mut sums = [HALF; CHANNELS];
        for (weight, pixel) in taps.weights.iter().zip(&pixels[taps.first - start..]) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += weight * i32::from(*value);
            }
        }
        *cell = sums.map(byte);
    }
}

/// As [`line_of`], for any number of channels.
fn line_of_any(row: &[u8], col_taps: &[Taps], start: usize, line: &mut [u8], channels: usize) {
    for (taps, cell) in col_taps.iter().zip(line.chunks_exact_mut(channels)) {
        let pixels = row[(taps.first - start) * channels..].chunks_exact(channels);
        for (channel, value) in cell.iter_mut().enumerate() {
            let products = taps.weights.iter().zip(pixels.clone());
            let sum: i32 = products.map(|(weight, pixel)| weight * i32::from(pixel[channel])).sum();
            *value = byte(sum + HALF);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(rows: usize, cols: usize, channels: usize, seed: u64) -> Image {
        let value = |i: usize| (seed.wrapping_mul(2 * i as u64 + 1) >> 56) as u8;
        let values = (0..rows * cols * channels).map(value).collect();
        Image::new(rows, cols, channels, values).unwrap()
    }

    /// The definition in double precision, without rounding between the axes.
    fn reference(image: &Image, target: [usize; 2], kernel: Kernel) -> Vec<f64> {
        let weights = |source: usize, target: usize, i: usize| -> Vec<f64> {
            let scale = source as f64 / target as f64;
            let widening = scale.max(1.0);
            let centre = (i as f64 + 0.5) * scale;
            let weight = |pixel| kernel.at((pixel as f64 + 0.5 - centre) / widening);
            let weights: Vec<f64> = (0..source).map(weight).collect();
            let total: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / total).collect()
        };
        let mut values = Vec::new();
        for row in 0..target[0] {
            let down = weights(image.rows(), target[0], row);
            for col in 0..target[1] {
                let right = weights(image.cols(), target[1], col);
                for channel in 0..image.channels() {
                    let mut sum = 0.0;
                    for (y, a) in down.iter().enumerate() {
                        for (x, b) in right.iter().enumerate() {
                            let at = (y * image.cols() + x) * image.channels() + channel;
                            sum += a * b * f64::from(image.values()[at]);
                        }
                    }
                    values.push(sum);
                }
            }
        }
        values
    }

    proptest! {
        /// A byte is kept between the passes, so that a result may be a level off.
        #[test]
        fn equals_the_definition(
            rows in 1usize..20, cols in 1usize..20, channels in 1usize..5,
            to_rows in 1usize..24, to_cols in 1usize..24, seed in any::<u64>(), cubic in any::<bool>(),
        ) {
            let kernel = if cubic { Kernel::Bicubic } else { Kernel::Bilinear };
            let image = picture(rows, cols, channels, seed);
            let got = antialias(&image, to_rows, to_cols, kernel).unwrap();
            let wanted = reference(&image, [to_rows, to_cols], kernel);
            for (got, wanted) in got.values().iter().zip(wanted) {
                let off = (f64::from(*got) - wanted.clamp(0.0, 255.0)).abs();
                // Where a cubic goes beyond the bytes between the passes, it is cut off there.
                let limit = if cubic { 40.0 } else { 1.3 };
                prop_assert!(off <= limit, "{got} {wanted}");
            }
        }

        #[test]
        fn a_part_is_cut_from_the_whole(
            rows in 1usize..40, cols in 1usize..40, to_rows in 1usize..40, to_cols in 1usize..40,
            top in 0usize..40, left in 0usize..40, height in 1usize..40, width in 1usize..40,
            seed in any::<u64>(), cubic in any::<bool>(),
        ) {
            let kernel = if cubic { Kernel::Bicubic } else { Kernel::Bilinear };
            let image = picture(rows, cols, 3, seed);
            let (target, at, size) = ([to_rows, to_cols], [top, left], [height, width]);
            let part = antialias_part(&image, target, at, size, kernel);
            let whole = antialias(&image, to_rows, to_cols, kernel).unwrap();
            match whole.crop(top, left, height, width) {
                Ok(wanted) => prop_assert_eq!(part.unwrap(), wanted),
                Err(_) => {
                    let is_refused = matches!(part, Err(Error::Crop { .. }));
                    prop_assert!(is_refused);
                }
            }
        }

        #[test]
        fn a_constant_picture_stays_constant(
            rows in 1usize..300, cols in 1usize..300, to_rows in 1usize..64, to_cols in 1usize..64,
            value in any::<u8>(), cubic in any::<bool>(),
        ) {
            let kernel = if cubic { Kernel::Bicubic } else { Kernel::Bilinear };
            let image = Image::filled(rows, cols, 3, value).unwrap();
            let got = antialias(&image, to_rows, to_cols, kernel).unwrap();
            prop_assert!(got.values().iter().all(|got| *got == value));
        }
    }

    #[test]
    fn the_same_size_is_a_copy() {
        let image = picture(7, 9, 3, 0x9e37_79b9_7f4a_7c15);
        for kernel in [Kernel::Bilinear, Kernel::Bicubic] {
            assert_eq!(antialias(&image, 7, 9, kernel).unwrap(), image);
        }
    }

    /// By hand: 4 pixels to 2. The triangle is 2 pixels to each side; its weights at distances 1/2 and
    /// 3/2 are 3/4 and 1/4, and the one beyond the edge is missing.
    #[test]
    fn halving_by_hand() {
        let image = Image::new(1, 4, 1, vec![0, 70, 140, 210]).unwrap();
        let got = antialias(&image, 1, 2, Kernel::Bilinear).unwrap();
        // (0 · 3 + 70 · 3 + 140 · 1) / 7 = 50, and its mirror image.
        assert_eq!(got.values(), [50, 160]);
    }

    /// What Pillow 13 makes of the same picture, by checksum.
    #[test]
    fn the_bytes_are_pillows() {
        let value = |i: usize| {
            let (row, col, channel) = (i / 33, i / 3 % 11, i % 3);
            ((row * 37 + col * 59 + channel * 101 + row * col * 11) % 256) as u8
        };
        let image = Image::new(7, 11, 3, (0..7 * 11 * 3).map(value).collect()).unwrap();
        for (kernel, rows, cols, expected) in [
            (Kernel::Bilinear, 4, 5, 2_054_970_406),
            (Kernel::Bilinear, 13, 17, 1_105_243_104),
            (Kernel::Bilinear, 7, 3, 1_681_503_731),
            (Kernel::Bilinear, 20, 11, 3_357_563_267),
            // Rows first.
            (Kernel::Bilinear, 3, 13, 3_893_499_851),
            (Kernel::Bilinear, 5, 11, 2_958_566_144),
            (Kernel::Bilinear, 2, 10, 2_471_250_654),
            (Kernel::Bicubic, 3, 13, 1_338_594_510),
            (Kernel::Bicubic, 5, 11, 2_645_449_679),
            (Kernel::Bicubic, 2, 10, 1_110_983_670),
            // Columns first.
            (Kernel::Bicubic, 4, 5, 220_902_600),
            (Kernel::Bicubic, 13, 17, 1_227_899_852),
            (Kernel::Bicubic, 7, 3, 3_200_534_379),
            (Kernel::Bicubic, 20, 11, 932_387_885),
        ] {
            let mut sum = flate2::Crc::new();
            sum.update(antialias(&image, rows, cols, kernel).unwrap().values());
            assert_eq!(sum.sum(), expected, "{kernel} to {rows} x {cols}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let image = Image::filled(3, 3, 1, 0).unwrap();
        let none = antialias(&image, 0, 3, Kernel::Bicubic);
        assert!(matches!(none, Err(Error::NoPixels { .. })));
        let beyond = antialias_part(&image, [4, 4], [1, 1], [4, usize::MAX], Kernel::Bilinear);
        assert!(matches!(beyond, Err(Error::Crop { .. })));
    }
}
