//! Batch normalization: moments, the normalization, and its gradients.

use striate_tensor::ops::{Axes, BatchNorm, BatchNormGrad, Fill, Reduce, ReduceKind};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::{
    BOTH, Constants, WORKGROUP, combinations, computed, counted, elementwise, half, reduce, word,
};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static CHANNEL_SUMS: Shader = shader!("channel_sums.wgsl", 1, 3);
static MOMENTS: Shader = shader!("moments.wgsl", 1, 2);
static BATCH_NORM: Shader = shader!("batch_norm.wgsl", 1, 4);
static BATCH_NORM_GRAD: Shader = shader!("batch_norm_grad.wgsl", 1, 5);

const SQUARES: f64 = 0.0;
const PRODUCTS: f64 = 1.0;

/// Channels that a workgroup of `channel_sums.wgsl` takes at most.
const MOST_COLS: usize = 64;
/// Rows that a lane of it sums alone: more would leave a GPU idle, and lose digits.
const LANE_ROWS: usize = 64;
/// Elements of a part, where the channels are many: it is bound as a whole.
const PART_ELEMS: usize = 1 << 16;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let cols = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let mut all = Vec::new();
    for (kind, half_dy) in [(SQUARES, &BOTH[..1]), (PRODUCTS, BOTH)] {
        let kind = [kind];
        let constants =
            [("KIND", &kind[..]), ("HALF", BOTH), ("HALF_DY", half_dy), ("COLS", &cols)];
        all.extend(combinations(&CHANNEL_SUMS, &constants));
    }
    all.extend(combinations(&MOMENTS, &[]));
    all.extend(combinations(&BATCH_NORM, &[("HALF", BOTH)]));
    all.extend(combinations(&BATCH_NORM_GRAD, &[("HALF", BOTH), ("HALF_DY", BOTH)]));
    all
}

/// Rows and channels.
fn extents(ty: &TensorType) -> (usize, usize) {
    let channels = ty.shape.dims().last().copied().unwrap_or(1);
    (ty.count() / channels.max(1), channels)
}

/// Zeros, for the sums of nothing.
pub(super) fn zeros(cx: &Context, ty: &TensorType) -> Result<GpuBuffer> {
    counted::fill(cx, &Fill { ty: *ty, value: 0.0 }, ty)
}

/// A reduction over the rows, to f32.
fn over_rows(cx: &Context, kind: ReduceKind, x: Source<'_>, channels: usize) -> Result<GpuBuffer> {
    let axes: Vec<usize> = (0..x.ty.shape.rank().saturating_sub(1)).collect();
    let op = Reduce { kind, axes: Axes::new(&axes)?, keep_axes: false };
    reduce::reduce(cx, &op, x, &TensorType::f32(Shape::new(&[channels])?))
}

/// The two sums of each channel, `[2, channels]`. The means may be the first row of moments.
fn channel_sums(
    cx: &Context,
    op: &'static str,
    kind: f64,
    [x, dy]: [Source<'_>; 2],
    means: Source<'_>,
) -> Result<GpuBuffer> {
    let (rows, channels) = extents(&x.ty);
    // By the shape alone.
    let cols = channels.next_power_of_two().min(MOST_COLS);
    let lanes = WORKGROUP / cols;
    let part = (PART_ELEMS / channels).clamp(lanes, lanes * LANE_ROWS);
    let count = rows.div_ceil(part);
    let ty = TensorType::f32(Shape::new(&[count, 2 * channels])?);
    let partial = cx.allocate_for(&ty)?;
    let means = cx.whole(means)?;
    let row_cuts = [x, dy].map(|x| cx.cuts(count, part * channels * x.ty.dtype.size_bytes()));
    let [x_cuts, dy_cuts] = row_cuts;
    for parts in parts(&[x_cuts, dy_cuts, cx.cuts(count, 8 * channels)]) {
        let rows_here = parts.start * part..(parts.end * part).min(rows);
        let range = rows_here.start * channels..rows_here.end * channels;
        let view = cx.view(x, range.clone())?;
        let dy_view = cx.view(dy, range)?;
        let sums = parts.start * 2 * channels..parts.end * 2 * channels;
        let written = cx.written(&partial, DType::F32, sums)?;
        let half_dy = if kind == SQUARES { 0.0 } else { half(dy) };
        cx.launch(Launch {
            op,
            shader: &CHANNEL_SUMS,
            constants: &[
                ("KIND", kind),
                ("HALF", half(x)),
                ("HALF_DY", half_dy),
                ("COLS", cols as f64),
            ],
            params: &[
                word(rows_here.len()),
                word(channels),
                word(part),
                word(parts.len()),
                view.skip,
                dy_view.skip,
                means.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &dy_view, &means],
            groups: Groups::Flat(parts.len() * channels.div_ceil(cols)),
        })?;
        cx.finish(&partial, &written)?;
    }
    if count == 1 {
        return Ok(partial);
    }
    over_rows(cx, ReduceKind::Sum, Source { buffer: &partial, ty }, 2 * channels)
}

/// `Σ dy` and `Σ dy · (x - mean)` of each channel, `[2, channels]`. There are elements.
pub(super) fn channel_products(
    cx: &Context,
    op: &'static str,
    operands: [Source<'_>; 2],
    means: Source<'_>,
) -> Result<GpuBuffer> {
    channel_sums(cx, op, PRODUCTS, operands, means)
}

/// Two passes over `x`: a first estimate of the means, and the sums of what differs from it.
pub(super) fn moments(cx: &Context, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    let (rows, channels) = extents(&x.ty);
    if rows == 0 {
        return zeros(cx, output);
    }
    let means = over_rows(cx, ReduceKind::Mean, x, channels)?;
    let means = Source { buffer: &means, ty: TensorType::f32(Shape::new(&[channels])?) };
    let sums = channel_sums(cx, "moments", SQUARES, [x, x], means)?;
    let sums = cx.whole(Source { buffer: &sums, ty: *output })?;
    let means = cx.whole(means)?;
    let y = cx.allocate_for(output)?;
    let written = cx.written(&y, DType::F32, 0..output.count())?;
    cx.launch(Launch {
        op: "moments",
        shader: &MOMENTS,
        constants: &[],
        params: &[
            word(channels),
            (rows as f32).to_bits(),
            means.skip,
            sums.skip,
            written.view.skip,
        ],
        outputs: &[&written.view],
        inputs: &[&means, &sums],
        groups: Groups::Flat(channels.div_ceil(WORKGROUP)),
    })?;
    cx.finish(&y, &written)?;
    Ok(y)
}

pub(super) fn sums(
    cx: &Context,
    [x, dy, moments]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    channel_products(cx, "batch_norm_sums", [x, dy], moments)
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
