//! A range of each axis.

use super::values::moved;
use crate::ops::Slice;
use crate::{HostTensor, HostValues, Shape};

pub(super) fn slice(op: &Slice, x: &HostTensor, output: &Shape) -> HostValues {
    let strides = x.shape().strides();
    moved(x, output, 0.0, |at| {
        let starts = op.ranges.iter().map(|range| range.start);
        Some(
            at.iter()
                .zip(starts)
                .zip(strides)
                .map(|((&i, start), stride)| (start + i) * stride)
                .sum(),
        )
    })
}
