//! A product by the tiles of `kernels/gemm`: a is an image of one row, whose pixels are the rows of
//! the matrix.

use super::product::Product;
use crate::choice::Tile;
use crate::kernels::gemm::{Gemm, Side, Windows};
use crate::queue::Context;

pub(super) fn launch(
    cx: &Context,
    product: &Product<'_>,
    tile: Option<Tile>,
) -> striate_tensor::Result<()> {
    let Product { m, n, k, a, b, y, bias, activation, accumulate, batch } = product;
    let gemm = Gemm {
        op: "matmul",
        m: *m,
        n: *n,
        channels: *k,
        windows: Windows::matrix(*m),
        a: Side { view: a.view, half: a.half, line: a.row, step: a.col },
        b: Side { view: b.view, half: b.half, line: b.col, step: b.row },
        y: y.view,
        half_y: false,
        row_y: y.row,
        strided: None,
        bias: *bias,
        step_bias: 0,
        residual: None,
        activation: *activation,
        accumulate: *accumulate,
        pixels: None,
        parts: None,
        axes: batch,
    };
    gemm.launch(cx, tile)
}
