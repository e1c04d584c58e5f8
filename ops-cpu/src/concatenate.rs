//! Tensors end to end.

use striate_tensor::ops::Concatenate;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::own;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

pub(crate) fn concatenate(
    cx: &Context,
    op: &Concatenate,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    // The element type does not matter to a copy, so it works on bytes.
    let size = output.dtype.size_bytes();
    let mut operands = Vec::with_capacity(inputs.len());
    for input in inputs {
        let [_, extent, inner] = input.ty.shape.around(op.axis, "concatenate")?;
        // What each takes of a line of the output.
        operands.push((own(input.buffer)?.bytes(), extent * inner * size));
    }
    let line: usize = operands.iter().map(|&(_, width)| width).sum();
    let mut y = cx.pool.take(output.size_bytes())?;
    let part = size * PART_ELEMS;
    cx.threads.for_each_part(y.bytes_mut(), part, |index, mut to| {
        let mut at = index * part;
        while !to.is_empty() {
            let (row, mut col) = (at / line, at % line);
            for &(from, width) in &operands {
                if col >= width {
                    col -= width;
                    continue;
                }
                let run = (width - col).min(to.len());
                let (here, others) = to.split_at_mut(run);
                here.copy_from_slice(&from[row * width + col..][..run]);
                (to, at, col) = (others, at + run, 0);
            }
        }
    });
    Ok(y)
}
