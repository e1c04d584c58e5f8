//! The gradients of pooling.
//!
//! Each row of the input collects from the windows that cover it, row by row and column by column,
//! so every cell is summed by one task in one order.

use striate_tensor::ops::Pool2d;
use striate_tensor::{Operand, Result, TensorType};

use crate::backend::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements of the input that one task looks at.
const PART_ELEMS: usize = 1 << 15;

/// The gradient of max pooling: operands `x`, `y` and `dy`.
pub(crate) fn max_pool2d_grad(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, y) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    grad(cx, op, Some((x.slice(), y.slice())), &inputs[2], output)
}

/// The gradient of average pooling: operand `dy`.
pub(crate) fn avg_pool2d_grad(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    grad(cx, op, None, &inputs[0], output)
}

/// Of max pooling with its `x` and `y`, of average pooling without.
fn grad(
    cx: &Context,
    op: &Pool2d,
    maxima: Option<(&[f32], &[f32])>,
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
                    cx.level.run(Row {
                        maxima: maxima.map(|(x, y)| (&x[at * dx.len()..], &y[window..])),
                        dy: &dy[window..window + line],
                        channels,
                        op,
                        cols,
                        rows: op.window(0, out_row, rows).len(),
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
    let at = at + op.padding[axis];
    let first = (at + 1).saturating_sub(size).div_ceil(stride);
    first..(at / stride + 1).min(windows)
}

/// What a row of windows gives a row of cells.
struct Row<'a> {
    /// The cells and the maxima of the windows, from these rows on.
    maxima: Option<(&'a [f32], &'a [f32])>,
    dy: &'a [f32],
    channels: usize,
    op: &'a Pool2d,
    cols: usize,
    /// Rows of cells that the windows cover.
    rows: usize,
    dx: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Row { maxima, dy, channels, op, cols, rows, dx } = self;
        for (window, dy) in dy.chunks_exact(channels).enumerate() {
            let across = op.window(1, window, cols);
            let cells = across.start * channels..across.end * channels;
            let dx = dx[cells.clone()].chunks_exact_mut(channels);
            match maxima {
                Some((x, y)) => {
                    let y = &y[window * channels..][..channels];
                    for (dx, x) in dx.zip(x[cells].chunks_exact(channels)) {
                        let cell = dx.iter_mut().zip(x).zip(y).zip(dy);
                        cell.for_each(|(((dx, x), y), dy)| *dx += if x == y { *dy } else { 0.0 });
                    }
                }
                None => {
                    let count = (rows * across.len()) as f32;
                    for dx in dx {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy / count);
                    }
                }
            }
        }
    }
}
