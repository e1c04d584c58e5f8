//! Sums in f64 of vectors of f32, for what the rounding of f32 would spoil: means and variances.

use super::Portable;

/// As many sums in f64 as a vector has lanes.
///
/// It is a part of [`Simd`](super::Simd), which only this crate implements.
pub trait Wide: Copy {
    /// The sums.
    type W: Copy;

    /// Zeros.
    fn wide(self) -> Self::W;
    /// Reads the sums.
    ///
    /// # Safety
    /// As many f64 as lanes must be readable; no alignment is asked.
    unsafe fn load_wide(self, from: *const f64) -> Self::W;
    /// Writes the sums.
    ///
    /// # Safety
    /// As many f64 as lanes must be writable; no alignment is asked.
    unsafe fn store_wide(self, to: *mut f64, sums: Self::W);
    /// Adds the floats of a vector to the first, and their squares to the second.
    ///
    /// # Safety
    /// A vector of floats must be readable.
    unsafe fn add_powers(self, sums: [Self::W; 2], from: *const f32) -> [Self::W; 2];
    /// All of them together, in a fixed order: halves added to halves.
    fn sum_wide(self, sums: Self::W) -> f64;
}

impl Wide for Portable {
    type W = [f64; 8];

    #[inline(always)]
    fn wide(self) -> [f64; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    unsafe fn load_wide(self, from: *const f64) -> [f64; 8] {
        // SAFETY: the caller's.
        unsafe { from.cast::<[f64; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_wide(self, to: *mut f64, sums: [f64; 8]) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f64; 8]>().write_unaligned(sums) }
    }

    #[inline(always)]
    unsafe fn add_powers(self, [first, second]: [[f64; 8]; 2], from: *const f32) -> [[f64; 8]; 2] {
        // SAFETY: the caller's.
        let x = unsafe { from.cast::<[f32; 8]>().read_unaligned() }.map(f64::from);
        [std::array::from_fn(|i| first[i] + x[i]), std::array::from_fn(|i| second[i] + x[i] * x[i])]
    }

    #[inline(always)]
    fn sum_wide(self, a: [f64; 8]) -> f64 {
        let h: [f64; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (h[0] + h[2]) + (h[1] + h[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::Wide;
    use crate::simd::{Avx2, Avx512};

    // In both: SAFETY of each block: the token is a proof of the instructions; memory is vouched for by the callers.

    /// The sum of four.
    #[inline(always)]
    fn sum_of_4(h: __m256d) -> f64 {
        // SAFETY: see above; both levels have AVX2.
        unsafe {
            let h = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd::<1>(h));
            _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)))
        }
    }

    impl Wide for Avx2 {
        type W = [__m256d; 2];

        #[inline(always)]
        fn wide(self) -> [__m256d; 2] {
            // SAFETY: see above.
            [unsafe { _mm256_setzero_pd() }; 2]
        }

        #[inline(always)]
        unsafe fn load_wide(self, from: *const f64) -> [__m256d; 2] {
            // SAFETY: see above.
            unsafe { [_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(4))] }
        }

        #[inline(always)]
        unsafe fn store_wide(self, to: *mut f64, sums: [__m256d; 2]) {
            // SAFETY: see above.
            unsafe {
                _mm256_storeu_pd(to, sums[0]);
                _mm256_storeu_pd(to.add(4), sums[1]);
            }
        }

        #[inline(always)]
        unsafe fn add_powers(
            self,
            [first, second]: [[__m256d; 2]; 2],
            from: *const f32,
        ) -> [[__m256d; 2]; 2] {
            // SAFETY: see above.
            unsafe {
                let low = _mm256_cvtps_pd(_mm_loadu_ps(from));
                let high = _mm256_cvtps_pd(_mm_loadu_ps(from.add(4)));
                [
                    [_mm256_add_pd(first[0], low), _mm256_add_pd(first[1], high)],
                    [_mm256_fmadd_pd(low, low, second[0]), _mm256_fmadd_pd(high, high, second[1])],
                ]
            }
        }

        #[inline(always)]
        fn sum_wide(self, [low, high]: [__m256d; 2]) -> f64 {
            // SAFETY: see above.
            sum_of_4(unsafe { _mm256_add_pd(low, high) })
        }
    }

