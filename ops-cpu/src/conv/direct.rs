//! Direct convolution: an implicit product over the taps of the kernel.

use std::sync::Arc;

use striate_tensor::ops::Conv2d;
use striate_tensor::{Operand, Result};

use super::residual::AddRows;
use super::{Added, Extents, padded_bias};
use crate::buffer::{Floats, PackKey, floats, own};
use crate::context::Context;
use crate::gemm::{Ahead, Block, Packing, TileShape, pack_panels, tile_shape};
use crate::memory::Memory;
use crate::threads::SharedOutput;

/// Up to so many channels, a kernel row is taken as one tap: the images are copied into a frame of
/// zeros once, and the inner loop runs over columns and channels together.
const FEW_CHANNELS: usize = 16;
/// Pixels of a block. Their channels under a depth block stay in the second-level cache while all
/// panels pass.
const BLOCK_PIXELS: usize = 128;
/// Outputs of a block: its panels under a depth block stay in the second-level cache while all
/// pixels pass.
const BLOCK_OUTPUTS: usize = 256;
/// A block of less work than this costs more to hand out than to compute.
const BLOCK_FLOPS: usize = 4 << 20;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 32;

/// The images as the kernel sees them: possibly framed with zeros.
struct Images<'a> {
    pixels: &'a [f32],
    rows: usize,
    cols: usize,
    channels: usize,
    /// Before them, `[rows, cols]`.
    padding: [usize; 2],
    /// Taps that have their own row pointer, `[rows, cols]`, and channels under each.
    taps: [usize; 2],
    run: usize,
}

