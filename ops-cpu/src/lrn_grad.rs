//! The gradient of local response normalization.

use striate_tensor::ops::Lrn;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::lrn::{Power, Scratch, Sizes, Windows, inverse_powers};
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements that one task looks at.
const PART_ELEMS: usize = 1 << 14;

/// The gradient of normalization: operands `x` and `dy`.
pub(crate) fn lrn_grad(
    cx: &Context,
    op: &Lrn,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let (x, dy) = (x.slice(), dy.slice());
    let channels = output.shape.dims().last().copied().unwrap_or(1);
    let mut dx = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(dx, output);
    }
    let sizes = Sizes::new(op, channels);
    let part = PART_ELEMS.div_ceil(channels) * channels;
    cx.threads.try_for_each_part(dx.slice_mut::<f32>(), part, |index, dx| {
        let mut scratch = Scratch::take(cx, sizes, 2 * sizes.floats())?;
        let (windows, more) = scratch.windows();
        let (bases, powers) = more.split_at_mut(sizes.floats());
        let here = index * part..index * part + dx.len();
        let (x, dy) = (&x[here.clone()], &dy[here]);
        cx.level.run(Pixels { x, dy, dx, op, windows, bases, powers });
        Ok(())
    })?;
    cx.narrow(dx, output)
}

struct Pixels<'a> {
    /// `[groups of all pixels, group]`
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    op: &'a Lrn,
    windows: Windows<'a>,
    /// Scratch for `s = kappa + alpha · Σ x²` of some groups, and for `s^-beta`.
    bases: &'a mut [f32],
    powers: &'a mut [f32],
}

impl Kernel for Pixels<'_> {
    type Output = ();

    /// `dx = dy · s^-beta - 2 · alpha · beta · x · Σ dy · x · s^(-beta - 1)`, since a channel is in
    /// the window of each that is in its own.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pixels { x, dy, dx, op, mut windows, bases, powers } = self;
        // A kappa of -0 would make a denominator of -0, whose root is no denominator.
        let (kappa, alpha) = (op.kappa + 0.0, op.alpha);
        let factor = 2.0 * alpha * op.beta;
        let power = Power::new(op.beta);
        let Sizes { group, .. } = windows.sizes;
        let at_once = windows.sizes.floats();
        let pixels = x.chunks(at_once).zip(dy.chunks(at_once));
        for ((x, dy), dx) in pixels.zip(dx.chunks_mut(at_once)) {
            let (count, groups) = (x.len(), x.len() / group);
            let (bases, powers) = (&mut bases[..count], &mut powers[..count]);
            for (squares, x) in windows.groups().zip(x.chunks_exact(group)) {
                squares.iter_mut().zip(x).for_each(|(square, x)| *square = x * x);
            }
            windows.add(simd, groups);
            for (base, sum) in bases.iter_mut().zip(&*windows.sums) {
                *base = kappa + alpha * sum;
            }
            inverse_powers(simd, power, bases, powers);
            let terms = x.chunks_exact(group).zip(dy.chunks_exact(group));
            let terms = terms.zip(bases.chunks_exact(group)).zip(powers.chunks_exact(group));
            for (cells, (((x, dy), bases), powers)) in windows.groups().zip(terms) {
                let terms = cells.iter_mut().zip(x).zip(dy).zip(bases).zip(powers);
                terms.for_each(|((((cell, x), dy), s), power)| *cell = dy * x * (*power / *s));
            }
            windows.add(simd, groups);
            let terms = dx.iter_mut().zip(x).zip(dy).zip(&*powers).zip(&*windows.sums);
            terms.for_each(|((((dx, x), dy), power), sum)| {
                *dx = dy * power - factor * x * sum;
            });
        }
    }
}
