//! Direct convolution: an implicit product over the taps of the kernel.

use std::sync::Arc;

use striate_tensor::ops::{Activation, Conv2d};
use striate_tensor::{Operand, Result};

use super::windows::{Edges, Images, Windows};
use super::{Added, Extents, padded_bias};
use crate::buffer::{Floats, PackKey, floats, own};
use crate::context::Context;
use crate::gemm::{Ahead, Block, DEPTH_BLOCK, Packing, TileShape, pack_panels, tile_shape};
use crate::memory::Memory;
use crate::part::Place;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// Up to so many channels, a kernel row is taken as one tap.
const FEW_CHANNELS: usize = 16;
/// Pixels of a block. Their channels under a depth block stay in the second-level cache while all
/// panels pass.
const BLOCK_PIXELS: usize = 128;
/// Outputs of a block: its panels under a depth block stay in the second-level cache while all
/// pixels pass.
const BLOCK_OUTPUTS: usize = 256;
/// Bytes after which addresses share their sets of the first-level cache.
const PAGE_BYTES: usize = 4096;
/// Floats between copied rows beyond what they hold, so that they do not share them.
const ROW_PAD: usize = 16;
/// Rows of up to so many bytes are copied once for all blocks: they stay in the second-level cache.
const COPIED_BYTES: usize = 1 << 20;
/// Rows that a task copies.
const COPIED_ROWS: usize = 32;
/// Outputs whose weights a task packs for the gradient in the input.
const TURNED_OUTPUTS: usize = 16;
/// A block of less work than this costs more to hand out than to compute.
const BLOCK_FLOPS: usize = 4 << 20;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 32;
/// Where there are fewer blocks of one panel than threads, as in the last layers of a network, blocks are of
/// fewer pixels while they are of so much work.
const LEAST_BLOCK_FLOPS: usize = 1 << 20;

/// The groups as they are computed: so many at a time are taken for one. Where that does not come out even,
/// the last has some outputs only, and sees channels of the groups before it with weights of 0.
#[derive(Clone, Copy)]
struct Groups {
    count: usize,
    /// Channels that one of them sees, and outputs that it has.
    channels: usize,
    out: usize,
    /// Of the groups of the op, how many there are and how many each merges.
    all: usize,
    merged: usize,
}

impl Groups {
    fn new(op: &Conv2d, e: &Extents, merged: usize) -> Self {
        let (channels, out) = (e.channels / op.groups, e.out / op.groups);
        let count = op.groups.div_ceil(merged);
        Groups { count, channels: merged * channels, out: merged * out, all: op.groups, merged }
    }

    /// The first group that one of them sees.
    fn first_seen(&self, group: usize) -> usize {
        (group * self.merged).min(self.all - self.merged)
    }

    fn first_channel(&self, group: usize) -> usize {
        self.first_seen(group) * (self.channels / self.merged)
    }
}

/// What a direct convolution of some images reads.
pub(super) struct Direct<'a> {
    op: &'a Conv2d,
    e: &'a Extents,
    groups: Groups,
    tile: TileShape,
    images: Images<'a>,
    edges: Edges,
    /// What lies off the image.
    zeros: Memory,
    panels: Arc<Memory>,
    bias: Option<Memory>,
}

impl<'a> Direct<'a> {
    /// With so many groups at a time taken for one.
    pub(super) fn new(
        cx: &Context,
        op: &'a Conv2d,
        e: &'a Extents,
        merged: usize,
        x: &'a [f32],
        weights: &Operand<'_>,
        bias: Option<&Operand<'_>>,
    ) -> Result<Self> {
        let panels =
            packed_weights(cx, e, Groups::new(op, e, merged), weights, tile_shape(cx.level))?;
        Self::packed(cx, op, e, merged, x, panels, bias)
    }

