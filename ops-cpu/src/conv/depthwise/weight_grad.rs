//! The gradient of a depthwise convolution in its weights.
//!
//! A task takes a block of channels and some rows of `dy`, and sums each tap by itself; the sums of the
//! parts are added in their order. The zeros of the padding take part, as the definition says: they
//! make NaN of what is not finite.

use std::ops::Range;

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use super::axis::{Axis, Tap};
use super::{Block, Extents, blocks, padded};
use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Products of a task, at least.
const PART_PRODUCTS: usize = 1 << 21;
/// Parts of the rows, at most: as many keep the threads of a desktop processor busy to the end.
const PARTS: usize = 32;

/// The gradient in the weights `[channels, kernel rows, kernel cols, 1]`.
pub(in super::super) fn weight_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    dy: &[f32],
) -> Result<Memory> {
    let (taps, lanes) = (e.kernel[0] * e.kernel[1], cx.level.lanes());
    let along = |axis: usize, outputs, extent| {
        Axis::of_outputs(
            [outputs, extent],
            e.kernel[axis],
            [op.stride[axis], op.dilation[axis], op.padding[axis][0]],
        )
    };
    let (rows, cols) = (along(0, e.out_rows, e.rows), along(1, e.out_cols, e.cols));
    // The partition: a function of the shape alone.
    let all_rows = e.n * e.out_rows;
    let products = e.out_cols * taps * e.channels;
    let part_rows =
        (PART_PRODUCTS / products.max(1)).max(all_rows.div_ceil(PARTS)).clamp(1, all_rows.max(1));
    let parts = all_rows.div_ceil(part_rows);
    let blocks: Vec<Block> = blocks(e.channels, lanes).collect();
    // Each part's and block's sums, `[taps][channels of the block]`.
    let most = taps * super::BLOCK_CHANNELS;
    let whole = taps * padded(e.channels, lanes);
    let mut sums = cx.pool.take(4 * parts * blocks.len() * most)?;
    cx.threads.for_each_part(sums.slice_mut::<f32>(), most.max(1), |index, sums| {
        let (part, block) = (index / blocks.len(), blocks[index % blocks.len()]);
        let range = part * part_rows..all_rows.min((part + 1) * part_rows);
        let sums = &mut sums[..taps * block.vectors * lanes];
        sums.fill(0.0);
        cx.level.run(Part { x, dy, sums, range, block, rows: &rows, cols: &cols, e });
    });
    let mut dw = cx.pool.take(4 * e.channels * taps)?;
    let to = dw.slice_mut::<f32>();
    to.fill(0.0);
    if whole > 0 {
        let sums: &[f32] = sums.slice();
        for part in sums.chunks_exact(blocks.len() * most) {
            // A channel in two blocks has the same sums in both: it is taken from the first.
            let mut known = 0;
            for (block, sums) in blocks.iter().zip(part.chunks_exact(most)) {
                let width = block.vectors * lanes;
                for channel in known..block.channel + width {
                    let to = &mut to[channel * taps..][..taps];
                    let from = sums[channel - block.channel..].iter().step_by(width);
                    to.iter_mut().zip(from).for_each(|(to, sum)| *to += sum);
                }
                known = block.channel + width;
            }
        }
    }
    Ok(dw)
}

/// A block of channels over some rows of `dy`.
struct Part<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// `[taps][channels of the block]`
    sums: &'a mut [f32],
    range: Range<usize>,
    block: Block,
    rows: &'a Axis,
    cols: &'a Axis,
    e: &'a Extents,
}

/// A row of `dy`, and one of `x` under a row of the kernel: where they begin, at the block's first
/// channel.
type Line = (*const f32, *const f32);

/// Rows that are summed together, so that sums are seldom loaded: those of a block fit into the
/// first-level cache.
#[derive(Clone, Copy)]
struct Lines<'a> {
    lines: &'a [Line],
    /// The sums of the kernel's row.
    sums: *mut f32,
}

