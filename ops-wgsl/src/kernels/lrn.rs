//! Local response normalization, and its gradient.

use std::ops::Range;

use striate_tensor::ops::Lrn;
use striate_tensor::{DType, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, View, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static LRN: Shader = shader!("lrn.wgsl", 1, 1, "lrn_window.wgsl");
static LRN_GRAD: Shader = shader!("lrn_grad.wgsl", 1, 2, "lrn_window.wgsl");

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let betas: &[f64] = &[0.0, 1.0, 2.0];
    let mut all = combinations(&LRN, &[("BETA", betas), ("HALF", BOTH)]);
    all.extend(combinations(&LRN_GRAD, &[("BETA", betas), ("HALF", BOTH), ("HALF_DY", BOTH)]));
    all
}

/// The `BETA` of the shaders.
fn beta(lrn: &Lrn) -> f64 {
    match lrn.beta {
        0.75 => 1.0,
        0.5 => 2.0,
        _ => 0.0,
    }
}

/// Channels of a window on either side: it is never wider than the channels.
fn reach(lrn: &Lrn, channels: usize) -> usize {
    (lrn.size / 2).min(channels)
}

/// Elements whose gradients a workgroup computes: those whose windows lie within the elements that its
/// invocations go through at once, unless windows are wide.
fn own(reach: usize) -> usize {
    if reach <= WORKGROUP / 8 { WORKGROUP - 2 * reach } else { WORKGROUP }
}

/// The parameters of the shaders, of so many elements.
fn params(lrn: &Lrn, count: usize, channels: usize, [x, dy, y]: [&View; 3]) -> [u32; 11] {
    let reach = reach(lrn, channels);
    [
        word(count),
        word(channels),
        word(channels / lrn.groups),
        word(reach),
        lrn.kappa.to_bits(),
        lrn.alpha.to_bits(),
        lrn.beta.to_bits(),
        x.skip,
        dy.skip,
        y.skip,
        word(own(reach)),
    ]
}

/// The channels, and the elements in parts of whole pixels that can be bound in tensors of these element
/// types.
fn pixels(cx: &Context, x: Source<'_>, types: &[DType]) -> (usize, Vec<Range<usize>>) {
    let channels = x.ty.shape.dims().last().copied().unwrap_or(1);
    let pixels = x.ty.count() / channels.max(1);
    let cuts = types.iter().map(|dtype| cx.cuts(pixels, channels * dtype.size_bytes()));
    let parts = parts(&cuts.collect::<Vec<_>>()).into_iter();
    (channels, parts.map(|part| part.start * channels..part.end * channels).collect())
}

pub(super) fn lrn(cx: &Context, op: &Lrn, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    computed(cx, output, |y| {
        let (channels, parts) = pixels(cx, x, &[x.ty.dtype, DType::F32]);
        for range in parts {
            let view = cx.view(x, range.clone())?;
            let written = cx.written(y.buffer, DType::F32, range.clone())?;
            cx.launch(Launch {
                op: "lrn",
                shader: &LRN,
                constants: &[("BETA", beta(op)), ("HALF", half(x))],
                params: &params(op, range.len(), channels, [&view, &view, &written.view]),
                outputs: &[&written.view],
                inputs: &[&view],
                groups: Groups::Flat(range.len().div_ceil(WORKGROUP)),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}

pub(super) fn lrn_grad(
    cx: &Context,
    op: &Lrn,
    [x, dy]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    computed(cx, output, |dx| {
        let (channels, parts) = pixels(cx, x, &[x.ty.dtype, dy.ty.dtype, DType::F32]);
        for range in parts {
            let view = cx.view(x, range.clone())?;
            let dy_view = cx.view(dy, range.clone())?;
            let written = cx.written(dx.buffer, DType::F32, range.clone())?;
            cx.launch(Launch {
                op: "lrn_grad",
                shader: &LRN_GRAD,
                constants: &[("BETA", beta(op)), ("HALF", half(x)), ("HALF_DY", half(dy))],
                params: &params(op, range.len(), channels, [&view, &dy_view, &written.view]),
                outputs: &[&written.view],
                inputs: &[&view, &dy_view],
                groups: Groups::Flat(range.len().div_ceil(own(reach(op, channels)))),
            })?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    })
}