    /// Of weights that are packed.
    fn packed(
        cx: &Context,
        op: &'a Conv2d,
        e: &'a Extents,
        merged: usize,
        x: &'a [f32],
        panels: Arc<Memory>,
        bias: Option<&Operand<'_>>,
    ) -> Result<Self> {
        let tile = tile_shape(cx.level);
        let groups = Groups::new(op, e, merged);
        let row_taps = takes_rows(op, e, groups.count);
        let width = if row_taps { e.kernel[1] } else { 1 };
        let images = Images {
            pixels: x,
            rows: e.rows,
            cols: e.cols,
            channels: e.channels,
            padding: [op.padding[0][0], op.padding[1][0]],
            taps: [e.kernel[0], if row_taps { 1 } else { e.kernel[1] }],
            width,
            run: width * groups.channels,
        };
        let edges = Edges::new(cx, &images, op, e)?;
        let padded = groups.out.next_multiple_of(tile.cols);
        let bias = bias.map(|bias| padded_bias(cx, bias, groups.count, groups.out, padded));
        let bias = bias.transpose()?;
        let mut zeros = cx.pool.take(4 * images.run)?;
        zeros.slice_mut::<f32>().fill(0.0);
        Ok(Direct { op, e, groups, tile, images, edges, zeros, panels, bias })
    }

    pub(super) fn windows(&self) -> Windows<'_> {
        let Direct { op, e, images, edges, zeros, tile, .. } = self;
        Windows::new(images, edges, op, e, zeros.slice(), tile.rows)
    }

    /// Pointers that so many pixels take.
    pub(super) fn pointers(&self, pixels: usize) -> usize {
        pixels.next_multiple_of(self.tile.rows) * self.images.taps[0] * self.images.taps[1]
    }

    /// Writes all outputs of the pixels from `first` of all images on, of a convolution without groups.
    pub(super) fn pixels(
        &self,
        level: Level,
        windows: &Windows<'_>,
        first: usize,
        pointers: &mut [*const f32],
        to: &mut [f32],
    ) {
        let Extents { n, out_rows, out_cols, out, .. } = *self.e;
        let m = to.len() / out.max(1);
        assert!(self.groups.count == 1 && to.len() == m * out && tile_shape(level) == self.tile);
        assert!(first + m <= n * out_rows * out_cols && pointers.len() >= self.pointers(m));
        if to.is_empty() {
            return;
        }
        windows.point(0, first, m, pointers);
        let block = Block {
            rows: pointers.as_ptr(),
            m,
            taps: self.images.taps[0] * self.images.taps[1],
            run: self.images.run,
            panels: self.panels.slice::<f32>().as_ptr(),
            n: out,
            output: to.as_mut_ptr(),
            pitch: out,
            bias: self.bias.as_ref().map_or(std::ptr::null(), |bias| bias.slice::<f32>().as_ptr()),
            residual: std::ptr::null(),
            activation: self.op.activation,
            add: false,
            ahead: Ahead::NOTHING,
            cold: false,
        };
        // SAFETY: the pointers are to `run` floats each, inside the images or the zeros; panels and biases
        // are padded to whole tiles of this level; the output is ours, and as long as asserted.
        unsafe { block.run(level) };
    }
}

/// Whether it is a first layer: of few channels, under a kernel of several columns.
pub(super) fn is_first(op: &Conv2d, e: &Extents) -> bool {
    op.groups == 1 && takes_rows(op, e, 1) && e.channels > 0
}

/// Whether each output is written once, and not as a sum of some of its products before.
pub(super) fn writes_once(op: &Conv2d, e: &Extents) -> bool {
    op.groups == 1 && e.kernel[0] * e.kernel[1] * e.channels <= DEPTH_BLOCK
}

/// Whether the inner loop runs over the columns and channels of a kernel row together.
fn takes_rows(op: &Conv2d, e: &Extents, groups: usize) -> bool {
    groups == 1 && e.channels <= FEW_CHANNELS && e.kernel[1] > 1 && op.dilation[1] == 1
}

/// The convolution, with so many groups at a time taken for one.
pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    merged: usize,
    x: &[f32],
    weights: &Operand<'_>,
    (added, place): (Added<'_>, Place<'_>),
) -> Result<()> {
    execute(cx, Direct::new(cx, op, e, merged, x, weights, added.bias)?, (added, place))
}

