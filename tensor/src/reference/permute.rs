//! Axes in another order.

use super::values::moved;
use crate::ops::Permute;
use crate::{HostTensor, HostValues, Shape};

pub(super) fn permute(op: &Permute, x: &HostTensor, output: &Shape) -> HostValues {
    let strides = x.shape().strides();
    moved(x, output, 0.0, |at| {
        Some(at.iter().zip(&op.order).map(|(&i, &axis)| i * strides[axis]).sum())
    })
}