/// The convolution, with so many groups at a time taken for one.
pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    merged: usize,
    x: &[f32],
    weights: &Operand<'_>,
    added: Added<'_>,
) -> Result<Memory> {
    let tile = tile_shape(cx.level);
    let op = &Conv2d { groups: op.groups / merged, ..*op };
    let group_channels = e.channels / op.groups;
    let group_out = e.out / op.groups;
    let pixels = e.n * e.out_rows * e.out_cols;

    let framed;
    let row_taps = op.groups == 1
        && e.channels <= FEW_CHANNELS
        && e.kernel[1] > 1
        && op.dilation[1] == 1
        && fits(op, e);
    let images = if row_taps {
        let pixels = if op.padding == [[0, 0], [0, 0]] {
            x
        } else {
            framed = frame(cx, x, e, op.padding)?;
            framed.slice()
        };
        Images {
            pixels,
            rows: e.rows + op.padding[0][0] + op.padding[0][1],
            cols: e.cols + op.padding[1][0] + op.padding[1][1],
            channels: e.channels,
            padding: [0, 0],
            taps: [e.kernel[0], 1],
            run: e.kernel[1] * e.channels,
        }
    } else {
        Images {
            pixels: x,
            rows: e.rows,
            cols: e.cols,
            channels: e.channels,
            padding: [op.padding[0][0], op.padding[1][0]],
            taps: e.kernel,
            run: group_channels,
        }
    };

    let panels = packed_weights(cx, op, e, merged, weights, tile)?;
    let depth = e.kernel[0] * e.kernel[1] * group_channels;
    let group_panels = group_out.div_ceil(tile.cols);
    let padded = group_panels * tile.cols;
    let bias =
        added.bias.map(|bias| padded_bias(cx, bias, op.groups, group_out, padded)).transpose()?;
    let mut zeros = cx.pool.take(4 * images.run)?;
    zeros.slice_mut::<f32>().fill(0.0);
    let zeros: &[f32] = zeros.slice();

    let mut y = cx.pool.take(4 * pixels * e.out)?;
    if pixels * e.out == 0 {
        return Ok(y);
    }
    let target = SharedOutput::new(y.slice_mut());

    // The partition: a function of the shape alone.
    let flops_per_pixel = 2 * depth * group_out.min(BLOCK_OUTPUTS);
    let block_pixels = BLOCK_PIXELS.max(BLOCK_FLOPS / flops_per_pixel.max(1)).min(pixels);
    let tiles = pixels.div_ceil(tile.rows);
    let pixel_blocks = tiles.div_ceil(block_pixels.div_ceil(tile.rows));
    let block_tiles = tiles.div_ceil(pixel_blocks);
    let pixel_blocks = tiles.div_ceil(block_tiles);
    let mut block_panels = (BLOCK_OUTPUTS / tile.cols).clamp(1, group_panels);
    while block_panels > 1
        && op.groups * pixel_blocks * group_panels.div_ceil(block_panels) < BLOCKS
    {
        block_panels = block_panels.div_ceil(2);
    }
    let panel_blocks = group_panels.div_ceil(block_panels);

    let panels: &[f32] = panels.slice();
    let bias: Option<&[f32]> = bias.as_ref().map(Memory::slice);
    cx.threads.try_for_each(op.groups * pixel_blocks * panel_blocks, |task| {
        let (group, rest) =
            (task / (pixel_blocks * panel_blocks), task % (pixel_blocks * panel_blocks));
        let (panel_block, pixel_block) = (rest / pixel_blocks, rest % pixel_blocks);
        let first = pixel_block * block_tiles * tile.rows;
        let m = (pixels - first).min(block_tiles * tile.rows);
        let taps = images.taps[0] * images.taps[1];
        let pointers = 8 * m.div_ceil(tile.rows) * tile.rows * taps;
        let mut pointers = cx.pool.take(pointers)?;
        let pointers = pointers.pointers_mut();
        point(&images, op, e, group * group_channels, zeros, first, m, tile.rows, pointers);
        let first_panel = panel_block * block_panels;
        let first_out = first_panel * tile.cols;
        let panel_offset = (group * group_panels + first_panel) * tile.cols;
        let at = first * e.out + group * group_out + first_out;
        let n = (group_out - first_out).min(block_panels * tile.cols);
        let block = Block {
            rows: pointers.as_ptr(),
            m,
            taps,
            run: images.run,
            panels: panels[panel_offset * depth..].as_ptr(),
            n,
            // SAFETY: pixel `first` and output `first_out` of the group are inside `y`.
            output: unsafe { target.at(at) },
            pitch: e.out,
            bias: bias.map_or(std::ptr::null(), |bias| bias[panel_offset..].as_ptr()),
            relu: op.relu && added.residual.is_none(),
            add: false,
            ahead: Ahead::NOTHING,
        };
        // SAFETY: the pointers are to `run` floats each, inside the images or the zeros; panels and
        // biases are padded to whole tiles; blocks of different tasks do not overlap, and all of
        // them lie inside `y`, which nobody else uses until `for_each` is over.
        unsafe { block.run(cx.level) };
        if let Some(residual) = added.residual {
            let rows =
                AddRows { from: &residual[at..], to: block.output, rows: m, n, pitch: e.out };
            // SAFETY: the block's own outputs, which are in the cache.
            unsafe { rows.run(cx.level, op.relu) };
        }
        Ok(())
    })?;
    Ok(y)
}

/// Whether the last windows end inside the images with their padding. (Those of a gradient may
/// reach further, and its padding may be less than none.)
fn fits(op: &Conv2d, e: &Extents) -> bool {
    let window = op.window(e.kernel);
    let fits = |axis: usize, out: usize, extent: usize| {
        let [before, after] = op.padding[axis];
        let padded = before.checked_add(after).and_then(|p| p.checked_add(extent));
        let end = out.saturating_sub(1) * op.stride[axis] + window[axis];
        padded.is_some_and(|padded| end <= padded)
    };
    fits(0, e.out_rows, e.rows) && fits(1, e.out_cols, e.cols)
}

