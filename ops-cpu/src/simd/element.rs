//! Floats of either precision, as kernels read them.

use half::f16;

use super::Simd;

/// A float in memory, widened to f32 in a register.
pub(crate) trait Element: Copy {
    /// It, widened.
    fn get(self) -> f32;
    /// Reads and widens a vector of them.
    ///
    /// # Safety
    /// `LANES` elements must be readable.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;
    /// Widens and transposes a block of a vector of rows, `pitch` elements from one to the next, to
    /// rows side by side.
    ///
    /// # Safety
    /// All of it must be readable (writable), and not overlap.
    unsafe fn transpose<S: Simd>(simd: S, from: *const Self, pitch: usize, to: *mut f32);
}

/// Floats of the largest block that is transposed.
pub(crate) const BLOCK_FLOATS: usize = 16 * 16;

impl Element for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::V {
        // SAFETY: the caller's.
        unsafe { simd.load(from) }
    }
    #[inline(always)]
    unsafe fn transpose<S: Simd>(simd: S, from: *const f32, pitch: usize, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { simd.transpose(from, pitch, to, S::LANES) }
    }
}

impl Element for f16 {
    #[inline(always)]
    fn get(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f16) -> S::V {
        // SAFETY: the caller's.
        unsafe { simd.load_f16(from) }
    }
    #[inline(always)]
    unsafe fn transpose<S: Simd>(simd: S, from: *const f16, pitch: usize, to: *mut f32) {
        let mut wide = [0.0f32; BLOCK_FLOATS];
        for i in 0..S::LANES {
            // SAFETY: the caller's; a block of any level fits.
            unsafe {
                let row = simd.load_f16(from.add(i * pitch));
                simd.store(wide.as_mut_ptr().add(i * S::LANES), row);
            }
        }
        // SAFETY: the caller's.
        unsafe { simd.transpose(wide.as_ptr(), S::LANES, to, S::LANES) }
    }
}
