//! Full-connect at small batches: few rows, and weights that are stored along the depth. Bound by
//! reading the weights, which a product by tiles reads with most of its rows empty.

use super::product::{Asked, Product};
use crate::kernels::activations::{Activated, activated, bounds};
use crate::kernels::constants::{BOTH, Constants, sets, word};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static MATVEC: Activated = activated!("matmul/matvec.wgsl", 1, 5);

/// Columns of a workgroup.
const COLS: usize = 4;
/// Rows that are summed at a time: 16 rows of 64 partial sums of 4 columns are the 16 KiB of
/// workgroup memory that there is everywhere.
const ROWS: [usize; 5] = [1, 2, 4, 8, 16];

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let rows = ROWS.map(|n| n as f64);
    let names = ["HALF_A", "HALF_B", "HALF_BIAS", "BIAS", "ACCUMULATE"];
    let mut constants: Vec<(&'static str, &[f64])> = names.map(|name| (name, BOTH)).into();
    constants.push(("ROWS", &rows));
    MATVEC.variants(&sets(&constants))
}

/// Rows of the specialisation that takes a product, if one does: it reads vectors of four elements
/// of both operands.
fn rows(product: &Asked<'_>) -> Option<usize> {
    let Asked { m, k, a, b, batch, .. } = product;
    let four = |n: usize| n.is_multiple_of(4);
    let vectors = four(*k)
        && [(a, a.col, a.row), (b, b.row, b.col)]
            .into_iter()
            .all(|(matrix, step, line)| step == 1 && four(line) && four(matrix.skip));
    let single = batch.iter().all(|(extent, _)| *extent == 1);
    // A short depth leaves most of a workgroup without work.
    let deep = *k >= 128;
    ROWS.into_iter().find(|rows| m <= rows).filter(|_| vectors && single && deep)
}

/// Whether this kernel takes a product.
pub(super) fn takes(product: &Asked<'_>) -> bool {
    rows(product).is_some()
}

pub(super) fn launch(cx: &Context, product: &Product<'_>) -> striate_tensor::Result<()> {
    let Product { m, n, k, a, b, y, bias, activation, accumulate, .. } = product;
    let (bias_view, bias_half) = bias.unwrap_or((a.view, false));
    let rows = rows(&product.asked()).unwrap_or(ROWS[ROWS.len() - 1]);
    let mut params: Vec<u32> = [*m, *n, k / 4, a.row, b.col, y.row].map(word).into();
    params.extend([a.view.skip, b.view.skip, bias_view.skip, y.view.skip]);
    params.extend(bounds(*activation));
    cx.launch(Launch {
        op: "matmul",
        shader: MATVEC.of(*activation),
        constants: &[
            ("HALF_A", flag(a.half)),
            ("HALF_B", flag(b.half)),
            ("HALF_BIAS", flag(bias_half)),
            ("BIAS", flag(bias.is_some())),
            ("ACCUMULATE", flag(*accumulate)),
            ("ROWS", rows as f64),
        ],
        params: &params,
        outputs: &[y.view],
        inputs: &[a.view, b.view, bias_view, a.view, b.view],
        groups: Groups::Flat(n.div_ceil(COLS)),
    })
}
