//! Vectors of x86-64: AVX2 with FMA and F16C, and AVX-512.
//!
//! Both have been run by the tests on processors that have them.

use std::arch::asm;
use std::arch::x86_64::*;

use half::f16;

use super::{INVERSE_THREE_QUARTERS, Kernel, MODERATE, MOST_LANES, Simd};

/// AVX2, FMA and F16C: 8 floats. Made only where they were detected, in this module and
/// `int8`.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(pub(super) ());

/// AVX-512 F, VL, DQ and BW: 16 floats. Made only where they were detected, in this
/// module and `int8`.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(pub(super) ());

/// Runs a kernel with AVX2, FMA and F16C enabled.
///
/// # Safety
/// The processor must have them.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Runs a kernel with AVX-512 enabled.
///
/// # Safety
/// The processor must have it.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

// In both: SAFETY of each block: the token is only made inside `run_avx2` or `run_avx512`, whose
// callers vouch for the instructions; memory operands are vouched for by the callers of `load`,
// `store` and `load_f16`.

/// A mask of the first lanes of 8.
#[inline(always)]
fn first_of_8(count: usize) -> __m256i {
    // SAFETY: see above; only vectors of 8 ask for it.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    }
}

/// A mask of the first lanes of 16.
#[inline(always)]
fn first_of_16(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as u16
}

impl super::sealed::Sealed for Avx2 {}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const SUMS: usize = 12;
    type V = __m256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn permute(self, v: __m256, indices: &[u32; MOST_LANES]) -> __m256 {
        // SAFETY: see above; the indices are more than are read.
        unsafe { _mm256_permutevar8x32_ps(v, _mm256_loadu_si256(indices.as_ptr().cast())) }
    }

    #[inline(always)]
    fn permute_pair(self, low: __m256, high: __m256, indices: &[u32; MOST_LANES]) -> __m256 {
        // SAFETY: see above; the indices are more than are read.
        unsafe {
            let indices = _mm256_loadu_si256(indices.as_ptr().cast());
            let low = _mm256_permutevar8x32_ps(low, indices);
            let high = _mm256_permutevar8x32_ps(high, indices);
            // The bit of 8 becomes the sign.
            _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(indices)))
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: see above; a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_far(self, from: *const f32) {
        // SAFETY: see above; a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, to: *mut f32) {
        prefetch_to_write(to);
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn guess_inverse_three_quarters(self, a: __m256) -> Option<__m256> {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm256_set1_ps(MODERATE[0]), _mm256_set1_ps(MODERATE[1]));
            let low = _mm256_cmp_ps::<_CMP_GE_OQ>(a, low);
            let high = _mm256_cmp_ps::<_CMP_LE_OQ>(a, high);
            let moderate = _mm256_movemask_ps(_mm256_and_ps(low, high)) == 0xff;
            let bits = _mm256_castps_si256(a);
            let part = _mm256_add_epi32(_mm256_srli_epi32::<1>(bits), _mm256_srli_epi32::<2>(bits));
            let all = _mm256_set1_epi32(INVERSE_THREE_QUARTERS.cast_signed());
            moderate.then_some(_mm256_castsi256_ps(_mm256_sub_epi32(all, part)))
        }
    }

    #[inline(always)]
    fn relu(self, a: __m256) -> __m256 {
        // The instruction gives its second operand where one is NaN.
        // SAFETY: see above.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }

    #[inline(always)]
    fn clamp(self, a: __m256, low: __m256, high: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(high, _mm256_max_ps(low, a)) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: see above; lanes outside the mask are not read.
        unsafe { _mm256_maskload_ps(from, first_of_8(count)) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: __m256, count: usize) {
        // SAFETY: see above; lanes outside the mask are not written.
        unsafe { _mm256_maskstore_ps(to, first_of_8(count), v) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // `b` where one is NaN; then `a` where that one is.
        // SAFETY: see above.
        unsafe {
            let a_is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_blendv_ps(_mm256_max_ps(a, b), a, a_is_nan)
        }
    }

    #[inline(always)]
    fn select_equal(self, a: __m256, b: __m256, c: __m256, d: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(d, c, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) }
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let h = _mm_add_ps(h, _mm_movehl_ps(h, h));
            _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps::<1>(h, h)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        // SAFETY: see above.
        unsafe {
            // Lanes 0..4 of rows i and i + 4 side by side, then their lanes 4..8.
            let (mut left, mut right) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
            for (i, (left, right)) in left.iter_mut().zip(&mut right).enumerate() {
                let row = _mm256_loadu_ps(from.add(i * from_pitch));
                let below = _mm256_loadu_ps(from.add((i + 4) * from_pitch));
                *left = _mm256_permute2f128_ps::<0x20>(row, below);
                *right = _mm256_permute2f128_ps::<0x31>(row, below);
            }
            for (half, [a, b, c, d]) in [left, right].into_iter().enumerate() {
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                let columns = [
                    _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
                    _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
                    _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
                ];
                for (j, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((4 * half + j) * to_pitch), column);
                }
            }
        }
    }
}

