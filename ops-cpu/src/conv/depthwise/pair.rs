//! Gradients in the input at stride 2: two pixels side by side, of one phase each, see much the same outputs. Both
//! are computed together, so that an output is read once for both, and pixels are written in the order of memory:
//! there are four times as many of them as of outputs, and waiting for where they go is most of the time.

use super::axis::Axis;
use super::blocks;
use super::row::Row;
use super::slide::Window;
use crate::simd::{LINE_BYTES, Simd};

/// Pairs that are summed together.
const PAIRS: usize = 4;
/// So many pairs ahead the memory to write into is asked for, in its order, in which processors get it twice as
/// fast as in that of the vectors.
const AHEAD: usize = 2 * PAIRS;
/// Floats of a line of the caches.
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// The phases of an axis that has two.
pub(super) struct Pair {
    windows: [Window; 2],
    /// Where the windows begin, from the first pixel that either sees on.
    starts: [usize; 2],
}

/// Pairs of a row, and a vector of channels.
#[derive(Clone, Copy)]
struct Here {
    /// The first pair, and the first pixel that it sees.
    first: usize,
    from: isize,
    channel: usize,
    /// Of the vector, under the first tap of the kernel.
    weights: *const f32,
    /// Weights from a row of the kernel to the next.
    row: usize,
    /// The weights of each phase's first tap in such a row, and from one of its taps to the next.
    taps: [(usize, isize); 2],
}

impl Pair {
    /// The phases of an axis, where there are two that a kernel below is for, and pixels enough.
    pub(super) fn of(cols: &Axis) -> Option<Self> {
        let [a, b] = cols.phases.as_slice() else { return None };
        let windows = [Window::beside(a)?, Window::beside(b)?];
        let first = windows[0].offset.min(windows[1].offset);
        let start = |window: &Window| usize::try_from(window.offset - first).ok();
        let pair = Pair { starts: [start(&windows[0])?, start(&windows[1])?], windows };
        let is_here = matches!(
            pair.shape(),
            ([1, 1], [0, 0])
                | ([1, 2], [0, 0])
                | ([2, 1], [0, 1])
                | ([2, 3], [0, 0])
                | ([3, 2], [0, 1])
                | ([3, 4], [0, 0])
        );
        (is_here && cols.step == 1 && cols.count / 2 >= PAIRS).then_some(pair)
    }

    /// How many taps each has, and where they begin.
    fn shape(&self) -> ([usize; 2], [usize; 2]) {
        ([self.windows[0].taps, self.windows[1].taps], self.starts)
    }

    /// The first pixel that pair 0 sees.
    fn offset(&self) -> isize {
        self.windows[0].offset.min(self.windows[1].offset)
    }
}

