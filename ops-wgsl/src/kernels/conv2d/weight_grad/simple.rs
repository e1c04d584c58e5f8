//! An invocation a weight.

use super::super::simple::INVOCATIONS;
use super::gradient::{Gradient, OP};
use crate::kernels::constants::{BOTH, Constants, combinations, word};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static SIMPLE: Shader = shader!("conv2d/weight_grad/simple.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_X", "HALF_DY", "ACCUMULATE"];
    combinations(&SIMPLE, &names.map(|name| (name, BOTH)))
}

pub(super) fn launch(cx: &Context, gradient: &Gradient<'_>) -> striate_tensor::Result<()> {
    let Gradient { extents, images, x: (x, half_x), dy: (dy, half_dy), dw, .. } = gradient;
    let count = extents.out * gradient.columns();
    let mut params = vec![word(count)];
    params.extend(extents.words());
    params.extend([x.skip, dy.skip, word(*images)]);
    params.extend(extents.windows());
    cx.launch(Launch {
        op: OP,
        shader: &SIMPLE,
        constants: &[
            ("HALF_X", flag(*half_x)),
            ("HALF_DY", flag(*half_dy)),
            ("ACCUMULATE", flag(gradient.accumulate)),
        ],
        params: &params,
        outputs: &[dw],
        inputs: &[x, dy],
        groups: Groups::Flat(count.div_ceil(INVOCATIONS)),
    })
}
