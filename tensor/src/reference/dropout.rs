//! Elements zeroed at random.

use super::values::Floats;
use crate::ops::Dropout;

pub(super) fn dropout(op: &Dropout, x: &Floats) -> Vec<f64> {
    (x.values.iter().zip(0..))
        .map(|(x, i)| if op.key.unit(i) < op.rate { 0.0 } else { x * f64::from(op.scale) })
        .collect()
}
