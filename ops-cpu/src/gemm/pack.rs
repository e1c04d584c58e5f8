//! Packing of the right side into panels.

use half::f16;

use crate::buffer::Floats;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::SharedOutput;

/// Where the elements of the right side of a product lie: element `(k, j)` is at `k · depth_step +
/// j · col_step`.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) depth: usize,
    pub(crate) cols: usize,
    pub(crate) depth_step: usize,
    pub(crate) col_step: usize,
}

/// Elements of a column taken at a time: long enough for the processor to see a stream and fetch
/// ahead, short enough that the rows that they scatter to stay in the first-level cache.
const RUN: usize = 256;

/// Packs `rows` of the columns `first ..` into `panels` panels of `width` columns, where the columns
/// of a row lie side by side; columns beyond the last become zeros.
///
/// # Safety
/// `to` must have so many panels of `packing.depth` rows, and these rows must be the caller's alone.
#[allow(clippy::too_many_arguments, reason = "a range of both of the right side's extents")]
pub(crate) unsafe fn pack_rows(
    level: Level,
    right: Floats<'_>,
    packing: Packing,
    first: usize,
    panels: usize,
    width: usize,
    rows: std::ops::Range<usize>,
    to: SharedOutput,
) {
    debug_assert_eq!(packing.col_step, 1);
    for k in rows {
        for p in 0..panels {
            let col = first + p * width;
            let cols = packing.cols.saturating_sub(col).min(width);
            // SAFETY: row `k` of panel `p`, which the caller vouches for.
            let row = unsafe {
                std::slice::from_raw_parts_mut(to.at((p * packing.depth + k) * width), width)
            };
            let (row, beyond) = row.split_at_mut(cols);
            let from = k * packing.depth_step + col;
            right.range(from..from + cols).copy_to(level, row);
            beyond.fill(0.0);
        }
    }
}

/// Packs columns `first ..` into `panel`: `depth` rows of `panel.len() / depth` floats; columns
/// beyond the last become zeros. The elements of a column lie side by side.
pub(crate) fn pack_panels(
    level: Level,
    right: Floats<'_>,
    packing: Packing,
    first: usize,
    panel: &mut [f32],
) {
    if packing.depth == 0 {
        return;
    }
    let width = panel.len() / packing.depth;
    let cols = packing.cols.saturating_sub(first).min(width);
    debug_assert_eq!(packing.depth_step, 1);
    let mut widened = [0.0; RUN];
    for (part, rows) in panel.chunks_mut(RUN * width).enumerate() {
        let run = rows.len() / width;
        for j in 0..cols {
            let from = (first + j) * packing.col_step + part * RUN;
            let column: &[f32] = match right {
                Floats::F32(values) => &values[from..from + run],
                Floats::F16(values) => {
                    widen(level, &values[from..from + run], &mut widened[..run]);
                    &widened[..run]
                }
            };
            for (row, &x) in rows.chunks_exact_mut(width).zip(column) {
                row[j] = x;
            }
        }
        for row in rows.chunks_exact_mut(width) {
            row[cols..].fill(0.0);
        }
    }
}

/// Widens half-precision floats.
pub(crate) fn widen(level: Level, from: &[f16], to: &mut [f32]) {
    level.run(Widen { from, to });
}

struct Widen<'a> {
    from: &'a [f16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut to = self.to.chunks_exact_mut(S::LANES);
        let mut from = self.from.chunks_exact(S::LANES);
        for (to, from) in (&mut to).zip(&mut from) {
            // SAFETY: both chunks are `LANES` long.
            unsafe { simd.store(to.as_mut_ptr(), simd.load_f16(from.as_ptr())) };
        }
        for (to, from) in to.into_remainder().iter_mut().zip(from.remainder()) {
            *to = from.to_f32();
        }
    }
}
