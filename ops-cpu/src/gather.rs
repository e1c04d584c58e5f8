//! Entries of an axis by index.

use striate_tensor::ops::Gather;
use striate_tensor::{DType, Operand, Result, TensorType, f16};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

pub(crate) fn gather(
    cx: &Context,
    op: &Gather,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    match output.dtype {
        DType::F32 => of(cx, op, f32::NAN, inputs, output),
        DType::F16 => of(cx, op, f16::NAN, inputs, output),
        DType::U32 => of(cx, op, u32::MAX, inputs, output),
    }
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Gather,
    missing: T,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = elements::<T>(&inputs[0])?;
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
