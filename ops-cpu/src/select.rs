//! One of two values by a truth value.

use striate_tensor::{Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::{BLOCK_ELEMS, Broadcast, PART_ELEMS};
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};
use crate::walk::by_size;

pub(crate) fn select(cx: &Context, inputs: &[Operand<'_>], output: &TensorType) -> Result<Memory> {
    by_size!(output.dtype, of(cx, inputs, output))
}

fn of<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let shapes = [0, 1, 2].map(|i: usize| &inputs[i].ty.shape);
    let condition = Broadcast::new(elements::<u32>(&inputs[0])?, shapes[0], &output.shape);
    let a = Broadcast::new(elements::<T>(&inputs[1])?, shapes[1], &output.shape);
    let b = Broadcast::new(elements::<T>(&inputs[2])?, shapes[2], &output.shape);
    let in_place = condition.is_in_place() && a.is_in_place() && b.is_in_place();
    let block = if in_place { PART_ELEMS } else { BLOCK_ELEMS };
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<T>(), PART_ELEMS, |part, to| {
        let mut condition_scratch = [0; BLOCK_ELEMS];
        let mut a_scratch = [T::zeroed(); BLOCK_ELEMS];
        let mut b_scratch = [T::zeroed(); BLOCK_ELEMS];
        let mut first = part * PART_ELEMS;
        for to in to.chunks_mut(block) {
            cx.level.run(Choose {
                condition: condition.read(first, to.len(), &mut condition_scratch),
                a: a.read(first, to.len(), &mut a_scratch),
                b: b.read(first, to.len(), &mut b_scratch),
                to: &mut *to,
            });
            first += to.len();
        }
    });
    Ok(y)
}

struct Choose<'a, T> {
    condition: &'a [u32],
    a: &'a [T],
    b: &'a [T],
    to: &'a mut [T],
}

impl<T: Copy> Kernel for Choose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let sources = self.condition.iter().zip(self.a).zip(self.b);
        for (to, ((&condition, &a), &b)) in self.to.iter_mut().zip(sources) {
            *to = if condition != 0 { a } else { b };
        }
    }
}
