//! Softmax, its logarithm, and cross-entropy.

use striate_tensor::ops::Softmax;
use striate_tensor::{Result, TensorType};

use super::constants::{BOTH, Constants, combinations, half, word};
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static SOFTMAX: Shader = shader!("softmax.wgsl", 1, 2);

/// Invocations of a workgroup of `softmax.wgsl`.
const INVOCATIONS: usize = 64;

const PLAIN: f64 = 0.0;
const LOGARITHM: f64 = 1.0;
const CROSS_ENTROPY: f64 = 2.0;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let kinds = [PLAIN, LOGARITHM, CROSS_ENTROPY];
    combinations(&SOFTMAX, &[("KIND", &kinds), ("HALF", BOTH), ("TOGETHER", BOTH)])
}

pub(super) fn softmax(
    cx: &Context,
    op: &Softmax,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [outer, extent, inner] = x.ty.shape.around(op.axis, "softmax")?;
    let row = extent * inner;
    computed(cx, output, |y| {
        for rows in parts(&[cx.cuts(outer, row * x.ty.dtype.size_bytes()), cx.cuts(outer, 4 * row)])
        {
            let range = rows.start * row..rows.end * row;
            let view = cx.view(x, range.clone())?;
            let written = cx.written(y.buffer, y.ty.dtype, range)?;
            let lines = rows.len() * inner;
            let together = inner == 1;
            let groups = if together { lines } else { lines.div_ceil(INVOCATIONS) };
            cx.launch(Launch {
                op: striate_tensor::Op::from(*op).name(),
                shader: &SOFTMAX,
                constants: &[
                    ("KIND", if op.log { LOGARITHM } else { PLAIN }),
                    ("HALF", half(x)),
                    ("TOGETHER", flag(together)),
                ],
                params: &[word(lines), word(extent), word(inner), view.skip, written.view.skip],
                outputs: &[&written.view],
                inputs: &[&view, &view],
                groups: Groups::Flat(groups),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}

pub(super) fn cross_entropy(
    cx: &Context,
    logits: Source<'_>,
    labels: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [n, classes] = logits.ty.shape.matrix("cross_entropy", "logits")?;
    computed(cx, output, |y| {
        for rows in parts(&[cx.cuts(n, classes * logits.ty.dtype.size_bytes()), cx.cuts(n, 4)]) {
            let view = cx.view(logits, rows.start * classes..rows.end * classes)?;
            let labels = cx.view(labels, rows.clone())?;
            let written = cx.written(y.buffer, y.ty.dtype, rows.clone())?;
            cx.launch(Launch {
                op: "cross_entropy",
                shader: &SOFTMAX,
                constants: &[("KIND", CROSS_ENTROPY), ("HALF", half(logits)), ("TOGETHER", 1.0)],
                params: &[
                    word(rows.len()),
                    word(classes),
                    1,
                    view.skip,
                    written.view.skip,
                    labels.skip,
                ],
                outputs: &[&written.view],
                inputs: &[&view, &labels],
                groups: Groups::Flat(rows.len()),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}
