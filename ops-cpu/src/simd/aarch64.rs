//! Vectors of 64-bit Arm: NEON, which every such processor with an operating system has.
//!
//! The tests have run it under emulation; no claim of its speed has been measured.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::{INVERSE_THREE_QUARTERS, Kernel, MODERATE, Simd};

/// NEON: 8 floats, in two registers of 4. Pairs give loops that have few sums twice the chains that do
/// not wait for each other. Made only where it was detected.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

/// Runs a kernel with NEON enabled.
///
/// # Safety
/// The processor must have it.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_neon<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

/// Floats of one register.
const HALF: usize = 4;

#[inline(always)]
fn map(a: float32x4x2_t, f: impl Fn(float32x4_t) -> float32x4_t) -> float32x4x2_t {
    float32x4x2_t(f(a.0), f(a.1))
}

#[inline(always)]
fn zip(
    a: float32x4x2_t,
    b: float32x4x2_t,
    f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t,
) -> float32x4x2_t {
    float32x4x2_t(f(a.0, b.0), f(a.1, b.1))
}

// SAFETY of each block below: the token is only made inside `run_neon`, whose callers vouch for the
// instructions; memory operands are vouched for by the callers of `load`, `store`, `load_f16` and
// `transpose`.

impl super::sealed::Sealed for Neon {}

impl Simd for Neon {
    const LANES: usize = 2 * HALF;
    // With 12, pairs of the left rows and of the weights no longer fit beside them.
    const SUMS: usize = 8;
    type V = float32x4x2_t;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4x2_t {
        // SAFETY: see above.
        let all = unsafe { vdupq_n_f32(x) };
        float32x4x2_t(all, all)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vld1q_f32(from), vld1q_f32(from.add(HALF))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: float32x4x2_t) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(to, v.0);
            vst1q_f32(to.add(HALF), v.1);
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // The library's function for it is not stable.
        // SAFETY: a prefetch of any address is harmless, and changes no register.
        unsafe {
            asm!("prfm pldl1keep, [{}]", in(reg) from, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch_far(self, from: *const f32) {
        // SAFETY: as above.
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) from, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch_to_write(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            asm!("prfm pstl1keep, [{}]", in(reg) to, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> float32x4x2_t {
        // The library's functions for it are not stable; the instructions are part of every NEON.
        let (low, high);
        // SAFETY: see above; registers go in and out, and nothing else is touched.
        unsafe {
            let halves = vld1q_u16(from.cast());
            asm!(
                "fcvtl {low:v}.4s, {halves:v}.4h",
                "fcvtl2 {high:v}.4s, {halves:v}.8h",
                low = out(vreg) low,
                high = lateout(vreg) high,
                halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        float32x4x2_t(low, high)
    }

    #[inline(always)]
    fn add(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        zip(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        zip(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        zip(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        zip(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn sqrt(self, a: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        map(a, |a| unsafe { vsqrtq_f32(a) })
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn guess_inverse_three_quarters(self, a: float32x4x2_t) -> Option<float32x4x2_t> {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (vdupq_n_f32(MODERATE[0]), vdupq_n_f32(MODERATE[1]));
            let within = |a| vandq_u32(vcgeq_f32(a, low), vcleq_f32(a, high));
            let moderate = vminvq_u32(vandq_u32(within(a.0), within(a.1))) == u32::MAX;
            let all = vdupq_n_u32(INVERSE_THREE_QUARTERS);
            let guess = map(a, |a| {
                let bits = vreinterpretq_u32_f32(a);
                let part = vaddq_u32(vshrq_n_u32::<1>(bits), vshrq_n_u32::<2>(bits));
                vreinterpretq_f32_u32(vsubq_u32(all, part))
            });
            moderate.then_some(guess)
        }
    }

    #[inline(always)]
    fn relu(self, a: float32x4x2_t) -> float32x4x2_t {
        // The instruction gives NaN where either is.
        // SAFETY: see above.
        map(a, |a| unsafe { vmaxq_f32(a, vdupq_n_f32(0.0)) })
    }

    #[inline(always)]
    fn clamp(self, a: float32x4x2_t, low: float32x4x2_t, high: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        let above = zip(a, low, |a, low| unsafe { vmaxq_f32(a, low) });
        // SAFETY: see above.
        zip(above, high, |a, high| unsafe { vminq_f32(a, high) })
    }

    #[inline(always)]
    fn max(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        zip(a, b, |a, b| unsafe { vmaxq_f32(a, b) })
    }

    #[inline(always)]
    fn select_equal(
        self,
        a: float32x4x2_t,
        b: float32x4x2_t,
        c: float32x4x2_t,
        d: float32x4x2_t,
    ) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe {
            float32x4x2_t(
                vbslq_f32(vceqq_f32(a.0, b.0), c.0, d.0),
                vbslq_f32(vceqq_f32(a.1, b.1), c.1, d.1),
            )
        }
    }

    #[inline(always)]
    fn sum(self, a: float32x4x2_t) -> f32 {
        // SAFETY: see above.
        unsafe {
            let h = vaddq_f32(a.0, a.1);
            vpadds_f32(vadd_f32(vget_low_f32(h), vget_high_f32(h)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        // Blocks of 4 × 4, each to its place across the diagonal.
        for (i, j) in [(0, 0), (0, HALF), (HALF, 0), (HALF, HALF)] {
            // SAFETY: see above.
            unsafe {
                let row = |k: usize| vld1q_f32(from.add((i + k) * from_pitch + j));
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                // Columns 0 and 2 of two rows, then 1 and 3.
                let (ab, ab_odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
                let (cd, cd_odd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
                let low = |x, y| vcombine_f32(vget_low_f32(x), vget_low_f32(y));
                let high = |x, y| vcombine_f32(vget_high_f32(x), vget_high_f32(y));
                let columns =
                    [low(ab, cd), low(ab_odd, cd_odd), high(ab, cd), high(ab_odd, cd_odd)];
                for (k, column) in columns.into_iter().enumerate() {
                    vst1q_f32(to.add((j + k) * to_pitch + i), column);
                }
            }
        }
    }
}
