//! The micro-kernel.

use crate::simd::Simd;

/// The most floats in a tile, over all levels.
const TILE_FLOATS: usize = 14 * 32;

/// What a tile's sums start from.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Zero.
    Zero,
    /// A row of biases, as wide as the tile.
    Bias(*const f32),
    /// What is in the output.
    Output,
}

/// Rows of the left side under each tap of the kernel: `rows` pointers for the first tap, then for
/// the next, each to `offset + run` floats. A tile uses the first ones of each tap.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) pointers: *const *const f32,
    pub(super) rows: usize,
    pub(super) taps: usize,
    pub(super) offset: usize,
    pub(super) run: usize,
}

/// A tile of the output: the product of some rows and a panel is added to its start.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) rows: Rows,
    /// `taps · run` rows of at least the tile's width.
    pub(super) panel: *const f32,
    /// Floats from one row of the panel to the next.
    pub(super) panel_pitch: usize,
    pub(super) output: *mut f32,
    /// Floats from one row of the output to the next.
    pub(super) pitch: usize,
    pub(super) start: Start,
    pub(super) relu: bool,
    /// An address to ask for in the first step, and floats from there to that of the next step.
    pub(super) ahead: (*const f32, usize),
}

impl Tile {
    /// Computes a tile of `ROWS` rows of `VECTORS` vectors, of which only the first `m` rows are
    /// inside the output.
    ///
    /// # Safety
    /// The pointers must be as described; these rows (and the biases) must be writable (readable),
    /// and all `ROWS` rows of the left side readable.
    #[inline(always)]
    pub(super) unsafe fn whole<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        m: usize,
    ) {
        let Tile { rows, mut panel, panel_pitch, output, pitch, start, relu, ahead } = self;
        let (mut ahead, ahead_step) = ahead;
        // SAFETY: all accesses are inside what the caller vouches for.
        unsafe {
            let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
            match start {
                Start::Zero => {}
                Start::Bias(bias) => {
                    for j in 0..VECTORS {
                        let bias = simd.load(bias.add(j * S::LANES));
                        for row in &mut sums {
                            row[j] = bias;
                        }
                    }
                }
                Start::Output => {
                    for (i, row) in sums.iter_mut().enumerate().take(m) {
                        for (j, sum) in row.iter_mut().enumerate() {
                            *sum = simd.load(output.add(i * pitch + j * S::LANES));
                        }
                    }
                }
            }
            for tap in 0..rows.taps {
                let under_tap = rows.pointers.add(tap * rows.rows);
                let mut left = [std::ptr::null::<f32>(); ROWS];
                for (i, left) in left.iter_mut().enumerate() {
                    *left = (*under_tap.add(i)).add(rows.offset);
                }
                for k in 0..rows.run {
                    let mut right = [simd.splat(0.0); VECTORS];
                    for (j, right) in right.iter_mut().enumerate() {
                        *right = simd.load(panel.add(j * S::LANES));
                    }
                    panel = panel.add(panel_pitch);
                    simd.prefetch_far(ahead);
                    ahead = ahead.wrapping_add(ahead_step);
                    for i in 0..ROWS {
                        let x = simd.splat(*left[i].add(k));
                        for j in 0..VECTORS {
                            sums[i][j] = simd.mul_add(x, right[j], sums[i][j]);
                        }
                    }
                }
            }
            for (i, row) in sums.iter().enumerate().take(m) {
                for (j, &sum) in row.iter().enumerate() {
                    let sum = if relu { simd.relu(sum) } else { sum };
                    simd.store(output.add(i * pitch + j * S::LANES), sum);
                }
            }
        }
    }

    /// Computes a tile of which only `m` rows and `n` columns, no whole vectors, are inside the
    /// output: beside it.
    ///
    /// # Safety
    /// As for [`whole`](Tile::whole), with only that part of the output writable; all `ROWS` rows of
    /// the left side must be readable.
    #[inline(always)]
    pub(super) unsafe fn part<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        m: usize,
        n: usize,
    ) {
        let cols = VECTORS * S::LANES;
        let mut aside = [0.0f32; TILE_FLOATS];
        debug_assert!(ROWS * cols <= TILE_FLOATS && m <= ROWS && n <= cols);
        let Tile { output, pitch, .. } = self;
        // SAFETY: `aside` holds a whole tile; the output is touched in its inside part only.
        unsafe {
            if matches!(self.start, Start::Output) {
                for i in 0..m {
                    let to = aside.as_mut_ptr().add(i * cols);
                    std::ptr::copy_nonoverlapping(output.add(i * pitch), to, n);
                }
            }
            let tile = Tile { output: aside.as_mut_ptr(), pitch: cols, ..self };
            tile.whole::<S, ROWS, VECTORS>(simd, ROWS);
            for i in 0..m {
                let from = aside.as_ptr().add(i * cols);
                std::ptr::copy_nonoverlapping(from, output.add(i * pitch), n);
            }
        }
    }
}
