//! The gradient in the weights by the same transforms: F(3×3, 4×4).
//!
//! The gradient of `Aᵀ[(GgGᵀ) ⊙ (BᵀdB)]A` in `g` is `Gᵀ[(BᵀdB) ⊙ (A·dy·Aᵀ)]G`, summed over the
//! tiles: tiles of `x` and of `dy` are transformed, the 36 positions become 36 products over the
//! tiles, and each pair of an output and a channel is transformed back to 3×3 weights.

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use super::transform::{Back3x3, Forward, Forward4x4};
use super::{IN, MIN_CHANNELS, POSITIONS};
use crate::context::Context;
use crate::conv::Extents;
use crate::gemm::outer::{Outer, Pieces};
use crate::gemm::{DEPTH_BLOCK, tile_shape};
use crate::memory::Memory;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// Gradients of a tile along an axis.
const OUT: usize = 4;
/// Transformed tiles that exist at a time: about what a third-level cache holds.
const TILES_BYTES: usize = 20 << 20;
/// With fewer tiles, it takes longer to write and to transform the sums than the products take.
const MIN_TILES: usize = 64;
/// Tiles that a task transforms.
const TASK_TILES: usize = 4;
/// Outputs that a task transforms back.
const TASK_OUTPUTS: usize = 4;

/// The algorithm, for people.
pub(in crate::conv) const NAME: &str = "Winograd F(3×3, 4×4)";

/// Whether this algorithm is for such a gradient, and expected to win: by the shape alone.
pub(in crate::conv) fn wins(level: Level, op: &Conv2d, e: &Extents) -> bool {
    let (channels, out) = (e.channels / op.groups, e.out / op.groups);
    let lanes = level.lanes();
    let tiles = e.out_rows.div_ceil(OUT) * e.out_cols.div_ceil(OUT);
    e.kernel == [3, 3]
        && op.stride == [1, 1]
        && op.dilation == [1, 1]
        && channels.is_multiple_of(lanes)
        && out.is_multiple_of(lanes)
        && channels >= MIN_CHANNELS
        && out >= MIN_CHANNELS
        // Tiles that are mostly off the image save nothing.
        && e.out_rows * e.out_cols * 2 > tiles * OUT * OUT
        && e.n * tiles >= MIN_TILES
}

