//! Values widened to f64, and the indices of a shape.

use half::f16;

use crate::{DType, HostTensor, HostValues, MAX_RANK, Shape};

/// A tensor [widened](HostValues::to_f64) to f64. No op computes with integers that this rounds.
pub(crate) struct Floats {
    pub(crate) shape: Shape,
    pub(crate) values: Vec<f64>,
}

impl Floats {
    pub(crate) fn of(x: &HostTensor) -> Self {
        Floats { shape: *x.shape(), values: x.values().to_f64() }
    }

    /// The value at an index of the shape.
    pub(super) fn at(&self, at: &[usize]) -> f64 {
        self.values[offset(&self.shape, at)]
    }

    /// The value at an index of a shape that this one broadcasts to.
    pub(super) fn broadcast_at(&self, at: &[usize]) -> f64 {
        self.values[broadcast_offset(&self.shape, at)]
    }
}

/// Rounds to an element type as [`Cast`](crate::ops::Cast) says.
pub(super) fn rounded(dtype: DType, values: &[f64]) -> HostValues {
    fn each<T>(values: &[f64], round: impl Fn(f64) -> T) -> Vec<T> {
        values.iter().map(|&x| round(x)).collect()
    }
    match dtype {
        DType::F32 => each(values, |x| x as f32).into(),
        DType::F16 => each(values, round_to_f16).into(),
        DType::F64 => HostValues::F64(values.to_vec()),
        // `as` cuts toward zero, keeps in range, and makes NaN 0.
        DType::U32 => each(values, |x| x as u32).into(),
        DType::I64 => each(values, |x| x as i64).into(),
        DType::I32 => each(values, |x| x as i32).into(),
        DType::I8 => each(values, |x| x as i8).into(),
        DType::U8 => each(values, |x| x as u8).into(),
        DType::Bool => HostValues::Bool(each(values, |x| u8::from(x != 0.0))),
    }
}

/// The nearest half-precision number, ties to even.
///
/// By way of f32, since the hardware's conversion starts there. Rounding twice to nearest would be
/// wrong just beside a tie, so the first step rounds to odd: an inexact result gets its last bit
/// set, which keeps it off every tie of the second step.
pub(super) fn round_to_f16(x: f64) -> f16 {
    let nearest = x as f32;
    let toward_zero = if f64::from(nearest).abs() > x.abs() {
        f32::from_bits(nearest.to_bits() - 1)
    } else {
        nearest
    };
    if x.is_nan() || f64::from(toward_zero) == x {
        f16::from_f32(toward_zero)
    } else {
        f16::from_f32(f32::from_bits(toward_zero.to_bits() | 1))
    }
}

/// All indices of a shape, in memory order; entries from the rank on are 0.
pub(super) fn indices(shape: &Shape) -> impl Iterator<Item = [usize; MAX_RANK]> {
    let shape = *shape;
    let mut next = [0; MAX_RANK];
    (0..shape.count()).map(move |_| {
        let now = next;
        for axis in (0..shape.rank()).rev() {
            next[axis] += 1;
            if next[axis] < shape.dims()[axis] {
                break;
            }
            next[axis] = 0;
        }
        now
    })
}

/// Where an index lies in memory.
pub(super) fn offset(shape: &Shape, at: &[usize]) -> usize {
    shape.dims().iter().zip(at).fold(0, |offset, (&extent, &i)| offset * extent + i)
}

/// Where an index of a larger shape lies in the memory of one that broadcasts to it: aligned at the
/// last axis, and index 0 of every extent of 1.
pub(super) fn broadcast_offset(shape: &Shape, at: &[usize]) -> usize {
    let aligned = &at[at.len() - shape.rank()..];
    shape
        .dims()
        .iter()
        .zip(aligned)
        .fold(0, |offset, (&extent, &i)| offset * extent + if extent == 1 { 0 } else { i })
}

