//! Ops along one axis, line by line: sums so far, order, entries by an index each.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{dims_and_axis, dtype, float, seed, stored};
use super::values::{DTYPES, EDGES, FLOATS, NON_FINITE, SIGNED, STORED, Values, sprinkled, tensor};
use crate::ops::{ArgSort, CumulativeSum, Scatter, TakeAlong};
use crate::{DType, Device, HostTensor};

const SHAPES: &[&[usize]] = &[
    &[0],
    &[1],
    &[9],
    &[700],
    &[3, 0, 2],
    &[0, 3, 2],
    &[3, 2, 0],
    &[1, 1, 1],
    &[17, 33],
    &[33, 17],
    &[2, 3, 4, 5],
    &[2, 33, 40],
    &[3, 3, 401],
];

/// Every shape with every axis of it, and a seed.
fn lines() -> impl Iterator<Item = (&'static [usize], usize, u64)> {
    let axes = |(&dims, seed): (&&'static [usize], u64)| {
        (0..dims.len()).map(move |axis| (dims, axis, seed))
    };
    SHAPES.iter().zip(0..).flat_map(axes)
}

/// [`CumulativeSum`], both ways, with and without an entry itself.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn cumulative_sum(device: &Device, settings: &Settings) {
    let case = |op: CumulativeSum, x: HostTensor| {
        let terms = x.shape().dims()[op.axis].max(1);
        let tolerance = match x.values().dtype() {
            DType::U32 => Tolerance::Bits,
            _ => Tolerance::Sum { terms, product: 2.0 },
        };
        Case::new(op, [x], tolerance)
    };
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    for ((dims, axis, seed), dtype) in lines().flat_map(|line| DTYPES.map(|dtype| (line, dtype))) {
        let values = if dtype == DType::U32 { Values::Words } else { SIGNED };
        let x = tensor(dims, dtype, values, seed);
        let ops = ways.map(|(exclusive, reverse)| CumulativeSum { axis, exclusive, reverse });
        table(device, settings, ops.map(|op| case(op, x.clone())));
    }
    for dtype in FLOATS {
        // NaN and opposite infinities stay from where they are.
        let x = sprinkled(tensor(&[6, 5, 19], dtype, SIGNED, 1), NON_FINITE, 40, 2);
        let infinite = sprinkled(tensor(&[40, 9], dtype, SIGNED, 1), &NON_FINITE[1..2], 9, 2);
        let op = |axis| CumulativeSum { axis, exclusive: false, reverse: false };
        table(device, settings, [case(op(1), x.clone()), case(op(2), x), case(op(0), infinite)]);
    }
    // A long line, whose digits a single f32 would lose.
    let long = tensor(&[100_003], DType::F32, Values::Range(0.0, 1.0), 3);
    let op = CumulativeSum { axis: 0, exclusive: false, reverse: true };
    table(device, settings, [case(op, long)]);
    let parameters = (dims_and_axis(4), any::<[bool; 2]>(), float(), seed());
    random(device, settings, parameters, |((dims, axis), ways, dtype, seed)| {
        let [exclusive, reverse] = ways;
        case(CumulativeSum { axis, exclusive, reverse }, tensor(&dims, dtype, SIGNED, seed))
    });
}

/// [`ArgSort`], with ties and NaN, of all entries and of a few.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn arg_sort(device: &Device, settings: &Settings) {
    let case = |op: ArgSort, x: HostTensor| Case::new(op, [x], Tolerance::Bits);
    for ((dims, axis, seed), dtype) in lines().flat_map(|line| DTYPES.map(|dtype| (line, dtype))) {
        let extent = dims[axis];
        let ties = tensor(dims, dtype, Values::Quarters, seed);
        let edgy = sprinkled(tensor(dims, dtype, SIGNED, seed), EDGES, 3, seed);
        let zeros = tensor(dims, dtype, Values::Among(&[0.0, -0.0, f32::NAN]), seed);
        let words = tensor(dims, dtype, Values::Words, seed);
        for x in [ties, edgy, zeros, words] {
            let counts = [extent, extent.min(5), 0];
            let op = |count, descending| case(ArgSort { axis, descending, count }, x.clone());
            table(device, settings, counts.map(|count| op(count, count < extent)));
            table(device, settings, [op(extent, true), op(extent.min(1), false)]);
        }
    }
    let parameters = (dims_and_axis(4), any::<bool>(), any::<u8>(), dtype(), seed());
    random(device, settings, parameters, |((dims, axis), descending, dice, dtype, seed)| {
        let count = dice as usize % (dims[axis] + 1);
        let x = tensor(&dims, dtype, Values::Quarters, seed);
        case(ArgSort { axis, descending, count }, x)
    });
}

/// Indices of `n` entries along an axis of these extents, and `beyond`.
fn indices(dims: &[usize], axis: usize, n: usize, beyond: f32, seed: u64) -> HostTensor {
    let mut own = dims.to_vec();
    own[axis] = n;
    tensor(&own, DType::U32, Values::Range(0.0, dims[axis] as f32 + beyond), seed ^ 1)
}

/// [`lines`] of every type.
fn of_any_type() -> impl Iterator<Item = ((&'static [usize], usize, u64), DType)> {
    lines().flat_map(|line| STORED.iter().map(move |&dtype| (line, dtype)))
}

/// [`TakeAlong`], with indices that repeat, and that reach beyond.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn take_along(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], axis: usize, n: usize, beyond: f32, dtype, seed| {
        let x = tensor(dims, dtype, Values::Words, seed);
        let inputs = [x, indices(dims, axis, n, beyond, seed)];
        Case::new(TakeAlong { axis }, inputs, Tolerance::Bits)
    };
    for ((dims, axis, seed), dtype) in of_any_type() {
        table(device, settings, [0, 1, 5, 40].map(|n| case(dims, axis, n, 1.5, dtype, seed)));
    }
    let parameters = (dims_and_axis(5), 0..20usize, stored(), seed());
    random(device, settings, parameters, |((dims, axis), n, dtype, seed)| {
        case(&dims, axis, n, 0.2, dtype, seed)
    });
}

/// [`Scatter`], replacing and adding, several for one place, and some that reach beyond.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn scatter(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], axis: usize, n: usize, add: bool, dtype, seed: u64| {
        let places = indices(dims, axis, n, 1.5, seed);
        let values = if add { SIGNED } else { Values::Words };
        let source = tensor(places.shape().dims(), dtype, values, seed ^ 2);
        let inputs = [tensor(dims, dtype, values, seed), places, source];
        let tolerance = match add {
            true => Tolerance::Sum { terms: n + 1, product: 2.0 },
            false => Tolerance::Bits,
        };
        Case::new(Scatter { axis, add }, inputs, tolerance)
    };
    for ((dims, axis, seed), dtype) in of_any_type() {
        table(device, settings, [0, 1, 5, 40].map(|n| case(dims, axis, n, false, dtype, seed)));
        if dtype.is_float() {
            table(device, settings, [0, 1, 5, 40].map(|n| case(dims, axis, n, true, dtype, seed)));
        }
    }
    let parameters = (dims_and_axis(5), 0..20usize, any::<bool>(), stored(), seed());
    random(device, settings, parameters, |((dims, axis), n, add, dtype, seed)| {
        case(&dims, axis, n, add && dtype.is_float(), dtype, seed)
    });
}
