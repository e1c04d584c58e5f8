//! Reductions over axes.

use super::values::{Floats, indices, maximum, minimum};
use crate::ops::{ArgReduce, ArgReduceKind, Reduce, ReduceKind};
use crate::{HostTensor, Result, Shape};

pub(super) fn reduce(op: &Reduce, x: &Floats, output: &Shape) -> Vec<f64> {
    let (start, combine): (f64, fn(f64, f64) -> f64) = match op.kind {
        ReduceKind::Sum | ReduceKind::Mean => (0.0, |a, b| a + b),
        ReduceKind::Product => (1.0, |a, b| a * b),
        ReduceKind::Max => (f64::NEG_INFINITY, maximum),
        ReduceKind::Min => (f64::INFINITY, minimum),
    };
    let mut y = vec![start; output.count()];
    for (at, &value) in indices(&x.shape).zip(&x.values) {
        let place = place(op, &x.shape, &at);
        y[place] = combine(y[place], value);
    }
    if op.kind == ReduceKind::Mean {
        let each: usize = op.axes.iter().map(|axis| x.shape.dims()[axis]).product();
        y.iter_mut().for_each(|sum| *sum /= each as f64);
    }
    y
}

/// Integers, modulo 2³².
pub(super) fn reduce_words(op: &Reduce, x: &HostTensor, output: &Shape) -> Vec<u32> {
    let (start, combine): (u32, fn(u32, u32) -> u32) = match op.kind {
        ReduceKind::Product => (1, u32::wrapping_mul),
        ReduceKind::Max => (0, u32::max),
        ReduceKind::Min => (u32::MAX, u32::min),
        ReduceKind::Sum | ReduceKind::Mean => (0, u32::wrapping_add),
    };
    let mut y = vec![start; output.count()];
    for (at, &value) in indices(x.shape()).zip(x.values().as_slice::<u32>().unwrap_or_default()) {
        let place = place(op, x.shape(), &at);
        y[place] = combine(y[place], value);
    }
    y
}

/// The place in the output, counted over the axes that stay.
fn place(op: &Reduce, x: &Shape, at: &[usize]) -> usize {
    let kept = (0..x.rank()).filter(|&axis| !op.axes.contains(axis));
    kept.fold(0, |place, axis| place * x.dims()[axis] + at[axis])
}

pub(super) fn arg_reduce(op: &ArgReduce, x: &Floats) -> Result<Vec<u32>> {
    let [outer, extent, inner] = x.shape.around(op.axis, "arg_reduce")?;
    let mut y = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| x.values[(o * extent + j) * inner + i];
            let mut best = 0;
            for j in 1..extent {
                let better = match op.kind {
                    ArgReduceKind::Max => at(j) > at(best),
                    ArgReduceKind::Min => at(j) < at(best),
                };
                if !at(best).is_nan() && (better || at(j).is_nan()) {
                    best = j;
                }
            }
            y.push(best as u32);
        }
    }
    Ok(y)
}
