//! Half precision as ccv writes it.

use half::f16;

/// The 16-bit float nearest to `value` on the side of zero: what ccv stores.
///
/// The mantissa is cut off, never rounded up, also where the result is subnormal; what is smaller
/// than the smallest subnormal becomes a zero of its sign. A finite value beyond 65504, where
/// the exponent has no place, becomes an infinity: ccv's tables do the same, though none of
/// its files here has such a value. NaN stays NaN, even where its 10 leading mantissa bits are
/// zero and ccv's tables would make an infinity of it.
pub(crate) fn truncate(value: f32) -> f16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    let mantissa = bits & 0x007f_ffff;
    let magnitude = match exponent {
        128 if mantissa != 0 => 0x7e00 | (mantissa >> 13) as u16,
        16.. => 0x7c00,
        -14..=15 => ((exponent + 15) as u16) << 10 | (mantissa >> 13) as u16,
        // Subnormal: the implicit one becomes visible and moves right.
        -24..=-15 => ((mantissa | 0x0080_0000) >> (-exponent - 1)) as u16,
        _ => 0,
    };
    f16::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every float between two neighbouring halves goes to the one nearer to zero.
    #[test]
    fn cuts_toward_zero_between_all_neighbours() {
        for bits in 0..0x7c00u16 {
            let low = f16::from_bits(bits);
            let next = f16::from_bits(bits + 1).to_f32();
            for sign in [1.0, -1.0] {
                let expected = f16::from_f32(sign * low.to_f32());
                assert_eq!(truncate(sign * low.to_f32()).to_bits(), expected.to_bits());
                let below_next = if next.is_infinite() {
                    f32::from_bits(65536.0f32.to_bits() - 1)
                } else {
                    f32::from_bits(next.to_bits() - 1)
                };
                assert_eq!(truncate(sign * below_next).to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn overflow_is_infinite_and_nan_stays_nan() {
        assert_eq!(truncate(65536.0), f16::INFINITY);
        assert_eq!(truncate(-1e30), f16::NEG_INFINITY);
        assert_eq!(truncate(f32::INFINITY), f16::INFINITY);
        assert!(truncate(f32::NAN).is_nan());
        assert!(truncate(f32::from_bits(0xff80_0001)).is_nan());
        assert_eq!(truncate(-1e-30).to_bits(), 0x8000);
    }
}
