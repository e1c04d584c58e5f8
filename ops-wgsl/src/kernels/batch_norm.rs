//! Batch normalization: moments, the normalization, and its gradients.

use striate_tensor::ops::{
    BatchNorm, BatchNormGrad, BatchNormScaleGrad, BatchNormSums, RunningMoments,
};
use striate_tensor::{DType, Result, TensorType};

use super::channels::{self, ACTIVATIONS, FOUR, Masked, activation, by_vectors, extents, zeros};
use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise;
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static NORM_ONE: Shader = shader!("batch_norm.wgsl", 1, 5, "lanes_one.wgsl", "activation.wgsl");
static NORM_FOUR: Shader =
    shader!("batch_norm_four.wgsl" = "batch_norm.wgsl", 1, 5, "lanes_four.wgsl", "activation.wgsl");
static GRAD_ONE: Shader =
    shader!("batch_norm_grad.wgsl", 1, 6, "lanes_one.wgsl", "activation.wgsl");
static GRAD_FOUR: Shader = shader!(
    "batch_norm_grad_four.wgsl" = "batch_norm_grad.wgsl",
    1,
    6,
    "lanes_four.wgsl",
    "activation.wgsl"
);
static SCALE_GRAD: Shader = shader!("batch_norm_scale_grad.wgsl", 1, 2);
static RUNNING_MOMENTS: Shader = shader!("running_moments.wgsl", 1, 2);

/// Rows that an invocation takes at most, one after another: what it computes of its channels serves all.
const MOST_ROWS: usize = 16;
/// Invocations below which it takes one.
const FEW_INVOCATIONS: usize = 1 << 14;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = Vec::new();
    for (norm, grad, half) in [(&NORM_ONE, &GRAD_ONE, BOTH), (&NORM_FOUR, &GRAD_FOUR, &BOTH[..1])] {
        let constants = [("HALF", half), ("RESIDUAL", BOTH), ("ACTIVATION", ACTIVATIONS)];
        all.extend(combinations(norm, &constants));
        let constants = [("HALF", half), ("HALF_DY", half), ("ACTIVATION", ACTIVATIONS)];
        all.extend(combinations(grad, &constants));
    }
    all.extend(combinations(&SCALE_GRAD, &[]));
    all.extend(combinations(&RUNNING_MOMENTS, &[]));
    all
}

/// How the invocations share rows of so many columns.
struct Blocks {
    /// Rows of an invocation.
    rows: usize,
    groups: Groups,
}

impl Blocks {
    fn new(rows: usize, columns: usize) -> Self {
        let each = (rows * columns / FEW_INVOCATIONS).clamp(1, MOST_ROWS);
        let invocations = rows.div_ceil(each) * columns;
        Blocks { rows: each, groups: Groups::Flat(invocations.div_ceil(WORKGROUP)) }
    }
}

pub(super) fn moments(cx: &Context, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    channels::moments(cx, "moments", x)
}

pub(super) fn sums(
    cx: &Context,
    op: &BatchNormSums,
    operands: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [x, dy, moments] = [operands[0], operands[1], operands[2]];
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    let run = |masked: Option<&Masked<'_>>| {
        channels::products(cx, "batch_norm_sums", [x, dy], moments, masked)
    };
    match operands {
        [_, _, _, scale, shift] => widened(cx, *scale, |scale| {
            widened(cx, *shift, |shift| {
                let BatchNormSums { epsilon, activation } = *op;
                run(Some(&Masked { activation, epsilon, scale, shift }))
            })
        }),
        _ => run(None),
    }
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
    tensors: &[Source<'_>],
    output: &TensorType,
) -> Vec<std::ops::Range<usize>> {
    let (rows, channels) = extents(output);
    let sizes = tensors.iter().map(|x| x.ty.dtype.size_bytes()).chain([4]);
    let cuts: Vec<_> = sizes.map(|size| cx.cuts(rows, channels * size)).collect();
    parts(&cuts).into_iter().map(|rows| rows.start * channels..rows.end * channels).collect()
}

