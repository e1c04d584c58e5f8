//! Entries by an index each: taken along an axis, and put there.

use super::values::{Floats, indices, moved, offset};
use crate::ops::{Scatter, TakeAlong};
use crate::{HostTensor, HostValues, MAX_RANK, Shape};

pub(super) fn take_along(
    op: &TakeAlong,
    x: &HostTensor,
    places: &Floats,
    output: &Shape,
) -> HostValues {
    // NaN as an unsigned integer is 0, and `u32::MAX` no float: so infinity there, which saturates.
    let fill = if x.values().dtype().is_float() { f32::NAN } else { f32::INFINITY };
    moved(x, output, fill, |at| {
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
    fn put<T: Copy>(x: &[T], source: &[T], places: &[Option<usize>]) -> Vec<T> {
        let mut y = x.to_vec();
        for (&value, place) in source.iter().zip(places) {
            if let Some(place) = *place {
                y[place] = value;
            }
        }
        y
    }
    let places = places(op.axis, x.shape(), chosen);
    match (x.values(), source.values()) {
        (HostValues::F32(x), HostValues::F32(source)) => put(x, source, &places).into(),
        (HostValues::F16(x), HostValues::F16(source)) => put(x, source, &places).into(),
        (HostValues::U32(x), HostValues::U32(source)) => put(x, source, &places).into(),
        // The shape rule has refused it.
        (x, _) => x.clone(),
    }
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
