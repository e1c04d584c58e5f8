//! Local response normalization, and its gradient.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{extent, float, seed};
use super::values::{FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{Lrn, LrnGrad};
use crate::{DType, Device, HostTensor};

/// AlexNet's in ccv's scaling, and others that a kernel may treat apart: the square root, the
/// reciprocal, none, a power without a short cut, a window that is even, one, and over everything.
fn parameters() -> impl Iterator<Item = Lrn> {
    let of = |size, kappa, alpha, beta| Lrn { size, kappa, alpha, beta, groups: 1 };
    [
        of(5, 2.0, 1e-4, 0.75),
        of(5, 1.0, 2e-5, 0.75),
        of(4, 1.0, 0.5, 0.75),
        of(3, 1.0, 1.0, 0.5),
        of(1, 0.5, 1.0, 1.0),
        of(9, 2.0, 0.1, 0.0),
        of(2, 1.5, 0.3, 0.62),
        of(1000, 1.0, 0.01, 0.75),
    ]
    .into_iter()
}

fn shape_table() -> impl Iterator<Item = (Vec<usize>, usize)> {
    let shapes: [(&[usize], &[usize]); 20] = [
        (&[0], &[1, 3]),
        (&[1], &[1]),
        (&[2], &[1, 2]),
        (&[7], &[1, 7]),
        (&[8], &[1, 2]),
        (&[2, 9], &[1, 3]),
        (&[3, 0, 4], &[1]),
        (&[0, 4], &[2]),
        (&[3, 15], &[1, 5]),
        (&[3, 16], &[1, 2, 16]),
        (&[3, 17], &[1]),
        (&[1, 2, 33], &[1, 3]),
        (&[2, 3, 3, 48], &[1, 2]),
        (&[1, 5, 5, 64], &[1, 2]),
        (&[2, 7, 7, 96], &[1, 2]),
        (&[1, 3, 2, 1, 5], &[1]),
        (&[0, 2, 3, 4], &[1, 2]),
        (&[2, 0, 3, 4], &[1]),
        (&[2, 3, 0, 9], &[1, 3]),
        (&[2, 3, 3, 0], &[1, 2]),
    ];
    shapes.into_iter().flat_map(|(dims, groups)| groups.iter().map(move |&g| (dims.to_vec(), g)))
}

fn forward(lrn: Lrn, x: HostTensor) -> Case {
    // Scaled by a power of a sum of squares: relative but for where x is close to 0.
    let floor = 0.01 * finite_max(&x);
    Case::new(lrn, [x], Tolerance::Each { floor })
}

/// [`Lrn`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn lrn(device: &Device, settings: &Settings) {
    for lrn in parameters() {
        for ((dims, groups), dtype) in shape_table().flat_map(|s| FLOATS.map(|d| (s.clone(), d))) {
            let lrn = Lrn { groups, ..lrn };
            for range in [Values::Range(-2.0, 2.0), Values::Range(0.0, 300.0)] {
                let x = tensor(&dims, dtype, range, groups as u64);
                table(device, settings, [forward(lrn, x)]);
            }
        }
        // A NaN stays in the reach of its window, and in its group.
        let x = tensor(&[3, 5, 32], DType::F32, Values::Range(-2.0, 2.0), 1);
        let x = sprinkled(x, NON_FINITE, 60, 2);
        table(device, settings, [1, 2].map(|groups| forward(Lrn { groups, ..lrn }, x.clone())));
    }
    random(device, settings, random_parameters(), |(lrn, dims, dtype, seed)| {
        forward(lrn, tensor(&dims, dtype, Values::Range(-2.0, 2.0), seed))
    });
}

fn random_parameters() -> impl Strategy<Value = (Lrn, Vec<usize>, DType, u64)> {
    let lrn = (1..10usize, 0.5..2f32, 0..2u32, 0.3..1f32);
    let dims = (0..6usize, 0..6usize, extent(), 1..4usize);
    (lrn, dims, float(), seed()).prop_map(|((size, kappa, alpha, beta), dims, dtype, seed)| {
        let (n, rows, channels, groups) = dims;
        let lrn = Lrn { size, kappa, alpha: alpha as f32 * 0.05, beta, groups };
        (lrn, vec![n, rows, channels * groups], dtype, seed)
    })
}

fn gradient(lrn: Lrn, x: HostTensor, dy: HostTensor) -> Case {
    // The direct term, and the sum over the window.
    let reach = x.shape().dims().last().copied().unwrap_or(0).min(lrn.size) + 1;
    let s = f64::from(lrn.kappa).powf(-f64::from(lrn.beta)).max(1.0);
    let product = finite_max(&dy) * s;
    Case::new(LrnGrad(lrn), [x, dy], Tolerance::Sum { terms: reach, product })
}

/// [`LrnGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn lrn_grad(device: &Device, settings: &Settings) {
    let operands = |dims: &[usize], dtype, seed| {
        [0, 1].map(|i| tensor(dims, dtype, Values::Range(-2.0, 2.0), seed ^ i))
    };
    for lrn in parameters() {
        for ((dims, groups), dtype) in shape_table().flat_map(|s| FLOATS.map(|d| (s.clone(), d))) {
            let [x, dy] = operands(&dims, dtype, groups as u64);
            table(device, settings, [gradient(Lrn { groups, ..lrn }, x, dy)]);
        }
        // A NaN or an infinity of either operand stays in the reach of its window, and in its group.
        let [x, dy] = operands(&[3, 5, 32], DType::F32, 1);
        for groups in [1, 2] {
            let lrn = Lrn { groups, ..lrn };
            let odd = |x: &HostTensor| sprinkled(x.clone(), NON_FINITE, 60, 2);
            table(device, settings, [gradient(lrn, odd(&x), dy.clone())]);
            table(device, settings, [gradient(lrn, x.clone(), odd(&dy))]);
        }
    }
    random(device, settings, random_parameters(), |(lrn, dims, dtype, seed)| {
        let [x, dy] = operands(&dims, dtype, seed);
        gradient(lrn, x, dy)
    });
}
