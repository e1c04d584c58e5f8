//! Translates Caffe's layers, by their types.

use striate_nn::{ChannelsSpec, DropoutSpec, LayerSpec, PlainSpec, PoolSpec, pool};
use striate_tensor::ops::UnaryKind;

use super::lift::{Cx, Outcome, Output, invalid};
use super::proto::{Exponent, Layer};
use super::weighted::{batch_norm, bias, conv, conv_transpose, inner_product, prelu, scale};

/// Values of enumerations.
const AVE: i32 = 1;
const FLOOR: i32 = 1;
const PROD: i32 = 0;
const SUM: i32 = 1;
const WITHIN_CHANNEL: i32 = 1;

/// The type of a layer that is not supported, and which variant of it; `None` where the layer can be
/// lifted. `last` says that it makes the output of the network.
pub(super) fn missing(layer: &Layer, last: bool) -> Option<String> {
    let kind = layer.kind();
    let variant = match kind {
        "Convolution" | "Deconvolution" | "InnerProduct" | "BatchNorm" | "Bias" | "PReLU"
        | "ReLU" | "ELU" | "Sigmoid" | "TanH" | "AbsVal" | "BNLL" | "Clip" | "Power" | "Exp"
        | "Log" | "LRN" | "Concat" | "Slice" | "Flatten" | "Reshape" | "Dropout" => return None,
        "Swish" => match layer.swish_param.as_ref().and_then(|swish| swish.beta) {
            None | Some(1.0) => return None,
            Some(beta) => format!("with a beta of {beta}"),
        },
        "Scale" if layer.bottom.len() > 1 => "by another layer's output".into(),
        "Scale" => return None,
        "Pooling" => match layer.pooling_param.as_ref().and_then(|pooling| pooling.pool) {
            None | Some(0 | AVE) => return None,
            Some(_) => "STOCHASTIC".into(),
        },
        "Eltwise" => match layer.eltwise_param.as_ref().and_then(|eltwise| eltwise.operation) {
            None | Some(PROD | SUM) => return None,
            Some(_) => "MAX".into(),
        },
        "Softmax" if last => return None,
        "Softmax" => "before the end".into(),
        "" => "a layer without a type".into(),
        _ => String::new(),
    };
    Some(format!("{kind} {variant}").trim().to_owned())
}

/// The outputs of a layer.
pub(super) fn lift(cx: &mut Cx<'_, '_>) -> Outcome<Vec<Output>> {
    let layer = cx.layer;
    let output = match layer.kind() {
        "Convolution" => conv(cx)?,
        "Deconvolution" => conv_transpose(cx)?,
        "InnerProduct" => inner_product(cx)?,
        "BatchNorm" => batch_norm(cx)?,
        "Scale" => scale(cx)?,
        "Bias" => bias(cx)?,
        "PReLU" => prelu(cx)?,
        "Pooling" => pooling(cx)?,
        "LRN" => local_response(cx)?,
        "Eltwise" => eltwise(cx)?,
        "Concat" => concat(cx)?,
        "Slice" => return slice(cx),
        "Flatten" => flatten(cx)?,
        "Reshape" => reshape(cx)?,
        "Dropout" => {
            let ratio = layer.dropout_param.as_ref().and_then(|dropout| dropout.dropout_ratio);
            let x = cx.one()?;
            let rate = ratio.unwrap_or(0.5);
            cx.push(LayerSpec::Dropout(DropoutSpec { rate }), &[&x], x.dims.clone())
        }
        // The probabilities of a classifier: a network here ends before them, and `classify` makes them.
        "Softmax" => softmax(cx)?,
        "Power" => power(cx)?,
        "Exp" => exponential(cx)?,
        "Log" => logarithm(cx)?,
        _ => activation(cx)?,
    };
    Ok(vec![output])
}

fn activation(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let (x, layer) = (cx.one()?, cx.layer);
    let kind = match layer.kind() {
        "ReLU" => match layer.relu_param.as_ref().and_then(|relu| relu.negative_slope) {
            None | Some(0.0) => UnaryKind::Relu,
            Some(slope) => UnaryKind::LeakyRelu { slope },
        },
        "ELU" => {
            let alpha = layer.elu_param.as_ref().and_then(|elu| elu.alpha).unwrap_or(1.0);
            UnaryKind::Elu { alpha }
        }
        "Sigmoid" => UnaryKind::Sigmoid,
        "TanH" => UnaryKind::Tanh,
        "AbsVal" => UnaryKind::Abs,
        "BNLL" => UnaryKind::Softplus,
        "Swish" => UnaryKind::Silu,
        "Clip" => {
            let clip = layer.clip_param.clone().unwrap_or_default();
            match (clip.min, clip.max) {
                (Some(min), Some(max)) if min <= max => UnaryKind::Clamp { min, max },
                _ => return invalid("bounds that are missing or cross"),
            }
        }
        other => return invalid(format!("{other} is no function that is known here")),
    };
    Ok(cx.activation(&x, kind))
}

