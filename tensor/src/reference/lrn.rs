//! Local response normalization, and its gradient.

use std::ops::Range;

use super::values::Floats;
use crate::ops::Lrn;

/// The channels that the window of channel `c` covers.
fn window(lrn: &Lrn, c: usize, channels: usize) -> Range<usize> {
    let per_group = channels / lrn.groups;
    let group = c / per_group * per_group..(c / per_group + 1) * per_group;
    let reach = lrn.size / 2;
    c.saturating_sub(reach).max(group.start)
        ..c.saturating_add(reach).saturating_add(1).min(group.end)
}

/// `kappa + alpha · Σ x²` of each channel of a pixel.
fn denominators(lrn: &Lrn, pixel: &[f64]) -> Vec<f64> {
    (0..pixel.len())
        .map(|c| {
            let squares: f64 = pixel[window(lrn, c, pixel.len())].iter().map(|x| x * x).sum();
            f64::from(lrn.kappa) + f64::from(lrn.alpha) * squares
        })
        .collect()
}

/// Each pixel: the values along the last axis. None where there are no channels.
fn pixels(x: &Floats) -> std::slice::ChunksExact<'_, f64> {
    x.values.chunks_exact(x.shape.dims().last().copied().unwrap_or(1).max(1))
}

pub(super) fn lrn(lrn: &Lrn, x: &Floats) -> Vec<f64> {
    let beta = f64::from(lrn.beta);
    pixels(x)
        .flat_map(|pixel| {
            let s = denominators(lrn, pixel);
            pixel.iter().zip(s).map(|(x, s)| x * s.powf(-beta)).collect::<Vec<_>>()
        })
        .collect()
}

/// With `y_i = x_i · s_i^-beta` and `s_i = kappa + alpha · Σ_{j in window of i} x_j²`, and since `j`
/// is in the window of `i` where `i` is in that of `j`:
/// `dx_j = dy_j · s_j^-beta - 2 · alpha · beta · x_j · Σ_{i in window of j} dy_i · x_i · s_i^(-beta - 1)`.
pub(super) fn lrn_grad(lrn: &Lrn, x: &Floats, dy: &Floats) -> Vec<f64> {
    let (alpha, beta) = (f64::from(lrn.alpha), f64::from(lrn.beta));
    let mut dx = Vec::with_capacity(x.values.len());
    for (x, dy) in pixels(x).zip(pixels(dy)) {
        let s = denominators(lrn, x);
        for j in 0..x.len() {
            let sum: f64 =
                window(lrn, j, x.len()).map(|i| dy[i] * x[i] * s[i].powf(-beta - 1.0)).sum();
            dx.push(dy[j] * s[j].powf(-beta) - 2.0 * alpha * beta * x[j] * sum);
        }
    }
    dx
}
