//! Layer, group and instance normalization, and their gradients.

use std::ops::Range;

use striate_tensor::ops::{GroupExtents, GroupNorm};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::batch_norm::widened;
use super::channels::{products, zeros};
use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::counted;
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static GROUP_MEANS: Shader = shader!("group_means.wgsl", 1, 4);
static GROUP_NORM: Shader = shader!("group_norm.wgsl", 1, 4);
static GROUP_NORM_GRAD: Shader = shader!("group_norm_grad.wgsl", 1, 5);

const MOMENTS: f64 = 0.0;
const PRODUCTS: f64 = 1.0;

/// Elements of a line that an invocation of `group_means.wgsl` takes, where the line has more than
/// these.
const LANE_ELEMS: usize = 4;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let lanes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
    let mut all = Vec::new();
    for (kind, half_dy) in [(MOMENTS, &BOTH[..1]), (PRODUCTS, BOTH)] {
        let kind = [kind];
        let constants =
            [("KIND", &kind[..]), ("HALF", BOTH), ("HALF_DY", half_dy), ("LANES", &lanes)];
        all.extend(combinations(&GROUP_MEANS, &constants));
    }
    all.extend(combinations(&GROUP_NORM, &[("HALF", BOTH)]));
    all.extend(combinations(&GROUP_NORM_GRAD, &[("HALF", BOTH), ("HALF_DY", BOTH)]));
    all
}

/// Ranges of images that can be bound in all of these tensors, and in two numbers for each group.
fn image_parts(cx: &Context, e: GroupExtents, tensors: &[TensorType]) -> Vec<Range<usize>> {
    let image = e.pixels * e.channels;
    let sizes = tensors.iter().map(|ty| image * ty.dtype.size_bytes());
    let cuts: Vec<_> = sizes.chain([8 * e.groups]).map(|bytes| cx.cuts(e.images, bytes)).collect();
    parts(&cuts)
}

fn pairs(e: GroupExtents) -> Result<TensorType> {
    Ok(TensorType::f32(Shape::new(&[e.images, e.groups, 2])?))
}

/// The mean of each group and `1 / √(variance + epsilon)`, `[images, groups, 2]`.
fn moments(cx: &Context, op: &'static str, norm: &GroupNorm, x: Source<'_>) -> Result<GpuBuffer> {
    means(cx, op, norm, MOMENTS, [x, x], [x, x])
}

