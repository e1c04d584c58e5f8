//! A row of a depthwise convolution, or of its gradient in the input.

use striate_tensor::ops::Activation;

use super::axis::{Axis, Tap};
use super::blocks;
use super::pair::Pair;
use super::slide::Window;
use crate::activation::{InRegisters, activate};
use crate::simd::{Kernel, Simd};

/// Places side by side whose sums stay in registers.
const WIDE: usize = 6;
const NARROW: usize = 3;

/// A row of the output.
pub(super) struct Row<'a> {
    /// All pixels that are read.
    pub(super) from: &'a [f32],
    /// `[cols, channels]`
    pub(super) to: &'a mut [f32],
    /// The rows that it sees: where they begin, and the tap of the kernel.
    pub(super) rows: &'a [(usize, usize)],
    pub(super) cols: &'a Axis,
    /// Of each phase of the columns.
    pub(super) windows: &'a [Option<Window>],
    /// Of both phases, where they are computed together.
    pub(super) pair: Option<&'a Pair>,
    pub(super) kernel: [usize; 2],
    pub(super) channels: usize,
    /// Channels that an output sees.
    pub(super) group: usize,
    /// In blocks of channels.
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// As the row that is written.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// Where the rows begin that the row below will be the first to see, if they are not in the cache.
    pub(super) below: Option<usize>,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Row { cols, channels, kernel, .. } = self;
        let taps = kernel[0] * kernel[1];
        // What the pointers below rely on: rows inside what is read, whole blocks of weights, and rows
        // of the output's length beside it.
        assert!(self.to.len() == cols.count * channels && channels >= S::LANES);
        let line = cols.extent * channels;
        assert!(
            self.rows
                .iter()
                .all(|&(base, tap)| { base + line <= self.from.len() && tap < kernel[0] })
        );
        assert!(cols.phases.iter().flatten().all(|tap| tap.tap < kernel[1]));
        assert!(self.windows.len() == cols.phases.len());
        assert!([1, 2, 4, 8].contains(&self.group) && S::LANES.is_multiple_of(self.group));
        assert!(self.weights.len() >= taps * self.group * channels.next_multiple_of(S::LANES));
        assert!(self.bias.is_none_or(|bias| bias.len() == channels));
        assert!(self.residual.is_none_or(|residual| residual.len() == self.to.len()));
        // Gradients have neither, and pairs do not ask for them.
        assert!(self.pair.is_none() || self.residual.is_none() && self.activation.is_none());
        match self.group {
            1 => self.channels(simd),
            2 => self.groups::<S, 2>(simd),
            4 => self.groups::<S, 4>(simd),
            _ => self.groups::<S, 8>(simd),
        }
        let (_, after) = InRegisters::split(self.activation);
        activate(simd, after, self.to);
    }
}

impl Row<'_> {
    /// Each channel by itself.
    #[inline(always)]
    fn channels<S: Simd>(&mut self, simd: S) {
        let Row { cols, channels, kernel, .. } = *self;
        let in_kernel = kernel[0] * kernel[1];
        let to = self.to.as_mut_ptr();
        if let Some(pair) = self.pair {
            // SAFETY: the pair is of these columns.
            unsafe { self.pairs(simd, pair, to) };
            if !cols.count.is_multiple_of(2) {
                self.alone(simd, 0, cols.count / 2, to);
            }
            return;
        }
        for (phase, (taps, window)) in cols.phases.iter().zip(self.windows).enumerate() {
            let count = cols.count_of(phase);
            if let Some(window) = window {
                let mut b = 0;
                while b < count {
                    // SAFETY: the window is of the phase, and `b` one of its places.
                    b = unsafe { self.slide(simd, (phase, window), b, to) };
                }
                continue;
            }
            let inside = cols.inside(phase, taps);
            for b in (0..inside.start).chain(inside.end..count) {
                self.alone(simd, phase, b, to);
            }
            for block in blocks(channels, S::LANES) {
                let width = block.vectors * S::LANES;
                let weights =
                    self.weights[block.before * in_kernel..][..width * in_kernel].as_ptr();
                let here = |b: usize, vector: usize| Place {
                    taps,
                    b,
                    phase,
                    channel: block.channel + vector * S::LANES,
                    // SAFETY: a vector of the block.
                    weights: unsafe { weights.add(vector * S::LANES) },
                    width,
                };
                let mut b = inside.start;
                while b < inside.end {
                    let (wide, next) = match inside.len() {
                        // The last ones once more, rather than a few by themselves: each place is
                        // summed alike wherever it stands.
                        WIDE.. => (WIDE, b.min(inside.end - WIDE)),
                        NARROW.. => (NARROW, b.min(inside.end - NARROW)),
                        _ => (1, b),
                    };
                    let mut vector = 0;
                    while vector < block.vectors {
                        let place = here(next, vector);
                        // SAFETY: all of these places see pixels of the row under all taps.
                        vector += unsafe {
                            match (wide, block.vectors - vector) {
                                (WIDE, 2..) => self.places::<S, WIDE, 2>(simd, place, to),
                                (WIDE, _) => self.places::<S, WIDE, 1>(simd, place, to),
                                (NARROW, 4..) => self.places::<S, NARROW, 4>(simd, place, to),
                                (NARROW, _) => self.places::<S, NARROW, 1>(simd, place, to),
                                (_, 4..) => self.places::<S, 1, 4>(simd, place, to),
                                _ => self.places::<S, 1, 1>(simd, place, to),
                            }
                        };
                    }
                    b = next + wide;
                }
            }
        }
    }

    /// Computes a place of a phase, of the pixels of the row that it sees. `to` is the row that is written.
    #[inline(always)]
    fn alone<S: Simd>(&self, simd: S, phase: usize, b: usize, to: *mut f32) {
        let in_kernel = self.kernel[0] * self.kernel[1];
        let taps = self.cols.taps_at(phase, b);
        for block in blocks(self.channels, S::LANES) {
            let width = block.vectors * S::LANES;
            let weights = self.weights[block.before * in_kernel..][..width * in_kernel].as_ptr();
            let mut vector = 0;
            while vector < block.vectors {
                let channel = block.channel + vector * S::LANES;
                // SAFETY: a vector of the block.
                let weights = unsafe { weights.add(vector * S::LANES) };
                let place = Place { taps, b, phase, channel, weights, width };
                // SAFETY: the taps see pixels of the row; the vectors are of the block.
                vector += unsafe {
                    match block.vectors - vector {
                        4.. => self.places::<S, 1, 4>(simd, place, to),
                        _ => self.places::<S, 1, 1>(simd, place, to),
                    }
                };
            }
        }
    }
}