/// The convolution without groups that a gradient in the input is, of packed weights of the one that it is of.
pub(super) fn conv2d_turned(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    turned: &Turned<'_>,
    (added, place): (Added<'_>, Place<'_>),
) -> Result<()> {
    let panels = Arc::new(turned.packed(cx, tile_shape(cx.level))?);
    execute(cx, Direct::packed(cx, op, e, 1, x, panels, added.bias)?, (added, place))
}

fn execute(cx: &Context, direct: Direct<'_>, (added, place): (Added<'_>, Place<'_>)) -> Result<()> {
    let (op, e) = (direct.op, direct.e);
    let Direct { groups, tile, images, panels, bias, .. } = &direct;
    let (groups, tile) = (*groups, *tile);
    let Groups { count, out: group_out, .. } = groups;
    let pixels = e.n * e.out_rows * e.out_cols;
    let depth = e.kernel[0] * e.kernel[1] * groups.channels;
    let group_panels = group_out.div_ceil(tile.cols);
    let windows = direct.windows();
    let target = SharedOutput::new(place.values);

    // An output is the same bits in whatever block.
    let flops_per_pixel = 2 * depth * group_out.min(BLOCK_OUTPUTS);
    let block_pixels = BLOCK_PIXELS.max(BLOCK_FLOPS / flops_per_pixel.max(1)).min(pixels);
    let tiles = pixels.div_ceil(tile.rows);
    let pixel_blocks = tiles.div_ceil(block_pixels.div_ceil(tile.rows));
    let mut block_tiles = tiles.div_ceil(pixel_blocks);
    let mut block_panels = (BLOCK_OUTPUTS / tile.cols).clamp(1, group_panels);
    let blocks = |block_tiles: usize, block_panels: usize| {
        count * tiles.div_ceil(block_tiles) * group_panels.div_ceil(block_panels)
    };
    while block_panels > 1 && blocks(block_tiles, block_panels) < BLOCKS {
        block_panels = block_panels.div_ceil(2);
    }
    let tile_flops = 2 * depth * tile.rows * block_panels * tile.cols;
    while blocks(block_tiles, block_panels) < cx.threads.shares()
        && block_tiles > 1
        && (block_tiles - 1) * tile_flops >= LEAST_BLOCK_FLOPS
    {
        block_tiles -= 1;
    }
    let pixel_blocks = tiles.div_ceil(block_tiles);
    let panel_blocks = group_panels.div_ceil(block_panels);

    // Neighbours in a tile that lie a multiple of 4 KiB apart.
    let collide = images.taps == [1, 1]
        && images.run > DEPTH_BLOCK
        && (4 * op.stride[1] * images.channels).is_multiple_of(PAGE_BYTES);
    // Blocks of a few panels would each copy the same rows.
    let copied_bytes = 4 * pixels * (images.run + ROW_PAD);
    let copies = match collide && count == 1 && panel_blocks > 1 && copied_bytes <= COPIED_BYTES {
        true => Some(copied_rows(cx, &direct, &windows, pixels)?),
        false => None,
    };
    let panels: &[f32] = panels.slice();
    let bias: Option<&[f32]> = bias.as_ref().map(Memory::slice);
    cx.threads.try_for_each(count * pixel_blocks * panel_blocks, |task| {
        let (group, rest) =
            (task / (pixel_blocks * panel_blocks), task % (pixel_blocks * panel_blocks));
        // Pixels in their order, so that a thread meets those that it wrote in the layer before.
        let (pixel_block, panel_block) = (rest / panel_blocks, rest % panel_blocks);
        let first = pixel_block * block_tiles * tile.rows;
        let m = (pixels - first).min(block_tiles * tile.rows);
        let taps = images.taps[0] * images.taps[1];
        let mut pointers = cx.pool.take(8 * direct.pointers(m))?;
        let pointers = pointers.pointers_mut();
        match &copies {
            Some(copies) => {
                for (i, pointer) in pointers.iter_mut().enumerate() {
                    let row = first + i.min(m - 1);
                    *pointer = copies.slice::<f32>()[row * (images.run + ROW_PAD)..].as_ptr();
                }
            }
            None => windows.point(groups.first_channel(group), first, m, pointers),
        }
        let first_panel = panel_block * block_panels;
        let first_out = first_panel * tile.cols;
        let panel_offset = (group * group_panels + first_panel) * tile.cols;
        let out = group * group_out + first_out;
        // The last of merged groups may have fewer outputs, or here none.
        let outputs = group_out.min(e.out - group * group_out);
        let n = outputs.saturating_sub(first_out).min(block_panels * tile.cols);
        if n == 0 {
            return Ok(());
        }
        // SAFETY: pixel `first` and output `first_out` of the group are inside the place.
        let output = unsafe { target.at(first * place.pitch + place.first + out) };
        let block = Block {
            rows: pointers.as_ptr(),
            m,
            taps,
            run: images.run,
            panels: panels[panel_offset * depth..].as_ptr(),
            n,
            output,
            pitch: place.pitch,
            bias: bias.map_or(std::ptr::null(), |bias| bias[panel_offset..].as_ptr()),
            residual: added.residual.at(first * e.out + out, output),
            activation: op.activation,
            add: false,
            ahead: Ahead::NOTHING,
            cold: true,
        };
        // SAFETY: the pointers are to `run` floats each, inside the images, the zeros or the copies; panels and
        // biases are padded to whole tiles; blocks of different tasks do not overlap, and all of
        // them lie inside `y`, which nobody else uses until `for_each` is over.
        unsafe {
            match collide && copies.is_none() {
                true => copied(cx, block, pointers)?,
                false => block.run(cx.level),
            }
        }
        Ok(())
    })
}

