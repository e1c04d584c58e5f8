//! Cross-entropy with smoothed labels, weights of classes and ignored labels, and its gradient.

use striate_tensor::ops::{Softmax, WeightedCrossEntropy};
use striate_tensor::{DType, Result, TensorType};

use super::constants::{Constants, half, word};
use super::elementwise::computed;
use super::softmax::softmax;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static SHADER: Shader = shader!("weighted_cross_entropy.wgsl", 1, 4);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let one =
        |gradient, half| (&SHADER, vec![("GRADIENT", flag(gradient)), ("HALF_DY", flag(half))]);
    vec![one(false, false), one(true, false), one(true, true)]
}

/// The loss of each sample, or its gradient where `dy` is given.
pub(super) fn weighted_cross_entropy(
    cx: &Context,
    op: &WeightedCrossEntropy,
    [logits, labels, weights]: [Source<'_>; 3],
    dy: Option<Source<'_>>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let name = match dy {
        Some(_) => "weighted_cross_entropy_grad",
        None => "weighted_cross_entropy",
    };
    let [n, classes] = logits.ty.shape.matrix(name, "logits")?;
    let ty = TensorType::f32(logits.ty.shape);
    let p = softmax(cx, &Softmax { axis: 1, log: dy.is_none() }, logits, &ty)?;
    let p = Source { buffer: &p, ty };
    let weights = cx.whole(weights)?;
    // The losses are a number a row, the gradient is as large as the logits.
    let row = if dy.is_some() { classes } else { 1 };
    let dy_cuts = dy.map_or_else(Vec::new, |dy| cx.cuts(n, dy.ty.dtype.size_bytes()));
    computed(cx, output, |y| {
        for rows in parts(&[cx.cuts(n, 4 * classes), cx.cuts(n, 4), dy_cuts.clone()]) {
            let view = cx.view(p, rows.start * classes..rows.end * classes)?;
            let labels = cx.view(labels, rows.clone())?;
            let dy_view = dy.map(|dy| cx.view(dy, rows.clone())).transpose()?;
            let range = rows.start * row..rows.end * row;
            let written = cx.written(y.buffer, DType::F32, range)?;
            cx.launch(Launch {
                op: name,
                shader: &SHADER,
                constants: &[("GRADIENT", flag(dy.is_some())), ("HALF_DY", dy.map_or(0.0, half))],
                params: &[
                    word(rows.len()),
                    word(classes),
                    view.skip,
                    labels.skip,
                    weights.skip,
                    dy_view.as_ref().map_or(0, |view| view.skip),
                    written.view.skip,
                    u32::from(op.ignored.is_some()),
                    op.ignored.unwrap_or(0),
                    op.smoothing.to_bits(),
                ],
                outputs: &[&written.view],
                inputs: &[&view, &labels, &weights, dy_view.as_ref().unwrap_or(&labels)],
                groups: Groups::Flat(rows.len()),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}
