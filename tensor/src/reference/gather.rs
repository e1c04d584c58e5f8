//! Entries of an axis by index.

use super::values::{Floats, moved, offset};
use crate::ops::{Gather, GatherGrad};
use crate::{HostTensor, HostValues, MAX_RANK, Shape};

pub(super) fn gather(op: &Gather, x: &HostTensor, indices: &Floats, output: &Shape) -> HostValues {
    // NaN as an unsigned integer is 0, and `u32::MAX` no float: so infinity there, which saturates.
    let fill = if x.values().dtype().is_float() { f32::NAN } else { f32::INFINITY };
    moved(x, output, fill, |at| {
        let mut source = [0; MAX_RANK];
        source[..at.len()].copy_from_slice(at);
        let index = indices.values[at[op.axis]] as usize;
        source[op.axis] = (index < x.shape().dims()[op.axis]).then_some(index)?;
        Some(offset(x.shape(), &source))
    })
}

pub(super) fn gather_grad(
    op: &GatherGrad,
    indices: &Floats,
    dy: &Floats,
    output: &Shape,
) -> Vec<f64> {
    let mut dx = vec![0.0; output.count()];
    for (mut at, dy) in super::values::indices(&dy.shape).zip(&dy.values) {
        let index = indices.values[at[op.axis]] as usize;
        if index < op.extent {
            at[op.axis] = index;
            dx[offset(output, &at)] += dy;
        }
    }
    dx
}