    impl Wide for Avx512 {
        type W = [__m512d; 2];

        #[inline(always)]
        fn wide(self) -> [__m512d; 2] {
            // SAFETY: see above.
            [unsafe { _mm512_setzero_pd() }; 2]
        }

        #[inline(always)]
        unsafe fn load_wide(self, from: *const f64) -> [__m512d; 2] {
            // SAFETY: see above.
            unsafe { [_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8))] }
        }

        #[inline(always)]
        unsafe fn store_wide(self, to: *mut f64, sums: [__m512d; 2]) {
            // SAFETY: see above.
            unsafe {
                _mm512_storeu_pd(to, sums[0]);
                _mm512_storeu_pd(to.add(8), sums[1]);
            }
        }

        #[inline(always)]
        unsafe fn add_powers(
            self,
            [first, second]: [[__m512d; 2]; 2],
            from: *const f32,
        ) -> [[__m512d; 2]; 2] {
            // Two loads of half a vector: the upper half of a whole one would take a shuffle.
            // SAFETY: see above.
            unsafe {
                let low = _mm512_cvtps_pd(_mm256_loadu_ps(from));
                let high = _mm512_cvtps_pd(_mm256_loadu_ps(from.add(8)));
                [
                    [_mm512_add_pd(first[0], low), _mm512_add_pd(first[1], high)],
                    [_mm512_fmadd_pd(low, low, second[0]), _mm512_fmadd_pd(high, high, second[1])],
                ]
            }
        }

        #[inline(always)]
        fn sum_wide(self, [low, high]: [__m512d; 2]) -> f64 {
            // SAFETY: see above.
            unsafe {
                let h = _mm512_add_pd(low, high);
                sum_of_4(_mm256_add_pd(_mm512_castpd512_pd256(h), _mm512_extractf64x4_pd::<1>(h)))
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::*;

    use super::Wide;
    use crate::simd::Neon;

    // SAFETY of each block: the token is a proof of the instructions; memory is vouched for by the callers.
    impl Wide for Neon {
        type W = [float64x2_t; 4];

        #[inline(always)]
        fn wide(self) -> [float64x2_t; 4] {
            // SAFETY: see above.
            [unsafe { vdupq_n_f64(0.0) }; 4]
        }

        #[inline(always)]
        unsafe fn load_wide(self, from: *const f64) -> [float64x2_t; 4] {
            // SAFETY: see above.
            unsafe {
                [
                    vld1q_f64(from),
                    vld1q_f64(from.add(2)),
                    vld1q_f64(from.add(4)),
                    vld1q_f64(from.add(6)),
                ]
            }
        }

        #[inline(always)]
        unsafe fn store_wide(self, to: *mut f64, sums: [float64x2_t; 4]) {
            for (i, sum) in sums.into_iter().enumerate() {
                // SAFETY: see above.
                unsafe { vst1q_f64(to.add(2 * i), sum) };
            }
        }

        #[inline(always)]
        unsafe fn add_powers(
            self,
            [mut first, mut second]: [[float64x2_t; 4]; 2],
            from: *const f32,
        ) -> [[float64x2_t; 4]; 2] {
            for (i, (first, second)) in first.iter_mut().zip(&mut second).enumerate() {
                // SAFETY: see above.
                unsafe {
                    let x = vcvt_f64_f32(vld1_f32(from.add(2 * i)));
                    *first = vaddq_f64(*first, x);
                    *second = vfmaq_f64(*second, x, x);
                }
            }
            [first, second]
        }

        #[inline(always)]
        fn sum_wide(self, [a, b, c, d]: [float64x2_t; 4]) -> f64 {
            // SAFETY: see above.
            unsafe { vpaddd_f64(vaddq_f64(vaddq_f64(a, c), vaddq_f64(b, d))) }
        }
    }
}
