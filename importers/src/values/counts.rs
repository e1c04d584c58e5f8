//! Values that are not finite, in the file or only after a conversion.

use half::f16;
use striate_tensor::DType;

use crate::error::Overflow;
use crate::{Error, Result};

/// What became of the values of a tensor, or of a run of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// How many were NaN or infinite before they were converted.
    pub(crate) non_finite: usize,
    /// How many were finite, and are infinite now.
    pub(crate) overflows: usize,
    /// The first of these: which element, and what it was.
    pub(crate) first: Option<(usize, f64)>,
}

impl Counts {
    /// Of so many converted values, counts those that are not finite by what they were before.
    pub(crate) fn of(
        count: usize,
        finite: impl Fn(usize) -> bool,
        before: impl Fn(usize) -> f64,
    ) -> Self {
        let mut counts = Counts::default();
        for i in (0..count).filter(|i| !finite(*i)) {
            let value = before(i);
            match value.is_finite() {
                true => {
                    counts.overflows += 1;
                    counts.first.get_or_insert((i, value));
                }
                false => counts.non_finite += 1,
            }
        }
        counts
    }

    /// The same, where the run begins at an element of the tensor.
    pub(crate) fn after(mut self, first: usize) -> Self {
        self.first = self.first.map(|(i, value)| (i + first, value));
        self
    }

    /// With those of another run of the same tensor.
    pub(crate) fn and(self, other: Counts) -> Self {
        let earlier = |a: (usize, f64), b: (usize, f64)| if b.0 < a.0 { b } else { a };
        Counts {
            non_finite: self.non_finite + other.non_finite,
            overflows: self.overflows + other.overflows,
            first: match (self.first, other.first) {
                (Some(a), Some(b)) => Some(earlier(a, b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// Where the values of a tensor were read from or are written to: what messages need.
pub(crate) struct Report<'a> {
    pub(crate) file: &'a str,
    pub(crate) place: &'a str,
    /// The tensor's shape.
    pub(crate) dims: &'a [usize],
    /// The type that the values were converted to.
    pub(crate) dtype: DType,
    /// Whether values may become infinite.
    pub(crate) allow_overflow: bool,
}

impl Report<'_> {
    /// Warns of values that are not finite: a network that has them still loads. Refuses those that
    /// only the conversion has made infinite.
    pub(crate) fn check(&self, counts: Counts) -> Result<()> {
        let Report { file, place, dims, dtype, allow_overflow } = *self;
        let of = dims.iter().product();
        let Counts { non_finite, overflows, first } = counts;
        if non_finite > 0 {
            log::warn!(
                "{file}: {place}: {non_finite} of {of} values are not finite (NaN or infinite)"
            );
        }
        let Some((element, value)) = first else { return Ok(()) };
        let index = place_of(element, dims);
        let overflow = Overflow { value, index, dtype, count: overflows, of };
        if allow_overflow {
            log::warn!("{file}: {place}: {overflow}; they became infinite");
            return Ok(());
        }
        Err(Error::Overflow { file: file.into(), place: place.into(), overflow })
    }
}

/// Where an element is along each axis.
fn place_of(element: usize, dims: &[usize]) -> Vec<usize> {
    let mut rest = element;
    let mut index: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&extent| {
            let at = rest % extent.max(1);
            rest /= extent.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

/// Counts values in these bytes (little endian), which are not converted.
pub(crate) fn count_bytes(bytes: &[u8], dtype: DType) -> Counts {
    Counts { non_finite: non_finite_bytes(bytes, dtype), ..Counts::default() }
}

/// How many floats in these bytes (little endian) are NaN or infinite; integers never are.
pub(super) fn non_finite_bytes(bytes: &[u8], dtype: DType) -> usize {
    match dtype {
        DType::F32 => non_finite_f32(bytes.as_chunks().0, |b| u32::from_le_bytes(*b)),
        DType::F16 => non_finite_f16(bytes.as_chunks().0, |b| u16::from_le_bytes(*b)),
        DType::F64 => {
            let values = bytes.as_chunks().0.iter();
            values.filter(|b| !f64::from_le_bytes(**b).is_finite()).count()
        }
        DType::U32 | DType::I64 | DType::I32 | DType::I8 | DType::U8 | DType::Bool => 0,
    }
}

/// Elements whose count is kept in as many bits as they have, by which the compiler makes vectors of
/// the loop.
const COUNTED: usize = 16 * 1024;

pub(crate) fn non_finite_f32<T>(values: &[T], bits: impl Fn(&T) -> u32) -> usize {
    // All ones in the exponent.
    const EXPONENT: u32 = 0x7f80_0000;
    let special = |v: &T| u32::from(bits(v) & EXPONENT == EXPONENT);
    values.chunks(COUNTED).map(|some| some.iter().map(special).sum::<u32>() as usize).sum()
}

pub(crate) fn non_finite_f16<T>(values: &[T], bits: impl Fn(&T) -> u16) -> usize {
    const EXPONENT: u16 = f16::INFINITY.to_bits();
    let special = |v: &T| u16::from(bits(v) & EXPONENT == EXPONENT);
    values.chunks(COUNTED).map(|some| usize::from(some.iter().map(special).sum::<u16>())).sum()
}

#[cfg(test)]
mod tests {
    use striate_tensor::HostValues;

    use super::*;

    #[test]
    fn counts_what_is_not_finite() {
        let values = HostValues::F32(vec![1.0, f32::NAN, f32::NEG_INFINITY, 7e4]);
        assert_eq!(non_finite_bytes(values.bytes(), DType::F32), 2);
        let values = HostValues::F64(vec![1e300, f64::NAN, f64::INFINITY]);
        assert_eq!(non_finite_bytes(values.bytes(), DType::F64), 2);
        assert_eq!(non_finite_bytes(&[0xff; 16], DType::I64), 0);
        // More than the small counters of a loop hold.
        for n in [COUNTED, COUNTED + 1, 70_000] {
            let singles = HostValues::F32(vec![f32::NAN; n]);
            let halves = HostValues::F16(vec![f16::INFINITY; n]);
            for values in [singles, halves] {
                assert_eq!(non_finite_bytes(values.bytes(), values.dtype()), n);
            }
        }
    }

    #[test]
    fn an_element_has_a_place_along_each_axis() {
        assert_eq!(place_of(0, &[]), Vec::<usize>::new());
        assert_eq!(place_of(4, &[5]), [4]);
        assert_eq!(place_of(2 * 12 + 4 + 3, &[3, 3, 4]), [2, 1, 3]);
    }

    #[test]
    fn runs_are_counted_together_and_the_first_stays_the_first() {
        let run = |first| Counts { non_finite: 1, overflows: 2, first: Some((first, 1e5)) };
        let both = run(7).and(run(3).after(2));
        assert_eq!(both, Counts { non_finite: 2, overflows: 4, first: Some((5, 1e5)) });
        assert_eq!(Counts::default().and(run(1)), run(1));
    }
}
