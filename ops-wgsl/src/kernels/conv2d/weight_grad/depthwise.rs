//! Of convolutions of each channel by itself.

use super::super::depthwise::vectors;
use super::gradient::{Gradient, OP, in_parts, operand_variants};
use crate::kernels::constants::{Constants, word};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static DEPTHWISE: Shader =
    shader!("conv2d/weight_grad/depthwise.wgsl", 1, 4, "conv2d/depthwise_pixel.wgsl");

/// Channels, and taps of a row, of an invocation; invocations of a workgroup.
const CHANNELS: usize = 4;
const TAPS: usize = 3;
const INVOCATIONS: usize = 64;
/// Workgroups that a card is given work by.
const WORKGROUPS: usize = 512;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    operand_variants(&DEPTHWISE)
}

pub(super) fn launch(cx: &Context, gradient: &Gradient<'_>) -> striate_tensor::Result<()> {
    let Gradient { extents: e, x: (x, half_x), dy: (dy, half_dy), .. } = *gradient;
    let [kernel_rows, kernel_cols] = e.kernel;
    let each = e.channels.div_ceil(CHANNELS) * kernel_cols.div_ceil(TAPS) * kernel_rows;
    let split = gradient.split(each.div_ceil(INVOCATIONS), WORKGROUPS);
    in_parts(cx, gradient, split, |to, accumulate| {
        let count = each * split.parts;
        let sizes = [count, e.rows, e.cols, e.channels, e.out_rows, e.out_cols];
        let mut params = sizes.map(word).to_vec();
        params.extend([gradient.pixels(), split.pixels].map(word));
        params.extend(e.windows());
        params.extend([x.skip, dy.skip, to.skip]);
        cx.launch(Launch {
            op: OP,
            shader: &DEPTHWISE,
            constants: &[
                ("HALF_X", flag(half_x)),
                ("HALF_DY", flag(half_dy)),
                ("VECTOR_X", flag(vectors(e.channels, half_x, x.skip))),
                ("VECTOR_DY", flag(vectors(e.channels, half_dy, dy.skip))),
                ("ACCUMULATE", flag(accumulate)),
            ],
            params: &params,
            outputs: &[to],
            inputs: &[x, dy, x, dy],
            groups: Groups::Flat(count.div_ceil(INVOCATIONS)),
        })
    })
}
