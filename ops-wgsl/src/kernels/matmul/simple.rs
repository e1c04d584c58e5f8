//! Any product, an invocation an element.

use super::Product;
use crate::kernels::{BOTH, Constants, combinations, word};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static SIMPLE: Shader = shader!("matmul/simple.wgsl", 1, 3);

/// Rows and columns of a workgroup.
const TILE: usize = 8;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_A", "HALF_B", "HALF_BIAS", "BIAS", "RELU", "ACCUMULATE"];
    combinations(&SIMPLE, &names.map(|name| (name, BOTH)))
}

pub(super) fn launch(cx: &Context, product: &Product<'_>) -> striate_tensor::Result<()> {
    let Product { m, n, k, a, b, y, bias, relu, accumulate, batch } = product;
    let (bias_view, bias_half) = bias.unwrap_or((a.view, false));
    let mut params: Vec<u32> = [*m, *n, *k].map(word).into();
    params.extend([a.view.skip, b.view.skip, bias_view.skip, y.view.skip]);
    params.extend([y.row, a.row, a.col, b.row, b.col, batch.len()].map(word));
    params.extend([0; 3]);
    for (extent, [a, b, y]) in *batch {
        params.extend([word(*extent), *a, *b, *y]);
    }
    let matrices: usize = batch.iter().map(|(extent, _)| extent).product();
    cx.launch(Launch {
        op: "matmul",
        shader: &SIMPLE,
        constants: &[
            ("HALF_A", flag(a.half)),
            ("HALF_B", flag(b.half)),
            ("HALF_BIAS", flag(bias_half)),
            ("BIAS", flag(bias.is_some())),
            ("RELU", flag(*relu)),
            ("ACCUMULATE", flag(*accumulate)),
        ],
        params: &params,
        outputs: &[y.view],
        inputs: &[a.view, b.view, bias_view],
        groups: Groups::Flat(m.div_ceil(TILE) * n.div_ceil(TILE) * matrices),
    })
}
