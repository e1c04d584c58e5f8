//! Element by element: two numbers to a truth value.

use super::values::{Floats, indices};
use crate::Shape;
use crate::ops::{Compare, CompareKind};

pub(super) fn compare(op: &Compare, a: &Floats, b: &Floats, output: &Shape) -> Vec<u32> {
    indices(output)
        .map(|at| {
            let at = &at[..output.rank()];
            u32::from(holds(op.kind, a.broadcast_at(at), b.broadcast_at(at)))
        })
        .collect()
}

fn holds(kind: CompareKind, a: f64, b: f64) -> bool {
    match kind {
        CompareKind::Eq => a == b,
        CompareKind::Ne => a != b,
        CompareKind::Lt => a < b,
        CompareKind::Le => a <= b,
        CompareKind::Gt => a > b,
        CompareKind::Ge => a >= b,
    }
}
