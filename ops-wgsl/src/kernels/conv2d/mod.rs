//! Convolution, and its gradients.
//!
//! Images are taken in parts that can be bound; a [`Convolution`] is such a part, which a kernel of
//! this folder computes. `simple` takes any.

mod convolution;
mod depthwise;
mod input_grad;
mod launch;
mod simple;
mod tiled;
mod weight_grad;
mod winograd;

use striate_tensor::ops::{self, Conv2d};
use striate_tensor::{DType, Result, TensorType};

use super::constants::Constants;
use super::elementwise::computed;
use super::gemm::Added;
use crate::buffer::{GpuBuffer, Source};
use crate::choice::Algorithm;
use crate::pipelines::Shader;
use crate::queue::Context;
use convolution::{Asked, Convolution, Extents, banded};
use launch::launch;

pub(super) use input_grad::{input_grad, transposed};
pub(super) use weight_grad::weight_grad;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(depthwise::variants());
    all.extend(input_grad::variants());
    all.extend(weight_grad::variants());
    all.extend(winograd::variants());
    all
}

/// The kernels that [`conv2d`] launches, each once.
pub(super) fn algorithms(
    cx: &Context,
    op: &Conv2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<Vec<Algorithm>> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let extents = Extents::new(op, &x.shape, &w.shape, &output.shape)?;
    let types = [*x, *w];
    let direct = writes_half(cx, op, &extents, types, output)?;
    let y = if direct { *output } else { TensorType::f32(output.shape) };
    of_bands(cx, op, &extents, types, &y)
}

/// The kernels of the bands that a convolution has where it writes a `y` of this type, each once.
fn of_bands(
    cx: &Context,
    op: &Conv2d,
    extents: &Extents,
    [x, w]: [TensorType; 2],
    y: &TensorType,
) -> Result<Vec<Algorithm>> {
    let mut all = Vec::new();
    for (band, extents) in banded(cx, extents, &x, y)? {
        let asked = Asked {
            extents: &extents,
            images: band.images,
            half: [x, w].map(|ty| ty.dtype == DType::F16),
            direct: op.algorithm != ops::Algorithm::Auto,
            strided: false,
        };
        let algorithm = asked.algorithm(cx);
        if !all.contains(&algorithm) {
            all.push(algorithm);
        }
    }
    Ok(all)
}

/// Whether the kernels of a convolution write its f16 themselves: two outputs are a word.
fn writes_half(
    cx: &Context,
    op: &Conv2d,
    extents: &Extents,
    types: [TensorType; 2],
    output: &TensorType,
) -> Result<bool> {
    if output.dtype != DType::F16 || !(extents.out / extents.groups).is_multiple_of(2) {
        return Ok(false);
    }
    let all = of_bands(cx, op, extents, types, output)?;
    Ok(all.iter().all(|kernel| matches!(kernel, Algorithm::Wide | Algorithm::Tiled(_))))
}

pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let (x, w) = (inputs[0], inputs[1]);
    let extents = Extents::new(op, &x.ty.shape, &w.ty.shape, &output.shape)?;
    let weights = cx.whole(w)?;
    let bias = match (op.bias, inputs.get(2)) {
        (true, Some(&bias)) => Some((cx.whole(bias)?, bias.half())),
        _ => None,
    };
    let residual = inputs.last().filter(|_| op.residual);
    let half_y = writes_half(cx, op, &extents, [x.ty, w.ty], output)?;
    let compute = |y: Source<'_>| {
        for (band, extents) in banded(cx, &extents, &x.ty, &y.ty)? {
            let view = cx.view(x, band.x)?;
            let residual = match residual {
                Some(&from) => Some((cx.view(from, band.y.clone())?, from.half())),
                None => None,
            };
            let written = cx.written(y.buffer, y.ty.dtype, band.y)?;
            launch(
                cx,
                &Convolution {
                    op: "conv2d",
                    extents: &extents,
                    images: band.images,
                    x: (&view, x.half()),
                    w: (w, &weights),
                    bias: bias.as_ref().map(|(view, half)| (view, *half)),
                    residual: residual.as_ref().map(|(view, half)| Added { view, half: *half }),
                    activation: op.activation,
                    direct: op.algorithm != ops::Algorithm::Auto,
                    y: &written.view,
                    half_y,
                    strided: None,
                },
            )?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    };
    if half_y {
        let buffer = cx.allocate_for(output)?;
        compute(Source { buffer: &buffer, ty: *output })?;
        return Ok(buffer);
    }
    computed(cx, output, compute)
}