/// Places of a phase from `b` on, and channels.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) taps: &'a [Tap],
    pub(super) b: usize,
    pub(super) phase: usize,
    pub(super) channel: usize,
    /// Of the first tap of the kernel.
    pub(super) weights: *const f32,
    /// Weights from one tap, or one channel of a group, to the next.
    pub(super) width: usize,
}

impl Row<'_> {
    /// Computes `COLS` places of `VECTORS` vectors of channels, and says how many vectors.
    ///
    /// # Safety
    /// All places must see pixels under all of the taps; the channels must be inside the pixels, and
    /// have weights. `to` is the row that is written.
    #[inline(always)]
    unsafe fn places<S: Simd, const COLS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        place: Place<'_>,
        to: *mut f32,
    ) -> usize {
        let Place { taps, b, channel, weights, width, .. } = place;
        let step = self.cols.step * self.channels;
        let start = |v: usize| match self.bias {
            // SAFETY: the channels are inside the pixels, of which there are biases.
            Some(bias) => unsafe { simd.load(bias.as_ptr().add(channel + v * S::LANES)) },
            None => simd.splat(0.0),
        };
        let start: [S::V; VECTORS] = std::array::from_fn(start);
        let mut sums = [start; COLS];
        for &(base, tap_row) in self.rows {
            // SAFETY: rows begin inside what is read; the first tap's pixel is in its row.
            let row = unsafe { self.from.as_ptr().add(base + b * step + channel) };
            for tap in taps {
                // SAFETY: the caller vouches for the pixels under the taps and for the weights.
                unsafe {
                    let weights = weights.add((tap_row * self.kernel[1] + tap.tap) * width);
                    let pixel = row.offset(tap.offset * self.channels as isize);
                    let w: [S::V; VECTORS] =
                        std::array::from_fn(|v| simd.load(weights.add(v * S::LANES)));
                    for (col, sums) in sums.iter_mut().enumerate() {
                        for (v, sum) in sums.iter_mut().enumerate() {
                            let x = simd.load(pixel.add(col * step + v * S::LANES));
                            *sum = simd.mul_add(x, w[v], *sum);
                        }
                    }
                }
            }
        }
        // SAFETY: as the caller vouches.
        unsafe { self.finish(simd, place, &sums, to) };
        VECTORS
    }

    /// Writes the sums of places side by side, with residual and activation.
    ///
    /// # Safety
    /// The places and channels must be inside the row, and `to` the row that is written.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd, const COLS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        place: Place<'_>,
        sums: &[[S::V; VECTORS]; COLS],
        to: *mut f32,
    ) {
        let Place { b, phase, channel, .. } = place;
        let phases = self.cols.phases.len();
        let first = (phase + b * phases) * self.channels + channel;
        let at = |col: usize, v: usize| first + col * phases * self.channels + v * S::LANES;
        let mut sums = *sums;
        if let Some(residual) = self.residual {
            for (col, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the place and its channels are inside the row, and the residual as long.
                    let residual = unsafe { simd.load(residual.as_ptr().add(at(col, v))) };
                    *sum = simd.add(*sum, residual);
                }
            }
        }
        let (in_registers, _) = InRegisters::split(self.activation);
        in_registers.apply_all(simd, sums.as_flattened_mut());
        for (col, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: the place and its channels are inside the row.
                unsafe { simd.store(to.add(at(col, v)), sum) };
            }
        }
    }
}
