//! One value everywhere.

use striate_tensor::ops::Fill;
use striate_tensor::{DType, Result, TensorType, f16};

use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

pub(crate) fn fill(cx: &Context, op: &Fill, output: &TensorType) -> Result<Memory> {
    match output.dtype {
        DType::F32 => of(cx, op.value, output),
        DType::F16 => of(cx, f16::from_f32(op.value), output),
        DType::U32 => of(cx, op.value as u32, output),
    }
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    value: T,
    output: &TensorType,
) -> Result<Memory> {
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<T>(), PART_ELEMS, |_, y| y.fill(value));
    Ok(y)
}
