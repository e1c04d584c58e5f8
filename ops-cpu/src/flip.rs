//! Axes reversed.

use striate_tensor::ops::Flip;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::memory::Memory;
use crate::walk::{Walk, by_size};

pub(crate) fn flip(
    cx: &Context,
    op: &Flip,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Flip,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = elements::<T>(&inputs[0])?;
    let mut y = cx.pool.take(output.size_bytes())?;
    if x.is_empty() {
        return Ok(y);
    }
    let strides = output.shape.strides();
    let axes = output.shape.dims().iter().zip(strides).enumerate();
    let start = axes.clone().filter(|&(axis, _)| op.axes.contains(axis));
    let start = start.map(|(_, (&extent, stride))| (extent - 1) * stride).sum();
    let axes = axes.map(|(axis, (&extent, stride))| {
        let step = stride as isize;
        (extent, if op.axes.contains(axis) { -step } else { step })
    });
    Walk::new(start, axes).copy(cx, x, y.slice_mut());
    Ok(y)
}
