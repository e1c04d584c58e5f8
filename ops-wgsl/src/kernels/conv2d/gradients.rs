//! The gradients of a convolution.

use striate_tensor::ops::{Binary, BinaryKind, Conv2dInputGrad, Conv2dWeightGrad, ConvTranspose2d};
use striate_tensor::{DType, Result, TensorType};

use super::simple::INVOCATIONS;
use super::{Extents, image_parts};
use crate::buffer::{GpuBuffer, Source};
use crate::kernels::batch_norm::widened;
use crate::kernels::{BOTH, Constants, combinations, computed, elementwise, half, word};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static INPUT_GRAD: Shader = shader!("conv2d/input_grad.wgsl", 1, 2);
static WEIGHT_GRAD: Shader = shader!("conv2d/weight_grad.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&INPUT_GRAD, &["HALF_DY", "HALF_W"].map(|name| (name, BOTH)));
    let names = ["HALF_X", "HALF_DY", "ACCUMULATE"];
    all.extend(combinations(&WEIGHT_GRAD, &names.map(|name| (name, BOTH))));
    all
}

pub(in crate::kernels) fn input_grad(
    cx: &Context,
    op: &Conv2dInputGrad,
    [dy, w]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let extents = Extents::new(&op.conv, &output.shape, &w.ty.shape, &dy.ty.shape)?;
    let weights = cx.whole(w)?;
    computed(cx, output, |dx| {
        for images in image_parts(cx, &extents, dx, dy) {
            let range = images.start * extents.out_image()..images.end * extents.out_image();
            let view = cx.view(dy, range)?;
            let range = images.start * extents.image()..images.end * extents.image();
            let written = cx.written(dx.buffer, DType::F32, range.clone())?;
            let mut params = vec![word(range.len())];
            params.extend(extents.words());
            params.extend([view.skip, weights.skip, 0]);
            params.extend(extents.windows());
            params.push(written.view.skip);
            cx.launch(Launch {
                op: "conv2d_input_grad",
                shader: &INPUT_GRAD,
                constants: &[("HALF_DY", half(dy)), ("HALF_W", half(w))],
                params: &params,
                outputs: &[&written.view],
                inputs: &[&view, &weights],
                groups: Groups::Flat(range.len().div_ceil(INVOCATIONS)),
            })?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    })
}

/// A transposed convolution: the gradient in the input, and a bias where asked.
pub(in crate::kernels) fn transposed(
    cx: &Context,
    op: &ConvTranspose2d,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, rows, cols, _] = output.shape.nhwc("conv_transpose2d", "y")?;
    let grad = Conv2dInputGrad { conv: op.conv(), input: [rows, cols] };
    let Some(&bias) = inputs.get(2) else {
        return input_grad(cx, &grad, [inputs[0], inputs[1]], output);
    };
    computed_sum(
        cx,
        output,
        input_grad(cx, &grad, [inputs[0], inputs[1]], &TensorType::f32(output.shape))?,
        bias,
    )
}

/// What was computed in f32, with a bias added and rounded once.
fn computed_sum(
    cx: &Context,
    output: &TensorType,
    y: GpuBuffer,
    bias: Source<'_>,
) -> Result<GpuBuffer> {
    let wide = TensorType::f32(output.shape);
    let add = Binary { kind: BinaryKind::Add };
    let sum = widened(cx, bias, |bias| {
        elementwise::binary(cx, &add, [Source { buffer: &y, ty: wide }, bias], &wide)
    })?;
    match output.dtype {
        DType::F32 => Ok(sum),
        dtype => elementwise::cast(cx, Source { buffer: &sum, ty: wide }, dtype),
    }
}

pub(in crate::kernels) fn weight_grad(
    cx: &Context,
    op: &Conv2dWeightGrad,
    [x, dy]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let extents = Extents::new(&op.conv, &x.ty.shape, &output.shape, &dy.ty.shape)?;
    computed(cx, output, |dw| {
        let count = output.count();
        let written = cx.written(dw.buffer, DType::F32, 0..count)?;
        let mut images = image_parts(cx, &extents, x, dy);
        if images.is_empty() {
            // A sum of nothing is still to be written.
            images.push(0..0);
        }
        for (i, images) in images.into_iter().enumerate() {
            let range = images.start * extents.image()..images.end * extents.image();
            let x_view = cx.view(x, range)?;
            let range = images.start * extents.out_image()..images.end * extents.out_image();
            let dy_view = cx.view(dy, range)?;
            let mut params = vec![word(count)];
            params.extend(extents.words());
            params.extend([x_view.skip, dy_view.skip, word(images.len())]);
            params.extend(extents.windows());
            cx.launch(Launch {
                op: "conv2d_weight_grad",
                shader: &WEIGHT_GRAD,
                constants: &[
                    ("HALF_X", half(x)),
                    ("HALF_DY", half(dy)),
                    ("ACCUMULATE", flag(i > 0)),
                ],
                params: &params,
                outputs: &[&written.view],
                inputs: &[&x_view, &dy_view],
                groups: Groups::Flat(count.div_ceil(INVOCATIONS)),
            })?;
        }
        cx.finish(dw.buffer, &written)
    })
}
