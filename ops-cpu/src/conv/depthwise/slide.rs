//! Places side by side whose taps overlap: each pixel is read once for all of them.

use super::axis::{Axis, Tap};
use super::blocks;
use super::row::{Place, Row};
use crate::simd::Simd;

/// Places that are summed together: images of 7, 14, 28, 56 and 112 pixels have whole ones.
pub(super) const WIDE: usize = 7;
pub(super) const NARROW: usize = 4;

/// How many of those that are left come next.
#[inline(always)]
pub(super) fn together(left: usize) -> usize {
    if left == WIDE || left > 2 * NARROW { WIDE } else { NARROW }
}

/// Floats of the first-level cache.
const FIRST_CACHE: usize = 8192;

/// Asks for so many pixels of so many rows, from a pixel on: rows that will be read next, and lie too far apart
/// for a processor to ask by itself. Where the rows are longer than the first-level cache, they would have left
/// it before they are read, and come no nearer than the second.
#[inline(always)]
pub(super) fn ask_below<S: Simd>(
    simd: S,
    from: *const f32,
    [rows, line]: [usize; 2],
    [pixels, channels]: [usize; 2],
) {
    let is_far = rows * line > FIRST_CACHE;
    for row in 0..rows {
        let from = from.wrapping_add(row * line);
        for pixel in 0..pixels {
            let pixel = from.wrapping_add(pixel * channels);
            match is_far {
                true => simd.prefetch_far(pixel),
                false => simd.prefetch(pixel),
            }
        }
    }
}

/// Taps of a phase that see pixels side by side, in the order of these.
pub(super) struct Window {
    /// The pixel that place 0 sees under the first of them.
    pub(super) offset: isize,
    /// The place of the first in the kernel, and from one to the next.
    pub(super) tap: usize,
    pub(super) next: isize,
    pub(super) taps: usize,
}

impl Window {
    /// Those of the phases of an axis.
    pub(super) fn all(cols: &Axis) -> Vec<Option<Window>> {
        (0..cols.phases.len()).map(|phase| Self::of(cols, phase)).collect()
    }

    /// The window of a phase, where there are kernels here for its taps and step, and places enough.
    fn of(cols: &Axis, phase: usize) -> Option<Self> {
        let taps = &cols.phases[phase];
        let is_here = match cols.step {
            1 => [1, 2, 3, 5, 7].contains(&taps.len()),
            2 => [3, 5, 7].contains(&taps.len()),
            _ => false,
        };
        if !is_here || cols.count_of(phase) < NARROW {
            return None;
        }
        Self::beside(taps)
    }

    /// The window of some taps, where they see pixels side by side.
    pub(super) fn beside(taps: &[Tap]) -> Option<Self> {
        let (first, last) = (taps.first()?, taps.last()?);
        let steps = |by: isize, every: isize| {
            taps.windows(2).all(|pair| {
                pair[1].offset == pair[0].offset + by
                    && pair[1].tap as isize == pair[0].tap as isize + every
            })
        };
        let every = taps.get(1).map_or(0, |next| next.tap as isize - first.tap as isize);
        let of = |tap: &Tap, next| {
            let Tap { offset, tap } = *tap;
            Some(Window { offset, tap, next, taps: taps.len() })
        };
        if steps(1, every) {
            of(first, every)
        } else if steps(-1, every) {
            of(last, -every)
        } else {
            None
        }
    }
}

/// A phase of a row, and its window.
#[derive(Clone, Copy)]
struct Slide<'a> {
    window: &'a Window,
    phase: usize,
    /// Of a vector of the block, under the first tap of the kernel.
    weights: *const f32,
    channel: usize,
    /// Weights from one row of the kernel to the next, before the window's first tap in it, and from one of its
    /// taps to the next.
    row: usize,
    tap: usize,
    next: isize,
}