/// Copies of all rows of one tap, [`ROW_PAD`] floats apart.
fn copied_rows(
    cx: &Context,
    direct: &Direct<'_>,
    windows: &Windows<'_>,
    pixels: usize,
) -> Result<Memory> {
    let run = direct.images.run;
    let pitch = run + ROW_PAD;
    let mut copies = cx.pool.take(4 * pixels * pitch)?;
    let part = COPIED_ROWS * pitch;
    cx.threads.try_for_each_part(copies.slice_mut::<f32>(), part, |index, to| {
        let m = to.len() / pitch;
        let mut pointers = cx.pool.take(8 * direct.pointers(m))?;
        let pointers = pointers.pointers_mut();
        windows.point(0, index * COPIED_ROWS, m, pointers);
        for (&row, to) in pointers.iter().zip(to.chunks_exact_mut(pitch)) {
            // SAFETY: the pointers are to `run` floats each, inside the images or the zeros.
            to[..run].copy_from_slice(unsafe { std::slice::from_raw_parts(row, run) });
        }
        Ok(())
    })?;
    Ok(copies)
}

/// Computes a block of one tap from copies of its rows, some of the depth at a time. Where they lie they
/// would push each other out of the first-level cache.
///
/// # Safety
/// As for [`Block::run`].
unsafe fn copied(cx: &Context, block: Block, rows: &mut [*const f32]) -> Result<()> {
    let tile = tile_shape(cx.level);
    let parts = block.run.div_ceil(DEPTH_BLOCK).max(1);
    let depth = block.run.div_ceil(parts);
    let pitch = depth + ROW_PAD;
    let mut copies = cx.pool.take(4 * block.m * pitch)?;
    let mut pointers = cx.pool.take(size_of_val(rows))?;
    let pointers = pointers.pointers_mut();
    for part in 0..parts {
        let from = part * depth;
        let run = depth.min(block.run - from);
        let copies = copies.slice_mut::<f32>();
        for (&row, to) in rows.iter().zip(copies.chunks_exact_mut(pitch)) {
            // SAFETY: rows have `run` floats of the block, which is more than `from + run`.
            to[..run].copy_from_slice(unsafe { std::slice::from_raw_parts(row.add(from), run) });
        }
        for (i, pointer) in pointers.iter_mut().enumerate() {
            *pointer = copies[i.min(block.m - 1) * pitch..].as_ptr();
        }
        let last = part + 1 == parts;
        for col in (0..block.n).step_by(tile.cols) {
            let piece = Block {
                rows: pointers.as_ptr(),
                run,
                panels: block.panels.wrapping_add(col * block.run + from * tile.cols),
                n: (block.n - col).min(tile.cols),
                output: block.output.wrapping_add(col),
                bias: if block.bias.is_null() { block.bias } else { block.bias.wrapping_add(col) },
                residual: match last && !block.residual.is_null() {
                    true => block.residual.wrapping_add(col),
                    false => std::ptr::null(),
                },
                activation: if last { block.activation } else { Activation::None },
                add: part > 0,
                // The next panel, and after the last one the next part of the first.
                ahead: Ahead {
                    from: match col + tile.cols < block.n {
                        true => block
                            .panels
                            .wrapping_add((col + tile.cols) * block.run + from * tile.cols),
                        false => block.panels.wrapping_add((from + run) * tile.cols),
                    },
                    floats: run * tile.cols,
                },
                ..block
            };
            // SAFETY: the rows are the copies; the rest is part of what the caller vouches for.
            unsafe { piece.run(cx.level) };
        }
    }
    Ok(())
}

