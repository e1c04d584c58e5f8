//! Pooling over images.

use std::marker::PhantomData;

use striate_tensor::ops::Pool2d;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::part::Place;
use crate::simd::{Kernel, Simd};

/// Cells that one task looks at.
const PART_CELLS: usize = 1 << 17;
/// Vectors of channels that are kept in registers together.
const VECTORS: usize = 4;

/// What becomes of the cells of a window.
trait Pooling {
    /// What nothing gives.
    const START: f32;
    fn join<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V;
    fn finish<S: Simd>(simd: S, total: S::V, cells: f32) -> S::V;
    fn join_one(a: f32, b: f32) -> f32;
    fn finish_one(total: f32, cells: f32) -> f32;
}

struct Max;

impl Pooling for Max {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn join<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.max(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(_: S, total: S::V, _: f32) -> S::V {
        total
    }
    #[inline(always)]
    fn join_one(a: f32, b: f32) -> f32 {
        if a > b || a.is_nan() { a } else { b }
    }
    #[inline(always)]
    fn finish_one(total: f32, _: f32) -> f32 {
        total
    }
}

struct Average;

impl Pooling for Average {
    const START: f32 = 0.0;
    #[inline(always)]
    fn join<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(simd: S, total: S::V, cells: f32) -> S::V {
        simd.div(total, simd.splat(cells))
    }
    #[inline(always)]
    fn join_one(a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn finish_one(total: f32, cells: f32) -> f32 {
        total / cells
    }
}

pub(crate) fn max_pool2d(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    pool2d::<Max>(cx, op, inputs, output)
}

/// As [`max_pool2d`] in f32, with an output that is a part of a wider tensor.
pub(crate) fn max_pool2d_part(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
    place: Place<'_>,
) -> Result<()> {
    pool2d_at::<Max>(cx, op, inputs, output, place)
}

pub(crate) fn avg_pool2d(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    pool2d::<Average>(cx, op, inputs, output)
}

/// As [`avg_pool2d`] in f32, with an output that is a part of a wider tensor.
pub(crate) fn avg_pool2d_part(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
    place: Place<'_>,
) -> Result<()> {
    pool2d_at::<Average>(cx, op, inputs, output, place)
}

fn pool2d<P: Pooling>(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let mut y = cx.pool.take(4 * output.count())?;
    let [.., channels] = output.shape.nhwc("pool2d", "y")?;
    pool2d_at::<P>(cx, op, inputs, output, Place::whole(y.slice_mut(), channels))?;
    cx.narrow(y, output)
}

fn pool2d_at<P: Pooling>(
    cx: &Context,
    op: &Pool2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
    place: Place<'_>,
) -> Result<()> {
    let [_, rows, cols, channels] = inputs[0].ty.shape.nhwc("pool2d", "x")?;
    let [_, out_rows, out_cols, _] = output.shape.nhwc("pool2d", "y")?;
    let x = cx.widen(&inputs[0])?;
    let x = x.slice();
    let Place { values, first, pitch } = place;
    let line = out_cols * pitch;
    if out_cols * channels > 0 {
        // No window has more cells than the image.
        let cells = op.size[0].min(rows).max(1) * op.size[1].min(cols).max(1);
        let part = PART_CELLS.div_ceil((out_cols * channels).saturating_mul(cells));
        cx.threads.for_each_part(values, part * line, |index, y| {
            for (row, y) in (index * part..).zip(y.chunks_exact_mut(line)) {
                let image = rows * cols * channels;
                let n = row / out_rows;
                cx.level.run(Row {
                    x: &x[n * image..(n + 1) * image],
                    cols,
                    channels,
                    op,
                    cells: op.window(0, row % out_rows, rows),
                    counted: op.counted(0, row % out_rows, rows),
                    y,
                    y_first: first,
                    y_pitch: pitch,
                    pooling: PhantomData::<P>,
                });
            }
        });
    }
    Ok(())
}

/// One row of windows.
struct Row<'a, P> {
    /// `[rows, cols, channels]`
    x: &'a [f32],
    cols: usize,
    channels: usize,
    op: &'a Pool2d,
    /// The rows that they cover.
    cells: std::ops::Range<usize>,
    /// Those that a mean divides by.
    counted: usize,
    /// `[out cols, pitch]`, of which the channels from `y_first` on are its own.
    y: &'a mut [f32],
    y_first: usize,
    y_pitch: usize,
    pooling: PhantomData<P>,
}

impl<P: Pooling> Kernel for Row<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { x, cols, channels, op, cells, counted, y, y_first, y_pitch, pooling: _ } = self;
        // An image without columns has rows of nothing, which `chunks_exact` would not take; there
        // is no row to cut then, so any length will do.
        let pitch = (cols * channels).max(1);
        for (out, y) in y.chunks_exact_mut(y_pitch).enumerate() {
            let y = &mut y[y_first..y_first + channels];
            let across = op.window(1, out, cols);
            let window = Window {
                x: &x[cells.start * cols * channels..cells.end * cols * channels],
                pitch,
                first: across.start * channels,
                cols: across.len(),
                channels,
                cells: (counted * op.counted(1, out, cols)) as f32,
            };
            if channels < S::LANES {
                for (channel, y) in y.iter_mut().enumerate() {
                    *y = window.one::<P>(channel);
                }
                continue;
            }
            let mut channel = 0;
            while channel + VECTORS * S::LANES <= channels {
                window.some::<S, P, VECTORS>(simd, channel, y);
                channel += VECTORS * S::LANES;
            }
            while channel + S::LANES <= channels {
                window.some::<S, P, 1>(simd, channel, y);
                channel += S::LANES;
            }
            if channel < channels {
                // The last vector goes over some channels twice.
                window.some::<S, P, 1>(simd, channels - S::LANES, y);
            }
        }
    }
}

