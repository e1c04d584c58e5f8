//! Depthwise convolution: as many groups as channels and outputs, so that each channel is filtered by
//! itself; and convolutions of groups so small that a vector holds several.
//!
//! There is nothing to multiply as matrices: a vector holds channels side by side, and every pixel under
//! the kernel is read, multiplied and added. A task takes some rows of the output, a block of channels
//! at a time, whose weights stay in the first-level cache. The gradient in the input is the same work
//! with other taps. Padding is left out, which changes nothing where the weights are finite; others
//! take the general way.

/// A block for each pixel that a few places side by side see at most, written out: compilers unroll a loop of so
/// many rounds too late to keep in registers what it adds to.
macro_rules! for_each_pixel {
    ($pixel:ident $block:block) => {
        for_each_pixel!($pixel $block 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
    ($pixel:ident $block:block $($number:literal)+) => {
        $({
            let $pixel = $number;
            $block
        })+
    };
}

mod axis;
mod groups;
mod pair;
mod row;
mod slide;
mod weight_grad;

use std::sync::Arc;

use striate_tensor::ops::{Activation, Conv2d};
use striate_tensor::{Operand, Result};

use super::Extents;
use crate::buffer::{PackKey, floats, own};
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::Level;
use axis::Axis;
use pair::Pair;
use row::Row;
use slide::Window;
pub(super) use weight_grad::weight_grad;

/// What people see.
pub(super) const NAME: &str = "depthwise";

/// Channels of a block: their weights of a 7x7 kernel, and the pixels under it, stay in the first-level
/// cache.
const BLOCK_CHANNELS: usize = 64;
/// Products of a task, at least: less costs more to hand out than to compute. Half of it where there are
/// fewer tasks than threads.
const PART_PRODUCTS: usize = 1 << 17;

/// Whether a convolution is done here: one channel for each output, and enough of them for a vector.
pub(super) fn takes(level: Level, op: &Conv2d, e: &Extents) -> bool {
    op.groups == e.channels && e.out == e.channels && e.channels >= level.lanes()
}

/// What people see of groups that share a vector.
pub(super) const GROUPS_NAME: &str = "groups in a vector";

/// Whether a convolution of groups is done here, with several in a vector: as many outputs as channels, a
/// few of them in a group, and instructions that permute a vector at once.
pub(super) fn takes_groups(level: Level, op: &Conv2d, e: &Extents) -> bool {
    let channels = e.channels.checked_div(op.groups).unwrap_or(0);
    level.permutes()
        && e.out == e.channels
        && [2, 4, 8].contains(&channels)
        && channels < level.lanes()
        && e.channels >= level.lanes()
}

/// A block of channels. Where they are no whole vectors, the last block is a vector that reaches back
/// into the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// Its first channel.
    channel: usize,
    vectors: usize,
    /// Channels of all blocks before it.
    before: usize,
}

/// The blocks of so many channels, at least as many as a vector holds.
fn blocks(channels: usize, lanes: usize) -> impl Iterator<Item = Block> {
    blocks_of(channels, lanes, BLOCK_CHANNELS / lanes)
}

/// [`blocks`] of at most so many vectors.
fn blocks_of(channels: usize, lanes: usize, most: usize) -> impl Iterator<Item = Block> {
    let whole = channels / lanes;
    let full = (0..whole).step_by(most).map(move |first| Block {
        channel: first * lanes,
        vectors: (whole - first).min(most),
        before: first * lanes,
    });
    let rest = Block { channel: channels - lanes, vectors: 1, before: whole * lanes };
    full.chain((!channels.is_multiple_of(lanes)).then_some(rest))
}

/// The channels of all blocks together.
fn padded(channels: usize, lanes: usize) -> usize {
    channels.next_multiple_of(lanes)
}

/// The weights in blocks of channels, `[blocks][taps][channels of a group][channels of the block]`, and at
/// the end 1 where all are finite, 0 where not. They are kept with their buffer.
fn packed_weights(
    cx: &Context,
    e: &Extents,
    group: usize,
    weights: &Operand<'_>,
) -> Result<Arc<Memory>> {
    let (taps, lanes) = (e.kernel[0] * e.kernel[1] * group, cx.level.lanes());
    let key = PackKey {
        winograd: 0,
        turned: false,
        depthwise: true,
        depth: taps,
        outputs: e.channels,
        groups: e.channels / group,
        panel: BLOCK_CHANNELS,
    };
    own(weights.buffer)?.packed(key, || {
        let values = floats(weights)?;
        let mut wide = vec![0.0f32; values.len()];
        values.copy_to(cx.level, &mut wide);
        let whole = taps * padded(e.channels, lanes);
        let mut packed = cx.pool.take(4 * (whole + 1))?;
        let to = packed.slice_mut::<f32>();
        to[whole] = if values.all_finite() { 1.0 } else { 0.0 };
        for block in blocks(e.channels, lanes) {
            let width = block.vectors * lanes;
            let to = &mut to[block.before * taps..][..width * taps];
            for (tap, to) in to.chunks_exact_mut(width).enumerate() {
                for (channel, to) in to.iter_mut().enumerate() {
                    *to = wide[(block.channel + channel) * taps + tap];
                }
            }
        }
        Ok(packed)
    })
}

/// A depthwise convolution with what is added to it; none where a weight is not finite.
pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    weights: &Operand<'_>,
    [bias, residual]: [Option<&[f32]>; 2],
) -> Result<Option<Memory>> {
    let Some(filter) = Filter::new(cx, op, e, weights, bias)? else { return Ok(None) };
    filter.images(cx, e.n, x, residual).map(Some)
}

