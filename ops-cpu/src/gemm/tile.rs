//! The micro-kernel.

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

/// Rows of the left side under each tap of the kernel: `taps · ROWS` pointers, the rows of the
/// first tap first, each to `offset + run` floats.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) pointers: *const *const f32,
    pub(super) taps: usize,
    pub(super) offset: usize,
    pub(super) run: usize,
}

/// Adds the product of `ROWS` rows and a panel to a tile of the output, `ROWS` rows of `VECTORS`
/// vectors, `pitch` floats apart.
///
/// # Safety
/// `rows` must be as described; `panel` must have `taps · run` rows of the tile's width; the tile
/// (and the biases) must be writable (readable) as a whole.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    rows: Rows,
    panel: *const f32,
    output: *mut f32,
    pitch: usize,
    start: Start,
    relu: bool,
) {
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
                for (i, row) in sums.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = simd.load(output.add(i * pitch + j * S::LANES));
                    }
                }
            }
        }
        let mut panel = panel;
        for tap in 0..rows.taps {
            let under_tap = rows.pointers.add(tap * ROWS);
            let mut left = [std::ptr::null::<f32>(); ROWS];
            for (i, left) in left.iter_mut().enumerate() {
                *left = (*under_tap.add(i)).add(rows.offset);
            }
            for k in 0..rows.run {
                let mut right = [simd.splat(0.0); VECTORS];
                for (j, right) in right.iter_mut().enumerate() {
                    *right = simd.load(panel.add(j * S::LANES));
                }
                panel = panel.add(VECTORS * S::LANES);
                for i in 0..ROWS {
                    let x = simd.splat(*left[i].add(k));
                    for j in 0..VECTORS {
                        sums[i][j] = simd.mul_add(x, right[j], sums[i][j]);
                    }
                }
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let sum = if relu { simd.relu(sum) } else { sum };
                simd.store(output.add(i * pitch + j * S::LANES), sum);
            }
        }
    }
}