/// The cells of a window.
struct Window<'a> {
    /// Its rows, whole.
    x: &'a [f32],
    /// Floats from one row to the next; at least 1.
    pitch: usize,
    /// The first cell of a row.
    first: usize,
    /// Cells of a row.
    cols: usize,
    channels: usize,
    /// What a mean divides by.
    cells: f32,
}

impl Window<'_> {
    /// Some vectors of channels from `channel` on.
    #[inline(always)]
    fn some<S: Simd, P: Pooling, const N: usize>(&self, simd: S, channel: usize, y: &mut [f32]) {
        let mut total = [simd.splat(P::START); N];
        let wanted = N * S::LANES;
        assert!(y.len() == self.channels && channel + wanted <= self.channels);
        for row in self.x.chunks_exact(self.pitch) {
            // Row by row, so that the sums of large windows stay exact.
            let mut line = [simd.splat(P::START); N];
            let row = &row[self.first..self.first + self.cols * self.channels];
            for cell in row.chunks_exact(self.channels) {
                for (i, line) in line.iter_mut().enumerate() {
                    // SAFETY: the channels asked for are inside the cell, as asserted above.
                    let x = unsafe { simd.load(cell.as_ptr().add(channel + i * S::LANES)) };
                    *line = P::join(simd, *line, x);
                }
            }
            for (total, &line) in total.iter_mut().zip(&line) {
                *total = P::join(simd, *total, line);
            }
        }
        for (i, &total) in total.iter().enumerate() {
            let total = P::finish(simd, total, self.cells);
            // SAFETY: the channels asked for are inside `y`, as asserted above.
            unsafe { simd.store(y.as_mut_ptr().add(channel + i * S::LANES), total) };
        }
    }

    /// One channel.
    #[inline(always)]
    fn one<P: Pooling>(&self, channel: usize) -> f32 {
        let mut total = P::START;
        for row in self.x.chunks_exact(self.pitch) {
            let row = &row[self.first..self.first + self.cols * self.channels];
            let cells = row.chunks_exact(self.channels);
            let line = cells.fold(P::START, |line, cell| P::join_one(line, cell[channel]));
            total = P::join_one(total, line);
        }
        P::finish_one(total, self.cells)
    }
}
