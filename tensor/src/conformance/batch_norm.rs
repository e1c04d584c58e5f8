//! Batch normalization: moments, the normalization, and its gradients.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{dims, float, seed};
use super::values::{FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{
    Activation, BatchNorm, BatchNormGrad, BatchNormScaleGrad, BatchNormSums, Moments,
    RunningMoments,
};
use crate::reference::{self, Floats};
use crate::{DType, Device, HostTensor, HostValues};

/// Empty, one, one channel, odd numbers of them, around vector widths, more than a kernel holds at
/// a time, and many rows, which are summed in parts.
const SHAPES: [&[usize]; 22] = [
    &[0, 3],
    &[3, 0],
    &[0, 0],
    &[1, 1],
    &[1, 5],
    &[7, 1],
    &[2, 3],
    &[9, 8],
    &[33, 17],
    &[1, 1, 1],
    &[2, 0, 4],
    &[5, 7, 3],
    &[3, 5, 31],
    &[2, 3, 4, 64],
    &[3, 5, 5, 48],
    &[1, 2, 3, 2, 33],
    &[2, 65],
    &[5, 700],
    &[3, 1100],
    &[70_003, 1],
    &[30_011, 5],
    &[1500, 70],
];

fn channels(dims: &[usize]) -> usize {
    dims.last().copied().unwrap_or(1)
}

/// Means from -1 to 1 and variances from 1/4 to 2.
fn statistics(channels: usize, seed: u64) -> HostTensor {
    let means = tensor(&[channels], DType::F32, Values::Range(-1.0, 1.0), seed);
    let variances = tensor(&[channels], DType::F32, Values::Range(0.25, 2.0), seed ^ 1);
    let both = [means, variances].map(|x| x.values().as_slice::<f32>().unwrap().to_vec());
    let shape = crate::Shape::new(&[2, channels]).expect("the shape of a case");
    HostTensor::new(shape, both.concat()).expect("the values of a case")
}

fn moments_case(x: HostTensor, floor: f64) -> Case {
    Case::new(Moments, [x], Tolerance::Each { floor })
}

/// [`Moments`]: also where the mean is a thousand times the deviation, and of equal numbers.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn moments(device: &Device, settings: &Settings) {
    for (dims, seed) in SHAPES.into_iter().zip(0..) {
        for dtype in FLOATS {
            // Means near 0 are off by what the largest elements are rounded to.
            let x = tensor(dims, dtype, Values::Range(-2.0, 2.0), seed);
            let odd = sprinkled(x.clone(), NON_FINITE, 50, seed);
            let infinite = sprinkled(x.clone(), &NON_FINITE[1..2], 50, seed);
            table(device, settings, [x, odd, infinite].map(|x| moments_case(x, 1.0)));
        }
        // Uniform with a deviation of 1. Here each number has to be right by itself.
        let far = tensor(
            dims,
            DType::F32,
            Values::Range(1000.0 - 3f32.sqrt(), 1000.0 + 3f32.sqrt()),
            seed,
        );
        let negative = tensor(dims, DType::F32, Values::Range(-1e4 - 1.0, -1e4 + 1.0), seed);
        let equal = tensor(dims, DType::F32, Values::Among(&[1000.3]), seed);
        table(device, settings, [far, negative, equal].map(|x| moments_case(x, 1e-6)));
        // An outlier in the first row is no measure for the others.
        let mut outlier = tensor(dims, DType::F32, Values::Range(9.0, 11.0), seed);
        if let crate::HostValues::F32(values) = outlier.values_mut() {
            values.iter_mut().take(channels(dims)).for_each(|x| *x = -1000.0);
        }
        table(device, settings, [moments_case(outlier, 1e-3)]);
    }
    let parameters = (dims(2..=5), float(), 0..3u32, seed());
    random(device, settings, parameters, |(dims, dtype, far, seed)| {
        let center = 20.0 * far as f32;
        let range = Values::Range(center - 2.0, center + 2.0);
        moments_case(tensor(&dims, dtype, range, seed), 1.0)
    });
}

