//! Images of another size or with a border, and the gradients: weighted sums over rows, then over cols.

mod wide;
mod windows;

use striate_tensor::ops::Taps;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};
use wide::Wide;
use windows::Windows;

/// Products that one task makes.
const PART_PRODUCTS: usize = 1 << 17;
/// Rows that are kept with their cols summed, at most.
const MOST_HELD: usize = 8;
/// Floats of them, at most: half of a first-level cache.
const NEAR_FLOATS: usize = 4096;

/// Taps as the kernel reads them.
struct Own {
    starts: Vec<usize>,
    cells: Vec<u32>,
    weights: Vec<f32>,
}

impl Own {
    fn new(taps: &Taps) -> Self {
        let weights = taps.weights().iter().map(|&weight| weight as f32).collect();
        Own { starts: taps.starts().to_vec(), cells: taps.cells().to_vec(), weights }
    }

    fn of(&self, output: usize) -> (&[u32], &[f32]) {
        let range = self.starts[output]..self.starts[output + 1];
        (&self.cells[range.clone()], &self.weights[range])
    }

    /// Inputs from the first to the last that an output has, at most, and no fewer than it has.
    fn most_apart(&self) -> usize {
        let outputs = 0..self.starts.len().saturating_sub(1);
        let apart = outputs.filter_map(|output| {
            let (cells, _) = self.of(output);
            let apart = cells.iter().max()? - cells.iter().min()?;
            Some((apart as usize + 1).max(cells.len()))
        });
        apart.max().unwrap_or(1)
    }

    /// How many inputs an output has, on average, rounded up.
    fn mean(&self) -> usize {
        self.cells.len().div_ceil(self.starts.len().max(2) - 1).max(1)
    }
}

/// An op that makes each pixel of the sums that `taps` says for an axis (0 rows, 1 cols) of so many pixels.
pub(crate) fn forward(
    cx: &Context,
    taps: impl Fn(usize, usize) -> Taps,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, rows, cols, _] = inputs[0].ty.shape.nhwc("resample", "x")?;
    resample(cx, [&taps(0, rows), &taps(1, cols)], inputs, output)
}

/// The gradient of such an op.
pub(crate) fn gradient(
    cx: &Context,
    taps: impl Fn(usize, usize) -> Taps,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, rows, cols, _] = output.shape.nhwc("resample", "x")?;
    let [of_rows, of_cols] = [taps(0, rows).transposed(rows), taps(1, cols).transposed(cols)];
    resample(cx, [&of_rows, &of_cols], inputs, output)
}

/// `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]` by these sums over rows and cols.
fn resample(
    cx: &Context,
    [rows, cols]: [&Taps; 2],
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, in_rows, in_cols, channels] = inputs[0].ty.shape.nhwc("resample", "x")?;
    let [_, out_rows, out_cols, _] = output.shape.nhwc("resample", "y")?;
    let x = cx.widen(&inputs[0])?;
    let x = x.slice();
    let mut y = cx.pool.take(4 * output.count())?;
    let (line, image) = (out_cols * channels, in_rows * in_cols * channels);
    if line > 0 && image > 0 {
        let (rows, cols) =
            (Own::new(rows), Cols::new(cx, Own::new(cols), [in_cols, out_cols], channels));
        let products = line
            .saturating_mul(cols.taps.mean())
            .saturating_add((in_cols * channels).saturating_mul(rows.mean()));
        let part = PART_PRODUCTS.div_ceil(products);
        let most = rows.most_apart();
        // Rows that several outputs see have their cols summed once for all, where they stay in the first-level
        // cache meanwhile.
        let is_seen_often = 2 * out_rows >= 3 * in_rows;
        let cols_first = is_seen_often && most <= MOST_HELD && most * line <= NEAR_FLOATS;
        cx.threads.try_for_each_part(y.slice_mut::<f32>(), part * line, |index, y| {
            let floats = if cols_first { most * line } else { in_cols * channels };
            let mut lines = cx.pool.take(4 * floats)?;
            let mut held = vec![None; if cols_first { most } else { 0 }];
            for (row, y) in (index * part..).zip(y.chunks_exact_mut(line)) {
                let of = row / out_rows;
                let x = &x[of * image..][..image];
                let (rows, cols, lines) = (rows.of(row % out_rows), &cols, lines.slice_mut());
                match cols_first {
                    false => cx.level.run(RowsFirst { x, rows, cols, sum: lines, y }),
                    true => {
                        let held = held.as_mut_slice();
                        cx.level.run(ColsFirst { x, of, rows, cols, held, lines, y });
                    }
                }
            }
            Ok(())
        })?;
    }
    cx.narrow(y, output)
}

/// How a row of the output is made of one of the input's width.
struct Cols {
    taps: Own,
    channels: usize,
    /// Floats of a row of the input.
    line: usize,
    windows: Option<Windows>,
    wide: Option<Wide>,
}

