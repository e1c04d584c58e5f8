//! Order, and the largest or smallest few.

use std::cmp::Ordering;

use super::values::Floats;
use crate::Result;
use crate::ops::ArgSort;

pub(super) fn arg_sort(op: &ArgSort, x: &Floats) -> Result<Vec<u32>> {
    let [outer, extent, inner] = x.shape.around(op.axis, "arg_sort")?;
    let mut y = vec![0; outer * op.count * inner];
    for o in 0..outer {
        for i in 0..inner {
            let value = |j: u32| x.values[(o * extent + j as usize) * inner + i];
            let mut indices: Vec<u32> = (0..extent as u32).collect();
            indices.sort_by(|&a, &b| {
                let order = compare(value(a), value(b));
                if op.descending { order.reverse() } else { order }
            });
            for (place, &index) in indices[..op.count].iter().enumerate() {
                y[(o * op.count + place) * inner + i] = index;
            }
        }
    }
    Ok(y)
}

/// NaN is larger than all else; both zeros are equal.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