/// Bounds of which both cut something off.
const CLAMP: Activation = Activation::Clamp { min: 0.0, max: 1.25 };

const PLAIN: BatchNorm =
    BatchNorm { epsilon: 1e-5, batch: false, residual: false, activation: Activation::None };

const NORMS: [BatchNorm; 6] = [
    PLAIN,
    BatchNorm { epsilon: 1e-3, batch: true, activation: Activation::Relu, ..PLAIN },
    BatchNorm { epsilon: 0.0, activation: Activation::Relu, ..PLAIN },
    BatchNorm { batch: true, activation: CLAMP, ..PLAIN },
    BatchNorm { residual: true, ..PLAIN },
    BatchNorm { batch: true, residual: true, activation: Activation::Relu, ..PLAIN },
];

/// An operand of this shape and `[2, c]`, `[c]` and `[c]` to go with it.
fn operands(dims: &[usize], [dtype, parameters]: [DType; 2], seed: u64) -> [HostTensor; 4] {
    let c = channels(dims);
    [
        tensor(dims, dtype, Values::Range(-2.0, 2.0), seed),
        statistics(c, seed ^ 2),
        tensor(&[c], parameters, Values::Range(-1.5, 1.5), seed ^ 4),
        tensor(&[c], parameters, Values::Range(-1.0, 1.0), seed ^ 5),
    ]
}

/// All operands of a normalization.
fn norm_operands(norm: BatchNorm, dims: &[usize], types: [DType; 2], seed: u64) -> Vec<HostTensor> {
    let mut all = operands(dims, types, seed).to_vec();
    if norm.residual {
        all.push(tensor(dims, types[0], Values::Range(-2.0, 2.0), seed ^ 9));
    }
    all
}

fn types() -> impl Iterator<Item = [DType; 2]> {
    FLOATS.into_iter().flat_map(|dtype| FLOATS.map(|other| [dtype, other]))
}

fn norm_case(norm: BatchNorm, inputs: Vec<HostTensor>) -> Case {
    // A sum of two or three: where they cancel, what was added is as large as the rest.
    let floor = inputs[3..].iter().map(finite_max).sum();
    Case::new(norm, inputs, Tolerance::Each { floor })
}

/// [`BatchNorm`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn batch_norm(device: &Device, settings: &Settings) {
    for norm in NORMS {
        for (dims, seed) in SHAPES.into_iter().zip(0..) {
            for types in types() {
                table(device, settings, [norm_case(norm, norm_operands(norm, dims, types, seed))]);
            }
        }
        // NaN and infinities stay in their element, or in their channel.
        for dims in [&[6, 5, 37], &[6, 5, 36]] {
            for which in 0..4 + usize::from(norm.residual) {
                let mut inputs = norm_operands(norm, dims, [DType::F32; 2], 1);
                inputs[which] = sprinkled(inputs[which].clone(), NON_FINITE, 10, 2);
                table(device, settings, [norm_case(norm, inputs)]);
            }
        }
        // Constant and impossible channels: a variance of 0, and one below.
        let mut inputs = norm_operands(norm, &[6, 4], [DType::F32; 2], 3);
        let pairs = Values::Cycle(&[0.5, -0.5, 0.0, 0.25, 0.0, 1.0, -1.0, 2.0]);
        inputs[1] = tensor(&[2, 4], DType::F32, pairs, 0);
        table(device, settings, [norm_case(norm, inputs)]);
    }
    let types = prop::sample::select(types().collect::<Vec<_>>());
    let norm = prop::sample::select(NORMS.to_vec());
    random(device, settings, (norm, dims(2..=5), types, seed()), |(norm, dims, types, seed)| {
        norm_case(norm, norm_operands(norm, &dims, types, seed))
    });
}

/// The activations that gradients go through.
const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, CLAMP];

