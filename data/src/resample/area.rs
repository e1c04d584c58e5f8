//! Area resampling: each target cell is the average of the source cells under it.

use crate::{Error, FloatImage, Image, Result};

/// Parts of a source cell smaller than this, at the right and bottom edge of a target cell, are
/// left out, as in ccv. They are not made up for elsewhere, so a picture may come out darker by as
/// much.
const SMALLEST_PART: f64 = 1e-3;

/// Rows of bytes whose sum is sure to fit 16 bits: 257 * 255 = 65535.
const ROWS_IN_U16: usize = 257;

/// The source cells under one target cell along one axis: a part of cell `first - 1`, all of
/// `first..end`, and a part of cell `end`.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Weight of the cell before `first`, 0 when there is none.
    before: f32,
    first: usize,
    end: usize,
    /// Weight of the cell at `end`, 0 when there is none.
    after: f32,
}

/// Shrinks an 8-bit picture to `rows` x `cols` by box averages in floating point: every source
/// cell counts with the part of it that lies inside the target cell. The result is neither rounded
/// nor cut off (as in ccv for a float result).
///
/// An axis that does not shrink works too: each target cell lies in one or two source cells.
///
/// # Errors
/// [`Error::NoPixels`] when the target is empty.
pub fn area(image: &Image, rows: usize, cols: usize) -> Result<FloatImage> {
    if rows == 0 || cols == 0 {
        return Err(Error::NoPixels { name: "area resampling".to_owned(), rows, cols });
    }
    if rows == image.rows() && cols == image.cols() {
        return Ok(image.to_float());
    }
    let channels = image.channels();
    let row_spans = spans(image.rows(), rows);
    let col_spans = spans(image.cols(), cols);
    let cell_area = (image.rows() as f64 / rows as f64) * (image.cols() as f64 / cols as f64);
    let scale = (1.0 / cell_area) as f32;

    let width = image.cols() * channels;
    let mut sums = vec![0f32; width];
    let mut integers = vec![0u16; width];
    let mut values = vec![0f32; rows * cols * channels];
    // Down the rows first: that is where the work is, and it runs over whole contiguous rows.
    for (span, target) in row_spans.iter().zip(values.chunks_exact_mut(cols * channels)) {
        sum_rows(image, span, &mut sums, &mut integers);
        // A fixed channel count lets the compiler keep a pixel in registers.
        match channels {
            1 => sum_cols::<1>(&sums, &col_spans, scale, target),
            3 => sum_cols::<3>(&sums, &col_spans, scale, target),
            _ => sum_cols_of(&sums, &col_spans, scale, target, channels),
        }
    }
    Ok(FloatImage::from_parts(rows, cols, channels, values))
}

/// The spans of all `target` cells over a side of `source` cells.
fn spans(source: usize, target: usize) -> Vec<Span> {
    let width = source as f64 / target as f64;
    (0..target)
        .map(|i| {
            let start = i as f64 * width;
            let stop = start + width;
            // An end that lies on a cell's border up to rounding must not open another cell.
            let first = ((start - 1e-6).ceil().max(0.0) as usize).min(source - 1);
            let end = (stop as usize).min(source - 1);
            // A target cell inside one source cell has only that part, whatever its left edge.
            let before = if first > end { 0.0 } else { (first as f64 - start).max(0.0) };
            let after = stop - start.max(end as f64);
            Span {
                before: before as f32,
                first: first.min(end),
                end,
                after: if after > SMALLEST_PART { after as f32 } else { 0.0 },
            }
        })
        .collect()
}

/// Sums the rows of a span, weighted, into `sums` (`[cols * channels]`). Whole rows are summed as
/// integers: four times as many fit a vector register, and nothing is rounded.
fn sum_rows(image: &Image, span: &Span, sums: &mut [f32], integers: &mut [u16]) {
    sums.fill(0.0);
    if span.before > 0.0 {
        add_weighted(image.row(span.first - 1), span.before, sums);
    }
    let mut first = span.first;
    while first < span.end {
        let end = span.end.min(first + ROWS_IN_U16);
        integers.fill(0);
        for row in first..end {
            for (sum, &value) in integers.iter_mut().zip(image.row(row)) {
                *sum += u16::from(value);
            }
        }
        for (sum, &integer) in sums.iter_mut().zip(integers.iter()) {
            *sum += f32::from(integer);
        }
        first = end;
    }
    if span.after > 0.0 {
        add_weighted(image.row(span.end), span.after, sums);
    }
}

fn add_weighted(row: &[u8], weight: f32, sums: &mut [f32]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += weight * f32::from(value);
    }
}