/// The gradient in the weights of a convolution of `x` to `dy`, into `dw`.
pub(in crate::conv) fn weight_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) -> Result<()> {
    let (channels, out) = (e.channels / op.groups, e.out / op.groups);
    let (tile_rows, tile_cols) = (e.out_rows.div_ceil(OUT), e.out_cols.div_ceil(OUT));
    let all = e.n * tile_rows * tile_cols;
    let block = (TILES_BYTES / (4 * POSITIONS * (channels + out))).clamp(1, all);
    let block = all.div_ceil(all.div_ceil(block));
    let mut inputs = cx.pool.take(4 * POSITIONS * block * channels)?;
    let mut outputs = cx.pool.take(4 * POSITIONS * block * out)?;
    let mut sums = cx.pool.take(4 * POSITIONS * out * channels)?;
    let mut zeros = cx.pool.take(4 * channels.max(out))?;
    zeros.slice_mut::<f32>().fill(0.0);
    let zeros: &[f32] = zeros.slice();
    let dw = SharedOutput::new(dw);
    for group in 0..op.groups {
        for first in (0..all).step_by(block) {
            let count = block.min(all - first);
            let to_inputs = SharedOutput::new(inputs.slice_mut());
            let to_outputs = SharedOutput::new(outputs.slice_mut());
            cx.threads.for_each(count.div_ceil(TASK_TILES), |task| {
                for index in task * TASK_TILES..((task + 1) * TASK_TILES).min(count) {
                    let (n, at) = (
                        (first + index) / (tile_rows * tile_cols),
                        (first + index) % (tile_rows * tile_cols),
                    );
                    let (row, col) = (at / tile_cols * OUT, at % tile_cols * OUT);
                    let pixels = std::array::from_fn(|i| {
                        // One less than zero wraps to a huge number, which no image reaches.
                        let row = (row + i / IN).wrapping_sub(op.padding[0][0]);
                        let col = (col + i % IN).wrapping_sub(op.padding[1][0]);
                        if row >= e.rows || col >= e.cols {
                            return zeros.as_ptr();
                        }
                        let pixel = (n * e.rows + row) * e.cols + col;
                        x[pixel * e.channels + group * channels..][..channels].as_ptr()
                    });
                    let gradients = std::array::from_fn(|i| {
                        let (row, col) = (row + i / OUT, col + i % OUT);
                        if row >= e.out_rows || col >= e.out_cols {
                            return zeros.as_ptr();
                        }
                        let pixel = (n * e.out_rows + row) * e.out_cols + col;
                        dy[pixel * e.out + group * out..][..out].as_ptr()
                    });
                    // SAFETY: every pixel has `channels` floats (every gradient `out`); the tile's
                    // parts of the transformed ones are inside them and this task's alone.
                    unsafe {
                        let to = to_inputs.at(index * channels);
                        let pitch = count * channels;
                        cx.level.run(Forward::<IN> { pixels, first: 0, to, pitch, channels });
                        let to = to_outputs.at(index * out);
                        cx.level.run(Forward4x4 {
                            pixels: gradients,
                            to,
                            pitch: count * out,
                            channels: out,
                        });
                    }
                }
            });
            let product = Product {
                inputs: inputs.slice(),
                outputs: outputs.slice(),
                sums: SharedOutput::new(sums.slice_mut()),
                tiles: count,
                channels,
                out,
                add: first > 0,
            };
            cx.threads.try_for_each(POSITIONS, |position| product.position(cx, position))?;
        }
        let sums = SharedOutput::new(sums.slice_mut());
        cx.threads.for_each(out.div_ceil(TASK_OUTPUTS), |task| {
            for o in task * TASK_OUTPUTS..((task + 1) * TASK_OUTPUTS).min(out) {
                // SAFETY: the sums of an output are inside the sums, its weights inside `dw` and
                // this task's alone.
                unsafe {
                    let from = sums.at(o * channels);
                    let to = dw.at((group * out + o) * 9 * channels);
                    cx.level.run(Back3x3 { from, pitch: out * channels, to, channels });
                }
            }
        });
    }
    Ok(())
}

/// The products of some tiles.
struct Product<'a> {
    /// `[positions][tiles][channels]`
    inputs: &'a [f32],
    /// `[positions][tiles][out]`
    outputs: &'a [f32],
    /// `[positions][out][channels]`
    sums: SharedOutput,
    tiles: usize,
    channels: usize,
    out: usize,
    /// They are added to the sums.
    add: bool,
}

impl Product<'_> {
    /// Computes one position.
    fn position(&self, cx: &Context, position: usize) -> Result<()> {
        let Product { inputs, outputs, sums, tiles, channels, out, .. } = *self;
        let shape = tile_shape(cx.level);
        let depths = tiles.div_ceil(tiles.div_ceil(DEPTH_BLOCK));
        let mut left: Memory = cx.pool.take(4 * depths * out.next_multiple_of(shape.rows))?;
        let mut right: Memory = cx.pool.take(4 * depths * channels.next_multiple_of(shape.cols))?;
        let mut add = self.add;
        for first in (0..tiles).step_by(depths) {
            let depth = depths.min(tiles - first);
            let from = &outputs[(position * tiles + first) * out..];
            Pieces { from, pitch: out, rows: depth, width: out, to: left.slice_mut() }
                .tiles(cx.level);
            let from = &inputs[(position * tiles + first) * channels..];
            Pieces { from, pitch: channels, rows: depth, width: channels, to: right.slice_mut() }
                .panels(cx.level);
            // SAFETY: both sides are packed for this level's tiles; the sums of a position are this
            // task's alone.
            unsafe {
                Outer {
                    left: left.slice::<f32>().as_ptr(),
                    right: right.slice::<f32>().as_ptr(),
                    depth,
                    m: out,
                    n: channels,
                    output: sums.at(position * out * channels),
                    pitch: channels,
                    add,
                }
                .run(cx.level);
            }
            add = true;
        }
        Ok(())
    }
}