/// `x`, `dy`, the moments, scale and shift. What an activation is given is nowhere near one of its kinks but
/// where `dy` is 0: there a device may be on the other side.
fn gradient_operands(
    (epsilon, activation): (f32, Activation),
    dims: &[usize],
    [dtype, other]: [DType; 2],
    seed: u64,
) -> [HostTensor; 5] {
    let mut dy = tensor(dims, other, Values::Range(-2.0, 2.0), seed ^ 6);
    let [x, moments, scale, shift] = operands(dims, [dtype, other], seed);
    let kinks: &[f64] = match activation {
        Activation::Relu => &[0.0],
        Activation::Clamp { min, max } => &[min.into(), max.into()],
        _ => &[],
    };
    let norm = BatchNorm { epsilon, ..PLAIN };
    let given = reference::execute(&norm.into(), &[&x, &moments, &scale, &shift]);
    let given = Floats::of(&given.expect("the normalization of a case")).values;
    for (at, given) in given.into_iter().enumerate() {
        if kinks.iter().any(|kink| (given - kink).abs() < 0.01) {
            match dy.values_mut() {
                HostValues::F32(dy) => dy[at] = 0.0,
                HostValues::F16(dy) => dy[at] = crate::f16::ZERO,
                _ => {}
            }
        }
    }
    [x, dy, moments, scale, shift]
}

fn sums_case(op: BatchNormSums, inputs: [HostTensor; 5]) -> Case {
    let c = channels(inputs[0].shape().dims());
    let terms = inputs[0].ty().count() / c.max(1);
    let difference = finite_max(&inputs[0]) + finite_max(&inputs[2]);
    let product = finite_max(&inputs[1]) * difference.max(1.0);
    let operands = if op.activation.is_none() { 3 } else { 5 };
    Case::new(op, &inputs[..operands], Tolerance::Sum { terms, product })
}

/// [`BatchNormSums`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn batch_norm_sums(device: &Device, settings: &Settings) {
    for activation in ACTIVATIONS {
        let op = BatchNormSums { epsilon: 1e-3, activation };
        let of = (op.epsilon, activation);
        for (dims, seed) in SHAPES.into_iter().zip(0..) {
            for types in types() {
                table(device, settings, [sums_case(op, gradient_operands(of, dims, types, seed))]);
            }
        }
        for dims in [&[6, 5, 37], &[6, 5, 36]] {
            for which in 0..if activation.is_none() { 3 } else { 5 } {
                let mut inputs = gradient_operands(of, dims, [DType::F32; 2], 1);
                inputs[which] = sprinkled(inputs[which].clone(), NON_FINITE, 100, 2);
                table(device, settings, [sums_case(op, inputs)]);
            }
        }
    }
    let types = prop::sample::select(types().collect::<Vec<_>>());
    let activation = prop::sample::select(ACTIVATIONS.to_vec());
    let parameters = (activation, dims(2..=5), types, seed());
    random(device, settings, parameters, |(activation, dims, types, seed)| {
        let op = BatchNormSums { epsilon: 1e-5, activation };
        sums_case(op, gradient_operands((op.epsilon, activation), &dims, types, seed))
    });
}

fn grad_case(op: BatchNormGrad, dims: &[usize], types: [DType; 2], seed: u64) -> Case {
    let c = channels(dims);
    let [x, dy, moments, scale, shift] =
        gradient_operands((op.epsilon, op.activation), dims, types, seed);
    let count = (dims.iter().product::<usize>() / c.max(1)).max(1) as f32;
    // As large as sums of so many terms of random signs, so that every term counts.
    let range = 2.0 * count.sqrt();
    let sums = tensor(&[2, c], DType::F32, Values::Range(-range, range), seed ^ 7);
    let inputs = [x, dy, moments, sums, scale];
    let tolerance = grad_tolerance(op.epsilon, count, &inputs);
    let mut inputs = inputs.to_vec();
    if !op.activation.is_none() {
        inputs.push(shift);
    }
    Case::new(op, inputs, tolerance)
}

