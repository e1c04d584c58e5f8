//! Some outputs side by side, of a vector of channels: what they add to the sums of the taps.

use super::super::slide::{NARROW, WIDE, ask_below, together};
use super::Part;
use crate::simd::Simd;

/// Instead of a step between outputs: taps and outputs may lie in any way.
const ANY: usize = 0;

/// A row of `x` that a row of `dy` sees: where it begins, and under which row of the kernel.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: usize,
    pub(super) tap: usize,
}

/// A row of `dy`: where it begins, and what it sees.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) dy: usize,
    pub(super) seen: &'a [Seen],
    /// Where the rows of `x` begin that the row below will be the first to see, and how many they are.
    pub(super) below: usize,
    pub(super) rows_below: usize,
}

/// Taps of a row of the kernel from one on, an output from which the tile begins, and a vector of the block.
#[derive(Clone, Copy)]
struct Tile {
    tap: usize,
    output: usize,
    at: usize,
}

impl Part<'_> {
    /// Adds what all outputs of a row see.
    ///
    /// # Safety
    /// The line must be a row of `dy`, and the rows that it sees be rows of `x`.
    #[inline(always)]
    pub(super) unsafe fn line<S: Simd>(&mut self, simd: S, line: Line<'_>) {
        let (kernel, mut tap) = (self.cols.kernel, 0);
        let step = match (self.cols.stride, self.cols.dilation) {
            (step @ 1..=2, 1) => step,
            _ => ANY,
        };
        while tap < kernel {
            // SAFETY: the caller's; the taps are in the kernel, and lie as the step says.
            tap += unsafe {
                match (kernel - tap, step) {
                    (7.., 1) => self.taps::<S, 7, 1>(simd, line, tap),
                    (7.., 2) => self.taps::<S, 7, 2>(simd, line, tap),
                    (7.., _) => self.taps::<S, 7, ANY>(simd, line, tap),
                    (5.., 1) => self.taps::<S, 5, 1>(simd, line, tap),
                    (5.., 2) => self.taps::<S, 5, 2>(simd, line, tap),
                    (5.., _) => self.taps::<S, 5, ANY>(simd, line, tap),
                    (3.., 1) => self.taps::<S, 3, 1>(simd, line, tap),
                    (3.., 2) => self.taps::<S, 3, 2>(simd, line, tap),
                    (3.., _) => self.taps::<S, 3, ANY>(simd, line, tap),
                    _ => self.taps::<S, 1, ANY>(simd, line, tap),
                }
            };
        }
    }

    /// Adds what the outputs see under `TAPS` taps of each row, and says how many taps.
    ///
    /// # Safety
    /// As for [`line`](Part::line); the taps must be there. A `STEP` other than [`ANY`] must be the stride,
    /// and the taps side by side.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize, const STEP: usize>(
        &mut self,
        simd: S,
        line: Line<'_>,
        tap: usize,
    ) -> usize {
        let (count, width) = (self.e.out_cols, self.block.vectors * S::LANES);
        let mut output = 0;
        while output < count {
            let cols = match count - output {
                left @ NARROW.. => together(left),
                _ => 1,
            };
            let is_inside = STEP != ANY && self.is_inside::<TAPS>(tap, output, cols);
            for at in (0..width).step_by(S::LANES) {
                let tile = Tile { tap, output, at };
                // SAFETY: the caller's; so many outputs are there, and see pixels under all taps where
                // `is_inside` says so.
                unsafe {
                    match (cols, is_inside) {
                        (WIDE, true) => self.add::<S, TAPS, STEP, WIDE, true>(simd, line, tile),
                        (WIDE, false) => self.add::<S, TAPS, STEP, WIDE, false>(simd, line, tile),
                        (NARROW, true) => self.add::<S, TAPS, STEP, NARROW, true>(simd, line, tile),
                        (NARROW, false) => {
                            self.add::<S, TAPS, STEP, NARROW, false>(simd, line, tile);
                        }
                        _ => self.add::<S, TAPS, ANY, 1, false>(simd, line, tile),
                    }
                }
            }
            output += cols;
        }
        TAPS
    }

    /// The pixel that an output sees under a tap.
    #[inline(always)]
    fn pixel(&self, output: usize, tap: usize) -> isize {
        let cols = &self.cols;
        // No extent has more than 32 bits.
        (output * cols.stride + tap * cols.dilation) as isize - cols.padding as isize
    }

    /// Whether so many outputs see pixels under all of the taps.
    #[inline(always)]
    fn is_inside<const TAPS: usize>(&self, tap: usize, output: usize, cols: usize) -> bool {
        let last = self.pixel(output + cols - 1, tap + TAPS - 1);
        self.pixel(output, tap) >= 0 && last < self.e.cols as isize
    }

    /// Adds what `COLS` outputs see under `TAPS` taps of each row.
    ///
    /// # Safety
    /// As for [`taps`](Part::taps); the outputs and the vector must be there, and where `INSIDE` is true see
    /// pixels under all taps.
    #[inline(always)]
    unsafe fn add<
        S: Simd,
        const TAPS: usize,
        const STEP: usize,
        const COLS: usize,
        const INSIDE: bool,
    >(
        &mut self,
        simd: S,
        line: Line<'_>,
        tile: Tile,
    ) {
        let Tile { tap, output, at } = tile;
        let (channels, channel) = (self.e.channels, self.block.channel + at);
        let from = line.dy + output * channels + channel;
        self.ask::<S, STEP, COLS>(simd, line, output, channel);
        let dy: [S::V; COLS] = std::array::from_fn(|col| {
            // SAFETY: the outputs are in the row, and the vector in their channels.
            let dy = unsafe { simd.load(self.dy.as_ptr().add(from + col * channels)) };
            match &self.turned {
                Some(turned) => simd.permute(dy, turned),
                None => dy,
            }
        });
        let width = self.block.vectors * S::LANES;
        // Where the row would begin if its first pixel were what the first output sees under the first tap; from
        // there on, some are pixels of the row.
        let first = self.pixel(output, tap);
        let inside = -first..self.e.cols as isize - first;
        let x = self.x.as_ptr().wrapping_add(channel).wrapping_offset(first * channels as isize);
        for seen in line.seen {
            // SAFETY: the taps are in the kernel, and the vector in the block.
            let sums = unsafe {
                self.sums.as_mut_ptr().add((seen.tap * self.cols.kernel + tap) * width + at)
            };
            // SAFETY: as above.
            let mut held: [S::V; TAPS] =
                std::array::from_fn(|tap| unsafe { simd.load(sums.add(tap * width)) });
            let x = x.wrapping_add(seen.at);
            let load = |pixel: usize| {
                if !INSIDE && !inside.contains(&(pixel as isize)) {
                    return simd.splat(0.0);
                }
                // SAFETY: the pixel is in the row, and the vector in its channels.
                unsafe { simd.load(x.wrapping_add(pixel * channels)) }
            };
            if STEP == ANY {
                for (col, &dy) in dy.iter().enumerate() {
                    for (next, sum) in held.iter_mut().enumerate() {
                        let x = load(col * self.cols.stride + next * self.cols.dilation);
                        *sum = simd.mul_add(x, dy, *sum);
                    }
                }
            } else {
                for_each_pixel!(pixel {
                    if pixel < (COLS - 1) * STEP + TAPS {
                        let x = load(pixel);
                        for (col, &dy) in dy.iter().enumerate() {
                            if pixel >= col * STEP && pixel - col * STEP < TAPS {
                                let sum = &mut held[pixel - col * STEP];
                                *sum = simd.mul_add(x, dy, *sum);
                            }
                        }
                    }
                });
            }
            for (tap, &sum) in held.iter().enumerate() {
                // SAFETY: as where it was read.
                unsafe { simd.store(sums.add(tap * width), sum) };
            }
        }
    }

    /// Asks for the next outputs, and for the pixels that the row below these will be the first to see.
    #[inline(always)]
    fn ask<S: Simd, const STEP: usize, const COLS: usize>(
        &self,
        simd: S,
        line: Line<'_>,
        output: usize,
        channel: usize,
    ) {
        let channels = self.e.channels;
        let next = self.dy.as_ptr().wrapping_add(line.dy + (output + COLS) * channels + channel);
        for col in 0..COLS {
            simd.prefetch(next.wrapping_add(col * channels));
        }
        let at = line.below + output * STEP * channels + channel;
        let rows = [line.rows_below, self.e.cols * channels];
        ask_below(simd, self.x.as_ptr().wrapping_add(at), rows, [COLS * STEP, channels]);
    }
}
