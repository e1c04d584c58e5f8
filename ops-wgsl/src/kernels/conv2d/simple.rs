//! Any convolution, an invocation an element.

use super::convolution::Convolution;
use crate::kernels::activations::{Activated, activated, bounds};
use crate::kernels::constants::{BOTH, Constants, half, sets, word};
use crate::kernels::gemm::{Added, RESIDUALS, Strided};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static SIMPLE: Activated = activated!("conv2d/simple.wgsl", 1, 4);

/// Invocations of a workgroup.
pub(super) const INVOCATIONS: usize = 64;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_X", "HALF_W", "HALF_BIAS", "BIAS"];
    let mut constants = names.map(|name| (name, BOTH)).to_vec();
    constants.push(("RESIDUAL", RESIDUALS));
    SIMPLE.variants(&sets(&constants))
}

pub(super) fn launch(cx: &Context, convolution: &Convolution<'_>) -> striate_tensor::Result<()> {
    let Convolution { op, extents, images, x: (x, half_x), w: (w, weights), .. } = convolution;
    let Convolution { bias, residual, activation, y, strided, .. } = convolution;
    let (bias_view, bias_half) = bias.unwrap_or((x, false));
    let count = images * extents.out_image();
    let mut params = vec![word(count)];
    params.extend(extents.words());
    params.extend([x.skip, weights.skip, bias_view.skip]);
    params.extend(extents.windows());
    params.push(y.skip);
    params.push(Added::skip(residual.as_ref()));
    params.extend(Strided::words(strided.as_ref()));
    params.push(strided.map_or(0, |strided| word(strided.pixel)));
    params.extend(bounds(*activation));
    cx.launch(Launch {
        op,
        shader: SIMPLE.of(*activation),
        constants: &[
            ("HALF_X", flag(*half_x)),
            ("HALF_W", half(*w)),
            ("HALF_BIAS", flag(bias_half)),
            ("BIAS", flag(bias.is_some())),
            ("RESIDUAL", Added::flag(residual.as_ref())),
        ],
        params: &params,
        outputs: &[y],
        inputs: &[x, weights, bias_view, residual.map_or(x, |residual| residual.view)],
        groups: Groups::Flat(count.div_ceil(INVOCATIONS)),
    })
}
