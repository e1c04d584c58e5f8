//! A step of gradient descent, in place.

use striate_tensor::ops::SgdMomentum;
use striate_tensor::{Error, Operand, Result, Target};

use crate::buffer::{CpuBuffer, elements, own};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedOutput;

pub(crate) fn sgd_momentum(
    cx: &Context,
    op: &SgdMomentum,
    w: &mut Target<'_>,
    v: &mut Target<'_>,
    gradient: &Operand<'_>,
) -> Result<()> {
    let gradient = elements::<f32>(gradient)?;
    // All that can fail comes first: an error leaves the targets as they were.
    let w = writable(cx, w)?;
    let v = writable(cx, v)?;
    if w.len() != gradient.len() || v.len() != gradient.len() {
        let lengths = format!("{}, {} and {} elements", w.len(), v.len(), gradient.len());
        return Err(Error::shape("sgd_momentum", "tensors of one length", lengths));
    }
    let shared = SharedOutput::new(w);
    cx.threads.for_each_part(v, PART_ELEMS, |part, v| {
        let first = part * PART_ELEMS;
        // SAFETY: `w` is as long as `v`, is borrowed until all parts are done, and this part of it
        // is of this task alone.
        let w = unsafe { std::slice::from_raw_parts_mut(shared.at(first), v.len()) };
        let gradient = &gradient[first..first + v.len()];
        cx.level.run(Step { w, v, gradient, op });
    });
    Ok(())
}

/// The elements of a target; a copy of them where its buffer is shared.
pub(crate) fn writable<'a>(cx: &Context, target: &'a mut Target<'_>) -> Result<&'a mut [f32]> {
    if target.buffer.unique::<CpuBuffer>().is_none() {
        let from = own(target.buffer)?.bytes();
        let mut memory = cx.pool.take(from.len())?;
        memory.bytes_mut().copy_from_slice(from);
        *target.buffer = CpuBuffer::pooled(memory);
    }
    let Some(buffer) = target.buffer.unique::<CpuBuffer>() else {
        let message = "a buffer that was just made is shared".into();
        return Err(Error::Device { device: "cpu".into(), message });
    };
    Ok(bytemuck::cast_slice_mut(buffer.bytes_mut(&cx.pool)?))
}

struct Step<'a> {
    w: &'a mut [f32],
    v: &'a mut [f32],
    gradient: &'a [f32],
    op: &'a SgdMomentum,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let SgdMomentum { rate, momentum, decay, scale } = *self.op;
        let (pull, pace) = (decay * rate, rate * scale);
        for ((w, v), gradient) in self.w.iter_mut().zip(self.v).zip(self.gradient) {
            *v = momentum * *v - pull * *w - pace * gradient;
            *w += *v;
        }
    }
}
