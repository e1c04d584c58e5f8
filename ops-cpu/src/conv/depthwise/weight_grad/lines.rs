//! The sums of a row of the kernel.

use crate::simd::Simd;

/// Outputs side by side whose pixels are read together.
const OUTPUTS: usize = 4;

/// A row of `dy`, and the copy of one of `x`: where they begin, at the block's first channel.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) dy: *const f32,
    pub(super) x: *const f32,
}

/// Rows that are summed together, so that sums are seldom loaded.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) lines: &'a [Line],
    /// Outputs of each.
    pub(super) outputs: usize,
    /// Floats from one output to the next.
    pub(super) channels: usize,
    /// Channels of the block: floats from one pixel of a copy to the next.
    pub(super) width: usize,
    /// Floats of a copy from what an output sees to what the next one does.
    pub(super) stride: usize,
    /// Floats of a copy from one tap to the next.
    pub(super) dilation: usize,
}

impl Lines<'_> {
    /// Adds what each of `kernel` taps sees to its sums.
    ///
    /// # Safety
    /// The lines must have so many outputs and the pixels that they see, and there must be sums of all
    /// taps.
    #[inline(always)]
    pub(super) unsafe fn sum<S: Simd>(self, simd: S, sums: *mut f32, kernel: usize) {
        // As many sums as do not wait for each other, and registers hold beside the operands.
        let many = S::LANES != 8;
        let mut first = 0;
        while first < kernel {
            // SAFETY: the caller's; `first` and as many taps as it says are in the kernel.
            first += unsafe {
                match (kernel - first, many) {
                    (7.., true) => self.taps::<S, 7, 2>(simd, sums, first),
                    (7.., false) => self.taps::<S, 7, 1>(simd, sums, first),
                    (5.., true) => self.taps::<S, 5, 2>(simd, sums, first),
                    (5.., false) => self.taps::<S, 5, 1>(simd, sums, first),
                    (3.., true) => self.taps::<S, 3, 4>(simd, sums, first),
                    (3.., false) => self.taps::<S, 3, 2>(simd, sums, first),
                    _ => self.taps::<S, 1, 4>(simd, sums, first),
                }
            };
        }
    }

    /// Adds what `TAPS` taps see, `VECTORS` vectors at a time, and says how many taps.
    ///
    /// # Safety
    /// As for [`sum`](Lines::sum); the taps must be there.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize, const VECTORS: usize>(
        self,
        simd: S,
        sums: *mut f32,
        first: usize,
    ) -> usize {
        let (mut at, end) = (0, self.width);
        // SAFETY: the caller's; the vectors are of the block.
        unsafe {
            while at + VECTORS * S::LANES <= end {
                self.vectors::<S, TAPS, VECTORS>(simd, sums, first, at);
                at += VECTORS * S::LANES;
            }
            while at < end {
                self.vectors::<S, TAPS, 1>(simd, sums, first, at);
                at += S::LANES;
            }
        }
        TAPS
    }

    /// As [`taps`](Lines::taps), for the vectors from channel `at` of the block on.
    ///
    /// # Safety
    /// As there; the vectors must be of the block.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const TAPS: usize, const VECTORS: usize>(
        self,
        simd: S,
        sums: *mut f32,
        first: usize,
        at: usize,
    ) {
        // SAFETY: the caller's: sums of these taps and vectors, outputs, and pixels that they see.
        unsafe {
            let place =
                |tap: usize, v: usize| sums.add((first + tap) * self.width + at + v * S::LANES);
            let mut held: [[S::V; VECTORS]; TAPS] =
                std::array::from_fn(|tap| std::array::from_fn(|v| simd.load(place(tap, v))));
            let neighbours = self.stride == self.width && self.dilation == self.width;
            for line in self.lines {
                let (dy, x) = (line.dy.add(at), line.x.add(first * self.dilation + at));
                let mut output = 0;
                if neighbours {
                    while output + OUTPUTS <= self.outputs {
                        let from = [dy.add(output * self.channels), x.add(output * self.width)];
                        self.neighbours(simd, from, &mut held);
                        output += OUTPUTS;
                    }
                }
                while output < self.outputs {
                    let from = [dy.add(output * self.channels), x.add(output * self.stride)];
                    self.single(simd, from, &mut held);
                    output += 1;
                }
            }
            for (tap, held) in held.iter().enumerate() {
                for (v, &sum) in held.iter().enumerate() {
                    simd.store(place(tap, v), sum);
                }
            }
        }
    }

    /// Adds what the taps see of several outputs side by side: each pixel is read once.
    ///
    /// # Safety
    /// There must be so many outputs and pixels from here on.
    #[inline(always)]
    unsafe fn neighbours<S: Simd, const TAPS: usize, const VECTORS: usize>(
        self,
        simd: S,
        [dy, x]: [*const f32; 2],
        sums: &mut [[S::V; VECTORS]; TAPS],
    ) {
        // SAFETY: the caller's.
        let load = |from: *const f32, v: usize| unsafe { simd.load(from.add(v * S::LANES)) };
        let dy: [[S::V; VECTORS]; OUTPUTS] = std::array::from_fn(|output| {
            // SAFETY: the caller's.
            let dy = unsafe { dy.add(output * self.channels) };
            std::array::from_fn(|v| load(dy, v))
        });
        for pixel in 0..OUTPUTS + TAPS - 1 {
            // SAFETY: the caller's.
            let x = unsafe { x.add(pixel * self.width) };
            let x: [S::V; VECTORS] = std::array::from_fn(|v| load(x, v));
            for (output, dy) in dy.iter().enumerate() {
                if pixel >= output && pixel - output < TAPS {
                    for (v, sum) in sums[pixel - output].iter_mut().enumerate() {
                        *sum = simd.mul_add(x[v], dy[v], *sum);
                    }
                }
            }
        }
    }

    /// Adds what the taps see of one output.
    ///
    /// # Safety
    /// There must be that output, and the pixels that it sees.
    #[inline(always)]
    unsafe fn single<S: Simd, const TAPS: usize, const VECTORS: usize>(
        self,
        simd: S,
        [dy, x]: [*const f32; 2],
        sums: &mut [[S::V; VECTORS]; TAPS],
    ) {
        // SAFETY: the caller's.
        let load = |from: *const f32, v: usize| unsafe { simd.load(from.add(v * S::LANES)) };
        let dy: [S::V; VECTORS] = std::array::from_fn(|v| load(dy, v));
        for (tap, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's.
            let x = unsafe { x.add(tap * self.dilation) };
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = simd.mul_add(load(x, v), dy[v], *sum);
            }
        }
    }
}
