//! Packing of the right side into panels.

use half::f16;

use crate::buffer::Floats;

/// Where the elements of the right side of a product lie: element `(k, j)` is at `k · depth_step +
/// j · col_step`.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) depth: usize,
    pub(crate) cols: usize,
    pub(crate) depth_step: usize,
    pub(crate) col_step: usize,
}

/// Packs columns `first ..` into `panel`: `depth` rows of `panel.len() / depth` floats; columns
/// beyond the last become zeros.
pub(crate) fn pack_panels(right: Floats<'_>, packing: Packing, first: usize, panel: &mut [f32]) {
    match right {
        Floats::F32(values) => pack(values, packing, first, panel, |x| x),
        Floats::F16(values) => pack(values, packing, first, panel, f16::to_f32),
    }
}

fn pack<T: Copy>(
    values: &[T],
    packing: Packing,
    first: usize,
    panel: &mut [f32],
    widen: impl Fn(T) -> f32,
) {
    if packing.depth == 0 {
        return;
    }
    let width = panel.len() / packing.depth;
    let cols = packing.cols.saturating_sub(first).min(width);
    if packing.col_step == 1 {
        for (k, row) in panel.chunks_exact_mut(width).enumerate() {
            let from = &values[k * packing.depth_step + first..][..cols];
            for (to, &x) in row.iter_mut().zip(from) {
                *to = widen(x);
            }
            row[cols..].fill(0.0);
        }
        return;
    }
    // Transposing: short runs of depth at a time, so that both sides stay in the cache.
    const RUN: usize = 16;
    for (part, rows) in panel.chunks_mut(RUN * width).enumerate() {
        let k0 = part * RUN;
        for j in 0..cols {
            let from = (first + j) * packing.col_step + k0 * packing.depth_step;
            for (k, row) in rows.chunks_exact_mut(width).enumerate() {
                row[j] = widen(values[from + k * packing.depth_step]);
            }
        }
        for row in rows.chunks_exact_mut(width) {
            row[cols..].fill(0.0);
        }
    }
}