impl Row<'_> {
    /// Computes all pixels that have another of the second phase beside them.
    ///
    /// # Safety
    /// The pair must be of the row's columns. `to` is the row that is written.
    #[inline(always)]
    pub(super) unsafe fn pairs<S: Simd>(&self, simd: S, pair: &Pair, to: *mut f32) {
        // SAFETY: the caller's; the taps are as many as are named here.
        unsafe {
            match pair.shape() {
                ([1, 1], _) => self.all_pairs::<S, 1, 0, 1, 0>(simd, pair, to),
                ([1, _], _) => self.all_pairs::<S, 1, 0, 2, 0>(simd, pair, to),
                ([2, 1], _) => self.all_pairs::<S, 2, 0, 1, 1>(simd, pair, to),
                ([2, _], _) => self.all_pairs::<S, 2, 0, 3, 0>(simd, pair, to),
                ([_, 2], _) => self.all_pairs::<S, 3, 0, 2, 1>(simd, pair, to),
                _ => self.all_pairs::<S, 3, 0, 4, 0>(simd, pair, to),
            }
        }
    }

    /// # Safety
    /// As [`pairs`](Row::pairs), whose windows have `A` and `B` taps, from `FROM_A` and `FROM_B` on.
    #[inline(always)]
    unsafe fn all_pairs<
        S: Simd,
        const A: usize,
        const FROM_A: usize,
        const B: usize,
        const FROM_B: usize,
    >(
        &self,
        simd: S,
        pair: &Pair,
        to: *mut f32,
    ) {
        let in_kernel = self.kernel[0] * self.kernel[1];
        let (count, extent) = (self.cols.count / 2, self.cols.extent as isize);
        let seen = const { if FROM_A + A > FROM_B + B { FROM_A + A } else { FROM_B + B } };
        let mut next = 0;
        while next < count {
            // The last ones once more, rather than a few by themselves.
            let first = next.min(count - PAIRS);
            let from = first as isize + pair.offset();
            let is_inside = from >= 0 && from + (PAIRS - 1 + seen) as isize <= extent;
            for block in blocks(self.channels, S::LANES) {
                let width = block.vectors * S::LANES;
                let weights =
                    self.weights[block.before * in_kernel..][..width * in_kernel].as_ptr();
                let taps = pair.windows.each_ref();
                let taps = taps.map(|of| (of.tap * width, of.next * width as isize));
                let row = self.kernel[1] * width;
                for vector in 0..block.vectors {
                    let before = block.before + vector * S::LANES;
                    let ahead = 2 * (first + AHEAD) * self.channels;
                    for line in 0..(2 * PAIRS * S::LANES).div_ceil(LINE) {
                        let at = ahead + 2 * PAIRS * before + line * LINE;
                        simd.prefetch_to_write(to.wrapping_add(at));
                    }
                    let channel = block.channel + vector * S::LANES;
                    // SAFETY: a vector of the block.
                    let weights = unsafe { weights.add(vector * S::LANES) };
                    let here = Here { first, from, channel, weights, row, taps };
                    // SAFETY: the caller's; where `is_inside` says so all pixels are in the row.
                    unsafe {
                        match is_inside {
                            true => {
                                self.some_pairs::<S, A, FROM_A, B, FROM_B, true>(simd, here, to)
                            }
                            false => {
                                self.some_pairs::<S, A, FROM_A, B, FROM_B, false>(simd, here, to);
                            }
                        }
                    }
                }
            }
            next = first + PAIRS;
        }
    }

    /// Computes [`PAIRS`] pairs for a vector of channels.
    ///
    /// # Safety
    /// As [`all_pairs`](Row::all_pairs); where `INSIDE` is true all that they see must be in the row.
    #[inline(always)]
    unsafe fn some_pairs<
        S: Simd,
        const A: usize,
        const FROM_A: usize,
        const B: usize,
        const FROM_B: usize,
        const INSIDE: bool,
    >(
        &self,
        simd: S,
        here: Here,
        to: *mut f32,
    ) {
        let Here { first, from, channel, weights, row, taps: [of_a, of_b] } = here;
        let channels = self.channels;
        let start = match self.bias {
            // SAFETY: the channels are inside the pixels, of which there are biases.
            Some(bias) => unsafe { simd.load(bias.as_ptr().add(channel)) },
            None => simd.splat(0.0),
        };
        let seen = const { if FROM_A + A > FROM_B + B { FROM_A + A } else { FROM_B + B } };
        let mut sums = [[start; 2]; PAIRS];
        for &(base, tap_row) in self.rows {
            // SAFETY: the taps are in the kernel, and the vector in the block.
            let (a, b): ([S::V; A], [S::V; B]) = unsafe {
                let weights = weights.add(tap_row * row);
                let (a, b) = (weights.add(of_a.0), weights.add(of_b.0));
                (
                    std::array::from_fn(|tap| simd.load(a.offset(tap as isize * of_a.1))),
                    std::array::from_fn(|tap| simd.load(b.offset(tap as isize * of_b.1))),
                )
            };
            let pixels = self.from.as_ptr().wrapping_add(base + channel);
            let pixels = pixels.wrapping_offset(from * channels as isize);
            for_each_pixel!(at {
                let is_seen =
                    INSIDE || (0..self.cols.extent as isize).contains(&(from + at as isize));
                if at < PAIRS - 1 + seen && is_seen {
                    // SAFETY: the pixel is in the row, and rows are inside what is read.
                    let x = unsafe { simd.load(pixels.wrapping_add(at * channels)) };
                    for (i, [sum_a, sum_b]) in sums.iter_mut().enumerate() {
                        if at >= i + FROM_A && at - i - FROM_A < A {
                            *sum_a = simd.mul_add(x, a[at - i - FROM_A], *sum_a);
                        }
                        if at >= i + FROM_B && at - i - FROM_B < B {
                            *sum_b = simd.mul_add(x, b[at - i - FROM_B], *sum_b);
                        }
                    }
                }
            });
        }
        // SAFETY: the pixels and channels are inside the row that is written.
        unsafe {
            let to = to.add(2 * first * channels + channel);
            for (i, &sum) in sums.as_flattened().iter().enumerate() {
                simd.store(to.add(i * channels), sum);
            }
        }
    }
}
