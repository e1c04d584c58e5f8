//! Reductions over axes.

use super::values::{Floats, indices, maximum, minimum};
use crate::ops::{ArgReduce, ArgReduceKind, Reduce, ReduceKind};
use crate::{Result, Shape};

pub(super) fn reduce(op: &Reduce, x: &Floats, output: &Shape) -> Vec<f64> {
    let (start, combine): (f64, fn(f64, f64) -> f64) = match op.kind {
        ReduceKind::Sum | ReduceKind::Mean => (0.0, |a, b| a + b),
        ReduceKind::Product => (1.0, |a, b| a * b),
        ReduceKind::Max => (f64::NEG_INFINITY, maximum),
        ReduceKind::Min => (f64::INFINITY, minimum),
    };
    let mut y = vec![start; output.count()];
    for (at, &value) in indices(&x.shape).zip(&x.values) {
        // The place in the output, counted over the axes that stay.
        let kept = (0..x.shape.rank()).filter(|&axis| !op.axes.contains(axis));
        let place = kept.fold(0, |place, axis| place * x.shape.dims()[axis] + at[axis]);
        y[place] = combine(y[place], value);
    }
    if op.kind == ReduceKind::Mean {
        let each: usize = op.axes.iter().map(|axis| x.shape.dims()[axis]).product();
        y.iter_mut().for_each(|sum| *sum /= each as f64);
    }
    y
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
