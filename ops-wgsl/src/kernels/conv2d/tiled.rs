//! Convolution as implicit GEMM: rows are pixels, columns the outputs of a group, and the depth goes
//! through a window's cells and their channels. No window is ever written to memory.

use super::convolution::{Convolution, Extents};
use crate::choice::Tile;
use crate::kernels::constants::word;
use crate::kernels::gemm::{Gemm, Side, Windows};
use crate::queue::Context;

pub(super) fn launch(
    cx: &Context,
    convolution: &Convolution<'_>,
    tile: Option<Tile>,
) -> striate_tensor::Result<()> {
    let Convolution { op, extents, images, x, w: (w, weights), bias, residual, .. } = convolution;
    let Convolution { activation, y, half_y, strided, .. } = convolution;
    let Extents { rows, cols, out_rows, out_cols, kernel, stride, padding, .. } = **extents;
    let Extents { dilation, groups, .. } = **extents;
    let channels = extents.channels / groups;
    let out = extents.out / groups;
    let depth = kernel[0] * kernel[1] * channels;
    let axis = (groups, [channels, out * depth, out].map(word));
    let gemm = Gemm {
        op,
        m: images * out_rows * out_cols,
        n: out,
        channels,
        windows: Windows { rows, cols, out_rows, out_cols, kernel, stride, padding, dilation },
        a: Side { view: x.0, half: x.1, line: extents.channels, step: 1 },
        b: Side { view: weights, half: w.half(), line: depth, step: 1 },
        y,
        half_y: *half_y,
        row_y: strided.map_or(extents.out, |strided| strided.pixel),
        strided: *strided,
        bias: *bias,
        step_bias: out,
        residual: *residual,
        activation: *activation,
        accumulate: false,
        pixels: None,
        parts: None,
        axes: &[axis],
    };
    gemm.launch(cx, tile)
}