/// Outputs whose channels of a block are summed together.
const CHUNK: usize = 64;

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (e, cols) = (self.e, self.cols);
        let width = self.block.vectors * S::LANES;
        let (line, dy_line) = (e.cols * e.channels, e.out_cols * e.channels);
        // What the pointers below rely on.
        assert!(self.block.channel + width <= e.channels);
        assert!(self.x.len() == e.n * e.rows * line);
        assert!(self.dy.len() == e.n * e.out_rows * dy_line && self.range.end <= e.n * e.out_rows);
        assert!(self.sums.len() == e.kernel[0] * e.kernel[1] * width);
        let taps = &cols.phases[0];
        let sums = self.sums.as_mut_ptr();
        let chunk = (CHUNK / e.out_cols.max(1)).max(1);
        let (mut seen, mut unseen) = (Vec::with_capacity(chunk), Vec::with_capacity(chunk));
        for first_row in self.range.clone().step_by(chunk) {
            let range = first_row..self.range.end.min(first_row + chunk);
            for tap_row in 0..e.kernel[0] {
                // SAFETY: the sums of a row of the kernel.
                let sums = unsafe { sums.add(tap_row * e.kernel[1] * width) };
                seen.clear();
                unseen.clear();
                for index in range.clone() {
                    let (n, row) = (index / e.out_rows, index % e.out_rows);
                    let dy = self.dy[index * dy_line + self.block.channel..].as_ptr();
                    match self.rows.sources(row).find(|&(_, tap)| tap == tap_row) {
                        Some((row, _)) => {
                            let at = (n * e.rows + row) * line + self.block.channel;
                            seen.push((dy, self.x[at..].as_ptr()));
                        }
                        None => unseen.push((dy, dy)),
                    }
                }
                let lines = Lines { lines: &unseen, sums };
                // SAFETY: the block's channels of all outputs of these rows.
                unsafe { self.zeros(simd, lines, 0..taps.len(), 0..e.out_cols) };
                let lines = Lines { lines: &seen, sums };
                let mut first = 0;
                while first < taps.len() {
                    // Many taps at a time where most outputs see pixels under all of them.
                    let left = match e.out_cols < 16 {
                        true => (taps.len() - first).min(3),
                        false => taps.len() - first,
                    };
                    // SAFETY: `first` and as many taps as it says are in the row of the kernel.
                    first += unsafe {
                        match left {
                            7.. => self.taps::<S, 7, 1>(simd, lines, first),
                            5.. => self.taps::<S, 5, 2>(simd, lines, first),
                            3.. => self.taps::<S, 3, 4>(simd, lines, first),
                            _ => self.taps::<S, 1, 4>(simd, lines, first),
                        }
                    };
                }
            }
        }
    }
}