/// `scale · x + shift`; the same where that changes nothing.
fn affine(cx: &mut Cx<'_, '_>, x: Output, scale: f32, shift: f32) -> Output {
    match (scale, shift) {
        (1.0, 0.0) => x,
        _ => cx.activation(&x, UnaryKind::Affine { scale, shift }),
    }
}

/// `(scale · x + shift) ^ power`
fn power(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let (x, power) = (cx.one()?, cx.layer.power_param.clone().unwrap_or_default());
    let x = affine(cx, x, power.scale.unwrap_or(1.0), power.shift.unwrap_or(0.0));
    Ok(match power.power.unwrap_or(1.0) {
        1.0 => x,
        2.0 => cx.activation(&x, UnaryKind::Square),
        exponent => cx.activation(&x, UnaryKind::Powf { exponent }),
    })
}

/// The logarithm of the base of an exponential or a logarithm; -1 stands for e.
fn base(parameters: &Exponent) -> Outcome<f32> {
    match parameters.base.unwrap_or(-1.0) {
        -1.0 => Ok(1.0),
        base if base > 0.0 && base != 1.0 => Ok(base.ln()),
        base => invalid(format!("a base of {base}")),
    }
}

/// `base ^ (scale · x + shift)`
fn exponential(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let (x, own) = (cx.one()?, cx.layer.exp_param.clone().unwrap_or_default());
    let log = base(&own)?;
    let x = affine(cx, x, own.scale.unwrap_or(1.0) * log, own.shift.unwrap_or(0.0) * log);
    Ok(cx.activation(&x, UnaryKind::Exp))
}

/// The logarithm of `scale · x + shift` to the base.
fn logarithm(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let (x, own) = (cx.one()?, cx.layer.log_param.clone().unwrap_or_default());
    let log = base(&own)?;
    let x = affine(cx, x, own.scale.unwrap_or(1.0), own.shift.unwrap_or(0.0));
    let y = cx.activation(&x, UnaryKind::Log);
    Ok(affine(cx, y, 1.0 / log, 0.0))
}

fn softmax(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let axis = cx.layer.softmax_param.as_ref().and_then(|softmax| softmax.axis).unwrap_or(1);
    let x = cx.one()?;
    match is_channels(axis, &x.dims) {
        true => Ok(x),
        false => invalid(format!("probabilities along axis {axis}")),
    }
}

/// A number of a window along rows and cols: one for both, or one for each.
pub(super) fn pair(
    both: Option<u32>,
    [rows, cols]: [Option<u32>; 2],
    default: usize,
) -> Outcome<[usize; 2]> {
    let number = |number: u32| number as usize;
    match (both, rows, cols) {
        (None, None, None) => Ok([default; 2]),
        (Some(both), None, None) => Ok([number(both); 2]),
        (None, rows, cols) => Ok([rows, cols].map(|side| side.map_or(default, number))),
        _ => invalid("a size for both axes and one for each"),
    }
}

fn pooling(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let [channels, rows, cols] = x.image()?;
    let own = cx.layer.pooling_param.clone().unwrap_or_default();
    let is_mean = own.pool == Some(AVE);
    let size = pair(own.kernel_size, [own.kernel_h, own.kernel_w], 0)?;
    let stride = pair(own.stride, [own.stride_h, own.stride_w], 1)?;
    let pad = pair(own.pad, [own.pad_h, own.pad_w], 0)?;
    if own.global_pooling == Some(true) {
        if pad != [0, 0] || stride != [1, 1] || size != [0, 0] {
            return invalid("one window over the image, with sizes of windows");
        }
        let layer = match is_mean {
            true => LayerSpec::GlobalAvgPool(PlainSpec {}),
            false => LayerSpec::GlobalMaxPool(PlainSpec {}),
        };
        return Ok(cx.push(layer, &[&x], vec![channels, 1, 1]));
    }
    let ceil = own.round_mode != Some(FLOOR);
    let mut spec: PoolSpec = pool(size);
    (spec.stride, spec.padding) = (stride, pad.map(|pad| [pad; 2]));
    // Of equal maxima Caffe takes the first, and a mean is divided by the window within the padding.
    (spec.ceil, spec.first_maximum, spec.count_padding) = (ceil, !is_mean, is_mean);
    let mut dims = vec![channels];
    for (axis, extent) in [rows, cols].into_iter().enumerate() {
        let windows = windows(extent, size[axis], stride[axis], pad[axis], ceil);
        // A window that begins behind the image is left out only where there is padding.
        let count = match windows {
            Some([count, first]) if pad == [0, 0] && first != count => None,
            Some([count, _]) => Some(count),
            None => None,
        };
        let Some(count) = count else {
            return invalid(format!(
                "windows of {} every {} pixels over {extent} and a border of {}",
                size[axis], stride[axis], pad[axis]
            ));
        };
        dims.push(count);
    }
    let layer = if is_mean { LayerSpec::AvgPool(spec) } else { LayerSpec::MaxPool(spec) };
    Ok(cx.push(layer, &[&x], dims))
}

