//! Tensors of random numbers.

use crate::ops::{Normal, Uniform};
use crate::random::normal_pair;

/// In f32 steps, as the op defines it.
pub(super) fn uniform(op: &Uniform) -> Vec<f32> {
    (0..op.shape.count() as u64).map(|i| op.low + (op.high - op.low) * op.key.unit(i)).collect()
}

pub(super) fn normal(op: &Normal) -> Vec<f32> {
    (0..op.shape.count() as u64)
        .map(|i| {
            let even = i / 2 * 2;
            let pair = normal_pair(op.key.number(even), op.key.number(even + 1));
            op.mean + op.deviation * pair[(i % 2) as usize]
        })
        .collect()
}
