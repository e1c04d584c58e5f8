//! Order, and the largest or smallest few.

use striate_tensor::ops::ArgSort;
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

/// Lines whose indices are put in order by one task, of those that cross memory.
const LINES: usize = 16;

pub(crate) fn arg_sort(
    cx: &Context,
    op: &ArgSort,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [outer, extent, inner] = inputs[0].ty.shape.around(op.axis, "arg_sort")?;
    let mut y = cx.pool.take(output.size_bytes())?;
    if output.count() == 0 {
        return Ok(y);
    }
    // A key in the upper half and the index in the lower: no two are equal, so that any sort of them is
    // the stable one.
    let mut keys = cx.pool.take(8 * outer * inner * extent)?;
    let lines = PART_ELEMS.div_ceil(extent).min(LINES);
    let flip = if op.descending { u32::MAX } else { 0 };
    let sort = |index: usize, part: &mut [u64], key: &dyn Fn(usize) -> u32| {
        for (line, keys) in (index * lines..).zip(part.chunks_exact_mut(extent)) {
            let start = line / inner * extent * inner + line % inner;
            for (j, to) in keys.iter_mut().enumerate() {
                *to = u64::from(key(start + j * inner) ^ flip) << 32 | j as u64;
            }
            if op.count < extent {
                keys.select_nth_unstable(op.count);
            }
            keys[..op.count].sort_unstable();
        }
    };
    let all = keys.slice_mut::<u64>();
    if inputs[0].ty.dtype == DType::U32 {
        let x = elements::<u32>(&inputs[0])?;
        cx.threads.for_each_part(all, lines * extent, |i, part| sort(i, part, &|at| x[at]));
    } else {
        let x = cx.widen(&inputs[0])?;
        let x = x.slice();
        cx.threads.for_each_part(all, lines * extent, |i, part| sort(i, part, &|at| key(x[at])));
    }
    let keys: &[u64] = keys.slice();
    cx.threads.for_each_part(y.slice_mut::<u32>(), PART_ELEMS, |part, y| {
        for (at, y) in (part * PART_ELEMS..).zip(y) {
            let (rest, column) = (at / inner, at % inner);
            let line = rest / op.count * inner + column;
            *y = keys[line * extent + rest % op.count] as u32;
        }
    });
    Ok(y)
}

/// Unsigned numbers in the order of floats: both zeros are one, and NaN is the largest.
fn key(x: f32) -> u32 {
    if x.is_nan() {
        return u32::MAX;
    }
    let bits = if x == 0.0 { 0 } else { x.to_bits() };
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}
