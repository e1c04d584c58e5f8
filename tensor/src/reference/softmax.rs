//! Softmax and its logarithm.

use super::values::{Floats, maximum};
use crate::Result;
use crate::ops::Softmax;

pub(super) fn softmax(op: &Softmax, x: &Floats) -> Result<Vec<f64>> {
    let [outer, extent, inner] = x.shape.around(op.axis, "softmax")?;
    let mut y = vec![0.0; x.values.len()];
    for o in 0..outer {
        for i in 0..inner {
            let place = |j: usize| (o * extent + j) * inner + i;
            let line: Vec<f64> = (0..extent).map(|j| x.values[place(j)]).collect();
            let (max, sum) = max_and_sum_of_exponentials(&line);
            for (j, &value) in line.iter().enumerate() {
                y[place(j)] =
                    if op.log { value - max - sum.ln() } else { (value - max).exp() / sum };
            }
        }
    }
    Ok(y)
}

/// The maximum, and `Σ e^(x - max)`.
pub(super) fn max_and_sum_of_exponentials(x: &[f64]) -> (f64, f64) {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, maximum);
    (max, x.iter().map(|x| (x - max).exp()).sum())
}
