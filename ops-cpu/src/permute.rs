//! Axes in another order.

use striate_tensor::ops::Permute;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};
use crate::walk::{Walk, by_size};

/// Rows of a strip whose columns are fewer than a tile's: its lines, which are written one after the
/// other, stay in the first-level cache.
const NARROW_ROWS: usize = 512;
/// Rows and cols of the tiles of a transposition: the cache lines that they touch in the operand
/// stay in the first-level cache until all of them has been used.
const TILE: usize = 16;

pub(crate) fn permute(
    cx: &Context,
    op: &Permute,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Permute,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = elements::<T>(&inputs[0])?;
    let mut y = cx.pool.take(output.size_bytes())?;
    if x.is_empty() {
        return Ok(y);
    }
    let strides = inputs[0].ty.shape.strides();
    let axes = output.shape.dims().iter().zip(&op.order);
    let walk = Walk::new(0, axes.map(|(&extent, &axis)| (extent, strides[axis] as isize)));
    // The axis of the output along which the operand is contiguous. Where that is the last one,
    // whole lines are copied.
    let contiguous = walk.steps().iter().position(|&step| step == 1);
    match contiguous {
        Some(axis) if axis + 1 < walk.dims().len() => transpose(cx, &walk, axis, x, y.slice_mut()),
        _ => walk.copy(cx, x, y.slice_mut()),
    }
    Ok(y)
}

/// A walk that ends across memory, tile by tile: along its last axis, and along the axis `along`
/// on which the operand is contiguous.
fn transpose<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    walk: &Walk,
    along: usize,
    x: &[T],
    y: &mut [T],
) {
    // The output as `[before, rows, between, cols]`.
    let (dims, steps) = (walk.dims(), walk.steps());
    let last = dims.len() - 1;
    let (rows, cols) = (dims[along], dims[last]);
    let axes = |range: std::ops::Range<usize>| {
        let axes = dims[range.clone()].iter().copied().zip(steps[range].iter().copied());
        (axes.clone().map(|(extent, _)| extent).product::<usize>(), axes)
    };
    let (_, before) = axes(0..along);
    let (between_count, between) = axes(along + 1..last);
    let pitch = between_count * cols;
    let most = if cols < TILE && between_count == 1 { NARROW_ROWS } else { TILE };
    let part_rows = PART_ELEMS.div_ceil(pitch).next_multiple_of(TILE);
    cx.threads.for_each_part(y, part_rows * pitch, |part, y| {
        let (mut row, end) = (part * part_rows, part * part_rows + y.len() / pitch);
        let mut y = y;
        while row < end {
            // Rows that follow each other in the operand.
            let within = row % rows;
            let count = (end - row).min(rows - within).min(most);
            let offset = place(before.clone(), row / rows) + within;
            let (to, others) = y.split_at_mut(count * pitch);
            for index in 0..between_count {
                let from = &x[offset + place(between.clone(), index)..];
                let to = &mut to[index * cols..];
                cx.level.run(Strip { from, step: steps[last] as usize, count, cols, to, pitch });
            }
            y = others;
            row += count;
        }
    });
}

/// Where an index counted through these axes lies in the operand.
fn place(axes: impl DoubleEndedIterator<Item = (usize, isize)>, index: usize) -> usize {
    let mut rest = index;
    axes.rev().fold(0, |place, (extent, step)| {
        let at = rest % extent;
        rest /= extent;
        place + at * step as usize
    })
}

/// `to[row · pitch + col] = from[col · step + row]` for up to [`TILE`] rows, or [`NARROW_ROWS`].
struct Strip<'a, T> {
    from: &'a [T],
    step: usize,
    count: usize,
    cols: usize,
    to: &'a mut [T],
    pitch: usize,
}

impl<T: bytemuck::Pod> Kernel for Strip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Strip { from, step, count, cols, to, pitch } = self;
        if (cols, pitch) == (2, 2) {
            // Two lines woven together, as the channels of a shuffle of two groups.
            let (a, b) = (&from[..count], &from[step..][..count]);
            for ((to, &a), &b) in to[..2 * count].chunks_exact_mut(2).zip(a).zip(b) {
                to.copy_from_slice(&[a, b]);
            }
            return;
        }
        let mut first = 0;
        if count == TILE {
            // Whole tiles, with loops of fixed length that compilers unroll into vectors.
            while first + TILE <= cols {
                let mut tile = [[T::zeroed(); TILE]; TILE];
                for (i, tile) in tile.iter_mut().enumerate() {
                    tile.copy_from_slice(&from[(first + i) * step..][..TILE]);
                }
                for row in 0..TILE {
                    let line: [T; TILE] = std::array::from_fn(|i| tile[i][row]);
                    to[row * pitch + first..][..TILE].copy_from_slice(&line);
                }
                first += TILE;
            }
        }
        for row in 0..count {
            let to = &mut to[row * pitch..][..cols];
            for (col, to) in to.iter_mut().enumerate().skip(first) {
                *to = from[col * step + row];
            }
        }
    }
}
