//! Batch normalization: moments, the normalization, and its gradients.

use super::values::{Floats, relu};
use crate::ops::{BatchNorm, BatchNormGrad, BatchNormScaleGrad, RunningMoments};

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

pub(super) fn batch_norm(
    op: &BatchNorm,
    x: &Floats,
    moments: &Floats,
    scale: &Floats,
    shift: &Floats,
) -> Vec<f64> {
    let (channels, _) = extents(x);
    let slopes = slopes(op.epsilon, moments, scale);
    let y = |(at, x): (usize, &f64)| {
        let c = at % channels;
        let y = (x - moments.values[c]) * slopes[c] + shift.values[c];
        if op.relu { relu(y) } else { y }
    };
    x.values.iter().enumerate().map(y).collect()
}

pub(super) fn sums(x: &Floats, dy: &Floats, moments: &Floats) -> Vec<f64> {
    let (channels, _) = extents(x);
    let mean = |c: usize| moments.values[c];
    let of_dy = (0..channels).map(|c| sum(x, c, |at| dy.values[at]));
    let of_products =
        (0..channels).map(|c| sum(x, c, |at| dy.values[at] * (x.values[at] - mean(c))));
    of_dy.chain(of_products).collect()
}

pub(super) fn grad(
    op: &BatchNormGrad,
    x: &Floats,
    dy: &Floats,
    moments: &Floats,
    sums: &Floats,
    scale: &Floats,
) -> Vec<f64> {
    let (channels, count) = extents(x);
    let slopes = slopes(op.epsilon, moments, scale);
    let (means, variances) = moments.values.split_at(channels);
    let (of_dy, of_products) = sums.values.split_at(channels);
    let dx = |(at, (x, dy)): (usize, (&f64, &f64))| {
        let c = at % channels;
        let along = of_products[c] / count as f64 / (variances[c] + f64::from(op.epsilon));
        slopes[c] * (dy - of_dy[c] / count as f64 - (x - means[c]) * along)
    };
    x.values.iter().zip(&dy.values).enumerate().map(dx).collect()
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
