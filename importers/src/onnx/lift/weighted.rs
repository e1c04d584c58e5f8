//! Layers that have weights.

use striate_nn::{
    LayerSpec, PreluSpec, Role, batch_norm, conv_transpose2d, conv2d, full_connect, group_norm,
    instance_norm, layer_norm, lrn,
};

use super::layers::{Factor, factor};
use super::{Cx, Output};
use crate::onnx::compile::item::{Step, axis, invalid};
use crate::onnx::device::{Windows, transposed};

pub(super) fn pair<T: Copy>(list: &[T]) -> Step<[T; 2]> {
    match list {
        [rows, cols] => Ok([*rows, *cols]),
        _ => invalid("windows over other than rows and cols"),
    }
}

/// `[a, b, spatial]` as `[a, spatial, b]`.
fn channels_last(values: &[f32], dims: &[usize]) -> Vec<f32> {
    let (first, second) = (dims[0], dims[1]);
    let spatial: usize = dims[2..].iter().product();
    let mut out = Vec::with_capacity(values.len());
    for a in 0..first {
        for at in 0..spatial {
            out.extend((0..second).map(|b| values[(a * second + b) * spatial + at]));
        }
    }
    out
}

fn weights(cx: &Cx<'_, '_>) -> Step<(Vec<f32>, Vec<usize>)> {
    let dims = cx.known(1)?.dims.clone();
    match dims.len() {
        4 => Ok((channels_last(&cx.floats(1)?, &dims), dims)),
        _ => invalid("weights of other than four axes"),
    }
}

pub(super) fn conv(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let (values, dims) = weights(cx)?;
    let windows = Windows::of(cx.attributes, &x.dims[2..], dims.get(2..))?;
    let mut spec = conv2d(dims[0], 1)
        .kernel([dims[2], dims[3]])
        .groups(cx.attributes.int("group", 1).max(0) as usize);
    (spec.stride, spec.padding) = (pair(&windows.strides)?, pair(&windows.pads)?);
    spec.dilation = pair(&windows.dilations)?;
    spec.bias = cx.optional(2).is_some();
    let out = spec_extent(&windows, &x.dims[2..])?;
    let bias = if spec.bias { Some(cx.floats(2)?) } else { None };
    let y = cx.push(LayerSpec::Conv(spec), &[x.node], vec![1, dims[0], out[0], out[1]]);
    if let Some(node) = y.node {
        cx.numbers(node, Role::Weight, values);
        if let Some(bias) = bias {
            cx.numbers(node, Role::Bias, bias);
        }
    }
    Ok(y)
}

/// The outputs of windows along rows and cols.
pub(super) fn spec_extent(windows: &Windows, spatial: &[usize]) -> Step<[usize; 2]> {
    let mut out = [0; 2];
    for axis in 0..2 {
        let [before, after] = windows.pads[axis];
        let window = crate::onnx::device::window(windows.kernel[axis], windows.dilations[axis]);
        match spatial[axis].saturating_add(before).saturating_add(after).checked_sub(window) {
            Some(span) => out[axis] = span / windows.strides[axis] + 1,
            None => return invalid(format!("windows of {window} over {} pixels", spatial[axis])),
        }
    }
    Ok(out)
}

pub(super) fn conv_transpose(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let (values, dims) = weights(cx)?;
    let (windows, extra) = transposed(cx.attributes, &x.dims[2..], dims.get(2..))?;
    let groups = cx.attributes.int("group", 1).max(0) as usize;
    let count = dims[1].saturating_mul(groups);
    let mut spec = conv_transpose2d(count, [dims[2], dims[3]]).groups(groups);
    (spec.stride, spec.padding) = (pair(&windows.strides)?, pair(&windows.pads)?);
    (spec.dilation, spec.output_padding) = (pair(&windows.dilations)?, pair(&extra)?);
    spec.bias = cx.optional(2).is_some();
    let bias = if spec.bias { Some(cx.floats(2)?) } else { None };
    let extent = |axis: usize| {
        let window = crate::onnx::device::window(windows.kernel[axis], windows.dilations[axis]);
        let reach = x.dims[axis + 2].saturating_sub(1).saturating_mul(windows.strides[axis]);
        let whole = reach.saturating_add(window).saturating_add(extra[axis]);
        let [before, after] = windows.pads[axis];
        whole.saturating_sub(before.saturating_add(after))
    };
    let out = vec![1, count, extent(0), extent(1)];
    let y = cx.push(LayerSpec::ConvTranspose(spec), &[x.node], out);
    if let Some(node) = y.node {
        cx.numbers(node, Role::Weight, values);
        if let Some(bias) = bias {
            cx.numbers(node, Role::Bias, bias);
        }
    }
    Ok(y)
}

