//! One value everywhere.

use striate_tensor::ops::Fill;
use striate_tensor::{Result, TensorType};

use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::walk::{bits_of, by_size};

pub(crate) fn fill(cx: &Context, op: &Fill, output: &TensorType) -> Result<Memory> {
    by_size!(output.dtype, of(cx, op, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Fill,
    output: &TensorType,
) -> Result<Memory> {
    let value = bits_of::<T>(op.value, output.dtype)?;
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<T>(), PART_ELEMS, |_, y| y.fill(value));
    Ok(y)
}