impl Cols {
    fn new(cx: &Context, taps: Own, pixels: [usize; 2], channels: usize) -> Self {
        let lanes = cx.level.lanes();
        let windows = match cx.level.permutes() {
            true => Windows::new(&taps, pixels, channels, lanes),
            false => None,
        };
        let (wide, line) = (Wide::new(&taps, pixels, channels, lanes), pixels[0] * channels);
        Cols { windows, wide, taps, channels, line }
    }

    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, y: &mut [f32], line: &[f32]) {
        let Cols { taps, channels, .. } = self;
        if let Some(windows) = &self.windows {
            return windows.row(simd, y, line, taps, *channels);
        }
        if let Some(wide) = &self.wide {
            return wide.row(simd, y, line, taps);
        }
        match *channels {
            1 => few::<1>(y, line, taps),
            2 => few::<2>(y, line, taps),
            3 => few::<3>(y, line, taps),
            4 => few::<4>(y, line, taps),
            channels => {
                for (out, y) in y.chunks_exact_mut(channels).enumerate() {
                    combine(y, line, taps.of(out));
                }
            }
        }
    }
}

/// A row of the output: the sum of rows, then of its cols.
struct RowsFirst<'a> {
    /// `[rows, cols, channels]`
    x: &'a [f32],
    /// The rows that it is made of.
    rows: (&'a [u32], &'a [f32]),
    cols: &'a Cols,
    /// `[cols, channels]`, for their sum.
    sum: &'a mut [f32],
    /// `[out cols, channels]`
    y: &'a mut [f32],
}

impl Kernel for RowsFirst<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsFirst { x, rows, cols, sum, y } = self;
        let pitch = sum.len();
        let line = match rows {
            // A row that is one of the image's is read in place.
            (&[row], &[1.0]) => &x[row as usize * pitch..][..pitch],
            _ => {
                combine(sum, x, rows);
                sum
            }
        };
        cols.row(simd, y, line);
    }
}

/// A row of the output: the sum of rows whose cols are summed.
struct ColsFirst<'a> {
    /// `[rows, cols, channels]`, of the image `of`.
    x: &'a [f32],
    of: usize,
    /// The rows that it is made of.
    rows: (&'a [u32], &'a [f32]),
    cols: &'a Cols,
    /// The image and row of each of the lines.
    held: &'a mut [Option<(usize, u32)>],
    /// `[held, out cols, channels]`
    lines: &'a mut [f32],
    /// `[out cols, channels]`
    y: &'a mut [f32],
}

impl Kernel for ColsFirst<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ColsFirst { x, of, rows: (cells, weights), cols, held, lines, y } = self;
        let (line, pitch) = (y.len(), cols.line);
        let mut places = [0; MOST_HELD];
        for (&cell, place) in cells.iter().zip(&mut places) {
            let at = cell as usize % held.len();
            *place = at as u32;
            if held[at] != Some((of, cell)) {
                let from = &x[cell as usize * pitch..][..pitch];
                cols.row(simd, &mut lines[at * line..][..line], from);
                held[at] = Some((of, cell));
            }
        }
        combine(y, lines, (&places[..cells.len()], weights));
    }
}

/// [`combine`] for each pixel of a row, where the pixels are so small that their sums stay in registers.
#[inline(always)]
fn few<const CHANNELS: usize>(y: &mut [f32], line: &[f32], cols: &Own) {
    let line = line.as_chunks::<CHANNELS>().0;
    for (out, y) in y.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
        let (cells, weights) = cols.of(out);
        if let (&[cell], &[1.0]) = (cells, weights) {
            *y = line[cell as usize];
            continue;
        }
        let mut sums = [nothing(cells.len()); CHANNELS];
        for (&cell, &by) in cells.iter().zip(weights) {
            let x = &line[cell as usize];
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += by * x;
            }
        }
        *y = sums;
    }
}

/// What so many products are added to. To -0 a product is added without a change; [`combine`] adds other
/// numbers of them to 0.
#[inline(always)]
fn nothing(products: usize) -> f32 {
    if matches!(products, 1 | 2 | 4) { -0.0 } else { 0.0 }
}

/// `to = Σ weight · line`, over lines of the length of `to`, in their order.
#[inline(always)]
fn combine(to: &mut [f32], from: &[f32], (cells, weights): (&[u32], &[f32])) {
    let len = to.len();
    let line = |cell: u32| &from[cell as usize * len..][..len];
    match (cells, weights) {
        (&[a], &[1.0]) => to.copy_from_slice(line(a)),
        (&[a], &[by_a]) => to.iter_mut().zip(line(a)).for_each(|(to, a)| *to = by_a * a),
        (&[a, b], &[by_a, by_b]) => {
            for ((to, a), b) in to.iter_mut().zip(line(a)).zip(line(b)) {
                *to = by_a * a + by_b * b;
            }
        }
        (&[a, b, c, d], &[by_a, by_b, by_c, by_d]) => {
            let (first, second) = (line(a).iter().zip(line(b)), line(c).iter().zip(line(d)));
            for (to, ((a, b), (c, d))) in to.iter_mut().zip(first.zip(second)) {
                *to = ((by_a * a + by_b * b) + by_c * c) + by_d * d;
            }
        }
        _ => {
            to.fill(0.0);
            for (&cell, by) in cells.iter().zip(weights) {
                for (to, x) in to.iter_mut().zip(line(cell)) {
                    *to += by * x;
                }
            }
        }
    }
}
