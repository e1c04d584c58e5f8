//! The gradients of pooling.
//!
//! Each row of the input collects from the windows that cover it, row by row and column by column,
//! so every cell is summed by one task in one order. Where only the first of tied maxima gets the
//! gradient, a pass over the windows finds it before.

use striate_tensor::ops::{Pool2d, Ties};
use striate_tensor::{Error, Operand, Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements of the input that one task looks at.
const PART_ELEMS: usize = 1 << 15;
/// The place of the first maximum in a window that has none: one with NaN.
const NOWHERE: u32 = u32::MAX;

/// The gradient of max pooling: operands `x`, `y` and `dy`.
pub(crate) fn max_pool2d_grad(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, y) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    match op.ties {
        Ties::All => grad(cx, op, Share::Maxima(x.slice(), y.slice()), &inputs[2], output),
        Ties::First => {
            let places = first_maxima(cx, op, x.slice(), y.slice(), inputs[1].ty, output)?;
            grad(cx, op, Share::First(places.slice()), &inputs[2], output)
        }
    }
}

/// The gradient of average pooling: operand `dy`.
pub(crate) fn avg_pool2d_grad(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    grad(cx, op, Share::Mean, &inputs[0], output)
}

/// Which cells of a window share its gradient.
#[derive(Clone, Copy)]
enum Share<'a> {
    /// Those of `x` that equal `y`.
    Maxima(&'a [f32], &'a [f32]),
    /// The one at this place of the window, clipped to the image, row by row.
    First(&'a [u32]),
    /// Each gets its part.
    Mean,
}

/// Where in each window of `y` its first maximum is, of the shape of `y`: see [`Share::First`].
fn first_maxima(
    cx: &Context,
    op: &Pool2d,
    x: &[f32],
    y: &[f32],
    y_ty: &TensorType,
    x_ty: &TensorType,
) -> Result<Memory> {
    let [_, rows, cols, channels] = x_ty.shape.nhwc("pool2d_grad", "x")?;
    let [_, out_rows, out_cols, _] = y_ty.shape.nhwc("pool2d_grad", "y")?;
    if rows.saturating_mul(cols) >= NOWHERE as usize {
        let expected = format!("ties among all for images of {NOWHERE} cells or more");
        return Err(Error::parameter("max_pool2d_grad", "ties", expected, op.ties));
    }
    let mut places = cx.pool.take(4 * y_ty.count())?;
    let (line, image) = (out_cols * channels, rows * cols * channels);
    if line > 0 {
        let part = PART_ELEMS.div_ceil(line) * line;
        cx.threads.for_each_part(places.slice_mut::<u32>(), part, |index, places| {
            for (at, places) in (index * part / line..).zip(places.chunks_exact_mut(line)) {
                cx.level.run(FirstMaxima {
                    x: &x[at / out_rows * image..][..image],
                    y: &y[at * line..][..line],
                    down: op.window(0, at % out_rows, rows),
                    cols,
                    channels,
                    op,
                    places,
                });
            }
        });
    }
    Ok(places)
}

/// Finds the first maximum of each window of a row of them.
struct FirstMaxima<'a> {
    /// `[rows, cols, channels]`
    x: &'a [f32],
    /// `[out cols, channels]`
    y: &'a [f32],
    /// The rows that the windows cover.
    down: std::ops::Range<usize>,
    cols: usize,
    channels: usize,
    op: &'a Pool2d,
    /// `[out cols, channels]`
    places: &'a mut [u32],
}

impl Kernel for FirstMaxima<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let FirstMaxima { x, y, down, cols, channels, op, places } = self;
        let windows = places.chunks_exact_mut(channels).zip(y.chunks_exact(channels));
        for (out, (places, y)) in windows.enumerate() {
            let across = op.window(1, out, cols);
            places.fill(NOWHERE);
            // From the last to the first: the one that is written last stays.
            for row in down.clone().rev() {
                for col in across.clone().rev() {
                    let place = (row - down.start) * across.len() + (col - across.start);
                    let x = &x[(row * cols + col) * channels..][..channels];
                    for ((to, x), y) in places.iter_mut().zip(x).zip(y) {
                        *to = if x == y { place as u32 } else { *to };
                    }
                }
            }
        }
    }
}