/// The number of pooling windows along an axis: without a last window that begins behind the image, and
/// by rounding alone. `None` where no window fits.
fn windows(
    extent: usize,
    size: usize,
    stride: usize,
    pad: usize,
    ceil: bool,
) -> Option<[usize; 2]> {
    let inside = extent.checked_add(pad)?;
    let padded = inside.checked_add(pad)?;
    if size == 0 || stride == 0 || pad >= size || size > padded {
        return None;
    }
    let span = match ceil {
        true => padded.checked_add(stride - 1)?.checked_sub(size)?,
        false => padded.checked_sub(size)?,
    };
    let rounded = span / stride;
    let begins_outside = rounded.checked_mul(stride)? >= inside;
    let last = if begins_outside { rounded.checked_sub(1)? } else { rounded };
    Some([last + 1, rounded + 1])
}

fn local_response(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    x.image()?;
    let own = cx.layer.lrn_param.clone().unwrap_or_default();
    let size = own.local_size.unwrap_or(5) as usize;
    let (alpha, beta) = (own.alpha.unwrap_or(1.0), own.beta.unwrap_or(0.75));
    if size.is_multiple_of(2) {
        return invalid(format!("a window of {size}, an even number"));
    }
    if own.norm_region != Some(WITHIN_CHANNEL) {
        let spec = striate_nn::lrn(size).beta(beta).kappa(own.k.unwrap_or(1.0));
        let spec = spec.alpha(alpha / size as f32);
        return Ok(cx.push(LayerSpec::Lrn(spec), &[&x], x.dims.clone()));
    }
    // `x · (1 + alpha · mean of x² over a window)^-beta`, where the border counts as zeros.
    let square = cx.activation(&x, UnaryKind::Square);
    let spec = pool(size).stride(1).padding(size / 2).count_padding();
    let mean = cx.push(LayerSpec::AvgPool(spec), &[&square], x.dims.clone());
    let sum = cx.activation(&mean, UnaryKind::Affine { scale: alpha, shift: 1.0 });
    let factor = cx.activation(&sum, UnaryKind::Powf { exponent: -beta });
    Ok(cx.push(LayerSpec::Multiply(PlainSpec {}), &[&x, &factor], x.dims.clone()))
}

fn eltwise(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let own = cx.layer.eltwise_param.clone().unwrap_or_default();
    let product = own.operation == Some(PROD);
    let mut inputs = cx.inputs.to_vec();
    let Some(first) = inputs.first().cloned() else { return invalid("it sees nothing") };
    let unlike = |other: &Output| other.dims != first.dims || other.flattened != first.flattened;
    if let Some(other) = inputs.iter().find(|other| unlike(other)) {
        return invalid(format!("{:?} with {:?}", first.dims, other.dims));
    }
    if !own.coeff.is_empty() {
        if product || own.coeff.len() != inputs.len() {
            return invalid(format!("{} factors for {} inputs", own.coeff.len(), inputs.len()));
        }
        for (input, &factor) in inputs.iter_mut().zip(&own.coeff) {
            *input = affine(cx, input.clone(), factor, 0.0);
        }
    }
    let layer = match product {
        true => LayerSpec::Multiply(PlainSpec {}),
        false => LayerSpec::Add(PlainSpec {}),
    };
    match &inputs[..] {
        [only] => Ok(only.clone()),
        all => {
            let all: Vec<&Output> = all.iter().collect();
            Ok(cx.push(layer, &all, first.dims.clone()))
        }
    }
}

/// Whether an axis is that of the channels: 1, or counted from the end.
pub(super) fn is_channels(axis: i32, dims: &[usize]) -> bool {
    axis == 1 || i64::from(axis) == -(dims.len() as i64)
}

/// The axis of `Concat` and `Slice`, which old files have in another field.
fn channel_axis(axis: Option<i32>, old: Option<u32>) -> i32 {
    axis.or(old.and_then(|axis| i32::try_from(axis).ok())).unwrap_or(1)
}