/// The gradient of a depthwise convolution in its input; none where a weight is not finite.
pub(super) fn input_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    dy: &[f32],
    weights: &Operand<'_>,
    bias: Option<&[f32]>,
) -> Result<Option<Memory>> {
    let along = |axis: usize, pixels, extent| {
        Axis::of_inputs(
            [pixels, extent],
            e.kernel[axis],
            [op.stride[axis], op.dilation[axis], op.padding[axis][0]],
        )
    };
    let axes = [along(0, e.rows, e.out_rows), along(1, e.cols, e.out_cols)];
    let filter = Filter::of_axes(cx, e, axes, 1, weights, bias, Activation::None)?;
    filter.map(|filter| filter.images(cx, e.n, dy, None)).transpose()
}

/// What a depthwise convolution, or its gradient in the input, does to each row.
pub(super) struct Filter<'a> {
    rows: Axis,
    cols: Axis,
    windows: Vec<Option<Window>>,
    pair: Option<Pair>,
    kernel: [usize; 2],
    channels: usize,
    /// Channels that an output sees.
    group: usize,
    packed: Arc<Memory>,
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl<'a> Filter<'a> {
    /// Of a convolution; none where a weight is not finite.
    pub(super) fn new(
        cx: &Context,
        op: &Conv2d,
        e: &Extents,
        weights: &Operand<'_>,
        bias: Option<&'a [f32]>,
    ) -> Result<Option<Self>> {
        let along = |axis: usize, outputs, extent| {
            Axis::of_outputs(
                [outputs, extent],
                e.kernel[axis],
                [op.stride[axis], op.dilation[axis], op.padding[axis][0]],
            )
        };
        let axes = [along(0, e.out_rows, e.rows), along(1, e.out_cols, e.cols)];
        let group = e.channels / op.groups;
        Self::of_axes(cx, e, axes, group, weights, bias, op.activation)
    }

    fn of_axes(
        cx: &Context,
        e: &Extents,
        [rows, cols]: [Axis; 2],
        group: usize,
        weights: &Operand<'_>,
        bias: Option<&'a [f32]>,
        activation: Activation,
    ) -> Result<Option<Self>> {
        let packed = packed_weights(cx, e, group, weights)?;
        let is_finite = packed.slice::<f32>().last() == Some(&1.0);
        let (kernel, channels) = (e.kernel, e.channels);
        Ok(is_finite.then(|| Filter {
            rows,
            windows: Window::all(&cols),
            pair: Pair::of(&cols),
            cols,
            kernel,
            channels,
            group,
            packed,
            bias,
            activation,
        }))
    }

    /// Floats of a row that is read, and of one that is written.
    pub(super) fn lines(&self) -> [usize; 2] {
        [self.cols.extent * self.channels, self.cols.count * self.channels]
    }

    /// The rows of an image that a row of the output sees, each with its tap, in order.
    pub(super) fn sources(&self, row: usize) -> impl Iterator<Item = (usize, usize)> {
        self.rows.sources(row)
    }

    /// Writes a row, of those that it sees, which are in the cache: where they begin in `from`, and their
    /// taps.
    pub(super) fn row(
        &self,
        level: Level,
        from: &[f32],
        rows: &[(usize, usize)],
        to: &mut [f32],
        residual: Option<&[f32]>,
    ) {
        level.run(self.kernel(from, rows, to, residual));
    }

    /// What computes a row.
    fn kernel<'r>(
        &'r self,
        from: &'r [f32],
        rows: &'r [(usize, usize)],
        to: &'r mut [f32],
        residual: Option<&'r [f32]>,
    ) -> Row<'r> {
        Row {
            from,
            to,
            rows,
            cols: &self.cols,
            windows: &self.windows,
            pair: self.pair.as_ref(),
            kernel: self.kernel,
            channels: self.channels,
            group: self.group,
            weights: self.packed.slice(),
            bias: self.bias,
            residual,
            activation: self.activation,
            below: None,
        }
    }

    /// Writes `[n, rows.count, cols.count, channels]` from `[n, rows.extent, cols.extent, channels]`.
    fn images(
        &self,
        cx: &Context,
        n: usize,
        from: &[f32],
        residual: Option<&[f32]>,
    ) -> Result<Memory> {
        let [source, line] = self.lines();
        let (count, extent) = (self.rows.count, self.rows.extent);
        let mut y = cx.pool.take(4 * n * count * line)?;
        if line == 0 {
            return Ok(y);
        }
        // A row is the same bits in whatever part.
        let products = line * self.kernel[0] * self.kernel[1] * self.group;
        let part = (PART_PRODUCTS / products.max(1)).max(1);
        let part = match (n * count).div_ceil(part) < cx.threads.shares() {
            true => part.div_ceil(2),
            false => part,
        };
        cx.threads.for_each_part(y.slice_mut::<f32>(), part * line, |index, y| {
            let mut sources = Vec::with_capacity(self.kernel[0]);
            for (row, to) in (index * part..).zip(y.chunks_exact_mut(line)) {
                let image = row / count * extent;
                sources.clear();
                let seen = self.sources(row % count);
                sources.extend(seen.map(|(row, tap)| ((image + row) * source, tap)));
                let residual = residual.map(|residual| &residual[row * line..][..line]);
                let below = sources.iter().map(|&(base, _)| base + source).max();
                let kernel = self.kernel(from, &sources, to, residual);
                cx.level.run(Row { below, ..kernel });
            }
        });
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_whole_vectors_inside_the_channels() {
        for channels in 8..300 {
            let (mut covered, mut before) = (0, 0);
            for block in blocks(channels, 8) {
                let end = block.channel + block.vectors * 8;
                assert!(block.channel <= covered && end > covered && end <= channels);
                assert_eq!(block.before, before);
                (covered, before) = (end, before + block.vectors * 8);
            }
            assert_eq!((covered, before), (channels, padded(channels, 8)), "{channels}");
        }
    }
}