/// The weights of each group in panels, kept with their buffer; of a group that several were merged to,
/// with zeros between them.
fn packed_weights(
    cx: &Context,
    e: &Extents,
    groups: Groups,
    weights: &Operand<'_>,
    tile: TileShape,
) -> Result<Arc<Memory>> {
    let Groups { count, channels, out, .. } = groups;
    let depth = e.kernel[0] * e.kernel[1] * channels;
    let key = PackKey {
        winograd: 0,
        turned: false,
        depthwise: false,
        depth,
        outputs: e.out,
        groups: count,
        panel: tile.cols,
    };
    own(weights.buffer)?.packed(key, || {
        let spread;
        let values = match groups.merged {
            1 => floats(weights)?,
            _ => {
                spread = with_zeros(cx, e, groups, weights)?;
                Floats::F32(spread.slice())
            }
        };
        let group_panels = out.div_ceil(tile.cols);
        let panel = depth * tile.cols;
        let mut packed = cx.pool.take(4 * count * group_panels * panel)?;
        let packing = Packing { depth, cols: out, depth_step: 1, col_step: depth };
        cx.threads.for_each_part(packed.slice_mut::<f32>(), panel, |index, to| {
            let (group, index) = (index / group_panels, index % group_panels);
            let of_group = values.range(group * out * depth..(group + 1) * out * depth);
            pack_panels(cx.level, of_group, packing, index * tile.cols, to);
        });
        Ok(packed)
    })
}

/// The weights `[outputs of all merged groups, taps, channels of one]`, 0 where an output does not see the
/// channel.
fn with_zeros(cx: &Context, e: &Extents, groups: Groups, weights: &Operand<'_>) -> Result<Memory> {
    let Groups { count, channels: seen, out, all, merged } = groups;
    let (channels, outs) = (seen / merged, e.out / all);
    let taps = e.kernel[0] * e.kernel[1];
    let weights = cx.widen(weights)?;
    let mut spread = cx.pool.take(4 * count * out * taps * seen)?;
    let to = spread.slice_mut::<f32>();
    to.fill(0.0);
    if channels > 0 {
        let lines = to.chunks_exact_mut(seen);
        for (index, (from, to)) in weights.slice().chunks_exact(channels).zip(lines).enumerate() {
            let group = index / taps / outs;
            let place = group - groups.first_seen(group / merged);
            to[place * channels..][..channels].copy_from_slice(from);
        }
    }
    Ok(spread)
}

/// The weights of a convolution without groups, `[out, kernel rows, kernel cols, channels]`, as its gradient in the
/// input takes them: a sum over taps and outputs for each channel.
pub(super) struct Turned<'a> {
    pub(super) weights: Floats<'a>,
    pub(super) out: usize,
    /// Of the kernel.
    pub(super) cells: usize,
    pub(super) channels: usize,
    /// The cells of the kernel that the taps are, in their order.
    pub(super) taps: Vec<usize>,
}

