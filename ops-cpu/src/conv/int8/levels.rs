//! Images rounded to levels, with their padding.

use striate_tensor::Result;
use striate_tensor::ops::{Conv2d, Levels};

use super::Extents;
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::int8::{Integer, IntegerShape};
use crate::simd::{Kernel, Simd};

/// Numbers that one task rounds.
const TASK_ELEMS: usize = 1 << 14;
/// Adding it to a number of at most 2^22 rounds that to the nearest integer, ties to even: it is 1.5 · 2^23,
/// and floats of this size are 1 apart.
const ROUNDING: f32 = 12_582_912.0;

/// Where the pixels of the rounded images come from.
pub(super) struct Image {
    n: usize,
    rows: usize,
    /// Of a rounded image.
    pub(super) cols: usize,
    channels: usize,
    /// Rows and columns of an image as it was given.
    from: [usize; 2],
    /// Its pixels from one rounded one to the next.
    step: [usize; 2],
    /// Padding before its first pixel.
    padding: [usize; 2],
    /// Rounded pixels from one window to the next.
    stride: [usize; 2],
}

impl Image {
    pub(super) fn new(conv: &Conv2d, e: &Extents) -> Self {
        let outputs = [e.out_rows, e.out_cols];
        let (extents, step, stride) = match e.kernel {
            [1, 1] => (outputs, conv.stride, [1, 1]),
            kernel => {
                let window = conv.window(kernel);
                let seen = |axis: usize| (outputs[axis] - 1) * conv.stride[axis] + window[axis];
                ([seen(0), seen(1)], [1, 1], conv.stride)
            }
        };
        let [rows, cols] = extents;
        let padding = [conv.padding[0][0], conv.padding[1][0]];
        let (from, channels) = ([e.rows, e.cols], e.channels);
        Image { n: e.n, rows, cols, channels, from, step, padding, stride }
    }

    /// The first number of the windows of outputs from the `first` on.
    pub(super) fn windows(&self, e: &Extents, first: usize, to: &mut [usize]) {
        let mut col = first % e.out_cols;
        let mut row = first / e.out_cols % e.out_rows;
        let mut n = first / e.out_cols / e.out_rows;
        for to in to {
            let line = n * self.rows + row * self.stride[0];
            *to = (line * self.cols + col * self.stride[1]) * self.channels;
            col += 1;
            if col == e.out_cols {
                (row, col) = (row + 1, 0);
            }
            if row == e.out_rows {
                (n, row) = (n + 1, 0);
            }
        }
    }

    /// The levels of these images, with those of 0 around them, and room for a group behind them.
    pub(super) fn rounded(
        &self,
        cx: &Context,
        levels: &Levels,
        x: &[f32],
        shape: IntegerShape,
    ) -> Result<Memory> {
        let line = self.cols * self.channels;
        let lines = self.n * self.rows;
        let bytes = lines * line * shape.size;
        let mut rounded = cx.pool.take(bytes + shape.group * shape.size)?;
        let task_lines = (TASK_ELEMS / line.max(1)).max(1);
        let part = (task_lines * line * shape.size).max(1);
        cx.threads.for_each_part(&mut rounded.bytes_mut()[..bytes], part, |index, to| {
            let first = index * task_lines;
            let image = self;
            match shape.size {
                1 => cx.level.run(Round::<u8> {
                    image,
                    levels,
                    x,
                    first,
                    to: bytemuck::cast_slice_mut(to),
                }),
                _ => cx.level.run(Round::<i16> {
                    image,
                    levels,
                    x,
                    first,
                    to: bytemuck::cast_slice_mut(to),
                }),
            }
        });
        Ok(rounded)
    }
}

/// Rounds lines of the images, from the `first` on.
struct Round<'a, T> {
    image: &'a Image,
    levels: &'a Levels,
    x: &'a [f32],
    first: usize,
    to: &'a mut [T],
}

impl<T: Integer> Kernel for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Round { image, levels, x, first, to } = self;
        let channels = image.channels;
        let zero = T::of(levels.zero.into());
        let [rows, cols] = image.from;
        for (line, to) in to.chunks_exact_mut((image.cols * channels).max(1)).enumerate() {
            let (n, row) = ((first + line) / image.rows, (first + line) % image.rows);
            let row = (row * image.step[0]).checked_sub(image.padding[0]).filter(|&row| row < rows);
            let Some(row) = row else {
                to.fill(zero);
                continue;
            };
            let from = &x[(n * rows + row) * cols * channels..][..cols * channels];
            if image.step[1] == 1 {
                let before = (image.padding[1] * channels).min(to.len());
                let (before, inside) = to.split_at_mut(before);
                let (inside, after) = inside.split_at_mut(from.len().min(inside.len()));
                before.fill(zero);
                round(levels, from, inside);
                after.fill(zero);
                continue;
            }
            for (col, to) in to.chunks_exact_mut(channels).enumerate() {
                match (col * image.step[1]).checked_sub(image.padding[1]).filter(|&col| col < cols)
                {
                    Some(col) => round(levels, &from[col * channels..][..channels], to),
                    None => to.fill(zero),
                }
            }
        }
    }
}

/// [`Levels::level`] of each, written so that compilers vectorise it.
#[inline(always)]
fn round<T: Integer>(levels: &Levels, from: &[f32], to: &mut [T]) {
    let factor = levels.factor();
    let [low, high] = levels.limits();
    let zero = i32::from(levels.zero);
    for (to, &x) in to.iter_mut().zip(from) {
        let scaled = x * factor;
        // NaN is not above, and becomes the lowest.
        let scaled = if scaled > low { scaled } else { low };
        let scaled = if scaled < high { scaled } else { high };
        let nearest = (scaled + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *to = T::of(nearest + zero);
    }
}
