//! A range of each axis.

use striate_tensor::ops::Slice;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::memory::Memory;
use crate::walk::{Walk, by_size};

pub(crate) fn slice(
    cx: &Context,
    op: &Slice,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Slice,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = elements::<T>(&inputs[0])?;
    let strides = inputs[0].ty.shape.strides();
    let start = op.ranges.iter().zip(strides).map(|(range, stride)| range.start * stride).sum();
    let axes = output.shape.dims().iter().zip(strides);
    let walk = Walk::new(start, axes.map(|(&extent, stride)| (extent, stride as isize)));
    let mut y = cx.pool.take(output.size_bytes())?;
    walk.copy(cx, x, y.slice_mut());
    Ok(y)
}
