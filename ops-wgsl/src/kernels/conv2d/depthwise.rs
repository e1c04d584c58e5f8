//! Convolution of each channel by itself, which is no product of matrices.

use super::convolution::{Convolution, Extents};
use crate::kernels::activations::{Activated, activated, bounds};
use crate::kernels::constants::{BOTH, Constants, half, sets, word};
use crate::kernels::gemm::{Added, RESIDUALS, Strided};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static DEPTHWISE: Activated =
    activated!("conv2d/depthwise.wgsl", 1, 5, "conv2d/depthwise_pixel.wgsl");

/// Channels, and outputs of a row, of an invocation; invocations of a workgroup.
const CHANNELS: usize = 4;
const COLS: usize = 4;
const INVOCATIONS: usize = 64;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_W", "HALF_BIAS", "BIAS"].map(|name| (name, BOTH));
    let mut all = Vec::new();
    // Vectors are of f32.
    for (half_x, vector) in [(BOTH, [0.0].as_slice()), (&[0.0], &[1.0])] {
        let images = [("HALF_X", half_x), ("VECTOR_X", vector), ("RESIDUAL", RESIDUALS)];
        all.extend(sets(&[&names[..], &images].concat()));
    }
    DEPTHWISE.variants(&all)
}

/// Whether this kernel takes a convolution.
pub(super) fn takes(extents: &Extents) -> bool {
    extents.groups == extents.channels && extents.groups == extents.out && extents.groups > 1
}

/// Whether four channels can be loaded at once.
pub(super) fn vectors(channels: usize, half: bool, skip: u32) -> bool {
    !half && channels.is_multiple_of(CHANNELS) && skip.is_multiple_of(CHANNELS as u32)
}

pub(super) fn launch(cx: &Context, convolution: &Convolution<'_>) -> striate_tensor::Result<()> {
    let Convolution { op, extents: e, images, x: (x, half_x), w: (w, weights), .. } = convolution;
    let Convolution { bias, residual, activation, y, strided, .. } = convolution;
    let (bias_view, bias_half) = bias.unwrap_or((x, false));
    let row = e.channels.div_ceil(CHANNELS) * e.out_cols.div_ceil(COLS);
    let count = images * e.out_rows * row;
    let sizes = [count, e.rows, e.cols, e.channels, e.out_rows, e.out_cols];
    let mut params = sizes.map(word).to_vec();
    params.extend([x.skip, weights.skip]);
    params.extend(e.windows());
    params.extend([bias_view.skip, y.skip, Added::skip(residual.as_ref())]);
    let own = Strided { image: e.out_image(), row: e.out_cols * e.out, pixel: e.out };
    let Strided { image, row, pixel } = strided.unwrap_or(own);
    params.extend([image, row, pixel].map(word));
    params.extend(bounds(*activation));
    cx.launch(Launch {
        op,
        shader: DEPTHWISE.of(*activation),
        constants: &[
            ("HALF_X", flag(*half_x)),
            ("HALF_W", half(*w)),
            ("HALF_BIAS", flag(bias_half)),
            ("BIAS", flag(bias.is_some())),
            ("RESIDUAL", Added::flag(residual.as_ref())),
            ("VECTOR_X", flag(vectors(e.channels, *half_x, x.skip))),
        ],
        params: &params,
        outputs: &[y],
        inputs: &[x, weights, bias_view, residual.map_or(x, |residual| residual.view), x],
        groups: Groups::Flat(count.div_ceil(INVOCATIONS)),
    })
}