/// Sums the columns of every span of one row of sums into the target row.
fn sum_cols<const CHANNELS: usize>(
    sums: &[f32],
    col_spans: &[Span],
    scale: f32,
    target: &mut [f32],
) {
    let (pixels, _) = sums.as_chunks::<CHANNELS>();
    let (cells, _) = target.as_chunks_mut::<CHANNELS>();
    for (span, cell) in col_spans.iter().zip(cells) {
        let mut total = [0f32; CHANNELS];
        if span.before > 0.0 {
            for (t, v) in total.iter_mut().zip(pixels[span.first - 1]) {
                *t += span.before * v;
            }
        }
        for pixel in &pixels[span.first..span.end] {
            for (t, v) in total.iter_mut().zip(pixel) {
                *t += v;
            }
        }
        if span.after > 0.0 {
            for (t, v) in total.iter_mut().zip(pixels[span.end]) {
                *t += span.after * v;
            }
        }
        *cell = total.map(|t| t * scale);
    }
}

/// As [`sum_cols`], for any number of channels.
fn sum_cols_of(sums: &[f32], col_spans: &[Span], scale: f32, target: &mut [f32], channels: usize) {
    for (span, cell) in col_spans.iter().zip(target.chunks_exact_mut(channels)) {
        for (channel, value) in cell.iter_mut().enumerate() {
            let at = |col: usize| sums[col * channels + channel];
            let mut total = 0.0;
            if span.before > 0.0 {
                total += span.before * at(span.first - 1);
            }
            total += (span.first..span.end).map(at).sum::<f32>();
            if span.after > 0.0 {
                total += span.after * at(span.end);
            }
            *value = total * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in double precision and without spans: overlap of intervals.
    fn reference(image: &Image, rows: usize, cols: usize) -> Vec<f64> {
        let height = image.rows() as f64 / rows as f64;
        let width = image.cols() as f64 / cols as f64;
        let overlap = |target: usize, size: f64, source: usize| {
            let start = (target as f64 * size).max(source as f64);
            let stop = ((target + 1) as f64 * size).min((source + 1) as f64);
            let part = (stop - start).max(0.0);
            let at_the_end = (source as f64) > target as f64 * size;
            if at_the_end && part <= SMALLEST_PART { 0.0 } else { part }
        };
        let mut values = Vec::new();
        for row in 0..rows {
            for col in 0..cols {
                for channel in 0..image.channels() {
                    let mut sum = 0.0;
                    for y in 0..image.rows() {
                        let part = overlap(row, height, y);
                        for x in 0..image.cols() {
                            let at = (y * image.cols() + x) * image.channels() + channel;
                            sum += part * overlap(col, width, x) * f64::from(image.values()[at]);
                        }
                    }
                    values.push(sum / (height * width));
                }
            }
        }
        values
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            rows in 1usize..24, cols in 1usize..24, channels in 1usize..5,
            to_rows in 1usize..24, to_cols in 1usize..24, seed in any::<u64>(),
        ) {
            let values = (0..rows * cols * channels)
                .map(|i| (seed.wrapping_mul(2 * i as u64 + 1) >> 56) as u8)
                .collect();
            let image = Image::new(rows, cols, channels, values).unwrap();
            let got = area(&image, to_rows, to_cols).unwrap();
            for (got, want) in got.values().iter().zip(reference(&image, to_rows, to_cols)) {
                prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
            }
        }

        #[test]
        fn a_constant_picture_stays_constant(
            rows in 1usize..300, cols in 1usize..300,
            to_rows in 1usize..64, to_cols in 1usize..64, value in any::<u8>(),
        ) {
            let image = Image::filled(rows, cols, 3, value).unwrap();
            let wanted = f32::from(value);
            for &got in area(&image, to_rows, to_cols).unwrap().values() {
                // Two edges, each short of at most a thousandth of a cell.
                let width = (rows as f32 / to_rows as f32).min(cols as f32 / to_cols as f32);
                prop_assert!((got - wanted).abs() <= wanted * (2.1e-3 / width) + 1e-3);
            }
        }
    }

    #[test]
    fn tall_spans_do_not_overflow() {
        let image = Image::filled(3000, 2, 1, 255).unwrap();
        assert_eq!(area(&image, 1, 1).unwrap().values(), [255.0]);
    }

    #[test]
    fn halving_averages_four() {
        let image = Image::new(2, 4, 1, vec![0, 10, 20, 30, 2, 12, 22, 32]).unwrap();
        assert_eq!(area(&image, 1, 2).unwrap().values(), [6.0, 26.0]);
    }

    #[test]
    fn an_empty_target_is_refused() {
        let image = Image::filled(3, 3, 1, 0).unwrap();
        assert!(matches!(area(&image, 0, 1), Err(Error::NoPixels { .. })));
    }
}
