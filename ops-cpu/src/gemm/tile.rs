//! The micro-kernel.

use crate::activation::InRegisters;
use crate::simd::Simd;

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
    /// As the output, or null: added to the sums.
    pub(super) residual: *const f32,
    pub(super) activation: InRegisters,
    /// An address to ask for in the first step, and floats from there to that of the next step.
    pub(super) ahead: (*const f32, usize),
    /// The output of the tile that follows, and its rows: asked for before the products, so that stores need
    /// not wait for memory. None where nothing follows.
    pub(super) next: (*mut f32, usize),
}

impl Tile {
    /// Computes a tile of `ROWS` rows of `VECTORS` vectors, of which only the first `m` rows and
    /// the first `tail` lanes of the last vectors are inside the output.
    ///
    /// # Safety
    /// The pointers must be as described; what is inside must be writable (of the residual, and of the
    /// biases in whole vectors, readable), and all `ROWS` rows of the left side readable.
    #[inline(always)]
    pub(super) unsafe fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        m: usize,
        tail: usize,
    ) {
        let Tile { rows, mut panel, panel_pitch, output, pitch, start, .. } = self;
        let (mut ahead, ahead_step) = self.ahead;
        let is_whole = m == ROWS && tail == S::LANES;
        for i in 0..self.next.1 {
            for j in 0..VECTORS {
                simd.prefetch_to_write(self.next.0.wrapping_add(i * pitch + j * S::LANES));
            }
        }
        // SAFETY: all accesses are inside what the caller vouches for.
        unsafe {
            // `products` stays in registers, since nothing but loops of known length touches it. Tiles at
            // the edges of the output, which are less than whole, go through other arrays, in memory.
            let mut products = [[simd.splat(0.0); VECTORS]; ROWS];
            match start {
                Start::Zero => {}
                Start::Bias(bias) => {
                    for j in 0..VECTORS {
                        let bias = simd.load(bias.add(j * S::LANES));
                        for row in &mut products {
                            row[j] = bias;
                        }
                    }
                }
                Start::Output if is_whole => {
                    for (i, row) in products.iter_mut().enumerate() {
                        for (j, sum) in row.iter_mut().enumerate() {
                            *sum = simd.load(output.add(i * pitch + j * S::LANES));
                        }
                    }
                }
                Start::Output => {
                    let part = self.read_part::<S, ROWS, VECTORS>(simd, m, tail);
                    for (row, part) in products.iter_mut().zip(&part) {
                        for (sum, &part) in row.iter_mut().zip(part) {
                            *sum = part;
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
                            products[i][j] = simd.mul_add(x, right[j], products[i][j]);
                        }
                    }
                }
            }
            if !is_whole {
                let sums = products;
                return self.write_part(simd, &sums, m, tail);
            }
            if !self.residual.is_null() {
                for (i, row) in products.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        let residual = simd.load(self.residual.add(i * pitch + j * S::LANES));
                        *sum = simd.add(*sum, residual);
                    }
                }
            }
            match self.activation {
                InRegisters::None => {}
                activation => {
                    for row in &mut products {
                        for sum in row {
                            *sum = activation.apply(simd, *sum);
                        }
                    }
                }
            }
            for (i, row) in products.iter().enumerate() {
                for (j, &sum) in row.iter().enumerate() {
                    simd.store(output.add(i * pitch + j * S::LANES), sum);
                }
            }
        }
    }

    /// What is in the output, of a tile that is less than whole.
    ///
    /// # Safety
    /// As for [`compute`](Tile::compute).
    #[inline(always)]
    unsafe fn read_part<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        m: usize,
        tail: usize,
    ) -> [[S::V; VECTORS]; ROWS] {
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        for (i, row) in sums.iter_mut().enumerate().take(m) {
            for (j, sum) in row.iter_mut().enumerate() {
                // SAFETY: the caller's.
                *sum = unsafe {
                    let from = self.output.add(i * self.pitch + j * S::LANES);
                    simd.load_part(from, if j + 1 < VECTORS { S::LANES } else { tail })
                };
            }
        }
        sums
    }

    /// Writes sums of a tile that is less than whole, with residual and activation.
    ///
    /// # Safety
    /// As for [`compute`](Tile::compute).
    #[inline(always)]
    unsafe fn write_part<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: &[[S::V; VECTORS]; ROWS],
        m: usize,
        tail: usize,
    ) {
        for (i, row) in sums.iter().enumerate().take(m) {
            for (j, &sum) in row.iter().enumerate() {
                let count = if j + 1 < VECTORS { S::LANES } else { tail };
                let at = i * self.pitch + j * S::LANES;
                // SAFETY: the caller's.
                unsafe {
                    let sum = match self.residual.is_null() {
                        true => sum,
                        false => simd.add(sum, simd.load_part(self.residual.add(at), count)),
                    };
                    simd.store_part(self.output.add(at), self.activation.apply(simd, sum), count);
                }
            }
        }
    }
}