/// The gradient of the pooling whose windows hand theirs out like this.
fn grad(
    cx: &Context,
    op: &Pool2d,
    share: Share<'_>,
    dy: &Operand<'_>,
    output: &TensorType,
) -> Result<Memory> {
    let [_, rows, cols, channels] = output.shape.nhwc("pool2d_grad", "dx")?;
    let [_, out_rows, out_cols, _] = dy.ty.shape.nhwc("pool2d_grad", "dy")?;
    let dy = cx.widen(dy)?;
    let dy = dy.slice();
    let mut dx = cx.pool.take(4 * output.count())?;
    let line = cols * channels;
    if line > 0 {
        let part = PART_ELEMS.div_ceil(line) * line;
        cx.threads.for_each_part(dx.slice_mut::<f32>(), part, |index, dx| {
            for (at, dx) in (index * part / line..).zip(dx.chunks_exact_mut(line)) {
                let (n, row) = (at / rows, at % rows);
                dx.fill(0.0);
                for out_row in covering(op, 0, row, out_rows) {
                    let line = out_cols * channels;
                    let window = (n * out_rows + out_row) * line;
                    let share = match share {
                        Share::Maxima(x, y) => Share::Maxima(&x[at * dx.len()..], &y[window..]),
                        Share::First(places) => Share::First(&places[window..]),
                        Share::Mean => Share::Mean,
                    };
                    cx.level.run(Row {
                        share,
                        dy: &dy[window..window + line],
                        channels,
                        op,
                        cols,
                        below: row - op.window(0, out_row, rows).start,
                        counted: op.counted(0, out_row, rows),
                        dx,
                    });
                }
            }
        });
    }
    cx.narrow(dx, output)
}

/// The windows along an axis that cover cell `at`.
fn covering(op: &Pool2d, axis: usize, at: usize, windows: usize) -> std::ops::Range<usize> {
    let (size, stride) = (op.size[axis], op.stride[axis]);
    let at = at + op.padding[axis][0];
    let first = (at + 1).saturating_sub(size).div_ceil(stride);
    first..(at / stride + 1).min(windows)
}

/// What a row of windows gives a row of cells.
struct Row<'a> {
    /// From the row of cells on, and from that of windows on.
    share: Share<'a>,
    dy: &'a [f32],
    channels: usize,
    op: &'a Pool2d,
    cols: usize,
    /// Rows of the windows above that of the cells.
    below: usize,
    /// Rows that a mean counts.
    counted: usize,
    dx: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Row { share, dy, channels, op, cols, below, counted, dx } = self;
        for (window, dy) in dy.chunks_exact(channels).enumerate() {
            let across = op.window(1, window, cols);
            let cells = across.start * channels..across.end * channels;
            let dx = dx[cells.clone()].chunks_exact_mut(channels);
            match share {
                Share::Maxima(x, y) => {
                    let y = &y[window * channels..][..channels];
                    for (dx, x) in dx.zip(x[cells].chunks_exact(channels)) {
                        let cell = dx.iter_mut().zip(x).zip(y).zip(dy);
                        cell.for_each(|(((dx, x), y), dy)| *dx += if x == y { *dy } else { 0.0 });
                    }
                }
                Share::First(places) => {
                    let places = &places[window * channels..][..channels];
                    for (dx, place) in dx.zip(below * across.len()..) {
                        let cell = dx.iter_mut().zip(places).zip(dy);
                        cell.for_each(|((dx, &first), dy)| {
                            *dx += if first == place as u32 { *dy } else { 0.0 };
                        });
                    }
                }
                Share::Mean => {
                    let count = (counted * op.counted(1, window, cols)) as f32;
                    for dx in dx {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy / count);
                    }
                }
            }
        }
    }
}
