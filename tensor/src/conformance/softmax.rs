//! Softmax, its logarithm, and cross-entropy.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{dims_and_axis, float, seed};
use super::values::{FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{
    CrossEntropy, CrossEntropyGrad, Softmax, WeightedCrossEntropy, WeightedCrossEntropyGrad,
};
use crate::{DType, Device, HostTensor};

fn case(log: bool, x: HostTensor, axis: usize) -> Case {
    // Exponents are differences of operands: what those are rounded to, relative to 1, remains.
    let floor = if log { 1.0 } else { 0.01 };
    Case::new(Softmax { axis, log }, [x], Tolerance::Each { floor })
}

/// [`Softmax`] and its logarithm along every axis.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn softmax(device: &Device, settings: &Settings) {
    let shapes: &[&[usize]] = &[
        &[0],
        &[1],
        &[8],
        &[0, 5],
        &[5, 0],
        &[1, 1, 1],
        &[0, 3, 5],
        &[3, 0, 5],
        &[3, 5, 0],
        &[3, 1000],
        &[1000, 3],
        &[10, 17],
        &[3, 5, 7],
        &[2, 3, 4, 5],
        &[64, 65],
    ];
    for (log, dtype) in [false, true].into_iter().flat_map(|log| FLOATS.map(|dtype| (log, dtype))) {
        for (dims, seed) in shapes.iter().zip(0..) {
            for axis in 0..dims.len() {
                let x = tensor(dims, dtype, Values::Range(-5.0, 5.0), seed);
                // Exponentials of these overflow where the maximum is not taken off.
                let large = tensor(dims, dtype, Values::Range(800.0, 1000.0), seed);
                let equal = tensor(dims, dtype, Values::Among(&[-3.0]), seed);
                table(device, settings, [x, large, equal].map(|x| case(log, x, axis)));
            }
        }
        for axis in 0..3 {
            for among in [NON_FINITE, &NON_FINITE[1..2], &NON_FINITE[2..]] {
                let x = tensor(&[6, 5, 19], dtype, Values::Range(-5.0, 5.0), 1);
                table(device, settings, [case(log, sprinkled(x, among, 30, 2), axis)]);
            }
            let nothing = tensor(&[2, 3, 9], dtype, Values::Among(&[f32::NEG_INFINITY]), 0);
            table(device, settings, [case(log, nothing, axis)]);
        }
    }
    let parameters = (any::<bool>(), dims_and_axis(5), float(), seed());
    random(device, settings, parameters, |(log, (dims, axis), dtype, seed)| {
        case(log, tensor(&dims, dtype, Values::Range(-20.0, 20.0), seed), axis)
    });
}

/// [`CrossEntropy`], with labels that are no class.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn cross_entropy(device: &Device, settings: &Settings) {
    let tolerance = Tolerance::Each { floor: 1.0 };
    let case = |n: usize, classes: usize, dtype, values, seed| {
        let logits = tensor(&[n, classes], dtype, values, seed);
        let labels = tensor(&[n], DType::U32, Values::Range(0.0, classes as f32), seed ^ 1);
        Case::new(CrossEntropy, [logits, labels], tolerance)
    };
    for dtype in FLOATS {
        for (n, classes) in
            [(0, 5), (0, 0), (1, 0), (4, 0), (1, 1), (5, 2), (16, 10), (3, 1000), (130, 17)]
        {
            for values in [Values::Range(-5.0, 5.0), Values::Range(800.0, 1000.0)] {
                table(device, settings, [case(n, classes, dtype, values, 1)]);
            }
        }
        let mut wrong = case(6, 10, dtype, Values::Range(-5.0, 5.0), 2);
        let labels = Values::Cycle(&[0.0, 9.0, 10.0, 11.0, 4e9, f32::INFINITY]);
        wrong.inputs[1] = tensor(&[6], DType::U32, labels, 0);
        let mut infinite = case(64, 10, dtype, Values::Range(-5.0, 5.0), 3);
        infinite.inputs[0] = sprinkled(infinite.inputs[0].clone(), NON_FINITE, 10, 4);
        table(device, settings, [wrong, infinite]);
    }
    let parameters = (0..40usize, 0..40usize, float(), seed());
    random(device, settings, parameters, |(n, classes, dtype, seed)| {
        case(n, classes, dtype, Values::Range(-20.0, 20.0), seed)
    });
}

/// [`CrossEntropyGrad`], with labels that are no class.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn cross_entropy_grad(device: &Device, settings: &Settings) {
    // A probability, off by its rounding, or 1 less it: relative to 1, times dy.
    let tolerance = Tolerance::Sum { terms: 1, product: 2.0 };
    let case = |n: usize, classes: usize, [dtype, dtype_dy]: [DType; 2], values, seed| {
        let logits = tensor(&[n, classes], dtype, values, seed);
        let labels = tensor(&[n], DType::U32, Values::Range(0.0, classes as f32), seed ^ 1);
        let dy = tensor(&[n], dtype_dy, Values::Range(-2.0, 2.0), seed ^ 2);
        Case::new(CrossEntropyGrad, [logits, labels, dy], tolerance)
    };
    let types = || FLOATS.into_iter().flat_map(|dtype| FLOATS.map(|dy| [dtype, dy]));
    for types in types() {
        for (n, classes) in
            [(0, 5), (0, 0), (1, 0), (4, 0), (1, 1), (5, 2), (16, 10), (3, 1000), (130, 17)]
        {
            for values in [Values::Range(-5.0, 5.0), Values::Range(800.0, 1000.0)] {
                table(device, settings, [case(n, classes, types, values, 1)]);
            }
        }
        let mut wrong = case(6, 10, types, Values::Range(-5.0, 5.0), 2);
        let labels = Values::Cycle(&[0.0, 9.0, 10.0, 11.0, 4e9, f32::INFINITY]);
        wrong.inputs[1] = tensor(&[6], DType::U32, labels, 0);
        let mut infinite = case(64, 10, types, Values::Range(-5.0, 5.0), 3);
        infinite.inputs[0] = sprinkled(infinite.inputs[0].clone(), NON_FINITE, 10, 4);
        table(device, settings, [wrong, infinite]);
    }
    let types = prop::sample::select(types().collect::<Vec<_>>());
    random(device, settings, (0..40usize, 0..40usize, types, seed()), |parameters| {
        let (n, classes, types, seed) = parameters;
        case(n, classes, types, Values::Range(-20.0, 20.0), seed)
    });
}

