//! Ops that move numbers: the same bits, of any type and value.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{dims, dims_and_axis, extent, float, seed, stored};
use super::values::{FLOATS, NON_FINITE, SIGNED, STORED, Values, sprinkled, tensor};
use crate::ops::{Axes, Concatenate, Flip, Gather, GatherGrad, Pad, Permute, Slice};
use crate::{DType, Device, HostTensor, Op};

const SHAPES: &[&[usize]] = &[
    &[],
    &[0],
    &[1],
    &[9],
    &[3, 0, 2],
    &[0, 3, 2],
    &[3, 2, 0],
    &[1, 1, 1],
    &[4, 4],
    &[17, 33],
    &[65, 64],
    &[4, 4, 4],
    &[2, 3, 5],
    &[2, 3, 4, 5],
    &[2, 7, 9, 16],
    &[2, 1, 3, 1, 4],
    &[130, 257],
];

fn words(dims: &[usize], dtype: DType, seed: u64) -> HostTensor {
    tensor(dims, dtype, Values::Words, seed)
}

fn moving(op: impl Into<Op>, inputs: impl Into<Vec<HostTensor>>) -> Case {
    Case::new(op, inputs, Tolerance::Bits)
}

/// Each shape with each type. One type of each size has the largest shapes.
fn types<'a>(shapes: &'a [&'a [usize]]) -> impl Iterator<Item = (&'a [usize], DType)> {
    let all = shapes.iter().flat_map(|&dims| STORED.iter().map(move |&dtype| (dims, dtype)));
    let sizes = [DType::F32, DType::F16, DType::U32, DType::I64, DType::U8];
    all.filter(move |(dims, dtype)| dims.iter().product::<usize>() < 500 || sizes.contains(dtype))
}

/// Checks an op on each shape, of each type.
fn on_shapes(device: &Device, settings: &Settings, ops: impl Fn(&[usize]) -> Vec<Op>) {
    for (dims, dtype) in types(SHAPES) {
        let x = words(dims, dtype, dims.len() as u64);
        table(device, settings, ops(dims).into_iter().map(|op| moving(op, [x.clone()])));
    }
}

fn permutations(rank: usize) -> Vec<Vec<usize>> {
    if rank == 0 {
        return vec![vec![]];
    }
    let place_last = |order: Vec<usize>| {
        (0..rank).map(move |place| {
            let mut order = order.clone();
            order.insert(place, rank - 1);
            order
        })
    };
    permutations(rank - 1).into_iter().flat_map(place_last).collect()
}

/// [`Permute`] in every order.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn permute(device: &Device, settings: &Settings) {
    on_shapes(device, settings, |dims| {
        permutations(dims.len()).into_iter().map(|order| Permute { order }.into()).collect()
    });
    // As many axes as there can be: three orders of them.
    for order in [[7, 6, 5, 4, 3, 2, 1, 0], [0, 2, 1, 3, 7, 5, 6, 4], [4, 5, 6, 7, 0, 1, 2, 3]] {
        let x = words(&[2, 1, 3, 2, 1, 2, 3, 2], DType::F32, 8);
        table(device, settings, [moving(Permute { order: order.to_vec() }, [x])]);
    }
    let parameters = dims(0..=6).prop_flat_map(|dims| {
        let order: Vec<usize> = (0..dims.len()).collect();
        (Just(dims), Just(order).prop_shuffle(), stored(), seed())
    });
    random(device, settings, parameters, |(dims, order, dtype, seed)| {
        moving(Permute { order }, [words(&dims, dtype, seed)])
    });
}

/// [`Slice`], from whole to empty.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn slice(device: &Device, settings: &Settings) {
    on_shapes(device, settings, |dims| {
        let cut = |range: fn(usize) -> std::ops::Range<usize>| {
            Slice { ranges: dims.iter().map(|&extent| range(extent)).collect() }.into()
        };
        vec![
            cut(|extent| 0..extent),
            cut(|extent| extent.min(1)..extent),
            cut(|extent| 0..extent.saturating_sub(1)),
            cut(|extent| extent / 3..extent - extent / 3),
            cut(|extent| extent / 2..extent / 2),
        ]
    });
    let parameters = (dims(0..=5), prop::array::uniform16(any::<u8>()), stored(), seed());
    random(device, settings, parameters, |(dims, dice, dtype, seed)| {
        let ranges = dims.iter().zip(dice.chunks(2)).map(|(&extent, dice)| {
            let start = dice[0] as usize % (extent + 1);
            start..start + dice[1] as usize % (extent - start + 1)
        });
        moving(Slice { ranges: ranges.collect() }, [words(&dims, dtype, seed)])
    });
}