impl Row<'_> {
    /// Computes some places of a phase from `b` on, and says where the next ones begin.
    ///
    /// # Safety
    /// The window must be of the phase, and `b` one of its places. `to` is the row that is written.
    #[inline(always)]
    pub(super) unsafe fn slide<S: Simd>(
        &self,
        simd: S,
        (phase, window): (usize, &Window),
        b: usize,
        to: *mut f32,
    ) -> usize {
        // SAFETY: the caller's; the number of taps and the step are what the window says.
        unsafe {
            match (window.taps, self.cols.step) {
                (1, _) => self.taps::<S, 1, 1>(simd, phase, window, b, to),
                (2, _) => self.taps::<S, 2, 1>(simd, phase, window, b, to),
                (3, 1) => self.taps::<S, 3, 1>(simd, phase, window, b, to),
                (3, _) => self.taps::<S, 3, 2>(simd, phase, window, b, to),
                (5, 1) => self.taps::<S, 5, 1>(simd, phase, window, b, to),
                (5, _) => self.taps::<S, 5, 2>(simd, phase, window, b, to),
                (_, 1) => self.taps::<S, 7, 1>(simd, phase, window, b, to),
                _ => self.taps::<S, 7, 2>(simd, phase, window, b, to),
            }
        }
    }

    /// # Safety
    /// As [`slide`](Row::slide), of so many taps and this step.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize, const STEP: usize>(
        &self,
        simd: S,
        phase: usize,
        window: &Window,
        b: usize,
        to: *mut f32,
    ) -> usize {
        let count = self.cols.count_of(phase);
        let extent = self.cols.extent as isize;
        let in_kernel = self.kernel[0] * self.kernel[1];
        // The last ones once more, rather than a few by themselves: each place is summed alike wherever
        // it stands.
        let cols = together(count - b);
        let here = b.min(count - cols);
        let first = (here * STEP) as isize + window.offset;
        let is_inside = first >= 0 && first + ((cols - 1) * STEP + TAPS) as isize <= extent;
        for block in blocks(self.channels, S::LANES) {
            let width = block.vectors * S::LANES;
            let weights = self.weights[block.before * in_kernel..][..width * in_kernel].as_ptr();
            let (row, tap) = (self.kernel[1] * width, window.tap * width);
            let next = window.next * width as isize;
            for vector in 0..block.vectors {
                let channel = block.channel + vector * S::LANES;
                // SAFETY: a vector of the block.
                let weights = unsafe { weights.add(vector * S::LANES) };
                let slide = Slide { window, phase, weights, channel, row, tap, next };
                // SAFETY: the caller's; the places are of the phase, and where `is_inside` says so see
                // pixels of the row under all taps.
                unsafe {
                    match (cols, is_inside) {
                        (WIDE, true) => {
                            self.beside::<S, TAPS, STEP, WIDE, true>(simd, slide, here, to)
                        }
                        (WIDE, false) => {
                            self.beside::<S, TAPS, STEP, WIDE, false>(simd, slide, here, to)
                        }
                        (_, true) => {
                            self.beside::<S, TAPS, STEP, NARROW, true>(simd, slide, here, to)
                        }
                        (_, false) => {
                            self.beside::<S, TAPS, STEP, NARROW, false>(simd, slide, here, to)
                        }
                    }
                }
            }
        }
        here + cols
    }

    /// Computes `COLS` places from `b` on, for a vector of channels.
    ///
    /// # Safety
    /// As [`taps`](Row::taps); the places must be of the phase, and where `INSIDE` is true see pixels of
    /// the row under all taps.
    #[inline(always)]
    unsafe fn beside<
        S: Simd,
        const TAPS: usize,
        const STEP: usize,
        const COLS: usize,
        const INSIDE: bool,
    >(
        &self,
        simd: S,
        slide: Slide<'_>,
        b: usize,
        to: *mut f32,
    ) {
        let Slide { window, phase, weights, channel, row, tap, next } = slide;
        let start = match self.bias {
            // SAFETY: the channels are inside the pixels, of which there are biases.
            Some(bias) => unsafe { simd.load(bias.as_ptr().add(channel)) },
            None => simd.splat(0.0),
        };
        let first = (b * STEP) as isize + window.offset;
        let mut sums = [[start]; COLS];
        if let Some(below) = self.below {
            self.ask::<S, STEP, COLS>(simd, slide, b, below, to);
        }
        for &(base, tap_row) in self.rows {
            // SAFETY: the taps are in the kernel, and the vector in the block.
            let w: [S::V; TAPS] = unsafe {
                let weights = weights.add(tap_row * row + tap);
                std::array::from_fn(|tap| simd.load(weights.offset(tap as isize * next)))
            };
            let pixels = self.from.as_ptr().wrapping_add(base + channel);
            let pixels = pixels.wrapping_offset(first * self.channels as isize);
            for_each_pixel!(at {
                let is_seen =
                    INSIDE || (0..self.cols.extent as isize).contains(&(first + at as isize));
                if at < (COLS - 1) * STEP + TAPS && is_seen {
                    // SAFETY: the pixel is in the row, and rows are inside what is read.
                    let x = unsafe { simd.load(pixels.wrapping_add(at * self.channels)) };
                    for (col, [sum]) in sums.iter_mut().enumerate() {
                        if at >= col * STEP && at - col * STEP < TAPS {
                            *sum = simd.mul_add(x, w[at - col * STEP], *sum);
                        }
                    }
                }
            });
        }
        let place = Place { taps: &[], b, phase, channel, weights, width: 0 };
        // SAFETY: as the caller vouches.
        unsafe { self.finish(simd, place, &sums, to) };
    }

    /// Asks for the memory of the next places, and for the pixels that the row below these will be the first
    /// to see.
    #[inline(always)]
    fn ask<S: Simd, const STEP: usize, const COLS: usize>(
        &self,
        simd: S,
        slide: Slide<'_>,
        b: usize,
        below: usize,
        to: *mut f32,
    ) {
        let next = slide.phase + (b + COLS) * self.cols.phases.len();
        for col in 0..COLS {
            let at = (next + col * self.cols.phases.len()) * self.channels + slide.channel;
            simd.prefetch_to_write(to.wrapping_add(at));
        }
        let (line, from) = (self.cols.extent * self.channels, self.from.as_ptr());
        let below = from.wrapping_add(below + b * STEP * self.channels + slide.channel);
        ask_below(simd, below, [STEP, line], [COLS * STEP, self.channels]);
    }
}
