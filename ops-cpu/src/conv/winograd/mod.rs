//! Winograd's convolution F(4×4, 3×3): 36 multiplications in place of 144.
//!
//! (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015.) A tile of 6×6
//! pixels is transformed (`BᵀdB`), the 36 positions become 36 products over the channels with the
//! transformed weights (`GgGᵀ`, kept with their buffer), and each result is transformed back
//! (`AᵀmA`) to 4×4 outputs, with bias and ReLU on the way out. Sums of channels are in f32 as
//! in the direct algorithm; the transforms cost about two bits of it.

mod transform;
pub(super) mod weight_grad;
mod weights;

use striate_tensor::ops::Conv2d;
use striate_tensor::{Operand, Result};

use self::transform::{Back, Forward};
use self::weights::packed_weights;
use super::{Extents, padded_bias};
use crate::backend::Context;
use crate::gemm::{Block, TileShape, tile_shape};
use crate::memory::Memory;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// Positions of a transformed tile.
const POSITIONS: usize = 36;
/// Outputs of a tile along an axis.
const OUT: usize = 4;
/// Pixels of a tile along an axis.
const IN: usize = 6;
/// Transformed weights up to this size stay in the second-level cache's reach, so every block of
/// tiles can go through all three steps at once.
const NEAR_WEIGHTS_BYTES: usize = 3 << 20;
/// Transformed tiles and results of a block that goes through all steps at once.
const NEAR_TILES_BYTES: usize = 768 << 10;
/// Transformed tiles and results that exist at a time otherwise: what a third-level cache holds.
const FAR_TILES_BYTES: usize = 12 << 20;

/// Transformed weights beyond this take longer to read than they save multiplications for
/// [`FEW_TILES`] or less (512 × 512 channels over 13×13 pixels, measured).
const FAR_WEIGHTS_BYTES: usize = 24 << 20;
const FEW_TILES: usize = 16;
/// With fewer channels the transforms cost more than the multiplications that they save.
const MIN_CHANNELS: usize = 32;

/// Whether this algorithm is for such a convolution, and expected to win: by the shape alone.
pub(super) fn wins(level: Level, op: &Conv2d, e: &Extents) -> bool {
    let (channels, out) = (e.channels / op.groups, e.out / op.groups);
    let lanes = level.lanes();
    let tiles = e.out_rows.div_ceil(OUT) * e.out_cols.div_ceil(OUT);
    let weight_bytes = 4 * POSITIONS * channels * out;
    e.kernel == [3, 3]
        && op.stride == [1, 1]
        && channels.is_multiple_of(lanes)
        && out.is_multiple_of(lanes)
        && channels >= MIN_CHANNELS
        && out >= MIN_CHANNELS
        // Tiles that are mostly off the image save nothing.
        && e.out_rows * e.out_cols * 2 > tiles * OUT * OUT
        && (e.n * tiles > FEW_TILES || weight_bytes <= FAR_WEIGHTS_BYTES)
}

/// The extents in tiles.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    cols: usize,
    channels: usize,
    out: usize,
}

pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    weights: &Operand<'_>,
    bias: Option<&Operand<'_>>,
) -> Result<Memory> {
    let shape = tile_shape(cx.level);
    let tiles = Tiles {
        rows: e.out_rows.div_ceil(OUT),
        cols: e.out_cols.div_ceil(OUT),
        channels: e.channels / op.groups,
        out: e.out / op.groups,
    };
    let count = e.n * e.out_rows * e.out_cols * e.out;
    let mut y = cx.pool.take(4 * count)?;
    if count == 0 {
        return Ok(y);
    }
    let weights = packed_weights(cx, op, e, weights, shape)?;
    let panels = tiles.out.div_ceil(shape.cols);
    let bias = bias.map(|b| padded_bias(cx, b, op.groups, tiles.out, tiles.out)).transpose()?;
    let mut zeros = cx.pool.take(4 * tiles.channels)?;
    zeros.slice_mut::<f32>().fill(0.0);
    let step = Step {
        level: cx.level,
        op,
        e,
        tiles,
        shape,
        panels,
        x,
        zeros: zeros.slice(),
        weights: weights.slice(),
        bias: bias.as_ref().map(Memory::slice),
        y: SharedOutput::new(y.slice_mut()),
    };

    let all = e.n * tiles.rows * tiles.cols;
    let tile_bytes = 4 * POSITIONS * (tiles.channels + tiles.out);
    let weight_bytes = 4 * POSITIONS * tiles.channels * tiles.out;
    if weight_bytes <= NEAR_WEIGHTS_BYTES {
        let block = whole_rows(NEAR_TILES_BYTES / tile_bytes, shape).min(all);
        let blocks = all.div_ceil(block);
        let scratch = block * tile_bytes / 4 + 2 * POSITIONS * block.next_multiple_of(shape.rows);
        // One block's scratch a thread that runs at a time would do; one a task is simpler, and the
        // pool hands the same memory around.
        cx.threads.try_for_each(op.groups * blocks, |task| {
            let (group, first) = (task / blocks, task % blocks * block);
            let count = block.min(all - first);
            let (mut scratch, mut pointers) =
                (cx.pool.take(4 * scratch)?, step.pointers(cx, count)?);
            let (from, to) =
                scratch.slice_mut::<f32>().split_at_mut(POSITIONS * count * tiles.channels);
            let (from, to) = (SharedOutput::new(from), SharedOutput::new(to));
            step.transform(group, first, 0..count, count, from);
            for position in 0..POSITIONS {
                step.multiply(group, position, count, from, to, pointers.pointers_mut());
            }
            step.restore(group, first, 0..count, count, to);
            Ok(())
        })?;
        return Ok(y);
    }

    // The weights are far: each is read once for as many tiles as fit a third-level cache.
    let block = whole_rows(FAR_TILES_BYTES / tile_bytes, shape).min(all);
    let mut from = cx.pool.take(4 * POSITIONS * block * tiles.channels)?;
    let mut to = cx.pool.take(4 * POSITIONS * block * tiles.out)?;
    let (from, to) = (SharedOutput::new(from.slice_mut()), SharedOutput::new(to.slice_mut()));
    for group in 0..op.groups {
        for first in (0..all).step_by(block) {
            let count = block.min(all - first);
            const TILES: usize = 4;
            cx.threads.for_each(count.div_ceil(TILES), |task| {
                let range = task * TILES..((task + 1) * TILES).min(count);
                step.transform(group, first, range, count, from);
            });
            cx.threads.try_for_each(POSITIONS, |position| {
                let mut pointers = step.pointers(cx, count)?;
                step.multiply(group, position, count, from, to, pointers.pointers_mut());
                Ok(())
            })?;
            cx.threads.for_each(count.div_ceil(TILES), |task| {
                let range = task * TILES..((task + 1) * TILES).min(count);
                step.restore(group, first, range, count, to);
            });
        }
    }
    Ok(y)
}