/// An output whose elements are elements of `x`: `source` gives the offset of each, from its index
/// in the output; where it gives none the element is `fill`.
pub(super) fn moved(
    x: &HostTensor,
    output: &Shape,
    fill: f32,
    source: impl Fn(&[usize]) -> Option<usize>,
) -> HostValues {
    let sources = indices(output).map(|at| source(&at[..output.rank()]));
    fn take<T: Copy>(
        values: &[T],
        fill: T,
        sources: impl Iterator<Item = Option<usize>>,
    ) -> Vec<T> {
        sources.map(|source| source.map_or(fill, |i| values[i])).collect()
    }
    match x.values() {
        HostValues::F32(v) => take(v, fill, sources).into(),
        HostValues::F16(v) => take(v, f16::from_f32(fill), sources).into(),
        HostValues::F64(v) => take(v, f64::from(fill), sources).into(),
        HostValues::U32(v) => take(v, fill as u32, sources).into(),
        HostValues::I64(v) => take(v, fill as i64, sources).into(),
        HostValues::I32(v) => take(v, fill as i32, sources).into(),
        HostValues::I8(v) => take(v, fill as i8, sources).into(),
        HostValues::U8(v) => take(v, fill as u8, sources).into(),
        HostValues::Bool(v) => HostValues::Bool(take(v, u8::from(fill != 0.0), sources)),
    }
}

/// What stands for an entry that there is none of: NaN, the largest integer, or true.
pub(super) fn missing(dtype: DType) -> f32 {
    // NaN as an integer is 0, and not every largest integer a float: so infinity there, which saturates.
    if matches!(dtype, DType::F32 | DType::F16 | DType::F64) { f32::NAN } else { f32::INFINITY }
}

/// The larger one; NaN where either is.
pub(super) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller one; NaN where either is.
pub(super) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// `max(x, 0)`; NaN stays NaN.
pub(super) fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside every boundary between two half-precision numbers: the boundary itself goes to the
    /// even one, and the f64 next to it to the nearer one. Rounding by way of f32 without care
    /// fails here, since the f64 next to a boundary is the boundary in f32.
    #[test]
    fn rounding_to_f16_is_right_on_both_sides_of_every_tie() {
        for bits in 0..f16::INFINITY.to_bits() {
            let (low, high) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            // Above the largest number, ties are with the one that would follow.
            let above = if high.is_finite() { f64::from(high) } else { 65_536.0 };
            let tie = (f64::from(low) + above) / 2.0;
            let even = if bits & 1 == 0 { low } else { high };
            assert_eq!(round_to_f16(f64::from(low)), low);
            assert_eq!(round_to_f16(tie), even, "{tie}");
            assert_eq!(round_to_f16(tie.next_down()), low, "below {tie}");
            assert_eq!(round_to_f16(tie.next_up()), high, "above {tie}");
            assert_eq!(round_to_f16(-tie.next_up()), -high, "below -{tie}");
        }
        assert!(round_to_f16(f64::NAN).is_nan());
        assert_eq!(round_to_f16(f64::NEG_INFINITY), f16::NEG_INFINITY);
        assert_eq!(round_to_f16(1e300), f16::INFINITY);
        assert_eq!(round_to_f16(-1e-300).to_bits(), f16::NEG_ZERO.to_bits());
    }

    #[test]
    fn indices_count_in_memory_order() {
        let shape = Shape::new(&[2, 1, 3]).unwrap();
        let offsets: Vec<usize> = indices(&shape).map(|at| offset(&shape, &at)).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
        assert_eq!(indices(&Shape::scalar()).count(), 1);
        assert_eq!(indices(&Shape::new(&[2, 0]).unwrap()).count(), 0);
        let row = Shape::new(&[3]).unwrap();
        let repeated: Vec<usize> =
            indices(&shape).map(|at| broadcast_offset(&row, &at[..3])).collect();
        assert_eq!(repeated, [0, 1, 2, 0, 1, 2]);
    }
}
