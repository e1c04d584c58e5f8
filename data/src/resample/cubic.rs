//! Cubic resampling with ccv's kernel and its treatment of the edges.

use crate::{Error, FloatImage, Result};

/// The kernel's free coefficient, the slope at distance 1.
const A: f64 = -0.75;

/// The four source cells (clamped to the picture) and weights of one target cell along one axis.
#[derive(Clone, Copy, Debug)]
struct Taps {
    cells: [usize; 4],
    weights: [f32; 4],
}

/// Resamples to `rows` x `cols` as ccv does: target cell `i` lies at source position
/// `(i + 0.5) * source / target - 0.5`, computed in single precision; the base cell is that position
/// cut towards zero (not floored, so the first cells extrapolate from cell 0 with a
/// negative fraction); cells outside are those at the edge. Columns are resampled first, then rows.
/// Overshoot is kept: values may lie outside the source's range. It is a copy when no size changes.
///
/// # Errors
/// [`Error::NoPixels`] when the target is empty.
pub fn cubic(image: &FloatImage, rows: usize, cols: usize) -> Result<FloatImage> {
    if rows == 0 || cols == 0 {
        return Err(Error::NoPixels { name: "cubic resampling".to_owned(), rows, cols });
    }
    if rows == image.rows() && cols == image.cols() {
        return Ok(image.clone());
    }
    let channels = image.channels();
    let col_taps = taps(image.cols(), cols);
    let row_taps = taps(image.rows(), rows);

    let width = cols * channels;
    let mut wide = vec![0f32; image.rows() * width];
    for (row, target) in wide.chunks_exact_mut(width).enumerate() {
        match channels {
            1 => across::<1>(image.row(row), &col_taps, target),
            3 => across::<3>(image.row(row), &col_taps, target),
            _ => across_of(image.row(row), &col_taps, target, channels),
        }
    }
    let mut values = vec![0f32; rows * width];
    for (taps, target) in row_taps.iter().zip(values.chunks_exact_mut(width)) {
        let [a, b, c, d] = taps.cells.map(|row| &wide[row * width..(row + 1) * width]);
        let [wa, wb, wc, wd] = taps.weights;
        for ((((value, a), b), c), d) in target.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *value = a * wa + b * wb + c * wc + d * wd;
        }
    }
    Ok(FloatImage::from_parts(rows, cols, channels, values))
}

fn taps(source: usize, target: usize) -> Vec<Taps> {
    (0..target)
        .map(|i| {
            let position = position(i, source, target);
            let base = position.trunc();
            let weights = weights(f64::from(position - base));
            let base = base as isize;
            let cell = |offset: isize| (base + offset).clamp(0, source as isize - 1) as usize;
            Taps { cells: [cell(-1), cell(0), cell(1), cell(2)], weights }
        })
        .collect()
}

/// Where target cell `i` lies in the source. In single precision and in this order of operations,
/// because that is what ccv's recorded output has: the exact position is off by up to 3e-3 in a
/// pixel (223 x 324 grown to 257 x 373), this one by 2e-4.
fn position(i: usize, source: usize, target: usize) -> f32 {
    (i as f32 + 0.5) * source as f32 / target as f32 - 0.5
}

/// The weights of the cells at -1, 0, 1 and 2 from the base; the last is what the others leave
/// of 1.
fn weights(fraction: f64) -> [f32; 4] {
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let (w0, w1, w2) = (far(fraction + 1.0), near(fraction), near(1.0 - fraction));
    [w0 as f32, w1 as f32, w2 as f32, (1.0 - w0 - w1 - w2) as f32]
}

/// One row (`[cols, CHANNELS]`) resampled to the target's columns.
fn across<const CHANNELS: usize>(row: &[f32], col_taps: &[Taps], target: &mut [f32]) {
    let (pixels, _) = row.as_chunks::<CHANNELS>();
    let (cells, _) = target.as_chunks_mut::<CHANNELS>();
    for (taps, cell) in col_taps.iter().zip(cells) {
        let [a, b, c, d] = taps.cells.map(|col| pixels[col]);
        let [wa, wb, wc, wd] = taps.weights;
        for channel in 0..CHANNELS {
            cell[channel] = a[channel] * wa + b[channel] * wb + c[channel] * wc + d[channel] * wd;
        }
    }
}

