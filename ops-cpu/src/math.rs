//! Elementary functions as straight-line code, which compilers vectorise inside a loop.
//!
//! They compute with plain additions and multiplications, never fused ones, so every instruction
//! set gives the same bits.

use std::f32::consts::LOG2_E;

/// ln 2 in two parts. The first has so few digits that its product with a whole number of up to 14
/// bits is exact; the second is the rest.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and taking away 1.5 · 2^23 rounds to whole numbers, which then stand in the low bits of
/// the sum.
const ROUND: f32 = 12_582_912.0;

/// `x = n · ln 2 + r` with whole `n` and `|r| <= ln 2 / 2`: `(n, r)`. For `|x|` up to 2^14.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let whole = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    (whole, (x - n * LN_2_HIGH) - n * LN_2_LOW)
}

/// `e^r - 1` for `|r| <= ln 2 / 2`: `r` and `r²` times a polynomial, fitted for the least error relative
/// to `e^r`, which is 3.1e-9.
#[inline(always)]
fn series(r: f32) -> f32 {
    let p = 1.381_446_5e-3;
    let p = p * r + 8.368_781e-3;
    let p = p * r + 4.166_839_3e-2;
    let p = p * r + 1.666_652e-1;
    let p = p * r + 4.999_999_4e-1;
    p * (r * r) + r
}

/// [`series`] with one coefficient less: the error is 1.1e-7 of `e^r`, one unit of the last digit.
#[inline(always)]
fn short_series(r: f32) -> f32 {
    let p = 8.312_48e-3;
    let p = p * r + 4.189_055_4e-2;
    let p = p * r + 1.666_711_6e-1;
    let p = p * r + 4.999_922_8e-1;
    p * (r * r) + r
}

