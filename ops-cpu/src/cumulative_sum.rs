//! Sums of all entries so far.

use striate_tensor::ops::CumulativeSum;
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

/// Columns whose sums stay in the first-level cache while the rows pass.
const COLUMNS: usize = 512;

/// A number that is summed in a wider one.
trait Sum: Copy + Send + Sync + bytemuck::Pod {
    type Wide: Copy + Default;
    fn add(sum: Self::Wide, x: Self) -> Self::Wide;
    fn rounded(sum: Self::Wide) -> Self;
}

impl Sum for f32 {
    type Wide = f64;
    #[inline(always)]
    fn add(sum: f64, x: f32) -> f64 {
        sum + f64::from(x)
    }
    #[inline(always)]
    fn rounded(sum: f64) -> f32 {
        sum as f32
    }
}

impl Sum for u32 {
    type Wide = u32;
    #[inline(always)]
    fn add(sum: u32, x: u32) -> u32 {
        sum.wrapping_add(x)
    }
    #[inline(always)]
    fn rounded(sum: u32) -> u32 {
        sum
    }
}

pub(crate) fn cumulative_sum(
    cx: &Context,
    op: &CumulativeSum,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, extent, inner] = inputs[0].ty.shape.around(op.axis, "cumulative_sum")?;
    let mut y = cx.pool.take(4 * output.count())?;
    if output.dtype == DType::U32 {
        of(cx, op, elements::<u32>(&inputs[0])?, [extent, inner], y.slice_mut());
        return Ok(y);
    }
    of(cx, op, cx.widen(&inputs[0])?.slice(), [extent, inner], y.slice_mut::<f32>());
    cx.narrow(y, output)
}

/// Each task sums whole lines.
fn of<T: Sum>(cx: &Context, op: &CumulativeSum, x: &[T], [extent, inner]: [usize; 2], y: &mut [T]) {
    let line = extent * inner;
    if line == 0 {
        return;
    }
    let part = PART_ELEMS.div_ceil(line) * line;
    cx.threads.for_each_part(y, part, |index, y| {
        let x = &x[index * part..][..y.len()];
        for (x, y) in x.chunks_exact(line).zip(y.chunks_exact_mut(line)) {
            for first in (0..inner).step_by(COLUMNS) {
                let columns = COLUMNS.min(inner - first);
                let mut sums = [T::Wide::default(); COLUMNS];
                for step in 0..extent {
                    let row = if op.reverse { extent - 1 - step } else { step };
                    let at = row * inner + first;
                    let (x, y) = (&x[at..][..columns], &mut y[at..][..columns]);
                    for ((sum, &x), y) in sums.iter_mut().zip(x).zip(y) {
                        let with = T::add(*sum, x);
                        *y = T::rounded(if op.exclusive { *sum } else { with });
                        *sum = with;
                    }
                }
            }
        }
    });
}