/// [`Concatenate`] of one to many, some of them empty.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn concatenate(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], axis: usize, extents: &[usize], dtype, seed: u64| {
        let inputs = extents.iter().zip(seed..).map(|(&extent, seed)| {
            let mut dims = dims.to_vec();
            dims[axis] = extent;
            words(&dims, dtype, seed)
        });
        moving(Concatenate { axis }, inputs.collect::<Vec<_>>())
    };
    for (dims, dtype) in types(SHAPES) {
        for axis in 0..dims.len() {
            for extents in [&[3][..], &[0], &[1, 2], &[4, 0, 5], &[1, 1, 1, 1, 1, 2, 7]] {
                table(device, settings, [case(dims, axis, extents, dtype, 1)]);
            }
        }
    }
    let extents = prop::collection::vec(extent(), 1..=6);
    random(device, settings, (dims_and_axis(5), extents, stored(), seed()), |parameters| {
        let ((dims, axis), extents, dtype, seed) = parameters;
        case(&dims, axis, &extents, dtype, seed >> 1)
    });
}

/// [`Pad`], with nothing, on one side, and by more than there is.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn pad(device: &Device, settings: &Settings) {
    let values = [0.0, -1.5, 3.7, f32::NAN, f32::NEG_INFINITY, 1e30];
    on_shapes(device, settings, |dims| {
        let widths = [[0, 0], [1, 0], [0, 2], [2, 3]];
        let around = |widths| Pad { widths, value: 0.25 }.into();
        let mut ops: Vec<Op> = widths.map(|width| around(vec![width; dims.len()])).into();
        for axis in 0..dims.len() {
            let mut one = vec![[0, 0]; dims.len()];
            one[axis] = [7, 1];
            ops.push(around(one));
        }
        ops.extend(values.map(|value| Pad { widths: vec![[1, 1]; dims.len()], value }.into()));
        ops
    });
    let value = prop::sample::select(values.to_vec());
    let parameters = (dims(0..=4), prop::array::uniform8(0..5usize), value, stored(), seed());
    random(device, settings, parameters, |(dims, dice, value, dtype, seed)| {
        let widths = dice.chunks(2).take(dims.len()).map(|d| [d[0], d[1]]).collect();
        moving(Pad { widths, value }, [words(&dims, dtype, seed)])
    });
}

/// [`Gather`], with indices that repeat, and that reach beyond.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn gather(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], axis: usize, n: usize, beyond: f32, dtype, seed| {
        let range = Values::Range(0.0, dims[axis] as f32 + beyond);
        let indices = tensor(&[n], DType::U32, range, seed ^ 1);
        moving(Gather { axis }, [words(dims, dtype, seed), indices])
    };
    for (dims, dtype) in types(SHAPES) {
        for axis in 0..dims.len() {
            for n in [0, 1, 5, 40] {
                table(device, settings, [case(dims, axis, n, 1.5, dtype, n as u64)]);
            }
        }
    }
    for &dtype in STORED {
        let far = tensor(&[4], DType::U32, Values::Cycle(&[1.0, 2e9, 4e9, f32::INFINITY]), 0);
        table(device, settings, [moving(Gather { axis: 1 }, [words(&[3, 2, 5], dtype, 1), far])]);
    }
    let parameters = (dims_and_axis(5), 0..20usize, stored(), seed());
    random(device, settings, parameters, |((dims, axis), n, dtype, seed)| {
        case(&dims, axis, n, 0.2, dtype, seed)
    });
}

/// [`GatherGrad`], with indices that repeat, and that reach beyond.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn gather_grad(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], axis: usize, extent: usize, dtype, seed| {
        let n = dims[axis];
        let indices = tensor(&[n], DType::U32, Values::Range(0.0, extent as f32 + 1.5), seed ^ 1);
        let inputs = [indices, tensor(dims, dtype, SIGNED, seed)];
        let tolerance = Tolerance::Sum { terms: n.max(1), product: 2.0 };
        Case::new(GatherGrad { axis, extent }, inputs, tolerance)
    };
    for dtype in FLOATS {
        for dims in SHAPES.iter().filter(|dims| !dims.is_empty()) {
            for axis in 0..dims.len() {
                for extent in [0, 1, 5, 40] {
                    table(device, settings, [case(dims, axis, extent, dtype, extent as u64)]);
                }
            }
        }
        // One taken once: its bits.
        let far = tensor(&[4], DType::U32, Values::Cycle(&[1.0, 2e9, 4e9, f32::INFINITY]), 0);
        let dy = sprinkled(tensor(&[3, 4, 5], dtype, SIGNED, 1), NON_FINITE, 5, 2);
        table(device, settings, [moving(GatherGrad { axis: 1, extent: 2 }, [far, dy])]);
    }
    let parameters = (dims_and_axis(5), 0..20usize, float(), seed());
    random(device, settings, parameters, |((dims, axis), extent, dtype, seed)| {
        case(&dims, axis, extent, dtype, seed)
    });
}

/// [`Flip`] of every set of axes.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn flip(device: &Device, settings: &Settings) {
    let flip = |rank: usize, set: u32| {
        let axes: Vec<usize> = (0..rank).filter(|axis| set >> axis & 1 != 0).collect();
        Flip { axes: Axes::new(&axes).expect("the axes of a case") }
    };
    on_shapes(device, settings, |dims| {
        (0..1 << dims.len()).map(|set| flip(dims.len(), set).into()).collect()
    });
    random(device, settings, (dims(0..=5), any::<u32>(), stored(), seed()), |parameters| {
        let (dims, set, dtype, seed) = parameters;
        moving(flip(dims.len(), set), [words(&dims, dtype, seed)])
    });
}
