//! Reductions over axes.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{dims, dims_and_axis, float, seed};
use super::values::{EDGES, FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{ArgReduce, ArgReduceKind, Axes, Reduce, ReduceKind};
use crate::{DType, Device, HostTensor};

fn case(kind: ReduceKind, x: HostTensor, axes: &[usize], keep_axes: bool) -> Case {
    let terms: usize = axes.iter().map(|&axis| x.shape().dims()[axis]).product();
    let tolerance = match kind {
        ReduceKind::Sum => Tolerance::Sum { terms, product: finite_max(&x) },
        ReduceKind::Mean => {
            let product = finite_max(&x) / terms.max(1) as f64;
            Tolerance::Sum { terms, product }
        }
        ReduceKind::Product => Tolerance::Each { floor: 0.0 },
        ReduceKind::Max | ReduceKind::Min => Tolerance::Equal,
    };
    let axes = Axes::new(axes).expect("the axes of a case");
    Case::new(Reduce { kind, axes, keep_axes }, [x], tolerance)
}

fn values(kind: ReduceKind) -> Values<'static> {
    match kind {
        // Near 1, so that the product of many stays in range.
        ReduceKind::Product => Values::Range(0.9, 1.1),
        ReduceKind::Max | ReduceKind::Min => Values::Quarters,
        _ => Values::Range(-2.0, 2.0),
    }
}

/// Every subset of the axes of a shape.
fn subsets(rank: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1u32 << rank).map(move |bits| (0..rank).filter(|axis| bits >> axis & 1 != 0).collect())
}

/// Every [`Reduce`] over every set of axes.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn reduce(device: &Device, settings: &Settings) {
    let shapes: &[&[usize]] = &[
        &[],
        &[0],
        &[1],
        &[7],
        &[8],
        &[9],
        &[33],
        &[65],
        &[3, 0],
        &[0, 3],
        &[1, 1, 1],
        &[0, 2, 3],
        &[2, 3, 0],
        &[4, 4],
        &[17, 5],
        &[5, 17],
        &[3, 0, 2],
        &[3, 5, 7],
        &[2, 3, 4, 5],
        &[2, 1, 5, 16],
        &[2, 3, 2, 3, 2],
    ];
    for (kind, dtype) in ReduceKind::ALL.iter().flat_map(|&kind| FLOATS.map(|dtype| (kind, dtype)))
    {
        for (dims, seed) in shapes.iter().zip(0..) {
            for axes in subsets(dims.len()) {
                let x = tensor(dims, dtype, values(kind), seed);
                let cases = [false, true].map(|keep| case(kind, x.clone(), &axes, keep));
                table(device, settings, cases);
            }
        }
        // NaN wins, infinities stay, and opposite ones sum to NaN.
        for axes in subsets(3) {
            let x = tensor(&[6, 5, 19], dtype, values(kind), 1);
            for among in [NON_FINITE, &NON_FINITE[1..], &NON_FINITE[1..2], &[0.0, -0.0]] {
                let x = sprinkled(x.clone(), among, 40, 2);
                table(device, settings, [case(kind, x, &axes, false)]);
            }
        }
    }
    // Integers, beyond what 32 bits hold.
    for &kind in ReduceKind::ALL.iter().filter(|&&kind| kind != ReduceKind::Mean) {
        for (dims, seed) in shapes.iter().zip(0..) {
            for axes in subsets(dims.len()) {
                let x = tensor(dims, DType::U32, Values::Words, seed);
                let axes = Axes::new(&axes).expect("the axes of a case");
                let op = Reduce { kind, axes, keep_axes: seed % 2 == 0 };
                table(device, settings, [Case::new(op, [x], Tolerance::Bits)]);
            }
        }
        let axes = Axes::new(&[0]).expect("the axes of a case");
        let x = tensor(&[100_003], DType::U32, Values::Words, 1);
        let op = Reduce { kind, axes, keep_axes: false };
        table(device, settings, [Case::new(op, [x], Tolerance::Bits)]);
    }
    // Long ones, along and across memory, where a single f32 accumulator would lose digits.
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
        for (dims, axis) in [(&[1usize, 100_003], 1), (&[100_003, 1], 0), (&[30_011, 5], 0)] {
            let positive = tensor(dims, DType::F32, Values::Range(0.0, 1.0), 3);
            let ones = tensor(dims, DType::F32, Values::Among(&[1.0]), 0);
            let cases = [positive, ones].map(|x| case(kind, x, &[axis], false));
            table(device, settings, cases);
        }
        // Half precision sums in single: these would stop at 2048.
        let ones = tensor(&[3, 5000], DType::F16, Values::Among(&[1.0]), 0);
        table(device, settings, [case(kind, ones, &[1], false)]);
    }
    let kinds = prop::sample::select(ReduceKind::ALL.to_vec());
    let parameters = (kinds, dims(0..=5), any::<u8>(), any::<bool>(), float(), seed());
    random(device, settings, parameters, |(kind, dims, set, keep, dtype, seed)| {
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| set >> axis & 1 != 0).collect();
        // A product of many leaves the range of f16.
        let dtype = if kind == ReduceKind::Product { DType::F32 } else { dtype };
        let values = match kind {
            ReduceKind::Product => Values::Range(0.999, 1.001),
            _ => values(kind),
        };
        case(kind, tensor(&dims, dtype, values, seed), &axes, keep)
    });
}

/// [`ArgReduce`], with ties and NaN.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn arg_reduce(device: &Device, settings: &Settings) {
    let kinds = ArgReduceKind::ALL;
    let case = |kind, x: HostTensor, axis, keep_axis| {
        Case::new(ArgReduce { kind, axis, keep_axis }, [x], Tolerance::Bits)
    };
    let shapes: &[&[usize]] = &[
        &[1],
        &[9],
        &[1000],
        &[0, 3],
        &[3, 0, 2],
        &[1, 1, 1],
        &[3, 5, 7],
        &[17, 33],
        &[2, 3, 4, 5],
        &[2, 1, 1, 2, 9],
    ];
    for (kind, dtype) in kinds.iter().flat_map(|&kind| FLOATS.map(|dtype| (kind, dtype))) {
        for (dims, seed) in shapes.iter().zip(0..) {
            for axis in (0..dims.len()).filter(|&axis| dims[axis] > 0) {
                let x = tensor(dims, dtype, Values::Quarters, seed);
                let edgy = sprinkled(x.clone(), EDGES, 4, seed);
                let infinite = tensor(dims, dtype, Values::Among(&NON_FINITE[1..]), seed);
                let equal = tensor(dims, dtype, Values::Among(&[0.0, -0.0]), seed);
                for x in [x, edgy, infinite, equal] {
                    let cases = [false, true].map(|keep| case(kind, x.clone(), axis, keep));
                    table(device, settings, cases);
                }
            }
        }
    }
    let parameters = (any::<bool>(), dims_and_axis(5), any::<bool>(), float(), seed());
    random(device, settings, parameters, |(max, (mut dims, axis), keep, dtype, seed)| {
        dims[axis] = dims[axis].max(1);
        let x = tensor(&dims, dtype, Values::Quarters, seed);
        case(kinds[usize::from(max)], x, axis, keep)
    });
}
