//! Normalization of groups of channels, and its gradients.

use super::values::Floats;
use crate::Result;
use crate::ops::{GroupExtents, GroupNorm};

/// The places of the elements of a group of an image.
fn places(e: GroupExtents, image: usize, group: usize) -> impl Iterator<Item = usize> {
    let first = group * e.per_group();
    (0..e.pixels).flat_map(move |pixel| {
        let row = (image * e.pixels + pixel) * e.channels;
        row + first..row + first + e.per_group()
    })
}

/// The mean of `term` over a group.
fn mean(e: GroupExtents, image: usize, group: usize, term: impl Fn(usize) -> f64) -> f64 {
    places(e, image, group).map(term).sum::<f64>() / e.together() as f64
}

/// Calls `each` with every element's place and channel, and the mean and `1 / √(variance + epsilon)`
/// of its group.
fn for_each(
    op: &GroupNorm,
    x: &Floats,
    mut each: impl FnMut(usize, usize, [f64; 2], [usize; 2]),
) -> Result<GroupExtents> {
    let e = op.extents(&x.shape)?;
    for (image, group) in (0..e.images).flat_map(|i| (0..e.groups).map(move |g| (i, g))) {
        let center = mean(e, image, group, |at| x.values[at]);
        let variance = mean(e, image, group, |at| (x.values[at] - center).powi(2));
        let inverse = 1.0 / (variance + f64::from(op.epsilon)).sqrt();
        for at in places(e, image, group) {
            each(at, at % e.channels, [center, inverse], [image, group]);
        }
    }
    Ok(e)
}

pub(super) fn group_norm(
    op: &GroupNorm,
    x: &Floats,
    scale: &Floats,
    shift: &Floats,
) -> Result<Vec<f64>> {
    let mut y = vec![0.0; x.values.len()];
    for_each(op, x, |at, c, [mean, inverse], _| {
        y[at] = (x.values[at] - mean) * inverse * scale.values[c] + shift.values[c];
    })?;
    Ok(y)
}

pub(super) fn grad(op: &GroupNorm, x: &Floats, dy: &Floats, scale: &Floats) -> Result<Vec<f64>> {
    let mut dx = vec![0.0; x.values.len()];
    let e = op.extents(&x.shape)?;
    let slope = |at: usize| scale.values[at % e.channels] * dy.values[at];
    // The means of a group are the same for all its elements.
    let mut known = None;
    for_each(op, x, |at, _, [center, inverse], of @ [image, group]| {
        let means = match known {
            Some((known, means)) if known == of => means,
            _ => [
                mean(e, image, group, slope),
                mean(e, image, group, |at| slope(at) * (x.values[at] - center)),
            ],
        };
        known = Some((of, means));
        let along = (x.values[at] - center) * inverse * inverse * means[1];
        dx[at] = inverse * (slope(at) - means[0] - along);
    })?;
    Ok(dx)
}

pub(super) fn sums(op: &GroupNorm, x: &Floats, dy: &Floats) -> Result<Vec<f64>> {
    let channels = x.shape.dims().last().copied().unwrap_or(0);
    let mut sums = vec![0.0; 2 * channels];
    for_each(op, x, |at, c, [mean, inverse], _| {
        sums[c] += dy.values[at];
        sums[channels + c] += dy.values[at] * (x.values[at] - mean) * inverse;
    })?;
    Ok(sums)
}
