//! Convolution.
//!
//! [`direct`] is an implicit product over the taps of the kernel. Other algorithms have their file
//! beside it; the choice is made here, from the shape alone.

mod direct;

use striate_tensor::ops::Conv2d;
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
    direct::conv2d(cx, op, &extents, inputs, output)
}
