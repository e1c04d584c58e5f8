//! A product by the tiles of `kernels/gemm`: rows are outputs, columns the cells of the kernel and
//! their channels, and the depth goes through the pixels.

use striate_tensor::ops::Activation;

use super::gradient::{Gradient, OP, in_parts};
use crate::choice::Tile;
use crate::kernels::constants::word;
use crate::kernels::gemm::{Gemm, Parts, Side, Windows};
use crate::queue::Context;

/// Workgroups that a card is given work by: a few for each unit of a large one.
const WORKGROUPS: usize = 512;

pub(super) fn launch(
    cx: &Context,
    gradient: &Gradient<'_>,
    tile: Tile,
) -> striate_tensor::Result<()> {
    let e = gradient.extents;
    let (rows, columns, pixels) = (gradient.rows(), gradient.columns(), gradient.pixels());
    let tiles = rows.div_ceil(tile.rows()) * columns.div_ceil(tile.cols()) * e.groups;
    let split = gradient.split(tiles, WORKGROUPS);
    let channels = e.channels / e.groups;
    in_parts(cx, gradient, split, |y, accumulate| {
        let gemm = Gemm {
            op: OP,
            m: rows,
            n: columns,
            channels,
            windows: Windows {
                rows: e.rows,
                cols: e.cols,
                out_rows: e.out_rows,
                out_cols: e.out_cols,
                kernel: e.kernel,
                stride: e.stride,
                padding: e.padding,
                dilation: e.dilation,
            },
            a: Side { view: gradient.dy.0, half: gradient.dy.1, line: 1, step: e.out },
            b: Side { view: gradient.x.0, half: gradient.x.1, line: e.channels, step: 1 },
            y,
            half_y: false,
            row_y: columns,
            strided: None,
            bias: None,
            step_bias: 0,
            residual: None,
            activation: Activation::None,
            accumulate,
            pixels: Some(pixels),
            parts: Some(Parts { count: split.parts, steps: split.pixels, y: e.out * columns }),
            axes: &[(e.groups, [rows, channels, rows * columns].map(word))],
        };
        gemm.launch(cx, Some(tile))
    })
}