pub(super) fn batch_norm(
    cx: &Context,
    op: &BatchNorm,
    operands: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [x, moments, scale, shift] = [operands[0], operands[1], operands[2], operands[3]];
    let residual = operands.get(4).copied();
    let (_, channels) = extents(output);
    let images: Vec<Source<'_>> = [x].into_iter().chain(residual).collect();
    let by_vectors = by_vectors(&images);
    let (kind, [low, high]) = activation(op.activation);
    let run = |scale: Source<'_>, shift: Source<'_>| {
        computed(cx, output, |y| {
            let small = [cx.whole(moments)?, cx.whole(scale)?, cx.whole(shift)?];
            for range in row_parts(cx, &images, output) {
                let view = cx.view(x, range.clone())?;
                let added =
                    residual.map(|residual| cx.view(residual, range.clone())).transpose()?;
                let added = added.as_ref();
                let written = cx.written(y.buffer, DType::F32, range.clone())?;
                let rows = range.len() / channels;
                let blocks = Blocks::new(rows, if by_vectors { channels / FOUR } else { channels });
                cx.launch(Launch {
                    op: "batch_norm",
                    shader: if by_vectors { &NORM_FOUR } else { &NORM_ONE },
                    constants: &[
                        ("HALF", half(x)),
                        ("RESIDUAL", flag(residual.is_some())),
                        ("ACTIVATION", kind),
                    ],
                    params: &[
                        word(rows),
                        word(channels),
                        word(blocks.rows),
                        op.epsilon.to_bits(),
                        low,
                        high,
                        view.skip,
                        small[0].skip,
                        small[1].skip,
                        small[2].skip,
                        added.map_or(0, |added| added.skip),
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    // Without an addend something has to be bound.
                    inputs: &[&view, &small[0], &small[1], &small[2], added.unwrap_or(&view)],
                    groups: blocks.groups,
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
    operands: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [x, dy, moments, sums] = [operands[0], operands[1], operands[2], operands[3]];
    // Without an activation there is no shift, and something has to be bound.
    let (scale, shift) = (operands[4], *operands.get(5).unwrap_or(&operands[4]));
    let (count, channels) = extents(output);
    let by_vectors = by_vectors(&[x, dy]);
    let (kind, [low, high]) = activation(op.activation);
    let run = |scale: Source<'_>, shift: Source<'_>| {
        computed(cx, output, |dx| {
            let small = [cx.whole(moments)?, cx.whole(sums)?, cx.whole(scale)?, cx.whole(shift)?];
            for range in row_parts(cx, &[x, dy], output) {
                let view = cx.view(x, range.clone())?;
                let dy_view = cx.view(dy, range.clone())?;
                let written = cx.written(dx.buffer, DType::F32, range.clone())?;
                let rows = range.len() / channels;
                let blocks = Blocks::new(rows, if by_vectors { channels / FOUR } else { channels });
                cx.launch(Launch {
                    op: "batch_norm_grad",
                    shader: if by_vectors { &GRAD_FOUR } else { &GRAD_ONE },
                    constants: &[("HALF", half(x)), ("HALF_DY", half(dy)), ("ACTIVATION", kind)],
                    params: &[
                        word(rows),
                        word(channels),
                        word(blocks.rows),
                        (count as f32).to_bits(),
                        op.epsilon.to_bits(),
                        low,
                        high,
                        view.skip,
                        dy_view.skip,
                        small[0].skip,
                        small[1].skip,
                        small[2].skip,
                        small[3].skip,
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &dy_view, &small[0], &small[1], &small[2], &small[3]],
                    groups: blocks.groups,
                })?;
                cx.finish(dx.buffer, &written)?;
            }
            Ok(())
        })
    };
    widened(cx, scale, |scale| widened(cx, shift, |shift| run(scale, shift)))
}
