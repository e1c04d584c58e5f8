//! Convolution with integers of 8 bits: [`Conv2dInt8`].
//!
//! The images are rounded to levels once, into images that have their padding: then the taps of every window
//! lie at the same distances from its first one, and the kernel needs no other addresses. Sums stay in
//! registers over the whole depth, so that partial sums are never in memory. Of 1×1 kernels with strides, only
//! the pixels that are seen are rounded.

mod levels;
mod tile;

use std::sync::Arc;

use striate_tensor::ops::{Conv2d, Conv2dInt8};
use striate_tensor::{Operand, Result, TensorType};

use super::Extents;
use crate::activation::InRegisters;
use crate::buffer::{PackKey, elements, own};
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::Level;
use crate::simd::int8::{Integer, IntegerLevel, IntegerShape};
use crate::threads::SharedOutput;
use levels::Image;
use tile::Block;

/// Pixels of a block: their rounded channels stay in the second-level cache while all panels of weights pass.
const BLOCK_PIXELS: usize = 112;
/// Outputs of a block.
const BLOCK_OUTPUTS: usize = 512;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 32;

/// Executes the convolution.
pub(crate) fn conv2d_int8(
    cx: &Context,
    op: &Conv2dInt8,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    execute(cx, IntegerLevel::best(cx.level), op, inputs, output)
}

/// What [`conv2d_int8`] runs, for people.
pub(crate) fn name(level: Level) -> String {
    IntegerLevel::best(level).name().into()
}

/// The taps of a kernel as products run over them: lines of numbers that lie side by side in an image.
#[derive(Clone, Copy, Debug)]
struct Lines {
    /// Lines along rows and columns.
    taps: [usize; 2],
    /// Numbers of a line.
    run: usize,
    /// Groups of a line. The last may have numbers of what follows in the image, and weights of 0 for them.
    groups: usize,
}

impl Lines {
    fn new(conv: &Conv2d, e: &Extents, group: usize) -> Self {
        let [rows, cols] = e.kernel;
        // Without gaps between them, the taps of a kernel's row are one line.
        let (cols, run) = match conv.dilation[1] == 1 || cols == 1 {
            true => (1, cols * e.channels),
            false => (cols, e.channels),
        };
        Lines { taps: [rows, cols], run, groups: run.div_ceil(group) }
    }

    fn count(&self) -> usize {
        self.taps[0] * self.taps[1]
    }
}

fn execute(
    cx: &Context,
    integers: IntegerLevel,
    op: &Conv2dInt8,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let e = Extents::of("conv2d_int8", inputs[0].ty, inputs[1].ty, output)?;
    let (bias, residual) = inputs[3..].split_at(usize::from(op.conv.bias));
    let mut y = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return Ok(y);
    }
    let shape = integers.shape();
    let lines = Lines::new(&op.conv, &e, shape.group);
    let panels = e.out.div_ceil(shape.cols);
    let weights = packed_weights(cx, &e, &lines, &inputs[1], shape)?;
    let panel_bytes = shape.panel_bytes(lines.count() * lines.groups);
    let sums = &weights.bytes()[panels * panel_bytes..][..4 * panels * shape.cols];
    let bias = bias.first().map(elements).transpose()?;
    let columns = columns(cx, op, sums, shape, elements(&inputs[2])?, bias)?;
    let residual: Option<&[f32]> = residual.first().map(elements).transpose()?;

    let image = Image::new(&op.conv, &e);
    let x = image.rounded(cx, &op.levels, elements(&inputs[0])?, shape)?;
    // From the first number of a window to those of its lines.
    let mut offsets = Vec::with_capacity(lines.count());
    for row in 0..lines.taps[0] {
        for col in 0..lines.taps[1] {
            let [row, col] = [row * op.conv.dilation[0], col * op.conv.dilation[1]];
            offsets.push((row * image.cols + col) * e.channels);
        }
    }

    // The partition: a function of the shape alone.
    let pixels = e.n * e.out_rows * e.out_cols;
    let pixel_blocks = pixels.div_ceil(BLOCK_PIXELS);
    let block_pixels = pixels.div_ceil(pixel_blocks);
    let pixel_blocks = pixels.div_ceil(block_pixels);
    let mut block_panels = (BLOCK_OUTPUTS / shape.cols).clamp(1, panels);
    while block_panels > 1 && pixel_blocks * panels.div_ceil(block_panels) < BLOCKS {
        block_panels = block_panels.div_ceil(2);
    }
    let panel_blocks = panels.div_ceil(block_panels);

    let (activation, after) = InRegisters::split(op.conv.activation);
    let target = SharedOutput::new(y.slice_mut::<f32>());
    cx.threads.for_each(pixel_blocks * panel_blocks, |task| {
        let (pixel_block, panel_block) = (task / panel_blocks, task % panel_blocks);
        let first = pixel_block * block_pixels;
        let m = block_pixels.min(pixels - first);
        let mut windows = [0; BLOCK_PIXELS];
        image.windows(&e, first, &mut windows[..m]);
        let first_panel = panel_block * block_panels;
        let out = first_panel * shape.cols;
        let n = (e.out - out).min(block_panels * shape.cols);
        let block = Block {
            image: x.bytes().as_ptr(),
            windows: &windows[..m],
            offsets: &offsets,
            groups: lines.groups,
            panels: weights.bytes()[first_panel * panel_bytes..].as_ptr(),
            n,
            columns: columns.bytes()[first_panel * COLUMN_BYTES * shape.cols..].as_ptr(),
            // SAFETY: pixel `first` and output `out` are inside the output.
            output: unsafe { target.at(first * e.out + out) },
            residual: residual
                .map_or(std::ptr::null(), |from| from[first * e.out + out..].as_ptr()),
            pitch: e.out,
            activation,
            after,
        };
        // SAFETY: windows and offsets are of the image, which has room for a group behind its last number;
        // panels and columns are padded to whole panels; blocks of different tasks do not overlap, and all
        // of them lie inside `y`, which nobody else uses until `for_each` is over; a residual has its shape.
        integers.run(unsafe { block.vouched() });
    });
    Ok(y)
}

