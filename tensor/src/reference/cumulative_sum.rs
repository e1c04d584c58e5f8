//! Sums of all entries so far.

use super::values::Floats;
use crate::Result;
use crate::ops::CumulativeSum;

/// Sums of floats, or of integers that are cut to 32 bits by the caller.
pub(super) fn cumulative_sum(op: &CumulativeSum, x: &Floats) -> Result<Vec<f64>> {
    let [outer, extent, inner] = x.shape.around(op.axis, "cumulative_sum")?;
    let mut y = vec![0.0; x.values.len()];
    for o in 0..outer {
        for i in 0..inner {
            let mut sum = 0.0;
            for step in 0..extent {
                let j = if op.reverse { extent - 1 - step } else { step };
                let at = (o * extent + j) * inner + i;
                let with = sum + x.values[at];
                y[at] = if op.exclusive { sum } else { with };
                sum = with;
            }
        }
    }
    Ok(y)
}