/// Labels that ask for one class and for all, one that is ignored.
const WEIGHTED: [WeightedCrossEntropy; 4] = [
    WeightedCrossEntropy { smoothing: 0.0, ignored: None },
    WeightedCrossEntropy { smoothing: 0.1, ignored: None },
    WeightedCrossEntropy { smoothing: 1.0, ignored: Some(0) },
    WeightedCrossEntropy { smoothing: 0.25, ignored: Some(u32::MAX) },
];

/// Logits, labels and weights.
fn weighted(
    n: usize,
    classes: usize,
    dtype: DType,
    values: Values<'_>,
    seed: u64,
) -> Vec<HostTensor> {
    vec![
        tensor(&[n, classes], dtype, values, seed),
        tensor(&[n], DType::U32, Values::Range(0.0, classes as f32), seed ^ 1),
        tensor(&[classes], DType::F32, Values::Range(0.0, 2.0), seed ^ 3),
    ]
}

/// Operands of many sizes; labels that are no class, and logits that are not finite.
fn weighted_table(dtype: DType) -> Vec<Vec<HostTensor>> {
    let mut all = Vec::new();
    for (n, classes) in
        [(0, 5), (0, 0), (1, 0), (4, 0), (1, 1), (5, 2), (16, 10), (3, 1000), (130, 17)]
    {
        for values in [Values::Range(-5.0, 5.0), Values::Range(800.0, 1000.0)] {
            all.push(weighted(n, classes, dtype, values, 1));
        }
    }
    let mut wrong = weighted(6, 10, dtype, Values::Range(-5.0, 5.0), 2);
    let labels = Values::Cycle(&[0.0, 9.0, 10.0, 11.0, 4e9, f32::INFINITY]);
    wrong[1] = tensor(&[6], DType::U32, labels, 0);
    let mut infinite = weighted(64, 10, dtype, Values::Range(-5.0, 5.0), 3);
    infinite[0] = sprinkled(infinite[0].clone(), NON_FINITE, 10, 4);
    let mut without = weighted(16, 5, dtype, Values::Range(-5.0, 5.0), 5);
    without[2] = tensor(&[5], DType::F32, Values::Cycle(&[0.0, 1.0]), 0);
    all.extend([wrong, infinite, without]);
    all
}

/// [`WeightedCrossEntropy`], with labels that are no class, and ignored ones.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn weighted_cross_entropy(device: &Device, settings: &Settings) {
    // A sum over the classes, each of which may have a large logarithm and a small share.
    let case = |op: WeightedCrossEntropy, inputs: Vec<HostTensor>| {
        Case::new(op, inputs, Tolerance::Each { floor: 4.0 })
    };
    for op in WEIGHTED {
        for dtype in FLOATS {
            table(
                device,
                settings,
                weighted_table(dtype).into_iter().map(|inputs| case(op, inputs)),
            );
        }
    }
    let parameters = (0..40usize, 0..40usize, float(), 0..4usize, seed());
    random(device, settings, parameters, |(n, classes, dtype, which, seed)| {
        case(WEIGHTED[which], weighted(n, classes, dtype, Values::Range(-20.0, 20.0), seed))
    });
}

/// [`WeightedCrossEntropyGrad`], with labels that are no class, and ignored ones.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn weighted_cross_entropy_grad(device: &Device, settings: &Settings) {
    let case = |op, mut inputs: Vec<HostTensor>, dtype_dy, seed: u64| {
        let n = inputs[1].ty().count();
        inputs.push(tensor(&[n], dtype_dy, Values::Range(-2.0, 2.0), seed ^ 2));
        // A probability times the sum of the weights, and a weight less: both times dy.
        let tolerance = Tolerance::Sum { terms: 1, product: 4.0 };
        Case::new(WeightedCrossEntropyGrad(op), inputs, tolerance)
    };
    for op in WEIGHTED {
        for (dtype, dy) in FLOATS.into_iter().flat_map(|dtype| FLOATS.map(|dy| (dtype, dy))) {
            let cases = weighted_table(dtype).into_iter().map(|inputs| case(op, inputs, dy, 1));
            table(device, settings, cases);
        }
    }
    let parameters = (0..40usize, 0..40usize, float(), 0..4usize, seed());
    random(device, settings, parameters, |(n, classes, dtype, which, seed)| {
        let inputs = weighted(n, classes, dtype, Values::Range(-20.0, 20.0), seed);
        case(WEIGHTED[which], inputs, dtype, seed)
    });
}
