//! Entries by an index each: taken along an axis, and put there.

use super::values::{Floats, indices, missing, moved, offset};
use crate::ops::{Scatter, TakeAlong};
use crate::{HostTensor, HostValues, MAX_RANK, Shape};

pub(super) fn take_along(
    op: &TakeAlong,
    x: &HostTensor,
    places: &Floats,
    output: &Shape,
) -> HostValues {
    moved(x, output, missing(x.values().dtype()), |at| {
        let mut source = [0; MAX_RANK];
        source[..at.len()].copy_from_slice(at);
        let index = places.at(at) as usize;
        source[op.axis] = (index < x.shape().dims()[op.axis]).then_some(index)?;
        Some(offset(x.shape(), &source))
    })
}

/// The place in `x` where each entry of the source goes; none where it goes nowhere.
fn places(axis: usize, x: &Shape, chosen: &Floats) -> Vec<Option<usize>> {
    let place = |(mut at, index): ([usize; MAX_RANK], &f64)| {
        at[axis] = *index as usize;
        (at[axis] < x.dims()[axis]).then(|| offset(x, &at))
    };
    indices(&chosen.shape).zip(&chosen.values).map(place).collect()
}

/// Replaces entries: it moves bits.
pub(super) fn scatter(
    op: &Scatter,
    x: &HostTensor,
    chosen: &Floats,
    source: &HostTensor,
) -> HostValues {
    // The element type does not matter to a copy, so it works on bytes.
    let size = x.values().dtype().size_bytes();
    let mut y = x.values().clone();
    let entries = source.values().bytes().chunks_exact(size);
    for (entry, place) in entries.zip(places(op.axis, x.shape(), chosen)) {
        if let Some(place) = place {
            y.bytes_mut()[place * size..][..size].copy_from_slice(entry);
        }
    }
    y
}

pub(super) fn scatter_add(op: &Scatter, x: &Floats, chosen: &Floats, source: &Floats) -> Vec<f64> {
    let mut y = x.values.clone();
    for (value, place) in source.values.iter().zip(places(op.axis, &x.shape, chosen)) {
        if let Some(place) = place {
            y[place] += value;
        }
    }
    y
}
