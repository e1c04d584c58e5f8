//! Any product, an invocation an element.

use super::product::Product;
use crate::kernels::activations::{Activated, activated, bounds};
use crate::kernels::constants::{BOTH, Constants, sets, word};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static SIMPLE: Activated = activated!("matmul/simple.wgsl", 1, 3);

/// Rows and columns of a workgroup.
const TILE: usize = 8;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_A", "HALF_B", "HALF_BIAS", "BIAS", "ACCUMULATE"];
    SIMPLE.variants(&sets(&names.map(|name| (name, BOTH))))
}

pub(super) fn launch(cx: &Context, product: &Product<'_>) -> striate_tensor::Result<()> {
    let Product { m, n, k, a, b, y, bias, activation, accumulate, batch } = product;
    let (bias_view, bias_half) = bias.unwrap_or((a.view, false));
    let mut params: Vec<u32> = [*m, *n, *k].map(word).into();
    params.extend([a.view.skip, b.view.skip, bias_view.skip, y.view.skip]);
    params.extend([y.row, a.row, a.col, b.row, b.col, batch.len()].map(word));
    params.extend(bounds(*activation));
    params.push(0);
    for (extent, [a, b, y]) in *batch {
        params.extend([word(*extent), *a, *b, *y]);
    }
    let matrices: usize = batch.iter().map(|(extent, _)| extent).product();
    cx.launch(Launch {
        op: "matmul",
        shader: SIMPLE.of(*activation),
        constants: &[
            ("HALF_A", flag(a.half)),
            ("HALF_B", flag(b.half)),
            ("HALF_BIAS", flag(bias_half)),
            ("BIAS", flag(bias.is_some())),
            ("ACCUMULATE", flag(*accumulate)),
        ],
        params: &params,
        outputs: &[y.view],
        inputs: &[a.view, b.view, bias_view],
        groups: Groups::Flat(m.div_ceil(TILE) * n.div_ceil(TILE) * matrices),
    })
}
