//! The gradient of a depthwise convolution in its weights, and of one of groups that share a vector: as many
//! times, with the channels of `dy` turned within their groups.
//!
//! A task takes some rows of `dy` and a block of channels, and adds what they see to the sums of the taps,
//! which stay in the first-level cache; the sums of the parts are added in their order. A pixel is read
//! once for several outputs that see it. The zeros of the padding take part, as the definition says: they
//! make NaN of what is not finite.

mod tile;

use std::ops::Range;

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use super::axis::Axis;
use super::{Block, Extents, blocks_of, padded};
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, MOST_LANES, Simd};
use tile::{Line, Seen};

/// Sums of a task, at most, where a vector of channels has no more: they stay in the first-level cache.
const SUMS: usize = 4096;
/// Rows that are asked for at a time, at most.
const ROWS_ASKED: usize = 2;
/// Products of a task, at least.
const PART_PRODUCTS: usize = 1 << 21;
/// Parts of the rows, at most: as many keep the threads of a desktop processor busy to the end.
const PARTS: usize = 32;

/// The gradient in the weights `[channels, kernel rows, kernel cols, channels of a group]`.
pub(in super::super) fn weight_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    dy: &[f32],
) -> Result<Memory> {
    let (taps, lanes) = (e.kernel[0] * e.kernel[1], cx.level.lanes());
    let group = e.channels / op.groups;
    let shape = [op.stride[0], op.dilation[0], op.padding[0][0]];
    let rows = &Axis::of_outputs([e.out_rows, e.rows], e.kernel[0], shape);
    let cols = Columns::new(op, e);
    // The partition: a function of the shape alone.
    let all_rows = e.n * e.out_rows;
    let products = e.out_cols * taps * e.channels;
    let part_rows =
        (PART_PRODUCTS / products.max(1)).max(all_rows.div_ceil(PARTS)).clamp(1, all_rows.max(1));
    let parts = all_rows.div_ceil(part_rows).max(1);
    let vectors = (SUMS / (taps * lanes).max(1)).max(1);
    let blocks: Vec<Block> = blocks_of(e.channels, lanes, vectors).collect();
    // Each part's, block's and turn's sums, `[taps][channels of the block]`.
    let most = taps * lanes * blocks.iter().map(|block| block.vectors).max().unwrap_or(0);
    let whole = taps * padded(e.channels, lanes);
    let in_part = blocks.len() * group;
    let mut sums = cx.pool.take(4 * parts * in_part * most)?;
    cx.threads.for_each_part(sums.slice_mut::<f32>(), most.max(1), |index, sums| {
        let (part, block, turn) = (index / in_part, blocks[index % in_part / group], index % group);
        let range = all_rows.min(part * part_rows)..all_rows.min((part + 1) * part_rows);
        let sums = &mut sums[..taps * block.vectors * lanes];
        sums.fill(0.0);
        // Channel `i` of a group is seen by the one `turn` places before it.
        let turned = (turn > 0).then(|| {
            std::array::from_fn(|lane| (lane - lane % group + (lane + group - turn) % group) as u32)
        });
        cx.level.run(Part { x, dy, sums, range, block, turned, rows, cols, e });
    });
    let mut dw = cx.pool.take(4 * e.channels * taps * group)?;
    if whole == 0 {
        return Ok(dw);
    }
    // The parts of each block, in their order.
    let (first, others) = sums.slice_mut::<f32>().split_at_mut(in_part * most);
    cx.threads.for_each_part(first, most, |index, sums| {
        let used = taps * blocks[index / group].vectors * lanes;
        for part in others.chunks_exact(in_part * most) {
            let part = &part[index * most..][..used];
            sums[..used].iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
        }
    });
    let to = dw.slice_mut::<f32>();
    // A channel in two blocks has the same sums in both: it is taken from the first.
    let mut known = 0;
    for (block, turns) in blocks.iter().zip(first.chunks_exact(most * group)) {
        let width = block.vectors * lanes;
        for channel in known..block.channel + width {
            let place = channel % group;
            for (turn, sums) in turns.chunks_exact(most).enumerate() {
                let output = channel - place + (place + group - turn) % group;
                let to = &mut to[output * taps * group..][..taps * group];
                let to = to[place..].iter_mut().step_by(group);
                let from = sums[channel - block.channel..].iter().step_by(width);
                to.zip(from).for_each(|(to, sum)| *to = *sum);
            }
        }
        known = block.channel + width;
    }
    Ok(dw)
}

