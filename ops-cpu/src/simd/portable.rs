//! Vectors as plain arrays.

use half::f16;

use super::Simd;

/// Arrays of 8 floats, which compilers turn into whatever the target has.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn map(a: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl super::sealed::Sealed for Portable {}

impl Simd for Portable {
    const LANES: usize = LANES;
    const SUMS: usize = 6;
    type V = [f32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for `LANES` readable floats.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for `LANES` writable floats.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Self::V {
        // SAFETY: the caller vouches for `LANES` readable half-precision floats.
        let halves = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        std::array::from_fn(|i| widen(halves[i]))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        map(a, f32::sqrt)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `f32::mul_add`: without the instruction that is a call per lane.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn relu(self, a: Self::V) -> Self::V {
        map(a, |x| if x < 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    fn clamp(self, a: Self::V, low: Self::V, high: Self::V) -> Self::V {
        let above = zip(a, low, |x, low| if x < low { low } else { x });
        zip(above, high, |x, high| if x > high { high } else { x })
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn select_equal(self, a: Self::V, b: Self::V, c: Self::V, d: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] == b[i] { c[i] } else { d[i] })
    }

    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        let h: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (h[0] + h[2]) + (h[1] + h[3])
    }
}

/// A half-precision number, widened without branches so that a loop of it vectorises.
#[inline(always)]
fn widen(half: u16) -> f32 {
    // Shifted into place, the exponent is 112 too small; a multiplication by 2^112 mends normal
    // and denormal numbers alike. Infinity and NaN get their exponent by hand.
    let magnitude = u32::from(half & 0x7fff) << 13;
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_every_half_precision_number_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, expected) = (widen(bits), f16::from_bits(bits).to_f32());
            assert!(
                ours == expected && ours.is_sign_negative() == expected.is_sign_negative()
                    || ours.is_nan() && expected.is_nan(),
                "{bits:#x}: {ours} {expected}"
            );
        }
    }
}
