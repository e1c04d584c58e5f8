//! A border around a tensor.

use super::values::{moved, offset};
use crate::ops::Pad;
use crate::{HostTensor, HostValues, MAX_RANK, Shape};

pub(super) fn pad(op: &Pad, x: &HostTensor, output: &Shape) -> HostValues {
    moved(x, output, op.value, |at| {
        let mut inner = [0; MAX_RANK];
        for (axis, (&i, &[before, _])) in at.iter().zip(&op.widths).enumerate() {
            inner[axis] = i.checked_sub(before).filter(|&i| i < x.shape().dims()[axis])?;
        }
        Some(offset(x.shape(), &inner))
    })
}