/// Fills in the addresses of the pixels under each tap, `[tiles][taps][tile rows]`, of outputs
/// `first .. first + m`; of the zeros where a tap is off the image. The last output is repeated to
/// fill its tile.
#[allow(clippy::too_many_arguments, reason = "one call, kept apart from the blocking for reading")]
fn point(
    images: &Images<'_>,
    op: &Conv2d,
    e: &Extents,
    channel: usize,
    zeros: &[f32],
    first: usize,
    m: usize,
    tile_rows: usize,
    pointers: &mut [*const f32],
) {
    let taps = images.taps[0] * images.taps[1];
    let image = images.rows * images.cols * images.channels;
    for i in 0..m.div_ceil(tile_rows) * tile_rows {
        let pixel = first + i.min(m - 1);
        let (n, at) = (pixel / (e.out_rows * e.out_cols), pixel % (e.out_rows * e.out_cols));
        // One less than zero wraps to a huge number, which no image reaches.
        let row = (at / e.out_cols * op.stride[0]).wrapping_sub(images.padding[0]);
        let col = (at % e.out_cols * op.stride[1]).wrapping_sub(images.padding[1]);
        let base = i / tile_rows * taps * tile_rows + i % tile_rows;
        for tap in 0..taps {
            let row = row.wrapping_add(tap / images.taps[1] * op.dilation[0]);
            let col = col.wrapping_add(tap % images.taps[1] * op.dilation[1]);
            let address = if row < images.rows && col < images.cols {
                let offset = n * image + (row * images.cols + col) * images.channels + channel;
                images.pixels[offset..].as_ptr()
            } else {
                zeros.as_ptr()
            };
            pointers[base + tap * tile_rows] = address;
        }
    }
}

/// The images inside a frame of zeros.
fn frame(cx: &Context, x: &[f32], e: &Extents, padding: [[usize; 2]; 2]) -> Result<Memory> {
    let [[top, bottom], [left, right]] = padding;
    let (rows, cols) = (top + e.rows + bottom, (left + e.cols + right) * e.channels);
    let mut framed = cx.pool.take(4 * e.n * rows * cols)?;
    if rows * cols > 0 {
        cx.threads.for_each_part(framed.slice_mut::<f32>(), cols, |index, line| {
            let (n, row) = (index / rows, (index % rows).wrapping_sub(top));
            line.fill(0.0);
            if row < e.rows {
                let width = e.cols * e.channels;
                let from = &x[(n * e.rows + row) * width..][..width];
                line[left * e.channels..][..width].copy_from_slice(from);
            }
        });
    }
    Ok(framed)
}

/// The weights of each group in panels, kept with their buffer; of a group that several were merged to,
/// with zeros between them.
fn packed_weights(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    merged: usize,
    weights: &Operand<'_>,
    tile: TileShape,
) -> Result<Arc<Memory>> {
    let depth = e.kernel[0] * e.kernel[1] * (e.channels / op.groups);
    let group_out = e.out / op.groups;
    let key = PackKey {
        winograd: false,
        turned: false,
        depthwise: false,
        depth,
        outputs: e.out,
        groups: op.groups,
        panel: tile.cols,
    };
    own(weights.buffer)?.packed(key, || {
        let spread;
        let values = match merged {
            1 => floats(weights)?,
            _ => {
                spread = with_zeros(cx, e, op.groups * merged, merged, weights)?;
                Floats::F32(spread.slice())
            }
        };
        let group_panels = group_out.div_ceil(tile.cols);
        let panel = depth * tile.cols;
        let mut packed = cx.pool.take(4 * op.groups * group_panels * panel)?;
        let packing = Packing { depth, cols: group_out, depth_step: 1, col_step: depth };
        cx.threads.for_each_part(packed.slice_mut::<f32>(), panel, |index, to| {
            let (group, index) = (index / group_panels, index % group_panels);
            let of_group = values.range(group * group_out * depth..(group + 1) * group_out * depth);
            pack_panels(cx.level, of_group, packing, index * tile.cols, to);
        });
        Ok(packed)
    })
}

/// The weights `[out, taps, channels of a merged group]`, 0 where an output does not see the channel.
fn with_zeros(
    cx: &Context,
    e: &Extents,
    groups: usize,
    merged: usize,
    weights: &Operand<'_>,
) -> Result<Memory> {
    let (channels, outs) = (e.channels / groups, e.out / groups);
    let taps = e.kernel[0] * e.kernel[1];
    let weights = cx.widen(weights)?;
    let mut spread = cx.pool.take(4 * e.out * taps * merged * channels)?;
    let to = spread.slice_mut::<f32>();
    to.fill(0.0);
    if channels > 0 {
        let lines = to.chunks_exact_mut(merged * channels);
        for (index, (from, to)) in weights.slice().chunks_exact(channels).zip(lines).enumerate() {
            let group = index / taps / outs % merged;
            to[group * channels..][..channels].copy_from_slice(from);
        }
    }
    Ok(spread)
}