/// What `group_means.wgsl` gives. Of moments `dy`, scale and moments are not read.
fn means(
    cx: &Context,
    op: &'static str,
    norm: &GroupNorm,
    kind: f64,
    [x, dy]: [Source<'_>; 2],
    [scale, moments]: [Source<'_>; 2],
) -> Result<GpuBuffer> {
    let e = norm.extents(&x.ty.shape)?;
    let lanes = e.together().div_ceil(LANE_ELEMS).next_power_of_two().min(WORKGROUP);
    let y = cx.allocate_for(&pairs(e)?)?;
    let image = e.pixels * e.channels;
    for images in image_parts(cx, e, &[x.ty, dy.ty]) {
        let range = images.start * image..images.end * image;
        let lines = images.start * e.groups..images.end * e.groups;
        let line_pairs = 2 * lines.start..2 * lines.end;
        let view = cx.view(x, range.clone())?;
        let (dy_view, scale_view, moments_view) = match kind == MOMENTS {
            true => (cx.view(x, range.clone())?, cx.view(x, range.clone())?, cx.view(x, range)?),
            false => (cx.view(dy, range)?, cx.whole(scale)?, cx.view(moments, line_pairs.clone())?),
        };
        let written = cx.written(&y, DType::F32, line_pairs)?;
        cx.launch(Launch {
            op,
            shader: &GROUP_MEANS,
            constants: &[
                ("KIND", kind),
                ("HALF", half(x)),
                ("HALF_DY", if kind == MOMENTS { 0.0 } else { half(dy) }),
                ("LANES", lanes as f64),
            ],
            params: &[
                word(lines.len()),
                word(e.pixels),
                word(e.channels),
                word(e.groups),
                norm.epsilon.to_bits(),
                view.skip,
                dy_view.skip,
                scale_view.skip,
                moments_view.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &dy_view, &scale_view, &moments_view],
            groups: Groups::Flat(lines.len().div_ceil(WORKGROUP / lanes)),
        })?;
        cx.finish(&y, &written)?;
    }
    Ok(y)
}

pub(super) fn group_norm(
    cx: &Context,
    norm: &GroupNorm,
    [x, scale, shift]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let e = norm.extents(&x.ty.shape)?;
    let moments = moments(cx, "group_norm", norm, x)?;
    let moments = Source { buffer: &moments, ty: pairs(e)? };
    let run = |scale: Source<'_>, shift: Source<'_>| {
        computed(cx, output, |y| {
            let small = [cx.whole(scale)?, cx.whole(shift)?];
            let image = e.pixels * e.channels;
            for images in image_parts(cx, e, &[x.ty, y.ty]) {
                let range = images.start * image..images.end * image;
                let view = cx.view(x, range.clone())?;
                let lines = 2 * images.start * e.groups..2 * images.end * e.groups;
                let moments = cx.view(moments, lines)?;
                let written = cx.written(y.buffer, DType::F32, range.clone())?;
                cx.launch(Launch {
                    op: "group_norm",
                    shader: &GROUP_NORM,
                    constants: &[("HALF", half(x))],
                    params: &[
                        word(range.len()),
                        word(e.pixels),
                        word(e.channels),
                        word(e.groups),
                        view.skip,
                        moments.skip,
                        small[0].skip,
                        small[1].skip,
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &moments, &small[0], &small[1]],
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
    norm: &GroupNorm,
    [x, dy, scale]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let e = norm.extents(&x.ty.shape)?;
    let moments = moments(cx, "group_norm_grad", norm, x)?;
    let moments = Source { buffer: &moments, ty: pairs(e)? };
    let run = |scale: Source<'_>| {
        let means = means(cx, "group_norm_grad", norm, PRODUCTS, [x, dy], [scale, moments])?;
        let means = Source { buffer: &means, ty: moments.ty };
        computed(cx, output, |dx| {
            let scale = cx.whole(scale)?;
            let image = e.pixels * e.channels;
            for images in image_parts(cx, e, &[x.ty, dy.ty, dx.ty]) {
                let range = images.start * image..images.end * image;
                let (view, dy_view) = (cx.view(x, range.clone())?, cx.view(dy, range.clone())?);
                let lines = 2 * images.start * e.groups..2 * images.end * e.groups;
                let (moments, means) = (cx.view(moments, lines.clone())?, cx.view(means, lines)?);
                let written = cx.written(dx.buffer, DType::F32, range.clone())?;
                cx.launch(Launch {
                    op: "group_norm_grad",
                    shader: &GROUP_NORM_GRAD,
                    constants: &[("HALF", half(x)), ("HALF_DY", half(dy))],
                    params: &[
                        word(range.len()),
                        word(e.pixels),
                        word(e.channels),
                        word(e.groups),
                        view.skip,
                        dy_view.skip,
                        moments.skip,
                        means.skip,
                        scale.skip,
                        written.view.skip,
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &dy_view, &moments, &means, &scale],
                    groups: Groups::Flat(range.len().div_ceil(WORKGROUP)),
                })?;
                cx.finish(dx.buffer, &written)?;
            }
            Ok(())
        })
    };
    widened(cx, scale, run)
}

/// The normalized elements, without scale and shift, and their products with `dy`, summed as those of
/// batch normalization are.
pub(super) fn sums(
    cx: &Context,
    norm: &GroupNorm,
    [x, dy]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    if x.ty.count() == 0 {
        return zeros(cx, output);
    }
    let each = TensorType::f32(Shape::new(&[norm.extents(&x.ty.shape)?.channels])?);
    let constant =
        |value: f32| counted::fill(cx, &striate_tensor::ops::Fill { ty: each, value }, &each);
    let (ones, nothing) = (constant(1.0)?, constant(0.0)?);
    let ones = Source { buffer: &ones, ty: each };
    let nothing = Source { buffer: &nothing, ty: each };
    let wide = TensorType::f32(x.ty.shape);
    let normalized = group_norm(cx, norm, [x, ones, nothing], &wide)?;
    let normalized = Source { buffer: &normalized, ty: wide };
    products(cx, "group_norm_sums", [normalized, dy], nothing, None)
}