/// A full-connect layer of weights `[out, in]`, of a row that was flattened as the file says.
fn connect(
    cx: &mut Cx<'_, '_>,
    x: &Output,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
) -> Step<Output> {
    let inputs = x.dims[1];
    let count = weights.len().checked_div(inputs).unwrap_or(0);
    let weights = match x.flattened {
        Some([channels, rows, cols]) if rows * cols > 1 => {
            channels_last(&weights, &[count, channels, rows * cols])
        }
        _ => weights,
    };
    let mut spec = full_connect(count);
    spec.bias = bias.is_some();
    let y = cx.push(LayerSpec::FullConnect(spec), &[x.node], vec![1, count]);
    if let Some(node) = y.node {
        cx.numbers(node, Role::Weight, weights);
        if let Some(bias) = bias {
            cx.numbers(node, Role::Bias, bias);
        }
    }
    Ok(y)
}

/// `[a, b]` as `[b, a]`.
fn turned(values: &[f32], [a, b]: [usize; 2]) -> Vec<f32> {
    (0..b).flat_map(|j| (0..a).map(move |i| values[i * b + j])).collect()
}

/// The row that a full-connect layer sees: one for each image.
fn row(cx: &Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    match x.dims[..] {
        [1, _] => Ok(x),
        _ => invalid(format!("a product with {:?}, which is no row for each image", x.dims)),
    }
}

fn matrix(cx: &Cx<'_, '_>, inputs: usize, transposed: bool) -> Step<Vec<f32>> {
    let (values, dims) = (cx.floats(1)?, cx.known(1)?.dims.clone());
    match dims[..] {
        [out, own] if transposed && own == inputs => Ok(values).map(|v| v[..out * own].to_vec()),
        [own, out] if !transposed && own == inputs => Ok(turned(&values, [own, out])),
        _ => invalid(format!("weights {dims:?} for rows of {inputs}")),
    }
}

pub(super) fn gemm(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = row(cx)?;
    let factor = |name| cx.attributes.float(name, 1.0);
    if factor("alpha") != 1.0 || cx.attributes.flag("transA", false) {
        return invalid("a product with a factor, or of columns");
    }
    let weights = matrix(cx, x.dims[1], cx.attributes.flag("transB", false))?;
    let count = weights.len().checked_div(x.dims[1]).unwrap_or(0);
    let bias = match cx.optional(2) {
        None => None,
        Some(_) => Some(cx.floats(2)?.iter().map(|bias| bias * factor("beta")).collect::<Vec<_>>()),
    };
    if bias.as_ref().is_some_and(|bias| bias.len() != count) {
        return invalid("addends that are no bias");
    }
    connect(cx, &x, weights, bias)
}

pub(super) fn matmul(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    if x.channels_last && x.dims.len() == 4 {
        return pixelwise(cx, x);
    }
    let x = row(cx)?;
    let weights = matrix(cx, x.dims[1], false)?;
    connect(cx, &x, weights, None)
}

/// A product with the channels of each pixel: a convolution of one pixel.
fn pixelwise(cx: &mut Cx<'_, '_>, x: Output) -> Step<Output> {
    let channels = x.dims[3];
    let weights = matrix(cx, channels, false)?;
    let count = weights.len().checked_div(channels).unwrap_or(0);
    let spec = conv2d(count, 1).without_bias();
    let dims = vec![1, x.dims[1], x.dims[2], count];
    let y = cx.push(LayerSpec::Conv(spec), &[x.node], dims);
    if let Some(node) = y.node {
        cx.numbers(node, Role::Weight, weights);
    }
    Ok(Output { channels_last: true, ..y })
}

