//! Batch normalization: moments, the normalization, and its gradients.

use striate_tensor::ops::{BatchNorm, BatchNormGrad, BatchNormScaleGrad, RunningMoments};
use striate_tensor::{DType, Result, TensorType};

use super::channels::{self, extents, zeros};
use super::{BOTH, Constants, WORKGROUP, combinations, computed, elementwise, half, word};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static BATCH_NORM: Shader = shader!("batch_norm.wgsl", 1, 4);
static BATCH_NORM_GRAD: Shader = shader!("batch_norm_grad.wgsl", 1, 5);
static SCALE_GRAD: Shader = shader!("batch_norm_scale_grad.wgsl", 1, 2);
static RUNNING_MOMENTS: Shader = shader!("running_moments.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&BATCH_NORM, &[("HALF", BOTH)]);
    all.extend(combinations(&BATCH_NORM_GRAD, &[("HALF", BOTH), ("HALF_DY", BOTH)]));
    all.extend(combinations(&SCALE_GRAD, &[]));
    all.extend(combinations(&RUNNING_MOMENTS, &[]));
    all
}

pub(super) fn moments(cx: &Context, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    channels::moments(cx, "moments", x)
}

pub(super) fn sums(
    cx: &Context,
    [x, dy, moments]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    channels::products(cx, "batch_norm_sums", [x, dy], moments)
}

pub(super) fn scale_grad(
    cx: &Context,
    op: &BatchNormScaleGrad,
    operands: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let params = [word(output.count()), op.epsilon.to_bits()];
    small(cx, "batch_norm_scale_grad", &SCALE_GRAD, &params, operands, output)
}

pub(super) fn running_moments(
    cx: &Context,
    op: &RunningMoments,
    operands: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [kept, of_mean, of_variance] = op.factors().map(f32::to_bits);
    let params = [word(output.count() / 2), kept, of_mean, of_variance];
    small(cx, "running_moments", &RUNNING_MOMENTS, &params, operands, output)
}

/// An op on two operands `[2, channels]`, which are bound whole.
fn small(
    cx: &Context,
    op: &'static str,
    shader: &'static Shader,
    params: &[u32],
    [a, b]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let y = cx.allocate_for(output)?;
    let (a, b) = (cx.whole(a)?, cx.whole(b)?);
    let written = cx.written(&y, DType::F32, 0..output.count())?;
    cx.launch(Launch {
        op,
        shader,
        constants: &[],
        params: &[params, &[a.skip, b.skip, written.view.skip]].concat(),
        outputs: &[&written.view],
        inputs: &[&a, &b],
        groups: Groups::Flat(output.count().div_ceil(WORKGROUP)),
    })?;
    cx.finish(&y, &written)?;
    Ok(y)
}

/// Calls with a small operand in f32.
pub(super) fn widened<T>(
    cx: &Context,
    x: Source<'_>,
    work: impl FnOnce(Source<'_>) -> Result<T>,
) -> Result<T> {
    if !x.half() {
        return work(x);
    }
    let wide = elementwise::cast(cx, x, DType::F32)?;
    work(Source { buffer: &wide, ty: TensorType::f32(x.ty.shape) })
}

/// The rows in parts that can be bound, as ranges of elements.
fn row_parts(
    cx: &Context,
    tensors: &[TensorType],
    output: &TensorType,
) -> Vec<std::ops::Range<usize>> {
    let (rows, channels) = extents(output);
    let sizes = tensors.iter().map(|ty| ty.dtype.size_bytes()).chain([4]);
    let cuts: Vec<_> = sizes.map(|size| cx.cuts(rows, channels * size)).collect();
    parts(&cuts).into_iter().map(|rows| rows.start * channels..rows.end * channels).collect()
}

pub(super) fn batch_norm(
    cx: &Context,
    op: &BatchNorm,
    [x, moments, scale, shift]: [Source<'_>; 4],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let (_, channels) = extents(output);
    let run = |scale: Source<'_>, shift: Source<'_>| {
        computed(cx, output, |y| {
            let small = [cx.whole(moments)?, cx.whole(scale)?, cx.whole(shift)?];
            for range in row_parts(cx, &[x.ty], output) {
                let view = cx.view(x, range.clone())?;
                let written = cx.written(y.buffer, DType::F32, range.clone())?;
                cx.launch(Launch {
                    op: "batch_norm",
                    shader: &BATCH_NORM,
                    constants: &[("HALF", half(x))],
                    params: &[
                        word(range.len()),
                        word(channels),
                        op.epsilon.to_bits(),
                        u32::from(op.relu),
                        view.skip,
                        small[0].skip,
                        small[1].skip,
                        small[2].skip,
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &small[0], &small[1], &small[2]],
                    groups: Groups::Flat(range.len().div_ceil(WORKGROUP)),
                })?;
                cx.finish(y.buffer, &written)?;
            }
            Ok(())
        })
    };
    widened(cx, scale, |scale| widened(cx, shift, |shift| run(scale, shift)))
}

pub(super) fn grad(
    cx: &Context,
    op: &BatchNormGrad,
    [x, dy, moments, sums, scale]: [Source<'_>; 5],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let (rows, channels) = extents(output);
    let run = |scale: Source<'_>| {
        computed(cx, output, |dx| {
            let small = [cx.whole(moments)?, cx.whole(sums)?, cx.whole(scale)?];
            for range in row_parts(cx, &[x.ty, dy.ty], output) {
                let view = cx.view(x, range.clone())?;
                let dy_view = cx.view(dy, range.clone())?;
                let written = cx.written(dx.buffer, DType::F32, range.clone())?;
                cx.launch(Launch {
                    op: "batch_norm_grad",
                    shader: &BATCH_NORM_GRAD,
                    constants: &[("HALF", half(x)), ("HALF_DY", half(dy))],
                    params: &[
                        word(range.len()),
                        word(channels),
                        (rows as f32).to_bits(),
                        op.epsilon.to_bits(),
                        view.skip,
                        dy_view.skip,
                        small[0].skip,
                        small[1].skip,
                        small[2].skip,
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &dy_view, &small[0], &small[1], &small[2]],
                    groups: Groups::Flat(range.len().div_ceil(WORKGROUP)),
                })?;
                cx.finish(dx.buffer, &written)?;
            }
            Ok(())
        })
    };
    widened(cx, scale, run)
}