fn concat(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let own = cx.layer.concat_param.clone().unwrap_or_default();
    let axis = channel_axis(own.axis, own.concat_dim);
    let inputs = cx.inputs.to_vec();
    let Some(first) = inputs.first() else { return invalid("it sees nothing") };
    if !is_channels(axis, &first.dims) {
        return invalid(format!("a join along axis {axis}"));
    }
    let mut dims = first.dims.clone();
    dims[0] = 0;
    for x in &inputs {
        // A row of an image of several pixels has another order here.
        if x.dims.get(1..) != first.dims.get(1..) || x.flattened.is_some() {
            return invalid(format!("a join of {:?} with {:?}", first.dims, x.dims));
        }
        dims[0] = dims[0].saturating_add(x.channels());
    }
    if let [only] = &inputs[..] {
        return Ok(only.clone());
    }
    let all: Vec<&Output> = inputs.iter().collect();
    Ok(cx.push(LayerSpec::Concatenate(PlainSpec {}), &all, dims))
}

fn slice(cx: &mut Cx<'_, '_>) -> Outcome<Vec<Output>> {
    let x = cx.one()?;
    let own = cx.layer.slice_param.clone().unwrap_or_default();
    let axis = channel_axis(own.axis, own.slice_dim);
    let (channels, parts) = (x.channels(), cx.step.outputs.len());
    if !is_channels(axis, &x.dims) || x.flattened.is_some() {
        return invalid(format!("parts of axis {axis} of {:?}", x.dims));
    }
    let mut ends: Vec<usize> = own.slice_point.iter().map(|&point| point as usize).collect();
    if ends.is_empty() && parts > 0 && channels.is_multiple_of(parts) {
        ends = (1..parts).map(|part| channels / parts * part).collect();
    }
    ends.push(channels);
    let mut begins = vec![0];
    begins.extend_from_slice(&ends[..ends.len() - 1]);
    if ends.len() != parts || begins.iter().zip(&ends).any(|(begin, end)| begin >= end) {
        let points = &own.slice_point;
        return invalid(format!("{parts} parts of {channels} channels, cut at {points:?}"));
    }
    let part = |(&first, &end): (&usize, &usize)| {
        let mut dims = x.dims.clone();
        dims[0] = end - first;
        let spec = ChannelsSpec { first, count: end - first };
        cx.push(LayerSpec::Channels(spec), &[&x], dims)
    };
    Ok(begins.iter().zip(&ends).map(part).collect())
}

/// An image as one row.
fn row(cx: &mut Cx<'_, '_>, x: &Output) -> Output {
    let [channels, rows, cols] = x.dims[..] else { return x.clone() };
    let y = cx.push(LayerSpec::Flatten(PlainSpec {}), &[x], vec![x.count()]);
    Output { flattened: Some([channels, rows, cols]).filter(|_| rows * cols > 1), ..y }
}

fn flatten(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let own = cx.layer.flatten_param.clone().unwrap_or_default();
    let (axis, end) = (own.axis.unwrap_or(1), own.end_axis.unwrap_or(-1));
    let last = x.dims.len() as i64;
    if !is_channels(axis, &x.dims) || !(end == -1 || i64::from(end) == last) {
        return invalid(format!("a row made of the axes {axis} to {end}"));
    }
    Ok(row(cx, &x))
}

fn reshape(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let own = cx.layer.reshape_param.clone().unwrap_or_default();
    let shape = own.shape.unwrap_or_default().dim;
    let whole = own.axis.unwrap_or(0) == 0 && own.num_axes.unwrap_or(-1) == -1;
    // The images of a batch stay apart.
    let (Some(-1..=1), Some(wanted), true) = (shape.first(), shape.get(1..), whole) else {
        return invalid(format!("{:?} made {shape:?}", x.dims));
    };
    let keeps = |(at, &extent): (usize, &i64)| match extent {
        0 => x.dims.get(at).copied(),
        extent => usize::try_from(extent).ok(),
    };
    let open = wanted.iter().filter(|&&extent| extent == -1).count();
    let mut dims: Vec<usize> = Vec::with_capacity(wanted.len());
    for (at, extent) in wanted.iter().enumerate() {
        match keeps((at, extent)) {
            Some(extent) => dims.push(extent),
            None if *extent == -1 && open == 1 && shape[0] != -1 => dims.push(0),
            None => return invalid(format!("{:?} made {shape:?}", x.dims)),
        }
    }
    if let Some(place) = wanted.iter().position(|&extent| extent == -1) {
        let others = dims.iter().enumerate().filter(|(at, _)| *at != place);
        let others = others.fold(1usize, |n, (_, &extent)| n.saturating_mul(extent));
        dims[place] = x.count().checked_div(others).unwrap_or(0);
    }
    match dims[..] {
        _ if dims == x.dims => Ok(x),
        [count] if count == x.count() => Ok(row(cx, &x)),
        _ => invalid(format!("{:?} made {shape:?}", x.dims)),
    }
}