/// `2^n` for `n` from -126 to 127; zero for -127, infinite for 128.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `min(max(x, low), high)`; NaN stays NaN.
#[inline(always)]
pub(crate) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x`: infinite above 88.73, denormal below -87.3, zero below -104.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let (n, r) = reduce(clamp(x, -104.0, 89.0));
    // Two factors, since 2^n alone may be out of range where the result is not.
    let half = n >> 1;
    (series(r) + 1.0) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `e^x` for what is added to a larger number or known to few digits: one unit of the last digit less
/// than [`exp`], in one factor. Zero below -87.7, where [`exp`] has denormal numbers, and infinite above
/// 88.4.
#[inline(always)]
fn quick_exp(x: f32) -> f32 {
    // At -88 the whole number is -127, whose power of two has the bits of zero; at 89 it is 128, which
    // has those of infinity.
    let (n, r) = reduce(clamp(x, -88.0, 89.0));
    (short_series(r) + 1.0) * power_of_two(n)
}

/// `e^x - 1` without the loss of digits near 0. Beyond `x = 40` it gives what it gives there.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    let (n, r) = reduce(clamp(x, -40.0, 40.0));
    let scale = power_of_two(n);
    scale * series(r) + (scale - 1.0)
}

/// The natural logarithm.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // A denormal number is made normal.
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    // x = m · 2^n with m from √½ to √2.
    const ROOT_HALF: u32 = 0x3f35_04f3;
    let bits = scaled.to_bits().wrapping_sub(ROOT_HALF);
    let n = (bits as i32 >> 23).wrapping_sub(if small { 23 } else { 0 }) as f32;
    let m = f32::from_bits((bits & 0x7f_ffff).wrapping_add(ROOT_HALF));
    // ln m = 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172: the series up to s^9 / 9, whose
    // rest is below 3e-9 of the first term.
    let f = m - 1.0;
    let s = f / (f + 2.0);
    let z = s * s;
    let rest = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    // 2s = f - f·s keeps the digits of f, which is exact.
    let ln_m = f - s * (f - 2.0 * rest);
    let finite = n * LN_2_HIGH + (n * LN_2_LOW + ln_m);
    if x > 0.0 && x < f32::INFINITY {
        finite
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f32::NAN
    }
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // At 20 the result is 1 to the last digit.
    let e = exp_m1(2.0 * clamp(x.abs(), 0.0, 20.0));
    (e / (e + 2.0)).copysign(x)
}

/// `1 / (1 + e^-x)`: zero below -88.4.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    times_sigmoid(1.0, x)
}

/// `y · sigmoid(x)`, by the one division that the sigmoid needs in any case.
#[inline(always)]
pub(crate) fn times_sigmoid(y: f32, x: f32) -> f32 {
    y / (1.0 + quick_exp(-x))
}

/// `ln(1 + e^x)`: the larger of `x` and 0, and `ln(1 + w)` with `w = e^-|x|`. That is `2 artanh s` with
/// `s = w / (2 + w)`, at most 1/3: the series up to `s^17 / 17`, whose rest is below 2e-9 of the first
/// term.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let w = exp(-x.abs());
    let s = w / (2.0 + w);
    let z = s * s;
    let p = 1.0 / 17.0;
    let p = p * z + 1.0 / 15.0;
    let p = p * z + 1.0 / 13.0;
    let p = p * z + 1.0 / 11.0;
    let p = p * z + 1.0 / 9.0;
    let p = p * z + 1.0 / 7.0;
    let p = p * z + 1.0 / 5.0;
    let p = p * z + 1.0 / 3.0;
    let p = p * z + 1.0;
    let above = if x < 0.0 { 0.0 } else { x };
    above + 2.0 * s * p
}

/// The share of a normal distribution above `a`, which is not negative: `e^(-a² / 2)` times a
/// polynomial in `t = 1 / (1 + 0.35 a)`. Its coefficients were fitted for the least relative error on
/// `0 <= a <= 15`, which is 3.2e-8; beyond, the result is 0 in f32.
#[inline(always)]
pub(crate) fn normal_tail(a: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.35 * a);
    let p = -0.029_163_793;
    let p = p * t + 0.144_060_18;
    let p = p * t - 0.255_900_62;
    let p = p * t + 0.159_391_54;
    let p = p * t - 0.023_262_937;
    let p = p * t + 0.105_574_444;
    let p = p * t + 0.119_815_58;
    let p = p * t + 0.139_864_33;
    let p = p * t + 0.139_621_26;
    p * t * quick_exp(-0.5 * (a * a))
}

/// The error function: up to 1 `x` times a polynomial in `x²`, fitted for the least relative error,
/// which is 1.3e-9; beyond, `1 - 2 · normal_tail(√2 x)`.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = a * a;
    let p = 7.853_854e-5;
    let p = p * z - 8.010_191_5e-4;
    let p = p * z + 5.188_327_3e-3;
    let p = p * z - 2.685_381_1e-2;
    let p = p * z + 1.128_358_54e-1;
    let p = p * z - 3.761_262_6e-1;
    let p = p * z + std::f32::consts::FRAC_2_SQRT_PI;
    let far = 1.0 - 2.0 * normal_tail(std::f32::consts::SQRT_2 * a);
    (if a < 1.0 { p * a } else { far }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error in units of `scale(expected)`, over a range of floats.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let steps = 200_000;
        (0..=steps)
            .map(|i| from + (to - from) * (i as f32 / steps as f32))
            .map(|x| {
                let expected = exact(f64::from(x));
                let error = (f64::from(f(x)) - expected).abs();
                error / expected.abs().max(f64::from(f32::MIN_POSITIVE))
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn are_within_two_units_of_the_last_digit() {
        let unit = f64::from(f32::EPSILON);
        type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f32, f32);
        let cases: [Case; 16] = [
            ("exp", exp, f64::exp, -87.0, 88.7),
            ("exp", exp, f64::exp, -1.0, 1.0),
            ("quick_exp", quick_exp, f64::exp, -87.0, 88.3),
            ("quick_exp", quick_exp, f64::exp, -1.0, 1.0),
            ("exp_m1", exp_m1, f64::exp_m1, -40.0, 40.0),
            ("exp_m1", exp_m1, f64::exp_m1, -1.0, 1.0),
            ("exp_m1", exp_m1, f64::exp_m1, -1e-3, 1e-3),
            ("ln", ln, f64::ln, 1e-38, 3e38),
            ("ln", ln, f64::ln, 0.25, 4.0),
            ("ln", ln, f64::ln, 0.99, 1.01),
            ("tanh", tanh, f64::tanh, -12.0, 12.0),
            ("tanh", tanh, f64::tanh, -0.1, 0.1),
            ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -87.0, 87.0),
            ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -2.0, 2.0),
            ("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -87.0, 87.0),
            ("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -2.0, 2.0),
        ];
        for (name, f, exact, from, to) in cases {
            let error = worst(f, exact, from, to) / unit;
            assert!(error < 2.5, "{name} on {from}..{to}: {error} units");
        }
    }

    /// Values of the functions with 20 digits, rounded: mpmath 1.3's `erf` and `erfc`.
    #[test]
    fn the_error_function_and_the_tail_of_the_normal_distribution() {
        let known = [
            (0.01f32, 0.011_283_415_307_1),
            (0.25, 0.276_326_390_168_2),
            (0.75, 0.711_155_633_653_5),
            (0.999_999_94, 0.842_700_768_204_2),
            (1.0, 0.842_700_792_949_7),
            (1.25, 0.922_900_128_256_5),
            (2.0, 0.995_322_265_019_0),
            (3.5, 0.999_999_256_901_6),
        ];
        for (x, y) in known {
            assert!((f64::from(erf(x)) - y).abs() < 1.2e-7, "erf({x}) is {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        let known = [
            (0.0, 0.5),
            (0.5, 0.308_537_538_726),
            (1.0, 0.158_655_253_931),
            (2.0, 2.275_013_194_818e-2),
            (4.0, 3.167_124_183_312e-5),
            (8.0, 6.220_960_574_272e-16),
        ];
        for (a, tail) in known {
            let error = (f64::from(normal_tail(a)) / tail - 1.0).abs();
            assert!(error < 2e-6, "normal_tail({a}) is {}, off by {error}", normal_tail(a));
        }
    }

    #[test]
    fn reach_the_limits_as_ieee_arithmetic_does() {
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.8), f32::INFINITY);
        assert_eq!(exp(f32::MAX), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-f32::MAX), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((quick_exp(0.0), quick_exp(-0.0)), (1.0, 1.0));
        assert_eq!((quick_exp(-88.0), quick_exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!((quick_exp(88.5), quick_exp(f32::INFINITY)), (f32::INFINITY, f32::INFINITY));
        assert_eq!(exp(-103.0).to_bits(), 1);
        assert!((f64::from(exp(-95.0)) - (-95.0f64).exp()).abs() < 1e-45);
        assert_eq!(exp_m1(f32::NEG_INFINITY), -1.0);
        assert_eq!(exp_m1(0.0), 0.0);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(-0.0), f32::NEG_INFINITY);
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f32::NEG_INFINITY).is_nan());
        assert!((f64::from(ln(1e-45)) - f64::from(1e-45f32).ln()).abs() < 1e-5);
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
        assert!(tanh(-0.0).is_sign_negative());
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        assert_eq!((softplus(f32::INFINITY), softplus(f32::NEG_INFINITY)), (f32::INFINITY, 0.0));
        assert_eq!((softplus(f32::MAX), softplus(f32::MIN)), (f32::MAX, 0.0));
        assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY), erf(f32::MAX)), (1.0, -1.0, 1.0));
        assert!(erf(-0.0).is_sign_negative());
        assert_eq!(normal_tail(f32::INFINITY), 0.0);
        for f in [exp, quick_exp, exp_m1, ln, tanh, sigmoid, softplus, erf, normal_tail] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
