//! Batch normalization: moments, the normalization, and its gradients.

use super::unary::activate;
use super::values::Floats;
use crate::ops::{
    Activation, BatchNorm, BatchNormGrad, BatchNormScaleGrad, BatchNormSums, RunningMoments,
};

/// The number of channels, and of elements in each.
fn extents(x: &Floats) -> (usize, usize) {
    let channels = x.shape.dims().last().copied().unwrap_or(1);
    (channels, x.values.len() / channels.max(1))
}

/// The sum of `term` over the elements of channel `c`, given by their places.
fn sum(x: &Floats, c: usize, term: impl Fn(usize) -> f64) -> f64 {
    let (channels, count) = extents(x);
    (0..count).map(|i| term(i * channels + c)).sum()
}

/// 0 of no elements.
fn mean(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

pub(super) fn moments(x: &Floats) -> Vec<f64> {
    let (channels, count) = extents(x);
    let means: Vec<f64> =
        (0..channels).map(|c| mean(sum(x, c, |at| x.values[at]), count)).collect();
    let variance = |c: usize| mean(sum(x, c, |at| (x.values[at] - means[c]).powi(2)), count);
    let variances: Vec<f64> = (0..channels).map(variance).collect();
    [means, variances].concat()
}

/// `scale / √(variance + epsilon)` of each channel.
fn slopes(epsilon: f32, moments: &Floats, scale: &Floats) -> Vec<f64> {
    let variances = &moments.values[scale.values.len()..];
    let slope = |(scale, variance): (&f64, &f64)| scale / (variance + f64::from(epsilon)).sqrt();
    scale.values.iter().zip(variances).map(slope).collect()
}

/// `(x - mean) · slope + shift` of element `at`.
struct Normalized<'a> {
    x: &'a Floats,
    means: &'a [f64],
    slopes: Vec<f64>,
    shift: &'a [f64],
}

impl<'a> Normalized<'a> {
    fn new(epsilon: f32, x: &'a Floats, [moments, scale, shift]: [&'a Floats; 3]) -> Self {
        let slopes = slopes(epsilon, moments, scale);
        Normalized { x, means: &moments.values, slopes, shift: &shift.values }
    }

    fn at(&self, at: usize) -> f64 {
        let c = at % self.shift.len();
        (self.x.values[at] - self.means[c]) * self.slopes[c] + self.shift[c]
    }
}

pub(super) fn batch_norm(
    op: &BatchNorm,
    x: &Floats,
    of_channels: [&Floats; 3],
    residual: Option<&Floats>,
) -> Vec<f64> {
    let normalized = Normalized::new(op.epsilon, x, of_channels);
    let y = |at: usize| {
        let y = normalized.at(at) + residual.map_or(0.0, |residual| residual.values[at]);
        activate(op.activation, y)
    };
    (0..x.values.len()).map(y).collect()
}

/// `dy` before an activation, from that after it and from what the activation was given.
fn before(activation: Activation, given: f64, dy: f64) -> f64 {
    let passes = match activation {
        // As the gradient of ReLU: NaN passes.
        Activation::Relu => given.is_nan() || given > 0.0,
        Activation::Clamp { min, max } => given >= f64::from(min) && given <= f64::from(max),
        // The op's rule takes no others.
        _ => true,
    };
    if passes { dy } else { 0.0 }
}

/// `dy` with the mask of the activation, which is of the normalized `x`.
fn masked(
    (epsilon, activation): (f32, Activation),
    x: &Floats,
    dy: &Floats,
    of_channels: Option<[&Floats; 3]>,
) -> Vec<f64> {
    let Some(of_channels) = of_channels else { return dy.values.clone() };
    let normalized = Normalized::new(epsilon, x, of_channels);
    let dy = dy.values.iter().enumerate();
    dy.map(|(at, dy)| before(activation, normalized.at(at), *dy)).collect()
}

/// Scale and shift are there with an activation.
pub(super) fn sums(
    op: &BatchNormSums,
    [x, dy, moments]: [&Floats; 3],
    affine: Option<[&Floats; 2]>,
) -> Vec<f64> {
    let (channels, _) = extents(x);
    let mean = |c: usize| moments.values[c];
    let of_channels = affine.map(|[scale, shift]| [moments, scale, shift]);
    let dy = masked((op.epsilon, op.activation), x, dy, of_channels);
    let of_dy = (0..channels).map(|c| sum(x, c, |at| dy[at]));
    let of_products = (0..channels).map(|c| sum(x, c, |at| dy[at] * (x.values[at] - mean(c))));
    of_dy.chain(of_products).collect()
}

/// The shift is there with an activation.
pub(super) fn grad(
    op: &BatchNormGrad,
    [x, dy, moments, sums, scale]: [&Floats; 5],
    shift: Option<&Floats>,
) -> Vec<f64> {
    let (channels, count) = extents(x);
    let slopes = slopes(op.epsilon, moments, scale);
    let (means, variances) = moments.values.split_at(channels);
    let (of_dy, of_products) = sums.values.split_at(channels);
    let of_channels = shift.map(|shift| [moments, scale, shift]);
    let dy = masked((op.epsilon, op.activation), x, dy, of_channels);
    let dx = |(at, (x, dy)): (usize, (&f64, &f64))| {
        let c = at % channels;
        let along = of_products[c] / count as f64 / (variances[c] + f64::from(op.epsilon));
        slopes[c] * (dy - of_dy[c] / count as f64 - (x - means[c]) * along)
    };
    x.values.iter().zip(&dy).enumerate().map(dx).collect()
}

pub(super) fn scale_grad(op: &BatchNormScaleGrad, sums: &Floats, moments: &Floats) -> Vec<f64> {
    let rows = sums.values.iter().zip(&moments.values).skip(sums.values.len() / 2);
    rows.map(|(sum, variance)| sum / (variance + f64::from(op.epsilon)).sqrt()).collect()
}

pub(super) fn running_moments(op: &RunningMoments, running: &Floats, batch: &Floats) -> Vec<f64> {
    let [momentum, count] = [f64::from(op.momentum), op.count as f64];
    let channels = running.values.len() / 2;
    let pairs = running.values.iter().zip(&batch.values).enumerate();
    pairs
        .map(|(at, (running, batch))| {
            let unbiased = if at < channels { 1.0 } else { count / (count - 1.0) };
            (1.0 - momentum) * running + momentum * unbiased * batch
        })
        .collect()
}
