//! Random parameters that families share.

use proptest::prelude::*;

use super::values::{DTYPES, FLOATS, STORED};
use crate::DType;
use crate::ops::Activation;

/// Shapes stay below this many elements: random cases are many and small.
const MAX_ELEMENTS: usize = 20_000;

/// Extents at and around vector widths and tile sizes; sometimes 0.
pub(super) fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0),
        3 => Just(1),
        6 => 2..=7usize,
        2 => prop::sample::select(vec![8, 9, 12, 14, 15, 16, 17, 31, 33]),
    ]
}

/// Shapes of so many axes.
pub(super) fn dims(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(extent(), rank).prop_map(|mut dims| {
        // Cut the largest until the whole is small enough.
        while dims.iter().product::<usize>() > MAX_ELEMENTS {
            if let Some(largest) = dims.iter_mut().max() {
                *largest = *largest / 2 + 1;
            }
        }
        dims
    })
}

/// A shape and shapes that broadcast to it: some extents 1, leading axes missing. One of them, by
/// turns, is the shape itself.
pub(super) fn broadcasting<const N: usize>() -> impl Strategy<Value = [Vec<usize>; N]> {
    (dims(0..=5), prop::array::uniform32(any::<u8>()), 0..N).prop_map(|(full, dice, whole)| {
        std::array::from_fn(|operand| {
            if operand == whole {
                return full.clone();
            }
            let dice = &dice[operand * 8..];
            let missing = dice[0] as usize % (2 * full.len() + 1);
            let missing = if missing > full.len() { 0 } else { missing };
            (full.iter().zip(&dice[1..]).skip(missing))
                .map(|(&extent, die)| if die % 3 == 0 { 1 } else { extent })
                .collect()
        })
    })
}

/// A shape of at least `rank` axes, and one of them.
pub(super) fn dims_and_axis(max_rank: usize) -> impl Strategy<Value = (Vec<usize>, usize)> {
    dims(1..=max_rank).prop_flat_map(|dims| {
        let rank = dims.len();
        (Just(dims), 0..rank)
    })
}

/// None, ReLU, or now and then any activation: each is a kernel of its own on some devices, and slow to
/// compile there.
pub(super) fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        8 => Just(Activation::None),
        7 => Just(Activation::Relu),
        1 => prop::sample::select(Activation::ALL.to_vec()),
    ]
}

/// f32 or f16.
pub(super) fn float() -> impl Strategy<Value = DType> {
    prop::sample::select(FLOATS.to_vec())
}

/// An element type that ops compute with.
pub(super) fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(DTYPES.to_vec())
}

/// Any element type.
pub(super) fn stored() -> impl Strategy<Value = DType> {
    prop::sample::select(STORED.to_vec())
}

/// The values of operands.
pub(super) fn seed() -> impl Strategy<Value = u64> {
    // Shrinking the values of a tensor makes no failure clearer.
    any::<u64>().no_shrink()
}