pub(super) fn layer_normalization(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    let rank = x.dims.len();
    let over = axis(cx.attributes.int("axis", -1), rank)?;
    let is_last = over + 1 == rank && (x.channels_last || rank == 2) && x.flattened.is_none();
    let count = x.dims[rank - 1];
    let scale = cx.floats(1)?;
    let shift = match cx.optional(2) {
        Some(_) => cx.floats(2)?,
        None => vec![0.0; count],
    };
    if !is_last || scale.len() != count || cx.attributes.node.output.len() > 1 {
        return invalid("a normalization over other than channels");
    }
    let spec = layer_norm().epsilon(cx.attributes.float("epsilon", 1e-5));
    let y = cx.push(LayerSpec::LayerNorm(spec), &[x.node], x.dims.clone());
    if let Some(node) = y.node {
        cx.numbers(node, Role::Scale, scale);
        cx.numbers(node, Role::Shift, shift);
    }
    Ok(Output { node: y.node, ..x })
}

pub(super) fn batch_normalization(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    if x.dims.len() == 4 && x.channels_last || cx.attributes.flag("training_mode", false) {
        return invalid("statistics of other than channels");
    }
    let spec = batch_norm()
        .epsilon(cx.attributes.float("epsilon", 1e-5))
        .momentum(1.0 - cx.attributes.float("momentum", 0.9));
    let numbers: Step<Vec<Vec<f32>>> = (1..5).map(|place| cx.floats(place)).collect();
    let [scale, shift, mean, variance] = <[_; 4]>::try_from(numbers?).unwrap_or_default();
    let y = cx.push(LayerSpec::BatchNorm(spec), &[x.node], x.dims.clone());
    if let Some(node) = y.node {
        cx.numbers(node, Role::Scale, scale);
        cx.numbers(node, Role::Shift, shift);
        cx.lift.running.push((node, [mean, variance].concat()));
    }
    Ok(Output { node: y.node, ..x })
}

pub(super) fn group(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let layer = match &*cx.attributes.node.op_type {
        "InstanceNormalization" => LayerSpec::InstanceNorm(instance_norm().epsilon(epsilon)),
        _ => {
            let groups = cx.attributes.int("num_groups", 1).max(0) as usize;
            LayerSpec::GroupNorm(group_norm(groups).epsilon(epsilon))
        }
    };
    let (scale, shift) = (cx.floats(1)?, cx.floats(2)?);
    if scale.len() != x.dims[1] || shift.len() != x.dims[1] {
        return invalid("a scale for each group, not for each channel");
    }
    let y = cx.push(layer, &[x.node], x.dims);
    if let Some(node) = y.node {
        cx.numbers(node, Role::Scale, scale);
        cx.numbers(node, Role::Shift, shift);
    }
    Ok(y)
}

pub(super) fn local_response(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let size = cx.attributes.int("size", 1).max(0) as usize;
    if size.is_multiple_of(2) {
        return invalid("a window of an even number of channels");
    }
    let spec = lrn(size)
        .alpha(cx.attributes.float("alpha", 1e-4) / size as f32)
        .beta(cx.attributes.float("beta", 0.75))
        .kappa(cx.attributes.float("bias", 1.0));
    Ok(cx.push(LayerSpec::Lrn(spec), &[x.node], x.dims))
}

pub(super) fn prelu(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    let (shared, slopes) = match factor(cx, 1, &x)? {
        Factor::Number(slope) => (true, vec![slope]),
        Factor::Channels(slopes) => (false, slopes),
    };
    let spec = PreluSpec { shared, ..PreluSpec::default() };
    let y = cx.push(LayerSpec::Prelu(spec), &[x.node], x.dims.clone());
    if let Some(node) = y.node {
        cx.numbers(node, Role::Slope, slopes);
    }
    Ok(Output { node: y.node, ..x })
}