/// Three terms, the largest of which decides.
fn grad_tolerance(epsilon: f32, count: f32, inputs: &[HostTensor; 5]) -> Tolerance {
    let least = Floats::of(&inputs[2]).values.into_iter().skip(inputs[4].ty().count());
    let least = least.filter(|x| x.is_finite()).fold(2.0, f64::min) + f64::from(epsilon);
    let [x, dy, means, sums, scale] = [0, 1, 2, 3, 4].map(|i| finite_max(&inputs[i]));
    let of_sums = sums / f64::from(count);
    let product = scale / least.sqrt() * (dy + of_sums + (x + means) / least * of_sums);
    Tolerance::Sum { terms: 1, product }
}

/// [`BatchNormGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn batch_norm_grad(device: &Device, settings: &Settings) {
    for activation in ACTIVATIONS {
        let op = BatchNormGrad { epsilon: 1e-5, activation };
        for (dims, seed) in SHAPES.into_iter().zip(0..) {
            for types in types() {
                let ops = [1e-5, 0.25].map(|epsilon| BatchNormGrad { epsilon, ..op });
                table(device, settings, ops.map(|op| grad_case(op, dims, types, seed)));
            }
        }
        for dims in [&[6, 5, 37], &[6, 5, 36]] {
            for which in 0..5 + usize::from(!activation.is_none()) {
                let mut case = grad_case(op, dims, [DType::F32; 2], 1);
                case.inputs[which] = sprinkled(case.inputs[which].clone(), NON_FINITE, 20, 2);
                table(device, settings, [case]);
            }
        }
    }
    let types = prop::sample::select(types().collect::<Vec<_>>());
    let activation = prop::sample::select(ACTIVATIONS.to_vec());
    let parameters = (activation, dims(2..=5), types, seed());
    random(device, settings, parameters, |(activation, dims, types, seed)| {
        grad_case(BatchNormGrad { epsilon: 1e-5, activation }, &dims, types, seed)
    });
}

/// Numbers of channels.
const CHANNELS: [usize; 8] = [0, 1, 3, 17, 64, 255, 257, 1100];

fn scale_grad_case(epsilon: f32, channels: usize, seed: u64) -> Case {
    let sums = tensor(&[2, channels], DType::F32, Values::Range(-20.0, 20.0), seed ^ 2);
    let inputs = [sums, statistics(channels, seed)];
    Case::new(BatchNormScaleGrad { epsilon }, inputs, Tolerance::Each { floor: 0.0 })
}

/// [`BatchNormScaleGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn batch_norm_scale_grad(device: &Device, settings: &Settings) {
    for (channels, seed) in CHANNELS.into_iter().zip(0..) {
        table(device, settings, [1e-5, 0.25].map(|e| scale_grad_case(e, channels, seed)));
    }
    for which in 0..2 {
        let mut case = scale_grad_case(1e-5, 300, 1);
        case.inputs[which] = sprinkled(case.inputs[which].clone(), NON_FINITE, 20, 2);
        table(device, settings, [case]);
    }
    random(device, settings, (0..2000usize, seed()), |(channels, seed)| {
        scale_grad_case(1e-3, channels, seed)
    });
}

fn running_case(step: RunningMoments, channels: usize, seed: u64) -> Case {
    let inputs = [statistics(channels, seed), statistics(channels, seed ^ 2)];
    // A sum of two means, which may cancel.
    Case::new(step, inputs, Tolerance::Each { floor: 1.0 })
}

/// [`RunningMoments`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn running_moments(device: &Device, settings: &Settings) {
    let steps = [(0.1, 2), (0.0, 3), (1.0, 50_000), (0.001, 1 << 40)];
    let steps = steps.map(|(momentum, count)| RunningMoments { momentum, count });
    for (channels, seed) in CHANNELS.into_iter().zip(0..) {
        table(device, settings, steps.map(|step| running_case(step, channels, seed)));
    }
    for which in 0..2 {
        let mut case = running_case(steps[0], 300, 1);
        case.inputs[which] = sprinkled(case.inputs[which].clone(), NON_FINITE, 20, 2);
        table(device, settings, [case]);
    }
    let parameters = (0..2000usize, 0f32..=1f32, 2..1000u64, seed());
    random(device, settings, parameters, |(channels, momentum, count, seed)| {
        running_case(RunningMoments { momentum, count }, channels, seed)
    });
}
