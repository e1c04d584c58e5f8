//! The addition of a residual to outputs that were just computed.

use crate::simd::{Kernel, Level, Simd};

/// Rows of outputs to add the like rows of a residual to.
pub(super) struct AddRows<'a> {
    /// From the first row on, `pitch` floats from one to the next.
    pub(super) from: &'a [f32],
    pub(super) to: *mut f32,
    pub(super) rows: usize,
    /// Floats of a row.
    pub(super) n: usize,
    pub(super) pitch: usize,
}

impl AddRows<'_> {
    /// Adds them; negative sums become 0 where `relu`.
    ///
    /// # Safety
    /// The rows from `to` on must be valid, and the caller's alone.
    pub(super) unsafe fn run(self, level: Level, relu: bool) {
        let AddRows { from, to, rows, n, pitch } = self;
        for row in 0..rows {
            let from = &from[row * pitch..][..n];
            // SAFETY: the caller vouches for the row.
            let to = unsafe { std::slice::from_raw_parts_mut(to.add(row * pitch), n) };
            level.run(AddRow { from, to, relu });
        }
    }
}

struct AddRow<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    relu: bool,
}

impl Kernel for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AddRow { from, to, relu } = self;
        for (to, from) in to.iter_mut().zip(from) {
            let sum = *to + from;
            // NaN stays.
            *to = if relu && sum < 0.0 { 0.0 } else { sum };
        }
    }
}
