//! Layer, group and instance normalization, and their gradients.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{dims, seed};
use super::values::{FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{GroupNorm, GroupNormGrad, GroupNormSums};
use crate::reference::Floats;
use crate::{DType, Device, HostTensor, Shape};

/// Empty, one, odd numbers of channels, around vector widths, more rows and pixels than a task takes.
/// With the numbers of groups.
const SHAPES: [(&[usize], &[usize]); 19] = [
    (&[0, 3], &[1, 3]),
    (&[3, 0], &[1, 2]),
    (&[2, 0, 4], &[2]),
    (&[1, 1], &[1]),
    (&[4, 1], &[1]),
    (&[1, 5], &[1, 5]),
    (&[2, 6], &[1, 2, 3, 6]),
    (&[7, 17], &[1, 17]),
    (&[5, 64], &[1, 4]),
    (&[3, 96], &[1, 32]),
    (&[2, 1, 1, 8], &[1, 2, 8]),
    (&[2, 5, 7, 12], &[1, 3, 12]),
    (&[3, 2, 3, 2, 6], &[2]),
    (&[1, 9, 10, 48], &[1, 8, 48]),
    (&[2, 3, 3, 130], &[1, 10]),
    (&[2, 37, 41, 64], &[1, 32]),
    (&[1, 40_003, 3], &[1, 3]),
    (&[40_003, 2], &[1]),
    (&[3, 4100], &[1, 4]),
];

/// Of a shape, layer normalization and that of whole images.
fn norms(dims: &[usize], groups: usize, epsilon: f32) -> Vec<GroupNorm> {
    let of = |pixelwise| GroupNorm { groups, pixelwise, epsilon };
    // Without pixels both are the same.
    if dims.len() == 2 { vec![of(true)] } else { vec![of(true), of(false)] }
}

fn cases(mut each: impl FnMut(&[usize], GroupNorm, u64)) {
    for ((dims, groups), seed) in SHAPES.into_iter().zip(0..) {
        for (&groups, epsilon) in groups.iter().zip([1e-5, 1e-3].into_iter().cycle()) {
            norms(dims, groups, epsilon).into_iter().for_each(|norm| each(dims, norm, seed));
        }
    }
}

fn channels(dims: &[usize]) -> usize {
    dims.last().copied().unwrap_or(1)
}

/// The largest `1 / √(variance + epsilon)` that is a number: by how much differences are stretched.
fn stretch(norm: &GroupNorm, x: &HostTensor) -> f64 {
    let e = norm.extents(x.shape()).expect("the shape of a case");
    let values = Floats::of(x).values;
    let inverse = |group: Vec<f64>| {
        let count = group.len() as f64;
        let mean = group.iter().sum::<f64>() / count;
        let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        1.0 / (variance + f64::from(norm.epsilon)).sqrt()
    };
    let groups = (0..e.images * e.groups).map(|i| {
        let (image, first) = (i / e.groups, i % e.groups * e.per_group());
        let pixels = (image * e.pixels..(image + 1) * e.pixels).map(|row| row * e.channels + first);
        pixels.flat_map(|at| values[at..at + e.per_group()].to_vec()).collect()
    });
    groups.map(inverse).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// `x`, scale, shift and `dy`.
fn operands(dims: &[usize], [dtype, other]: [DType; 2], far: f32, seed: u64) -> [HostTensor; 4] {
    let c = channels(dims);
    [
        tensor(dims, dtype, Values::Range(far - 2.0, far + 2.0), seed),
        tensor(&[c], other, Values::Range(-1.5, 1.5), seed ^ 4),
        tensor(&[c], other, Values::Range(-1.0, 1.0), seed ^ 5),
        tensor(dims, other, Values::Range(-2.0, 2.0), seed ^ 6),
    ]
}

fn norm_case(norm: GroupNorm, [x, scale, shift, _]: [HostTensor; 4]) -> Case {
    // A mean is off by what the largest elements are rounded to.
    let floor = finite_max(&shift) + finite_max(&scale) * finite_max(&x) * stretch(&norm, &x);
    Case::new(norm, [x, scale, shift], Tolerance::Each { floor })
}

fn sums_case(norm: GroupNorm, [x, _, _, dy]: [HostTensor; 4]) -> Case {
    let terms = x.ty().count() / channels(x.shape().dims()).max(1);
    let product = finite_max(&dy) * (1.0 + finite_max(&x) * stretch(&norm, &x));
    Case::new(GroupNormSums(norm), [x, dy], Tolerance::Sum { terms, product })
}

fn grad_case(norm: GroupNorm, [x, scale, _, dy]: [HostTensor; 4]) -> Case {
    let stretch = stretch(&norm, &x);
    let most = (1.0 + finite_max(&x) * stretch).powi(2);
    let product = finite_max(&dy) * finite_max(&scale) * stretch * most;
    Case::new(GroupNormGrad(norm), [x, dy, scale], Tolerance::Sum { terms: 1, product })
}

fn types() -> Vec<[DType; 2]> {
    FLOATS.into_iter().flat_map(|dtype| FLOATS.map(|other| [dtype, other])).collect()
}

/// Checks cases of every shape, of numbers that are none, and random ones.
fn family(device: &Device, settings: &Settings, case: fn(GroupNorm, [HostTensor; 4]) -> Case) {
    cases(|dims, norm, seed| {
        // The large ones in one type are enough.
        let large = dims.iter().product::<usize>() > 10_000;
        let types = types().into_iter().filter(|types| !large || *types == [DType::F32; 2]);
        for types in types {
            table(device, settings, [case(norm, operands(dims, types, 0.0, seed))]);
        }
        table(device, settings, [case(norm, operands(dims, [DType::F32; 2], 20.0, seed))]);
    });
    // NaN and infinities stay in their group, or in their channel.
    for (which, pixelwise) in (0..4).flat_map(|which| [(which, false), (which, true)]) {
        let norm = GroupNorm { groups: 3, pixelwise, epsilon: 1e-5 };
        let mut inputs = operands(&[6, 5, 33], [DType::F32; 2], 0.0, 1);
        inputs[which] = sprinkled(inputs[which].clone(), NON_FINITE, 300, 2);
        table(device, settings, [case(norm, inputs)]);
    }
    // Equal numbers: all of them become the shift.
    let mut inputs = operands(&[6, 5, 8], [DType::F32; 2], 0.0, 3);
    inputs[0] = tensor(&[6, 5, 8], DType::F32, Values::Among(&[1000.3]), 0);
    table(device, settings, [case(GroupNorm::layer(1e-5), inputs)]);

    let types = prop::sample::select(types());
    let groups = (1..=4usize, 1..=9usize, any::<bool>());
    let parameters = (dims(2..=4), groups, types, 0..3u32, seed());
    random(device, settings, parameters, |(mut dims, groups, types, far, seed)| {
        let (groups, per_group, pixelwise) = groups;
        *dims.last_mut().expect("two axes or more") = groups * per_group;
        let norm = GroupNorm { groups, pixelwise, epsilon: 1e-3 };
        case(norm, operands(&dims, types, 10.0 * far as f32, seed))
    });
}

/// [`GroupNorm`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn group_norm(device: &Device, settings: &Settings) {
    family(device, settings, norm_case);
    // A number by itself.
    let scalars = operands(&[1], [DType::F32; 2], 0.0, 4);
    table(device, settings, [norm_case(GroupNorm::layer(1e-5), scalars)]);
    assert!(Shape::new(&[]).is_ok_and(|shape| GroupNorm::layer(1e-5).extents(&shape).is_err()));
}

/// [`GroupNormSums`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn group_norm_sums(device: &Device, settings: &Settings) {
    family(device, settings, sums_case);
}

/// [`GroupNormGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn group_norm_grad(device: &Device, settings: &Settings) {
    family(device, settings, grad_case);
}