impl Turned<'_> {
    /// In panels: of each output, a tap is some channels that lie side by side.
    fn packed(&self, cx: &Context, tile: TileShape) -> Result<Memory> {
        let Turned { weights, out, cells, channels, ref taps } = *self;
        let depth = taps.len() * out;
        let panels = channels.div_ceil(tile.cols);
        let mut packed = cx.pool.take(4 * panels * depth * tile.cols)?;
        let to = SharedOutput::new(packed.slice_mut());
        cx.threads.for_each(out.div_ceil(TURNED_OUTPUTS), |task| {
            let outputs = task * TURNED_OUTPUTS..((task + 1) * TURNED_OUTPUTS).min(out);
            for (tap, cell) in taps.iter().enumerate() {
                for panel in 0..panels {
                    let first = panel * tile.cols;
                    let cols = (channels - first).min(tile.cols);
                    for output in outputs.clone() {
                        let at = (panel * depth + tap * out + output) * tile.cols;
                        // SAFETY: a row of a panel, which is this task's alone.
                        let row = unsafe { std::slice::from_raw_parts_mut(to.at(at), tile.cols) };
                        let (row, beyond) = row.split_at_mut(cols);
                        let from = (output * cells + cell) * channels + first;
                        weights.range(from..from + cols).copy_to(cx.level, row);
                        beyond.fill(0.0);
                    }
                }
            }
        });
        Ok(packed)
    }
}

/// A convolution by 1×1 kernels without strides, for a row of pixels at a time.
pub(super) struct Pointwise {
    panels: Arc<Memory>,
    bias: Option<Memory>,
    channels: usize,
    out: usize,
    activation: Activation,
    tile: TileShape,
}

impl Pointwise {
    pub(super) fn new(
        cx: &Context,
        op: &Conv2d,
        e: &Extents,
        weights: &Operand<'_>,
        bias: Option<&Operand<'_>>,
    ) -> Result<Self> {
        let tile = tile_shape(cx.level);
        let panels = packed_weights(cx, e, Groups::new(op, e, 1), weights, tile)?;
        let padded = e.out.next_multiple_of(tile.cols);
        let bias = bias.map(|bias| padded_bias(cx, bias, 1, e.out, padded)).transpose()?;
        let (channels, out, activation) = (e.channels, e.out, op.activation);
        Ok(Pointwise { panels, bias, channels, out, activation, tile })
    }

    /// Pointers that so many pixels take.
    pub(super) fn pointers(&self, pixels: usize) -> usize {
        pixels.next_multiple_of(self.tile.rows)
    }

    /// Writes pixels, of as many, and a residual of as many.
    pub(super) fn row(
        &self,
        level: Level,
        from: &[f32],
        pointers: &mut [*const f32],
        to: &mut [f32],
        residual: Option<&[f32]>,
    ) {
        let pixels = to.len() / self.out.max(1);
        assert!(to.len() == pixels * self.out && from.len() == pixels * self.channels);
        assert!(residual.is_none_or(|residual| residual.len() == to.len()));
        assert!(pointers.len() >= self.pointers(pixels) && tile_shape(level) == self.tile);
        if to.is_empty() {
            return;
        }
        for (i, pointer) in pointers.iter_mut().enumerate() {
            *pointer = from[i.min(pixels - 1) * self.channels..].as_ptr();
        }
        let block = Block {
            rows: pointers.as_ptr(),
            m: pixels,
            taps: 1,
            run: self.channels,
            panels: self.panels.slice::<f32>().as_ptr(),
            n: self.out,
            output: to.as_mut_ptr(),
            pitch: self.out,
            bias: self.bias.as_ref().map_or(std::ptr::null(), |bias| bias.slice::<f32>().as_ptr()),
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            activation: self.activation,
            add: false,
            ahead: Ahead::NOTHING,
            cold: false,
        };
        // SAFETY: the pointers are to `channels` floats each; panels and biases are padded to whole tiles of
        // this level; output and residual are as long as asserted, and the output is ours.
        unsafe { block.run(level) };
    }
}