/// As [`across`], for any number of channels.
fn across_of(row: &[f32], col_taps: &[Taps], target: &mut [f32], channels: usize) {
    for (taps, cell) in col_taps.iter().zip(target.chunks_exact_mut(channels)) {
        for (channel, value) in cell.iter_mut().enumerate() {
            *value = taps
                .cells
                .iter()
                .zip(taps.weights)
                .map(|(col, weight)| row[col * channels + channel] * weight)
                .sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition for one cell, in double precision, straight from the kernel's two pieces.
    fn reference(image: &FloatImage, target: [usize; 2], at: [usize; 3]) -> f64 {
        let kernel = |x: f64| {
            let x = x.abs();
            if x <= 1.0 {
                (A + 2.0) * x.powi(3) - (A + 3.0) * x.powi(2) + 1.0
            } else {
                A * x.powi(3) - 5.0 * A * x.powi(2) + 8.0 * A * x - 4.0 * A
            }
        };
        let axis = |i: usize, source: usize, target: usize| {
            let position = f64::from(position(i, source, target));
            let base = position.trunc();
            let mut weights = [-1.0, 0.0, 1.0, 2.0].map(|o| {
                // Before the first cell's centre the pieces are continued, not switched.
                let d = position - base - o;
                if o == -1.0 {
                    let x = d;
                    A * x.powi(3) - 5.0 * A * x.powi(2) + 8.0 * A * x - 4.0 * A
                } else if o == 0.0 {
                    (A + 2.0) * d.powi(3) - (A + 3.0) * d.powi(2) + 1.0
                } else if o == 1.0 {
                    let x = -d;
                    (A + 2.0) * x.powi(3) - (A + 3.0) * x.powi(2) + 1.0
                } else {
                    kernel(d)
                }
            });
            weights[3] = 1.0 - weights[0] - weights[1] - weights[2];
            let cells =
                [-1, 0, 1, 2].map(|o| (base as i64 + o).clamp(0, source as i64 - 1) as usize);
            (cells, weights)
        };
        let (rows, row_weights) = axis(at[0], image.rows(), target[0]);
        let (cols, col_weights) = axis(at[1], image.cols(), target[1]);
        let mut sum = 0.0;
        for (row, row_weight) in rows.iter().zip(row_weights) {
            for (col, col_weight) in cols.iter().zip(col_weights) {
                let index = (row * image.cols() + col) * image.channels() + at[2];
                sum += row_weight * col_weight * f64::from(image.values()[index]);
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            rows in 1usize..16, cols in 1usize..16, channels in 1usize..5,
            to_rows in 1usize..40, to_cols in 1usize..40, seed in any::<u64>(),
        ) {
            let values = (0..rows * cols * channels)
                .map(|i| f32::from((seed.wrapping_mul(2 * i as u64 + 1) >> 56) as u8))
                .collect();
            let image = FloatImage::new(rows, cols, channels, values).unwrap();
            let got = cubic(&image, to_rows, to_cols).unwrap();
            prop_assume!([to_rows, to_cols] != [rows, cols]);
            let mut got = got.values().iter();
            for row in 0..to_rows {
                for col in 0..to_cols {
                    for channel in 0..channels {
                        let want = reference(&image, [to_rows, to_cols], [row, col, channel]);
                        let got = f64::from(*got.next().unwrap());
                        prop_assert!((got - want).abs() < 3e-4, "{got} {want}");
                    }
                }
            }
        }

        #[test]
        fn a_constant_picture_stays_constant(
            rows in 1usize..64, cols in 1usize..64,
            to_rows in 1usize..128, to_cols in 1usize..128, value in 0f32..255.0,
        ) {
            let image = FloatImage::filled(rows, cols, 3, value).unwrap();
            for &got in cubic(&image, to_rows, to_cols).unwrap().values() {
                prop_assert!((got - value).abs() < 2e-4);
            }
        }
    }

    #[test]
    fn the_same_size_is_a_copy() {
        let image = FloatImage::new(2, 2, 1, vec![1.0, f32::NAN, -5.0, 999.0]).unwrap();
        let copy = cubic(&image, 2, 2).unwrap();
        assert_eq!(copy.values()[3], 999.0);
        assert!(copy.values()[1].is_nan());
    }

    #[test]
    fn a_single_cell_fills_everything() {
        let image = FloatImage::filled(1, 1, 1, 42.0).unwrap();
        assert!(cubic(&image, 7, 5).unwrap().values().iter().all(|v| (v - 42.0).abs() < 1e-4));
    }

    #[test]
    fn nonsense_is_refused() {
        let image = FloatImage::filled(3, 3, 1, 0.0).unwrap();
        assert!(matches!(cubic(&image, 0, 3), Err(Error::NoPixels { .. })));
    }
}
