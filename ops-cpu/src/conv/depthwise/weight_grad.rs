//! The gradient of a depthwise convolution in its weights, and of one of groups that share a vector: as many
//! times, with the channels of `x` turned within their groups.
//!
//! A task takes a block of channels and some rows of `x`, and sums each tap by itself; the sums of the
//! parts are added in their order. Rows of `x` are copied side by side, with the zeros of the padding
//! around them: then every output sees pixels under all taps, and a pixel that is read serves several
//! outputs. The zeros take part, as the definition says: they make NaN of what is not finite.

mod lines;

use std::ops::Range;

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use super::axis::Axis;
use super::{BLOCK_CHANNELS, Block, Extents, blocks, padded};
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, MOST_LANES, Simd};
use lines::{Line, Lines};

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
    let rows = &Rows::new(e, shape);
    let cols = Columns::new(op, e);
    // The partition: a function of the shape alone.
    let all_rows = e.n * e.rows;
    let products = e.out_cols * taps * e.channels;
    let part_rows =
        (PART_PRODUCTS / products.max(1)).max(all_rows.div_ceil(PARTS)).clamp(1, all_rows.max(1));
    let parts = all_rows.div_ceil(part_rows).max(1);
    let blocks: Vec<Block> = blocks(e.channels, lanes).collect();
    // Each part's, block's and turn's sums, `[taps][channels of the block]`.
    let most = taps * BLOCK_CHANNELS;
    let whole = taps * padded(e.channels, lanes);
    let in_part = blocks.len() * group;
    let mut sums = cx.pool.take(4 * parts * in_part * most)?;
    cx.threads.for_each_part(sums.slice_mut::<f32>(), most.max(1), |index, sums| {
        let (part, block, turn) = (index / in_part, blocks[index % in_part / group], index % group);
        let range = all_rows.min(part * part_rows)..all_rows.min((part + 1) * part_rows);
        let sums = &mut sums[..taps * block.vectors * lanes];
        sums.fill(0.0);
        let part = [part, parts];
        // Channel `i` of a group sees the one `turn` places after it.
        let turned = (turn > 0).then(|| {
            std::array::from_fn(|lane| (lane - lane % group + (lane + turn) % group) as u32)
        });
        cx.level.run(Part { x, dy, sums, range, part, block, turned, rows, cols, e });
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
            let to = &mut to[channel * taps * group..][..taps * group];
            for (turn, sums) in turns.chunks_exact(most).enumerate() {
                let to = to[(channel + turn) % group..].iter_mut().step_by(group);
                let from = sums[channel - block.channel..].iter().step_by(width);
                to.zip(from).for_each(|(to, sum)| *to = *sum);
            }
        }
        known = block.channel + width;
    }
    Ok(dw)
}

/// How the rows of the kernel, of `x` and of `dy` lie to each other.
struct Rows {
    /// For each row of `x` and each of the kernel, the row of `dy` that sees the one under the other.
    seeing: Vec<Option<usize>>,
    /// For each row of `dy` the rows of the kernel under which it sees nothing but padding.
    unseen: Vec<Vec<usize>>,
}

impl Rows {
    fn new(e: &Extents, shape: [usize; 3]) -> Self {
        let taps = e.kernel[0];
        let back = Axis::of_inputs([e.rows, e.out_rows], taps, shape);
        let mut seeing = vec![None; e.rows * taps];
        for (row, seeing) in seeing.chunks_exact_mut(taps.max(1)).enumerate() {
            back.sources(row).for_each(|(dy_row, tap)| seeing[tap] = Some(dy_row));
        }
        let forward = Axis::of_outputs([e.out_rows, e.rows], taps, shape);
        let unseen = |row: usize| {
            let sees = |tap: usize| forward.sources(row).any(|(_, seen)| seen == tap);
            (0..taps).filter(|&tap| !sees(tap)).collect()
        };
        Rows { seeing, unseen: (0..e.out_rows).map(unseen).collect() }
    }
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

    /// Pixels that so many outputs side by side see, from the first to the last.
    fn span(&self, outputs: usize) -> usize {
        (outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }

    /// Outputs side by side, at least one, that see no more than so many pixels.
    fn outputs(&self, pixels: usize) -> usize {
        1 + pixels.saturating_sub(self.span(1)) / self.stride
    }
}

/// A block of channels over some rows of `x`.
struct Part<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// `[taps][channels of the block]`
    sums: &'a mut [f32],
    range: Range<usize>,
    /// Which part it is, and of how many.
    part: [usize; 2],
    block: Block,
    /// For each channel of a vector of `x` the one that is taken for it.
    turned: Option<[u32; MOST_LANES]>,
    rows: &'a Rows,
    cols: Columns,
    e: &'a Extents,
}

/// Pixels of a block of channels that are copied at a time: they stay in the first-level cache beside
/// what they are multiplied by.
const PIXELS: usize = 80;
/// Rows that are copied at a time, at most.
const ROWS: usize = 8;

