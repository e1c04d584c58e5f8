//! A border around a tensor.

use striate_tensor::ops::Pad;
use striate_tensor::{MAX_RANK, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::walk::{bits_of, by_size};

pub(crate) fn pad(
    cx: &Context,
    op: &Pad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Pad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, value) = (elements::<T>(&inputs[0])?, bits_of::<T>(op.value, output.dtype)?);
    let mut y = cx.pool.take(output.size_bytes())?;
    let (from, to) = (inputs[0].ty.shape.dims(), output.shape.dims());
    // The last axis with a border, and those inside it, make up a line: border, operand, border.
    let last = op.widths.iter().rposition(|&widths| widths != [0, 0]).unwrap_or(0);
    let inner: usize = to.iter().skip(last + 1).product();
    let [before, _] = op.widths.get(last).copied().unwrap_or_default();
    let before = before * inner;
    let width = from.get(last).copied().unwrap_or(1) * inner;
    let line = to.get(last).copied().unwrap_or(1) * inner;
    if output.count() == 0 {
        return Ok(y);
    }
    let part = PART_ELEMS.div_ceil(line);
    cx.threads.for_each_part(y.slice_mut::<T>(), part * line, |index, to_lines| {
        for (index, to_line) in (index * part..).zip(to_lines.chunks_exact_mut(line)) {
            match source(index, &from[..last.min(from.len())], to, &op.widths) {
                Some(index) => {
                    to_line[..before].fill(value);
                    let x = &x[index * width..(index + 1) * width];
                    to_line[before..before + width].copy_from_slice(x);
                    to_line[before + width..].fill(value);
                }
                None => to_line.fill(value),
            }
        }
    });
    Ok(y)
}

/// The line of the operand that is in a line of the output, both counted through the leading axes;
/// none for a line of border.
fn source(line: usize, from: &[usize], to: &[usize], widths: &[[usize; 2]]) -> Option<usize> {
    let mut at = [0; MAX_RANK];
    let mut rest = line;
    for axis in (0..from.len()).rev() {
        at[axis] = (rest % to[axis]).checked_sub(widths[axis][0]).filter(|&i| i < from[axis])?;
        rest /= to[axis];
    }
    Some(from.iter().zip(at).fold(0, |line, (&extent, at)| line * extent + at))
}