impl Part<'_> {
    /// Adds what `TAPS` taps of a row of the kernel see, `VECTORS` vectors at a time, and says how many
    /// taps.
    ///
    /// # Safety
    /// The lines must be rows of this part, and the taps be there.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        lines: Lines<'_>,
        first: usize,
    ) -> usize {
        let cols = self.cols;
        let taps = &cols.phases[0][first..first + TAPS];
        let mut inside = cols.inside(0, taps);
        if TAPS > 1 && inside.len() < TAPS {
            // Too few to be worth it: each tap by itself.
            inside = 0..0;
        }
        for (i, tap) in taps.iter().enumerate() {
            let own = cols.inside(0, std::slice::from_ref(tap));
            // SAFETY: outputs of the row that see pixels under this tap, and those that do not.
            unsafe {
                self.zeros(simd, lines, first + i..first + i + 1, 0..own.start);
                self.zeros(simd, lines, first + i..first + i + 1, own.end..cols.count);
                let (before, after) = match inside.is_empty() {
                    true => (own.clone(), own.end..own.end),
                    false => (own.start..inside.start, inside.end..own.end),
                };
                for range in [before, after] {
                    self.each::<S, 1, 4>(simd, lines, first + i, range);
                }
            }
        }
        // SAFETY: all of these outputs see pixels under all of the taps.
        unsafe { self.each::<S, TAPS, VECTORS>(simd, lines, first, inside) };
        TAPS
    }

    /// Adds what `TAPS` taps see of a range of outputs.
    ///
    /// # Safety
    /// As for [`taps`](Part::taps); the outputs must see pixels under all of the taps.
    #[inline(always)]
    unsafe fn each<S: Simd, const TAPS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        lines: Lines<'_>,
        first: usize,
        range: Range<usize>,
    ) {
        if range.is_empty() || lines.lines.is_empty() {
            return;
        }
        let mut vector = 0;
        while vector < self.block.vectors {
            // SAFETY: the caller's; the vectors are of the block.
            vector += unsafe {
                match self.block.vectors - vector >= VECTORS {
                    true => {
                        self.vectors::<S, TAPS, VECTORS>(simd, lines, first, range.clone(), vector)
                    }
                    false => self.vectors::<S, TAPS, 1>(simd, lines, first, range.clone(), vector),
                }
            };
        }
    }

    /// As [`each`](Part::each), for some vectors.
    ///
    /// # Safety
    /// As there; the vectors must be of the block.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const TAPS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        lines: Lines<'_>,
        first: usize,
        range: Range<usize>,
        vector: usize,
    ) -> usize {
        let (channels, step) = (self.e.channels, self.cols.step * self.e.channels);
        let width = self.block.vectors * S::LANES;
        let taps: &[Tap] = &self.cols.phases[0][first..first + TAPS];
        let at = vector * S::LANES;
        let offsets: [isize; TAPS] =
            std::array::from_fn(|tap| taps[tap].offset * channels as isize + at as isize);
        // SAFETY: the caller's: sums of these taps and vectors, and pixels of both lines.
        unsafe {
            let place =
                |tap: usize, v: usize| lines.sums.add((first + tap) * width + at + v * S::LANES);
            let mut sums: [[S::V; VECTORS]; TAPS] =
                std::array::from_fn(|tap| std::array::from_fn(|v| simd.load(place(tap, v))));
            for &(dy, x) in lines.lines {
                for output in range.clone() {
                    let dy = dy.add(output * channels + at);
                    let x = x.add(output * step);
                    let dy: [S::V; VECTORS] =
                        std::array::from_fn(|v| simd.load(dy.add(v * S::LANES)));
                    for (sums, offset) in sums.iter_mut().zip(offsets) {
                        let x = x.offset(offset);
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = simd.mul_add(simd.load(x.add(v * S::LANES)), dy[v], *sum);
                        }
                    }
                }
            }
            for (tap, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    simd.store(place(tap, v), sum);
                }
            }
        }
        VECTORS
    }

    /// Adds `dy` times the zeros of the padding, for taps that see nothing else.
    ///
    /// # Safety
    /// The lines must be rows of this part, and the taps and the outputs be there.
    #[inline(always)]
    unsafe fn zeros<S: Simd>(
        &self,
        simd: S,
        lines: Lines<'_>,
        taps: Range<usize>,
        range: Range<usize>,
    ) {
        if range.is_empty() || lines.lines.is_empty() {
            return;
        }
        let (width, zero) = (self.block.vectors * S::LANES, simd.splat(0.0));
        for at in (0..width).step_by(S::LANES) {
            // SAFETY: the caller's.
            unsafe {
                let mut nothing = zero;
                for &(dy, _) in lines.lines {
                    for output in range.clone() {
                        let dy = simd.load(dy.add(output * self.e.channels + at));
                        nothing = simd.mul_add(dy, zero, nothing);
                    }
                }
                for tap in taps.clone() {
                    let sum = lines.sums.add(tap * width + at);
                    simd.store(sum, simd.add(simd.load(sum), nothing));
                }
            }
        }
    }
}
