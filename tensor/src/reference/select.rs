//! One of two values by a truth value.

use super::values::{Floats, broadcast_offset, indices};
use crate::{HostTensor, HostValues, Shape};

pub(super) fn select(
    condition: &HostTensor,
    a: &HostTensor,
    b: &HostTensor,
    output: &Shape,
) -> HostValues {
    let condition = Floats::of(condition);
    let choices = indices(output).map(|at| {
        let at = &at[..output.rank()];
        if condition.broadcast_at(at) != 0.0 {
            (true, broadcast_offset(a.shape(), at))
        } else {
            (false, broadcast_offset(b.shape(), at))
        }
    });
    fn choose<T: Copy>(a: &[T], b: &[T], choices: impl Iterator<Item = (bool, usize)>) -> Vec<T> {
        choices.map(|(first, i)| if first { a[i] } else { b[i] }).collect()
    }
    match (a.values(), b.values()) {
        (HostValues::F32(a), HostValues::F32(b)) => choose(a, b, choices).into(),
        (HostValues::F16(a), HostValues::F16(b)) => choose(a, b, choices).into(),
        (HostValues::U32(a), HostValues::U32(b)) => choose(a, b, choices).into(),
        _ => unreachable!("the shape rule takes one type only"),
    }
}
