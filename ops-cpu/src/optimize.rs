//! Steps of optimizers, in place.

use striate_tensor::ops::{Optimize, OptimizeFactors};
use striate_tensor::{Error, Operand, Result, Target};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::sgd::writable;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedOutput;

/// Takes the weights and as many tensors of state as the op has.
pub(crate) fn optimize(
    cx: &Context,
    op: &Optimize,
    targets: &mut [Target<'_>],
    gradient: &Operand<'_>,
) -> Result<()> {
    let gradient = elements::<f32>(gradient)?;
    // All that can fail comes first: an error leaves the targets as they were.
    let mut slices = Vec::with_capacity(targets.len());
    for target in targets {
        slices.push(writable(cx, target)?);
    }
    if let Some(other) = slices.iter().find(|slice| slice.len() != gradient.len()) {
        let lengths = format!("{} and {} elements", other.len(), gradient.len());
        return Err(Error::shape("optimize", "tensors of one length", lengths));
    }
    let mut slices = slices.into_iter();
    let Some(w) = slices.next() else { return Ok(()) };
    let state: Vec<SharedOutput> = slices.map(SharedOutput::new).collect();
    let factors = op.factors();
    cx.threads.for_each_part(w, PART_ELEMS, |part, w| {
        let first = part * PART_ELEMS;
        let length = w.len();
        // SAFETY: each tensor of state is as long as `w`, is borrowed until all parts are done, and this
        // part of it is of this task alone.
        let own = |state: &SharedOutput| unsafe {
            std::slice::from_raw_parts_mut(state.at(first), length)
        };
        let g = &gradient[first..first + length];
        let f = factors;
        match (*op, &state[..]) {
            (Optimize::Sgd { nesterov, .. }, [v]) => {
                cx.level.run(Sgd { w, v: own(v), g, f, nesterov });
            }
            (Optimize::Adam { .. }, [m, s]) => {
                cx.level.run(Adam { w, m: own(m), s: own(s), g, f });
            }
            (Optimize::RmsProp { .. }, [s]) => cx.level.run(RmsProp { w, s: own(s), g, f }),
            (Optimize::RmsProp { .. }, [s, v]) => {
                cx.level.run(RmsPropMomentum { w, s: own(s), v: own(v), g, f });
            }
            (Optimize::Average { .. }, _) => cx.level.run(Average { a: w, x: g, f }),
            // The shape rule has counted them.
            _ => {}
        }
    });
    Ok(())
}

struct Sgd<'a> {
    w: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
    f: OptimizeFactors,
    nesterov: bool,
}

impl Kernel for Sgd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let OptimizeFactors { scale, decay, first: [momentum, _], rate, .. } = self.f;
        for ((w, v), g) in self.w.iter_mut().zip(self.v).zip(self.g) {
            let g = scale * g + decay * *w;
            *v = momentum * *v + g;
            *w -= rate * if self.nesterov { g + momentum * *v } else { *v };
        }
    }
}

struct Adam<'a> {
    w: &'a mut [f32],
    m: &'a mut [f32],
    s: &'a mut [f32],
    g: &'a [f32],
    f: OptimizeFactors,
}

impl Kernel for Adam<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let OptimizeFactors { scale, decay, shrink, first, second, root, epsilon, rate, .. } =
            self.f;
        for (((w, m), s), g) in self.w.iter_mut().zip(self.m).zip(self.s).zip(self.g) {
            let g = scale * g + decay * *w;
            *m = first[0] * *m + first[1] * g;
            *s = second[0] * *s + second[1] * g * g;
            *w = shrink * *w - rate * (*m / (s.sqrt() * root + epsilon));
        }
    }
}

struct RmsProp<'a> {
    w: &'a mut [f32],
    s: &'a mut [f32],
    g: &'a [f32],
    f: OptimizeFactors,
}

impl Kernel for RmsProp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let OptimizeFactors { scale, decay, second, epsilon, rate, .. } = self.f;
        for ((w, s), g) in self.w.iter_mut().zip(self.s).zip(self.g) {
            let g = scale * g + decay * *w;
            *s = second[0] * *s + second[1] * g * g;
            *w -= rate * (g / (s.sqrt() + epsilon));
        }
    }
}

struct RmsPropMomentum<'a> {
    w: &'a mut [f32],
    s: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
    f: OptimizeFactors,
}

impl Kernel for RmsPropMomentum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let OptimizeFactors { scale, decay, first, second, epsilon, rate, .. } = self.f;
        for (((w, s), v), g) in self.w.iter_mut().zip(self.s).zip(self.v).zip(self.g) {
            let g = scale * g + decay * *w;
            *s = second[0] * *s + second[1] * g * g;
            *v = first[0] * *v + g / (s.sqrt() + epsilon);
            *w -= rate * *v;
        }
    }
}

struct Average<'a> {
    a: &'a mut [f32],
    x: &'a [f32],
    f: OptimizeFactors,
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let takes = self.f.first[1];
        for (a, x) in self.a.iter_mut().zip(self.x) {
            *a += takes * (x - *a);
        }
    }
}
