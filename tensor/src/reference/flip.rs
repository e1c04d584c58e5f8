//! Axes reversed.

use super::values::{moved, offset};
use crate::ops::Flip;
use crate::{HostTensor, HostValues, MAX_RANK};

pub(super) fn flip(op: &Flip, x: &HostTensor) -> HostValues {
    moved(x, x.shape(), 0.0, |at| {
        let mut source = [0; MAX_RANK];
        for (axis, (&i, &extent)) in at.iter().zip(x.shape().dims()).enumerate() {
            source[axis] = if op.axes.contains(axis) { extent - 1 - i } else { i };
        }
        Some(offset(x.shape(), &source))
    })
}
