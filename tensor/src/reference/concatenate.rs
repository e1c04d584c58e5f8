//! Tensors end to end.

use crate::ops::Concatenate;
use crate::{HostTensor, HostValues, Result, TensorType};

pub(super) fn concatenate(
    op: &Concatenate,
    inputs: &[&HostTensor],
    output: &TensorType,
) -> Result<HostValues> {
    // The element type does not matter to a copy, so it works on bytes.
    let mut y = HostValues::zeros(output.dtype, output.count());
    let [outer, _, _] = output.shape.around(op.axis, "concatenate")?;
    let mut end = 0;
    for o in 0..outer {
        for x in inputs {
            let [_, extent, inner] = x.shape().around(op.axis, "concatenate")?;
            let len = extent * inner * output.dtype.size_bytes();
            let from = &x.values().bytes()[o * len..][..len];
            y.bytes_mut()[end..][..len].copy_from_slice(from);
            end += len;
        }
    }
    Ok(y)
}
