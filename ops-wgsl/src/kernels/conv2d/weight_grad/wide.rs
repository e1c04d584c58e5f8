//! A tile an invocation, for drivers that run shaders on a processor.

use super::gradient::{Gradient, OP, in_parts, operand_variants};
use crate::kernels::constants::{Constants, word};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static WIDE: Shader = shader!("conv2d/weight_grad/wide.wgsl", 1, 4);

/// Outputs, and weights of each, of an invocation; invocations of a workgroup.
const TILE: usize = 16;
const INVOCATIONS: usize = 8;
/// Workgroups for the cores of a processor.
const WORKGROUPS: usize = 32;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    operand_variants(&WIDE)
}

pub(super) fn launch(cx: &Context, gradient: &Gradient<'_>) -> striate_tensor::Result<()> {
    let Gradient { extents, x: (x, half_x), dy: (dy, half_dy), .. } = *gradient;
    let groups = extents.groups;
    let tiles = gradient.rows().div_ceil(TILE) * gradient.columns().div_ceil(TILE) * groups;
    let split = gradient.split(tiles.div_ceil(INVOCATIONS), WORKGROUPS);
    let four = |n: usize| n.is_multiple_of(4);
    let vector_x = !half_x && four(extents.channels / groups) && four(x.skip as usize);
    let vector_dy = !half_dy && four(gradient.rows()) && four(dy.skip as usize);
    in_parts(cx, gradient, split, |to, accumulate| {
        let mut params = extents.words().to_vec();
        params.extend(extents.windows());
        params.extend([gradient.pixels(), split.pixels, split.parts, groups].map(word));
        params.extend([x.skip, dy.skip, to.skip]);
        cx.launch(Launch {
            op: OP,
            shader: &WIDE,
            constants: &[
                ("HALF_X", flag(half_x)),
                ("HALF_DY", flag(half_dy)),
                ("VECTOR_X", flag(vector_x)),
                ("VECTOR_DY", flag(vector_dy)),
                ("ACCUMULATE", flag(accumulate)),
            ],
            params: &params,
            outputs: &[to],
            inputs: &[x, dy, x, dy],
            groups: Groups::Flat((tiles * split.parts).div_ceil(INVOCATIONS)),
        })
    })
}