/// So many tiles, in whole rows of the micro-kernel where there is more than one.
fn whole_rows(tiles: usize, shape: TileShape) -> usize {
    (tiles / shape.rows * shape.rows).max(shape.rows)
}

/// The three steps for some tiles. Transformed tiles are `[positions][tiles][channels]`, results
/// `[positions][tiles][out]`.
struct Step<'a> {
    level: Level,
    op: &'a Conv2d,
    e: &'a Extents,
    tiles: Tiles,
    shape: TileShape,
    panels: usize,
    x: &'a [f32],
    zeros: &'a [f32],
    /// `[groups][positions][panels][channels][panel width]`
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    y: SharedOutput,
}

impl Step<'_> {
    /// Where tile `index` begins: image, first output row and col.
    fn place(&self, index: usize) -> (usize, usize, usize) {
        let per_image = self.tiles.rows * self.tiles.cols;
        let (n, at) = (index / per_image, index % per_image);
        (n, at / self.tiles.cols * OUT, at % self.tiles.cols * OUT)
    }

    /// Transforms tiles `first + range` of a group into `to`, which holds `count`.
    fn transform(
        &self,
        group: usize,
        first: usize,
        range: std::ops::Range<usize>,
        count: usize,
        to: SharedOutput,
    ) {
        let (e, channels) = (self.e, self.tiles.channels);
        for index in range {
            let (n, row, col) = self.place(first + index);
            let pixels: [*const f32; POSITIONS] = std::array::from_fn(|i| {
                // One less than zero wraps to a huge number, which no image reaches.
                let row = (row + i / IN).wrapping_sub(self.op.padding[0]);
                let col = (col + i % IN).wrapping_sub(self.op.padding[1]);
                if row < e.rows && col < e.cols {
                    let offset =
                        ((n * e.rows + row) * e.cols + col) * e.channels + group * channels;
                    self.x[offset..offset + channels].as_ptr()
                } else {
                    self.zeros.as_ptr()
                }
            });
            // SAFETY: every pixel has `channels` floats; the tile's part of `to` is inside it and
            // ours alone.
            unsafe {
                let to = to.at(index * channels);
                self.level.run(Forward { pixels, to, pitch: count * channels, channels });
            }
        }
    }

    /// Memory for the row pointers of a product.
    fn pointers(&self, cx: &Context, count: usize) -> Result<Memory> {
        cx.pool.take(size_of::<*const f32>() * count.next_multiple_of(self.shape.rows))
    }

    /// Multiplies `count` transformed tiles with the weights, at one position.
    fn multiply(
        &self,
        group: usize,
        position: usize,
        count: usize,
        from: SharedOutput,
        to: SharedOutput,
        pointers: &mut [*const f32],
    ) {
        let (channels, out) = (self.tiles.channels, self.tiles.out);
        // SAFETY: rows are inside `from`, and only read until the product is done; the output block
        // is inside `to` and ours alone; panels are whole.
        unsafe {
            for (i, pointer) in pointers.iter_mut().enumerate() {
                *pointer = from.at((position * count + i.min(count - 1)) * channels);
            }
            let weights = self.panels * self.shape.cols * channels;
            let first = (group * POSITIONS + position) * weights;
            let block = Block {
                rows: pointers.as_ptr(),
                m: count,
                taps: 1,
                run: channels,
                panels: self.weights[first..first + weights].as_ptr(),
                n: out,
                output: to.at(position * count * out),
                pitch: out,
                bias: std::ptr::null(),
                relu: false,
            };
            block.run(self.level);
        }
    }

    /// Transforms results back to outputs.
    fn restore(
        &self,
        group: usize,
        first: usize,
        range: std::ops::Range<usize>,
        count: usize,
        from: SharedOutput,
    ) {
        let (e, out) = (self.e, self.tiles.out);
        for index in range {
            let (n, row, col) = self.place(first + index);
            let bias =
                self.bias.map_or(std::ptr::null(), |bias| bias[group * out..][..out].as_ptr());
            // SAFETY: the tile's results are inside `from`; its outputs, clipped to the image, are
            // inside `y` and ours alone.
            unsafe {
                let offset = ((n * e.out_rows + row) * e.out_cols + col) * e.out + group * out;
                self.level.run(Back {
                    from: from.at(index * out),
                    pitch: count * out,
                    out,
                    bias,
                    relu: self.op.relu,
                    to: self.y.at(offset),
                    row_pitch: e.out_cols * e.out,
                    col_pitch: e.out,
                    rows: (e.out_rows - row).min(OUT),
                    cols: (e.out_cols - col).min(OUT),
                });
            }
        }
    }
}