impl super::sealed::Sealed for Avx512 {}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const SUMS: usize = 28;
    type V = __m512;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn permute(self, v: __m512, indices: &[u32; MOST_LANES]) -> __m512 {
        // SAFETY: see above; the indices are as many as are read.
        unsafe { _mm512_permutexvar_ps(_mm512_loadu_si512(indices.as_ptr().cast()), v) }
    }

    #[inline(always)]
    fn permute_pair(self, low: __m512, high: __m512, indices: &[u32; MOST_LANES]) -> __m512 {
        // SAFETY: see above; the indices are as many as are read.
        unsafe { _mm512_permutex2var_ps(low, _mm512_loadu_si512(indices.as_ptr().cast()), high) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: see above; a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_far(self, from: *const f32) {
        // SAFETY: see above; a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, to: *mut f32) {
        prefetch_to_write(to);
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_ps(a) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn guess_inverse_three_quarters(self, a: __m512) -> Option<__m512> {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm512_set1_ps(MODERATE[0]), _mm512_set1_ps(MODERATE[1]));
            let low = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, low);
            let high = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, high);
            let moderate = low & high == u16::MAX;
            let bits = _mm512_castps_si512(a);
            let part = _mm512_add_epi32(_mm512_srli_epi32::<1>(bits), _mm512_srli_epi32::<2>(bits));
            let all = _mm512_set1_epi32(INVERSE_THREE_QUARTERS.cast_signed());
            moderate.then_some(_mm512_castsi512_ps(_mm512_sub_epi32(all, part)))
        }
    }

    #[inline(always)]
    fn relu(self, a: __m512) -> __m512 {
        // The instruction gives its second operand where one is NaN.
        // SAFETY: see above.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }

    #[inline(always)]
    fn clamp(self, a: __m512, low: __m512, high: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, a)) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above; lanes outside the mask are not read.
        unsafe { _mm512_maskz_loadu_ps(first_of_16(count), from) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: __m512, count: usize) {
        // SAFETY: see above; lanes outside the mask are not written.
        unsafe { _mm512_mask_storeu_ps(to, first_of_16(count), v) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // `b` where one is NaN; then `a` where that one is.
        // SAFETY: see above.
        unsafe {
            let a_is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_mov_ps(_mm512_max_ps(a, b), a_is_nan, a)
        }
    }

    #[inline(always)]
    fn select_equal(self, a: __m512, b: __m512, c: __m512, d: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_mov_ps(d, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), c) }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe {
            let upper = _mm512_extractf32x8_ps::<1>(a);
            let h = _mm256_add_ps(_mm512_castps512_ps256(a), upper);
            let h = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps::<1>(h));
            let h = _mm_add_ps(h, _mm_movehl_ps(h, h));
            _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps::<1>(h, h)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        // SAFETY: see above.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(i * from_pitch));
            }
            // Each four rows: their 4×4 blocks turned, so that vector `j` of a quad has columns `j`,
            // `4 + j`, `8 + j` and `12 + j` of its rows.
            for quad in rows.chunks_exact_mut(4) {
                let (a, b, c, d) = (quad[0], quad[1], quad[2], quad[3]);
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                quad[0] = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
                quad[1] = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
                quad[2] = _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
                quad[3] = _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
            }
            // Then the 128-bit blocks among the quads.
            for j in 0..4 {
                let (a, b, c, d) = (rows[j], rows[4 + j], rows[8 + j], rows[12 + j]);
                let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                let cd_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
                let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
                let columns = [
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even),
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd),
                ];
                for (block, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_ps(to.add((4 * block + j) * to_pitch), column);
                }
            }
        }
    }
}

/// A request for a line to write into. The library's function has no way to ask for the instruction; each
/// processor of this architecture knows it, or takes it for none.
#[inline(always)]
fn prefetch_to_write(to: *mut f32) {
    // SAFETY: a prefetch of any address is harmless, and changes no register.
    unsafe {
        asm!("prefetchw [{}]", in(reg) to, options(readonly, nostack, preserves_flags));
    }
}
