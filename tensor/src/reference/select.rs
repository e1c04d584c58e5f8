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
    // The element type does not matter to a copy, so it works on bytes.
    let size = a.values().dtype().size_bytes();
    let mut y = HostValues::zeros(a.values().dtype(), output.count());
    for (at, to) in indices(output).zip(y.bytes_mut().chunks_exact_mut(size)) {
        let at = &at[..output.rank()];
        let chosen = if condition.broadcast_at(at) != 0.0 { a } else { b };
        let from = size * broadcast_offset(chosen.shape(), at);
        to.copy_from_slice(&chosen.values().bytes()[from..][..size]);
    }
    y
}
