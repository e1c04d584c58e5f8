//! Entries of an axis by index.

use super::values::{Floats, missing, moved, offset};
use crate::ops::{Gather, GatherGrad};
use crate::{HostTensor, HostValues, MAX_RANK, Shape};

pub(super) fn gather(op: &Gather, x: &HostTensor, indices: &Floats, output: &Shape) -> HostValues {
    moved(x, output, missing(x.values().dtype()), |at| {
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