/// How the columns of the kernel, of `x` and of `dy` lie to each other.
#[derive(Clone, Copy)]
struct Columns {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
}

impl Columns {
    fn new(op: &Conv2d, e: &Extents) -> Self {
        let (kernel, padding) = (e.kernel[1], op.padding[1][0]);
        Columns { kernel, stride: op.stride[1], dilation: op.dilation[1], padding }
    }
}

/// A block of channels over some rows of `dy`.
struct Part<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// `[taps][channels of the block]`
    sums: &'a mut [f32],
    range: Range<usize>,
    block: Block,
    /// For each channel of a vector of `x` the one of `dy` that sees it.
    turned: Option<[u32; MOST_LANES]>,
    rows: &'a Axis,
    cols: Columns,
    e: &'a Extents,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let e = self.e;
        let width = self.block.vectors * S::LANES;
        let (line, dy_line) = (e.cols * e.channels, e.out_cols * e.channels);
        // What the pointers rely on.
        assert!(self.block.channel + width <= e.channels);
        assert!(self.x.len() == e.n * e.rows * line && self.range.end <= e.n * e.out_rows);
        assert!(self.dy.len() == e.n * e.out_rows * dy_line);
        assert!(self.sums.len() == e.kernel[0] * self.cols.kernel * width);
        let mut seen = Vec::with_capacity(e.kernel[0]);
        for row in self.range.clone() {
            let first = row / e.out_rows * e.rows;
            let sources = self.rows.sources(row % e.out_rows);
            seen.clear();
            seen.extend(sources.map(|(row, tap)| Seen { at: (first + row) * line, tap }));
            let dy = row * dy_line;
            if seen.len() < e.kernel[0] {
                self.unseen(simd, &self.dy[dy..][..dy_line], &seen);
            }
            let below = seen.last().map_or(0, |seen| seen.at + line);
            let line = Line { dy, seen: &seen, below, rows_below: self.rows.step.min(ROWS_ASKED) };
            // SAFETY: `dy` begins a row, and `seen` are rows of `x`.
            unsafe { self.line(simd, line) };
        }
    }
}

impl Part<'_> {
    /// Adds `dy` times the zeros of the padding, for the rows of the kernel that see nothing else.
    #[inline(always)]
    fn unseen<S: Simd>(&mut self, simd: S, dy: &[f32], seen: &[Seen]) {
        let zero = simd.splat(0.0);
        let (width, kernel) = (self.block.vectors * S::LANES, self.cols.kernel);
        for at in (0..width).step_by(S::LANES) {
            let mut nothing = zero;
            for output in dy.chunks_exact(self.e.channels) {
                let dy = &output[self.block.channel + at..][..S::LANES];
                // SAFETY: a vector of them.
                nothing = simd.mul_add(unsafe { simd.load(dy.as_ptr()) }, zero, nothing);
            }
            if let Some(turned) = &self.turned {
                nothing = simd.permute(nothing, turned);
            }
            for (tap, sums) in self.sums.chunks_exact_mut((kernel * width).max(1)).enumerate() {
                if seen.iter().any(|seen| seen.tap == tap) {
                    continue;
                }
                for sum in sums.chunks_exact_mut(width) {
                    let sum = sum[at..][..S::LANES].as_mut_ptr();
                    // SAFETY: a vector of them.
                    unsafe { simd.store(sum, simd.add(simd.load(sum), nothing)) };
                }
            }
        }
    }
}
