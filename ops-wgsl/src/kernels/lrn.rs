//! Local response normalization, and its gradient.

use striate_tensor::ops::Lrn;
use striate_tensor::{DType, Result, TensorType};

use super::{BOTH, Constants, WORKGROUP, combinations, computed, half, word};
use crate::buffer::{GpuBuffer, Source, View, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static LRN: Shader = shader!("lrn.wgsl", 1, 3);

const FORWARD: f64 = 0.0;
const TERMS: f64 = 1.0;
const GRADIENT: f64 = 2.0;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let betas: &[f64] = &[0.0, 1.0, 2.0];
    let mut all = Vec::new();
    for (kind, half_dy) in [(FORWARD, &BOTH[..1]), (TERMS, BOTH), (GRADIENT, BOTH)] {
        let kind = [kind];
        let constants =
            [("KIND", &kind[..]), ("BETA", betas), ("HALF", BOTH), ("HALF_DY", half_dy)];
        all.extend(combinations(&LRN, &constants));
    }
    all
}

/// The operands of a part of the pixels.
struct Part<'a> {
    x: (Source<'a>, &'a View),
    dy: (f64, &'a View),
    terms: &'a View,
    y: &'a View,
    pixels: usize,
}

fn launch(cx: &Context, op: &'static str, kind: f64, lrn: &Lrn, part: Part<'_>) -> Result<()> {
    let Part { x: (x, x_view), dy: (half_dy, dy), terms, y, pixels } = part;
    let channels = x.ty.shape.dims().last().copied().unwrap_or(1);
    let beta = match lrn.beta {
        0.75 => 1.0,
        0.5 => 2.0,
        _ => 0.0,
    };
    let count = pixels * channels;
    cx.launch(Launch {
        op,
        shader: &LRN,
        constants: &[("KIND", kind), ("BETA", beta), ("HALF", half(x)), ("HALF_DY", half_dy)],
        params: &[
            word(count),
            word(channels),
            word(channels / lrn.groups),
            // A window is never wider than the channels.
            word((lrn.size / 2).min(channels)),
            lrn.kappa.to_bits(),
            lrn.alpha.to_bits(),
            lrn.beta.to_bits(),
            x_view.skip,
            dy.skip,
            terms.skip,
            y.skip,
        ],
        outputs: &[y],
        inputs: &[x_view, dy, terms],
        groups: Groups::Flat(count.div_ceil(WORKGROUP)),
    })
}

/// The channels, and the pixels in parts that can be bound in tensors of these element types.
fn pixels(cx: &Context, x: Source<'_>, types: &[DType]) -> (usize, Vec<std::ops::Range<usize>>) {
    let channels = x.ty.shape.dims().last().copied().unwrap_or(1);
    let pixels = x.ty.count() / channels.max(1);
    let cuts: Vec<_> =
        types.iter().map(|dtype| cx.cuts(pixels, channels * dtype.size_bytes())).collect();
    (channels, parts(&cuts))
}

pub(super) fn lrn(cx: &Context, op: &Lrn, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    computed(cx, output, |y| {
        let (channels, parts) = pixels(cx, x, &[x.ty.dtype, DType::F32]);
        for part in parts {
            let range = part.start * channels..part.end * channels;
            let view = cx.view(x, range.clone())?;
            let written = cx.written(y.buffer, DType::F32, range)?;
            let operands = Part {
                x: (x, &view),
                dy: (0.0, &view),
                terms: &view,
                y: &written.view,
                pixels: part.len(),
            };
            launch(cx, "lrn", FORWARD, op, operands)?;
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
        for part in parts {
            let range = part.start * channels..part.end * channels;
            let view = cx.view(x, range.clone())?;
            let dy_view = cx.view(dy, range.clone())?;
            let ty = TensorType::f32(striate_tensor::Shape::new(&[range.len()])?);
            let terms = cx.allocate_for(&ty)?;
            let terms = cx.whole(Source { buffer: &terms, ty })?;
            let operands = |y, terms| Part {
                x: (x, &view),
                dy: (half(dy), &dy_view),
                terms,
                y,
                pixels: part.len(),
            };
            launch(cx, "lrn_grad", TERMS, op, operands(&terms, &view))?;
            let written = cx.written(dx.buffer, DType::F32, range)?;
            launch(cx, "lrn_grad", GRADIENT, op, operands(&written.view, &terms))?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    })
}
