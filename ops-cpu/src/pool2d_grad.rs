//! The gradients of pooling.
//!
//! Each cell of the input collects from the windows that cover it, row by row and column by column,
//! so it is summed by one task in one order, in a register. Where only the first of tied maxima gets the
//! gradient, a pass over the windows finds it before.

use std::ops::Range;

use striate_tensor::ops::{Pool2d, Ties};
use striate_tensor::{Error, Operand, Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements of the input that one task looks at.
const PART_ELEMS: usize = 1 << 15;
/// The place of the first maximum in a window that has none: one with NaN.
const NOWHERE: f32 = -1.0;
/// Places in a window below this are themselves as f32.
const PLACES: usize = 1 << 24;

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
    First(&'a [f32]),
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
    if op.size[0].min(rows).saturating_mul(op.size[1].min(cols)) > PLACES {
        let expected = format!("ties among all for windows of more than {PLACES} cells");
        return Err(Error::parameter("max_pool2d_grad", "ties", expected, op.ties));
    }
    let mut places = cx.pool.take(4 * y_ty.count())?;
    let (line, image) = (out_cols * channels, rows * cols * channels);
    if line > 0 {
        let part = PART_ELEMS.div_ceil(line) * line;
        cx.threads.for_each_part(places.slice_mut::<f32>(), part, |index, places| {
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
    down: Range<usize>,
    cols: usize,
    channels: usize,
    op: &'a Pool2d,
    /// `[out cols, channels]`
    places: &'a mut [f32],
}

impl Kernel for FirstMaxima<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let FirstMaxima { x, y, down, cols, channels, op, places } = self;
        assert!(places.len() == y.len() && x.len() >= down.end * cols * channels);
        for out in 0..places.len() / channels {
            let across = op.window(1, out, cols);
            assert!(across.end <= cols);
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (out * channels + c, S::LANES.min(channels - c));
                // SAFETY: `count` of the channels of a window, or of a cell that it covers, as asserted.
                unsafe {
                    let y = simd.load_part(y.as_ptr().add(at), count);
                    let mut first = simd.splat(NOWHERE);
                    let mut place = down.len() * across.len();
                    // From the last to the first: the one that is found last stays.
                    for row in down.clone().rev() {
                        for col in across.clone().rev() {
                            place -= 1;
                            let from = x.as_ptr().add((row * cols + col) * channels + c);
                            let x = simd.load_part(from, count);
                            first = simd.select_equal(x, y, simd.splat(place as f32), first);
                        }
                    }
                    simd.store_part(places.as_mut_ptr().add(at), first, count);
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
    let mut dx = cx.pool.take(4 * output.count())?;
    let line = cols * channels;
    if line > 0 {
        let part = PART_ELEMS.div_ceil(line) * line;
        let axes = [Axis::new(op, 0, rows, out_rows), Axis::new(op, 1, cols, out_cols)];
        let windows = out_rows * out_cols * channels;
        cx.threads.for_each_part(dx.slice_mut::<f32>(), part, |index, dx| {
            for (at, dx) in (index * part / line..).zip(dx.chunks_exact_mut(line)) {
                let (n, row) = (at / rows, at % rows);
                let image = n * windows..(n + 1) * windows;
                let share = match share {
                    Share::Maxima(x, y) => {
                        Share::Maxima(&x[at * line..][..line], &y[image.clone()])
                    }
                    Share::First(places) => Share::First(&places[image.clone()]),
                    Share::Mean => Share::Mean,
                };
                let dy = &dy.slice()[image];
                cx.level.run(Row { share, dy, axes: &axes, channels, row, dx });
            }
        });
    }
    cx.narrow(dx, output)
}

/// Windows and cells along an axis.
struct Axis {
    /// For each cell the windows that cover it.
    covering: Vec<Range<usize>>,
    /// For each window the cells that it covers, and how many a mean counts.
    windows: Vec<(Range<usize>, usize)>,
}

impl Axis {
    fn new(op: &Pool2d, axis: usize, cells: usize, windows: usize) -> Self {
        let (size, stride) = (op.size[axis], op.stride[axis]);
        let covering = |at: usize| {
            let at = at + op.padding[axis][0];
            let first = (at + 1).saturating_sub(size).div_ceil(stride);
            first..(at / stride + 1).min(windows)
        };
        let window = |at| (op.window(axis, at, cells), op.counted(axis, at, cells));
        let (covering, windows) = ((0..cells).map(covering), (0..windows).map(window));
        Axis { covering: covering.collect(), windows: windows.collect() }
    }
}

/// A row of cells, and the windows of its image.
struct Row<'a> {
    /// From the row of cells on; and from the first window of the image on.
    share: Share<'a>,
    dy: &'a [f32],
    /// Rows and cols.
    axes: &'a [Axis; 2],
    channels: usize,
    row: usize,
    dx: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { share, dy, axes: [rows, cols], channels, row, dx } = self;
        let (down, out_cols) = (&rows.covering[row], cols.windows.len());
        let all = rows.windows.len() * out_cols * channels;
        let fits = match share {
            Share::Maxima(x, y) => x.len() == dx.len() && y.len() == all,
            Share::First(places) => places.len() == all,
            Share::Mean => true,
        };
        assert!(fits && dy.len() == all && down.end <= rows.windows.len());
        assert!(dx.len() == cols.covering.len() * channels);
        for (col, across) in cols.covering.iter().enumerate() {
            assert!(across.end <= out_cols);
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (col * channels + c, S::LANES.min(channels - c));
                // SAFETY: `count` of the channels of the cell, or of a window that covers it, as asserted.
                unsafe {
                    let x = match share {
                        Share::Maxima(x, _) => simd.load_part(x.as_ptr().add(at), count),
                        Share::First(_) | Share::Mean => simd.splat(0.0),
                    };
                    let zero = simd.splat(0.0);
                    let mut sum = zero;
                    for out_row in down.clone() {
                        let (above, counted_rows) = &rows.windows[out_row];
                        for out_col in across.clone() {
                            let (left, counted_cols) = &cols.windows[out_col];
                            let from = (out_row * out_cols + out_col) * channels + c;
                            let dy = simd.load_part(dy.as_ptr().add(from), count);
                            let part = match share {
                                Share::Maxima(_, y) => {
                                    let y = simd.load_part(y.as_ptr().add(from), count);
                                    simd.select_equal(x, y, dy, zero)
                                }
                                Share::First(places) => {
                                    let place =
                                        (row - above.start) * left.len() + (col - left.start);
                                    let first = simd.load_part(places.as_ptr().add(from), count);
                                    simd.select_equal(first, simd.splat(place as f32), dy, zero)
                                }
                                Share::Mean => match counted_rows * counted_cols {
                                    // The same number, sooner.
                                    of if of.is_power_of_two() => {
                                        simd.mul(dy, simd.splat(1.0 / of as f32))
                                    }
                                    of => simd.div(dy, simd.splat(of as f32)),
                                },
                            };
                            sum = simd.add(sum, part);
                        }
                    }
                    simd.store_part(dx.as_mut_ptr().add(at), sum, count);
                }
            }
        }
    }
}
