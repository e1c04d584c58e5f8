//! Entries of an axis by index.

use striate_tensor::ops::Gather;
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::walk::{by_size, missing};

pub(crate) fn gather(
    cx: &Context,
    op: &Gather,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Gather,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, missing) = (elements::<T>(&inputs[0])?, missing::<T>(output.dtype)?);
    let indices = elements::<u32>(&inputs[1])?;
    let [_, extent, inner] = inputs[0].ty.shape.around(op.axis, "gather")?;
    let mut y = cx.pool.take(output.size_bytes())?;
    if output.count() == 0 {
        return Ok(y);
    }
    let part = PART_ELEMS.div_ceil(inner);
    cx.threads.for_each_part(y.slice_mut::<T>(), part * inner, |index, y| {
        for (entry, y) in (index * part..).zip(y.chunks_exact_mut(inner)) {
            let (outer, index) = (entry / indices.len(), indices[entry % indices.len()] as usize);
            if index < extent {
                y.copy_from_slice(&x[(outer * extent + index) * inner..][..inner]);
            } else {
                y.fill(missing);
            }
        }
    });
    Ok(y)
}