/// The weights `[out, kernel rows, kernel cols, channels]` in panels, kept with their buffer: of each group of
/// a line those of all outputs of the panel side by side. Behind the panels, the sum of each output's weights.
fn packed_weights(
    cx: &Context,
    e: &Extents,
    lines: &Lines,
    weights: &Operand<'_>,
    shape: IntegerShape,
) -> Result<Arc<Memory>> {
    let key = PackKey {
        winograd: 0,
        turned: false,
        depthwise: false,
        depth: lines.run,
        outputs: e.out,
        groups: lines.count(),
        panel: shape.cols,
    };
    own(weights.buffer)?.packed(key, || {
        let from: &[i8] = elements(weights)?;
        let panels = e.out.div_ceil(shape.cols);
        let panel = shape.panel_bytes(lines.count() * lines.groups);
        let mut packed = cx.pool.take(panels * (panel + 4 * shape.cols))?;
        let (to, sums) = packed.bytes_mut().split_at_mut(panels * panel);
        cx.threads.for_each_part(to, panel, |index, to| match shape.size {
            1 => pack_panel::<i8>(from, index, lines, shape, to),
            _ => pack_panel::<i16>(from, index, lines, shape, to),
        });
        let depth = lines.count() * lines.run;
        let sum = |out: usize| -> i32 {
            let weights = if out < e.out { &from[out * depth..][..depth] } else { &[] };
            weights.iter().map(|&weight| i32::from(weight)).sum()
        };
        for (out, to) in sums.chunks_exact_mut(4).take(panels * shape.cols).enumerate() {
            to.copy_from_slice(&sum(out).to_ne_bytes());
        }
        Ok(packed)
    })
}

fn pack_panel<T: Integer>(
    from: &[i8],
    panel: usize,
    lines: &Lines,
    shape: IntegerShape,
    to: &mut [u8],
) {
    let depth = lines.count() * lines.run;
    let group_bytes = shape.group * size_of::<T>();
    // `[lines, groups, outputs, numbers of a group]`
    for (index, to) in to.chunks_exact_mut(shape.cols * group_bytes).enumerate() {
        let (line, first) = (index / lines.groups, index % lines.groups * shape.group);
        let count = shape.group.min(lines.run - first);
        // Beyond the outputs, and beyond the end of a line, weights are 0.
        to.fill(0);
        let outputs = from.chunks_exact(depth).skip(panel * shape.cols);
        for (weights, to) in outputs.zip(to.chunks_exact_mut(group_bytes)) {
            let weights = &weights[line * lines.run + first..][..count];
            for (to, &weight) in to.chunks_exact_mut(size_of::<T>()).zip(weights) {
                to.copy_from_slice(bytemuck::bytes_of(&T::of(weight.into())));
            }
        }
    }
}

/// Bytes of what a block needs of each output.
const COLUMN_BYTES: usize = 12;

/// For each panel, of its outputs: what sums start from, `-zero · Σ weights` i32, so that they are those of
/// levels with 0 at 0; then what they are multiplied by; then the biases.
fn columns(
    cx: &Context,
    op: &Conv2dInt8,
    sums: &[u8],
    shape: IntegerShape,
    scales: &[f32],
    bias: Option<&[f32]>,
) -> Result<Memory> {
    let count = sums.len() / 4;
    let mut columns = cx.pool.take(COLUMN_BYTES * count)?;
    let words: &mut [[u8; 4]] = columns.slice_mut();
    for (panel, words) in words.chunks_exact_mut(3 * shape.cols).enumerate() {
        for col in 0..shape.cols {
            let out = panel * shape.cols + col;
            let mut sum = [0; 4];
            sum.copy_from_slice(&sums[4 * out..4 * out + 4]);
            // Wraps where a weight is -128 in the deepest of sums, and back when products are added.
            let start = i32::from_ne_bytes(sum).wrapping_mul(-i32::from(op.levels.zero));
            let factor = scales.get(out).map_or(0.0, |scale| op.levels.scale * scale);
            let bias = bias.and_then(|bias| bias.get(out)).copied().unwrap_or(0.0);
            words[col] = start.to_ne_bytes();
            words[shape.cols + col] = factor.to_ne_bytes();
            words[2 * shape.cols + col] = bias.to_ne_bytes();
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests;
