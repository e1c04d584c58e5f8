//! Element by element: two numbers to one.

use super::values::{Floats, broadcast_offset, indices, maximum, minimum, rounded};
use crate::ops::{Binary, BinaryKind};
use crate::{HostTensor, HostValues, Shape, TensorType};

pub(super) fn binary(
    op: &Binary,
    a: &HostTensor,
    b: &HostTensor,
    output: &TensorType,
) -> HostValues {
    if let (HostValues::U32(x), HostValues::U32(y)) = (a.values(), b.values()) {
        let shape = &output.shape;
        return pairs(shape, a.shape(), b.shape())
            .map(|(i, j)| unsigned(op.kind, x[i], y[j]))
            .collect::<Vec<_>>()
            .into();
    }
    let (a, b) = (Floats::of(a), Floats::of(b));
    let values: Vec<f64> = pairs(&output.shape, &a.shape, &b.shape)
        .map(|(i, j)| float(op.kind, a.values[i], b.values[j]))
        .collect();
    rounded(output.dtype, &values)
}

/// For each element of the output, the offsets of the two that it is made of.
fn pairs(output: &Shape, a: &Shape, b: &Shape) -> impl Iterator<Item = (usize, usize)> {
    let (rank, a, b) = (output.rank(), *a, *b);
    indices(output)
        .map(move |at| (broadcast_offset(&a, &at[..rank]), broadcast_offset(&b, &at[..rank])))
}

fn float(kind: BinaryKind, a: f64, b: f64) -> f64 {
    match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Maximum => maximum(a, b),
        BinaryKind::Minimum => minimum(a, b),
        BinaryKind::Pow => a.powf(b),
        BinaryKind::Prelu if a > 0.0 => a,
        BinaryKind::Prelu => b * a,
    }
}

fn unsigned(kind: BinaryKind, a: u32, b: u32) -> u32 {
    match kind {
        BinaryKind::Add => a.wrapping_add(b),
        BinaryKind::Sub => a.wrapping_sub(b),
        BinaryKind::Mul => a.wrapping_mul(b),
        BinaryKind::Maximum => a.max(b),
        BinaryKind::Minimum => a.min(b),
        BinaryKind::Div | BinaryKind::Pow | BinaryKind::Prelu => {
            unreachable!("the shape rule takes floats only")
        }
    }
}
