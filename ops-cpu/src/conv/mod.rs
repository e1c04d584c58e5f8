//! Convolution.
//!
//! [`direct`] is an implicit product over the taps of the kernel. Other algorithms have their file
//! beside it; the choice is made here, from the shape alone.

mod direct;
mod winograd;

use striate_tensor::ops::{Algorithm, Conv2d};
use striate_tensor::{Operand, Result, TensorType};

use crate::backend::Context;
use crate::memory::Memory;

/// The extents of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) n: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) channels: usize,
    pub(crate) out: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) out_rows: usize,
    pub(crate) out_cols: usize,
}

/// Executes a convolution.
pub(crate) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [n, rows, cols, channels] = inputs[0].ty.shape.nhwc("conv2d", "x")?;
    let [out, kernel_rows, kernel_cols, _] = inputs[1].ty.shape.nhwc("conv2d", "weights")?;
    let [_, out_rows, out_cols, _] = output.shape.nhwc("conv2d", "y")?;
    let kernel = [kernel_rows, kernel_cols];
    let extents = Extents { n, rows, cols, channels, out, kernel, out_rows, out_cols };
    let winograd = match op.algorithm {
        Algorithm::Direct => false,
        _ => winograd::wins(cx.level, op, &extents),
    };
    match winograd {
        true => winograd::conv2d(cx, op, &extents, inputs, output),
        false => direct::conv2d(cx, op, &extents, inputs, output),
    }
}

/// The biases of each group, filled up to whole panels.
fn padded_bias(
    cx: &Context,
    bias: &Operand<'_>,
    groups: usize,
    group_out: usize,
    padded: usize,
) -> Result<Memory> {
    let mut memory = cx.pool.take(4 * groups * padded)?;
    let bias = cx.widen(bias)?;
    let to = memory.slice_mut::<f32>();
    to.fill(0.0);
    if group_out > 0 {
        for (to, from) in to.chunks_exact_mut(padded).zip(bias.slice().chunks_exact(group_out)) {
            to[..group_out].copy_from_slice(from);
        }
    }
    Ok(memory)
}