/// Memory aligned as vectors are.
#[repr(align(64))]
struct Aligned([f32; PIXELS * BLOCK_CHANNELS]);

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (e, cols) = (self.e, self.cols);
        let width = self.block.vectors * S::LANES;
        let (line, dy_line) = (e.cols * e.channels, e.out_cols * e.channels);
        // What the pointers below rely on.
        assert!(self.block.channel + width <= e.channels && width <= BLOCK_CHANNELS);
        assert!(self.x.len() == e.n * e.rows * line && self.range.end <= e.n * e.rows);
        assert!(self.dy.len() == e.n * e.out_rows * dy_line);
        assert!(self.sums.len() == e.kernel[0] * cols.kernel * width);
        if e.out_cols == 0 {
            return;
        }
        self.unseen(simd);
        let most = cols.outputs(PIXELS).min(e.out_cols);
        let span = cols.span(most);
        // A kernel that sees more pixels than fit has memory of its own.
        let (mut near, mut far) = (Aligned([0.0; _]), Vec::new());
        let copies = match span <= PIXELS {
            true => &mut near.0[..],
            false => {
                far.resize(span * BLOCK_CHANNELS, 0.0);
                &mut far[..]
            }
        };
        let chunk = (copies.len() / BLOCK_CHANNELS / span).clamp(1, ROWS);
        let sums = self.sums.as_mut_ptr();
        let mut lines: Vec<Line> = Vec::with_capacity(chunk);
        for first_row in self.range.clone().step_by(chunk) {
            let range = first_row..self.range.end.min(first_row + chunk);
            for first_output in (0..e.out_cols).step_by(most) {
                let first = (first_output * cols.stride) as isize - cols.padding as isize;
                for (row, copy) in range.clone().zip(copies.chunks_exact_mut(span * width)) {
                    self.copy(simd, &self.x[row * line..][..line], first, copy);
                }
                for tap_row in 0..e.kernel[0] {
                    lines.clear();
                    for (row, copy) in range.clone().zip(copies.chunks_exact(span * width)) {
                        let (n, row) = (row / e.rows, row % e.rows);
                        if let Some(row) = self.rows.seeing[row * e.kernel[0] + tap_row] {
                            let output = (n * e.out_rows + row) * e.out_cols + first_output;
                            let dy = &self.dy[output * e.channels + self.block.channel..];
                            lines.push(Line { dy: dy.as_ptr(), x: copy.as_ptr() });
                        }
                    }
                    let lines = Lines {
                        lines: &lines,
                        outputs: most.min(e.out_cols - first_output),
                        channels: e.channels,
                        width,
                        stride: cols.stride * width,
                        dilation: cols.dilation * width,
                    };
                    // SAFETY: the sums of a row of the kernel; the lines have so many outputs of the
                    // block's channels, and copies of all pixels that these see.
                    unsafe {
                        lines.sum(simd, sums.add(tap_row * cols.kernel * width), cols.kernel);
                    }
                }
            }
        }
    }
}

impl Part<'_> {
    /// Copies the block's channels of the pixels of a row from `first` on, zeros for those outside.
    #[inline(always)]
    fn copy<S: Simd>(&self, simd: S, row: &[f32], first: isize, to: &mut [f32]) {
        let width = self.block.vectors * S::LANES;
        for (pixel, to) in (first..).zip(to.chunks_exact_mut(width)) {
            let inside = usize::try_from(pixel).ok().filter(|&pixel| pixel < self.e.cols);
            let from = inside.map(|pixel| {
                let from = &row[pixel * self.e.channels + self.block.channel..];
                &from[..width]
            });
            for at in (0..width).step_by(S::LANES) {
                // SAFETY: both have `width` floats, which are whole vectors.
                unsafe {
                    let pixel = match from {
                        Some(from) => {
                            let pixel = simd.load(from.as_ptr().add(at));
                            match &self.turned {
                                Some(turned) => simd.permute(pixel, turned),
                                None => pixel,
                            }
                        }
                        None => simd.splat(0.0),
                    };
                    simd.store(to.as_mut_ptr().add(at), pixel);
                }
            }
        }
    }

    /// Adds `dy` times the zeros of the padding, for rows of the kernel that see nothing else. Each part
    /// does so for some rows of `dy`.
    #[inline(always)]
    fn unseen<S: Simd>(&mut self, simd: S) {
        let (e, zero) = (self.e, simd.splat(0.0));
        let width = self.block.vectors * S::LANES;
        let all_rows = e.n * e.out_rows;
        let [part, parts] = self.part;
        let each = all_rows.div_ceil(parts);
        for index in all_rows.min(part * each)..all_rows.min((part + 1) * each) {
            let unseen = &self.rows.unseen[index % e.out_rows];
            if unseen.is_empty() {
                continue;
            }
            let row = &self.dy[index * e.out_cols * e.channels..][..e.out_cols * e.channels];
            for at in (0..width).step_by(S::LANES) {
                let mut nothing = zero;
                for output in row.chunks_exact(e.channels) {
                    let dy = &output[self.block.channel + at..][..S::LANES];
                    // SAFETY: a vector of them.
                    nothing = simd.mul_add(unsafe { simd.load(dy.as_ptr()) }, zero, nothing);
                }
                for &tap in unseen {
                    for sum in self.sums[tap * self.cols.kernel * width..]
                        .chunks_exact_mut(width)
                        .take(self.cols.kernel)
                    {
                        let sum = sum[at..][..S::LANES].as_mut_ptr();
                        // SAFETY: a vector of them.
                        unsafe { simd.store(sum, simd.add(simd.load(sum), nothing)) };
                    }
                }
            }
        }
    }
}
