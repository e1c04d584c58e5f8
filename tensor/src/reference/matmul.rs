//! Matrix products.

use super::unary::activate;
use super::values::{Floats, broadcast_offset, indices};
use crate::ops::MatMul;
use crate::{Result, Shape};

pub(super) fn matmul(
    op: &MatMul,
    a: &Floats,
    b: &Floats,
    bias: Option<&Floats>,
) -> Result<Vec<f64>> {
    let e = op.extents(&a.shape, &b.shape)?;
    let batch_a = Shape::new(&a.shape.dims()[..a.shape.rank() - 2])?;
    let batch_b = Shape::new(&b.shape.dims()[..b.shape.rank() - 2])?;
    // Where element (i, p) of a matrix of `a`, and (p, j) of one of `b`, lies in that matrix.
    let in_a = |i, p| if op.transpose_a { p * e.m + i } else { i * e.k + p };
    let in_b = |p, j| if op.transpose_b { j * e.k + p } else { p * e.n + j };

    let mut y = Vec::with_capacity(e.batch.count() * e.m * e.n);
    for at in indices(&e.batch) {
        let at = &at[..e.batch.rank()];
        let a = &a.values[broadcast_offset(&batch_a, at) * e.m * e.k..][..e.m * e.k];
        let b = &b.values[broadcast_offset(&batch_b, at) * e.k * e.n..][..e.k * e.n];
        for i in 0..e.m {
            for j in 0..e.n {
                let products = (0..e.k).map(|p| a[in_a(i, p)] * b[in_b(p, j)]);
                let sum = products.sum::<f64>() + bias.map_or(0.0, |bias| bias.values[j]);
                y.push(activate(op.activation, sum));
            }
        }
    }
    Ok(y)
}
