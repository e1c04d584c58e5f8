//! Entries by an index each: taken along an axis, and put there.

use striate_tensor::ops::{Scatter, TakeAlong};
use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::walk::{by_size, missing};

pub(crate) fn take_along(
    cx: &Context,
    op: &TakeAlong,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    by_size!(output.dtype, taken(cx, op, inputs, output))
}

fn taken<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &TakeAlong,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, indices) = (elements::<T>(&inputs[0])?, elements::<u32>(&inputs[1])?);
    let missing = missing::<T>(output.dtype)?;
    let [_, extent, inner] = inputs[0].ty.shape.around(op.axis, "take_along")?;
    let line = output.shape.axis(op.axis, "take_along")? * inner;
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<T>(), PART_ELEMS, |part, y| {
        for (at, y) in (part * PART_ELEMS..).zip(y) {
            let index = indices[at] as usize;
            let place = (at / line * extent + index) * inner + at % inner;
            *y = if index < extent { x[place] } else { missing };
        }
    });
    Ok(y)
}

pub(crate) fn scatter(
    cx: &Context,
    op: &Scatter,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    if !op.add {
        return by_size!(output.dtype, replaced(cx, op, inputs, output));
    }
    let (x, source) = (cx.widen(&inputs[0])?, cx.widen(&inputs[2])?);
    // Sums are made in f32, and rounded once.
    let wide = TensorType::f32(output.shape);
    let add = |to: &mut f32, from: f32| *to += from;
    let y = put(cx, op, x.slice(), &inputs[1], source.slice(), &wide, add)?;
    cx.narrow(y, output)
}

fn replaced<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Scatter,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, source) = (elements::<T>(&inputs[0])?, elements::<T>(&inputs[2])?);
    put(cx, op, x, &inputs[1], source, output, |to, from| *to = from)
}

/// Each task has whole lines, and goes through their indices in order.
fn put<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    op: &Scatter,
    x: &[T],
    indices: &Operand<'_>,
    source: &[T],
    output: &TensorType,
    join: impl Fn(&mut T, T) + Sync,
) -> Result<Memory> {
    let [_, extent, inner] = output.shape.around(op.axis, "scatter")?;
    let n = indices.ty.shape.axis(op.axis, "scatter")?;
    let indices = elements::<u32>(indices)?;
    let mut y = cx.pool.take(output.size_bytes())?;
    let line = extent * inner;
    if line == 0 {
        return Ok(y);
    }
    let lines = PART_ELEMS.div_ceil(line.max(n * inner));
    cx.threads.for_each_part(y.slice_mut::<T>(), lines * line, |part, y| {
        y.copy_from_slice(&x[part * lines * line..][..y.len()]);
        for (number, y) in (part * lines..).zip(y.chunks_exact_mut(line)) {
            let own = number * n * inner..(number + 1) * n * inner;
            for (place, (&index, &from)) in
                indices[own.clone()].iter().zip(&source[own]).enumerate()
            {
                if (index as usize) < extent {
                    join(&mut y[index as usize * inner + place % inner], from);
                }
            }
        }
    });
    Ok(y)
}
