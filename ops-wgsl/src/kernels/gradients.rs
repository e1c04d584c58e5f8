//! The gradients of functions of each element, of cross-entropy, and of taking entries by index.

use striate_tensor::ops::{GatherGrad, Softmax, UnaryGrad, UnaryKind};
use striate_tensor::{DType, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use super::elementwise::{numbers, parameters, vector_groups};
use super::movement::sources;
use super::softmax::softmax;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::kinds;
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static UNARY_GRAD: Shader = shader!("unary_grad.wgsl", 1, 2; kinds::unary_grad);
static RELU_GRAD: Shader = shader!("relu_grad.wgsl", 1, 2);
static CROSS_ENTROPY_GRAD: Shader = shader!("cross_entropy_grad.wgsl", 1, 3);
static GATHER_GRAD: Shader = shader!("gather_grad.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let kinds = UnaryKind::ALL.iter().filter(|kind| UnaryGrad::takes(kind));
    let kinds = numbers(kinds.map(UnaryKind::number));
    let mut all = combinations(&UNARY_GRAD, &[("KIND", &kinds), ("HALF", BOTH)]);
    all.extend(combinations(&RELU_GRAD, &[("HALF_Y", BOTH), ("HALF", BOTH)]));
    all.extend(combinations(&CROSS_ENTROPY_GRAD, &[("HALF_DY", BOTH)]));
    all.extend(combinations(&GATHER_GRAD, &[("HALF", BOTH)]));
    all
}

pub(super) fn unary_grad(
    cx: &Context,
    op: &UnaryGrad,
    [kept, dy]: [Source<'_>; 2],
) -> Result<GpuBuffer> {
    let [a, b] = parameters(op.kind);
    let dx = cx.allocate_for(&dy.ty)?;
    let count = dy.ty.count();
    for part in parts(&[cx.cuts(count, dy.ty.dtype.size_bytes())]) {
        let written = cx.written(&dx, dy.ty.dtype, part.clone())?;
        cx.launch(Launch {
            op: "unary_grad",
            shader: &UNARY_GRAD,
            constants: &[("KIND", f64::from(op.kind.number())), ("HALF", half(dy))],
            params: &[word(part.len()), a.to_bits(), b.to_bits()],
            outputs: &[&written.view],
            inputs: &[&cx.view(kept, part.clone())?, &cx.view(dy, part.clone())?],
            groups: vector_groups(part.len(), dy.half()),
        })?;
    }
    Ok(dx)
}

pub(super) fn relu_grad(cx: &Context, [y, dy]: [Source<'_>; 2]) -> Result<GpuBuffer> {
    let dx = cx.allocate_for(&dy.ty)?;
    let count = dy.ty.count();
    let cuts = [y, dy].map(|x| cx.cuts(count, x.ty.dtype.size_bytes()));
    for part in parts(&cuts) {
        let written = cx.written(&dx, dy.ty.dtype, part.clone())?;
        cx.launch(Launch {
            op: "relu_grad",
            shader: &RELU_GRAD,
            constants: &[("HALF_Y", half(y)), ("HALF", half(dy))],
            params: &[word(part.len())],
            outputs: &[&written.view],
            inputs: &[&cx.view(y, part.clone())?, &cx.view(dy, part.clone())?],
            groups: vector_groups(part.len(), dy.half()),
        })?;
    }
    Ok(dx)
}

/// Softmax, and what makes it the gradient.
pub(super) fn cross_entropy_grad(
    cx: &Context,
    [logits, labels, dy]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [n, classes] = logits.ty.shape.matrix("cross_entropy_grad", "logits")?;
    let ty = TensorType::f32(output.shape);
    let p = softmax(cx, &Softmax { axis: 1, log: false }, logits, &ty)?;
    let p = Source { buffer: &p, ty };
    computed(cx, output, |dx| {
        let dy_cuts = cx.cuts(n, dy.ty.dtype.size_bytes());
        for rows in parts(&[cx.cuts(n, 4 * classes), cx.cuts(n, 4), dy_cuts]) {
            let range = rows.start * classes..rows.end * classes;
            let view = cx.view(p, range.clone())?;
            let labels = cx.view(labels, rows.clone())?;
            let dy_view = cx.view(dy, rows)?;
            let written = cx.written(dx.buffer, DType::F32, range.clone())?;
            cx.launch(Launch {
                op: "cross_entropy_grad",
                shader: &CROSS_ENTROPY_GRAD,
                constants: &[("HALF_DY", half(dy))],
                params: &[
                    word(range.len()),
                    word(classes),
                    view.skip,
                    labels.skip,
                    dy_view.skip,
                    written.view.skip,
                ],
                outputs: &[&written.view],
                inputs: &[&view, &labels, &dy_view],
                groups: Groups::Flat(range.len().div_ceil(WORKGROUP)),
            })?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    })
}

/// Each element looks through the indices: no two write one place, so the order of each sum is that
/// of the indices.
pub(super) fn gather_grad(
    cx: &Context,
    op: &GatherGrad,
    [indices, dy]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, n, inner] = dy.ty.shape.around(op.axis, "gather_grad")?;
    let places = cx.whole(indices)?;
    computed(cx, output, |dx| {
        for part in parts(&[cx.cuts(output.count(), 4)]) {
            for source in sources(cx, dy) {
                let view = cx.view(dy, source.clone())?;
                let written = cx.written(dx.buffer, DType::F32, part.clone())?;
                cx.launch(Launch {
                    op: "gather_grad",
                    shader: &GATHER_GRAD,
                    constants: &[("HALF", half(dy))],
                    params: &[
                        word(part.start),
                        word(part.len()),
                        word(n),
                        word(op.extent),
                        word(inner),
                        word(source.start),
                        word(source.len()),
                    ],
                    outputs: &[&written.view],
                    inputs: &[&view, &places],
                    groups: Groups::Flat(part.len().div_ceil(WORKGROUP)),
                })?;
            }
        }
        Ok(())
    })
}
