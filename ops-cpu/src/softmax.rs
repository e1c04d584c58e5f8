//! Softmax and its logarithm.

use striate_tensor::ops::Softmax;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::math::exp;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Independent sums of a line.
const SUMS: usize = 32;
/// Elements that are summed as f32 before their sum goes into an f64.
const RUN_ELEMS: usize = 1024;
/// Neighbouring lines that are taken together where lines are not contiguous.
const COLUMNS: usize = 64;

pub(crate) fn softmax(
    cx: &Context,
    op: &Softmax,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let [_, extent, inner] = output.shape.around(op.axis, "softmax")?;
    let x = cx.widen(&inputs[0])?;
    let x = x.slice();
    let mut y = cx.pool.take(4 * output.count())?;
    let line = extent * inner;
    if line > 0 {
        let part = PART_ELEMS.div_ceil(line) * line;
        cx.threads.for_each_part(y.slice_mut::<f32>(), part, |index, y| {
            let x = &x[index * part..index * part + y.len()];
            for (x, y) in x.chunks_exact(line).zip(y.chunks_exact_mut(line)) {
                if inner == 1 {
                    cx.level.run(Line { x, y, log: op.log });
                } else {
                    cx.level.run(Lines { x, y, inner, log: op.log });
                }
            }
        });
    }
    cx.narrow(y, output)
}

/// The maximum of some numbers; NaN where one is, -∞ of nothing.
pub(crate) struct Maximum<'a>(pub(crate) &'a [f32]);

impl Kernel for Maximum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        maximum(self.0)
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn maximum(x: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; SUMS];
    let mut chunks = x.chunks_exact(SUMS);
    for chunk in &mut chunks {
        for (best, &x) in best.iter_mut().zip(chunk) {
            *best = larger(*best, x);
        }
    }
    chunks.remainder().iter().chain(&best).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

/// `Σ e^(x - max)`
pub(crate) struct SumOfExponentials<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) max: f32,
}

impl Kernel for SumOfExponentials<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        sum(self.x, |x| exp(x - self.max))
    }
}

/// `Σ f(x)`, with several sums at a time and short runs in f32.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut total = 0.0;
    for run in x.chunks(RUN_ELEMS) {
        let mut sums = [0.0f32; SUMS];
        let mut chunks = run.chunks_exact(SUMS);
        for chunk in &mut chunks {
            for (sum, &x) in sums.iter_mut().zip(chunk) {
                *sum += f(x);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(chunks.remainder()) {
            *sum += f(x);
        }
        total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
    total
}

/// One contiguous line.
pub(crate) struct Line<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) log: bool,
}

impl Kernel for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let max = maximum(self.x);
        if self.log {
            let ln_sum = sum(self.x, |x| exp(x - max)).ln() as f32;
            for (y, &x) in self.y.iter_mut().zip(self.x) {
                *y = (x - max) - ln_sum;
            }
            return;
        }
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = exp(x - max);
        }
        let sum = sum(self.y, |y| y) as f32;
        for y in &mut *self.y {
            *y /= sum;
        }
    }
}

/// All lines of `[extent, inner]`, side by side.
struct Lines<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    inner: usize,
    log: bool,
}

impl Kernel for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let inner = self.inner;
        for first in (0..inner).step_by(COLUMNS) {
            let len = COLUMNS.min(inner - first);
            let mut max = [f32::NEG_INFINITY; COLUMNS];
            for x in self.x.chunks_exact(inner) {
                for (max, &x) in max.iter_mut().zip(&x[first..first + len]) {
                    *max = larger(*max, x);
                }
            }
            let mut sum = [0.0f64; COLUMNS];
            let lines = self.x.chunks_exact(inner).zip(self.y.chunks_exact_mut(inner));
            for (x, y) in lines {
                let (x, y) = (&x[first..first + len], &mut y[first..first + len]);
                for (((y, &x), &max), sum) in y.iter_mut().zip(x).zip(&max).zip(&mut sum) {
                    *y = exp(x - max);
                    *sum += f64::from(*y);
                }
            }
            let lines = self.x.chunks_exact(inner).zip(self.y.chunks_exact_mut(inner));
            if self.log {
                let ln_sum = sum.map(|sum| sum.ln() as f32);
                for (x, y) in lines {
                    let (x, y) = (&x[first..first + len], &mut y[first..first + len]);
                    for (((y, &x), &max), &ln_sum) in y.iter_mut().zip(x).zip(&max).zip(&ln_sum) {
                        *y = (x - max) - ln_sum;
                    }
                }
            } else {
                let sum = sum.map(|sum| sum as f32);
                for (_, y) in lines {
                    for (y, &sum) in y[first..first + len].iter_mut().zip(&sum) {
                        *y /= sum;
                    }
                }
            }
        }
    }
}
