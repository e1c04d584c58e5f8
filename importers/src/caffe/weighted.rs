//! Layers that have weights.

use striate_nn::{LayerSpec, PreluSpec, Role, ScaleSpec, conv_transpose2d, conv2d, full_connect};

use super::layers::{is_channels, pair};
use super::lift::{Cx, Outcome, Output, Stored, Values, invalid};
use super::proto::Convolution;

/// Added to a variance where the definition names no `eps`.
const USUAL_EPSILON: f32 = 1e-5;

/// The epsilon of a normalization that only multiplies and adds. Its variance is `1 - EPSILON`, so that
/// their sum is exactly 1: the number is a power of two.
const EPSILON: f32 = 1.0 / (1 << 17) as f32;

/// The numbers of a batch normalization.
pub(super) struct Normal {
    pub(super) epsilon: f32,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    /// Mean and variance.
    pub(super) running: Vec<f32>,
}

/// The windows of a convolution along rows and cols.
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
    dilation: [usize; 2],
    /// Pixels that the kernel reaches over.
    reach: [usize; 2],
}

/// Numbers for rows and cols: a list of one or two, or one for each.
fn list(list: &[u32], sides: [Option<u32>; 2], default: usize) -> Outcome<[usize; 2]> {
    match list {
        [] => pair(None, sides, default),
        [both] => pair(Some(*both), sides, default),
        [rows, cols] => pair(None, [Some(*rows), Some(*cols)], default),
        _ => invalid("windows over other than rows and cols"),
    }
}

impl Windows {
    fn of(own: &Convolution) -> Outcome<Self> {
        if own.axis.is_some_and(|axis| axis != 1 && axis != -3) {
            return invalid("channels of another axis than 1");
        }
        let kernel = list(&own.kernel_size, [own.kernel_h, own.kernel_w], 0)?;
        let stride = list(&own.stride, [own.stride_h, own.stride_w], 1)?;
        let pad = list(&own.pad, [own.pad_h, own.pad_w], 0)?;
        let dilation = list(&own.dilation, [None; 2], 1)?;
        let reach = |axis: usize| match (kernel[axis], stride[axis], dilation[axis]) {
            (0, ..) | (_, 0, _) | (.., 0) => None,
            (kernel, _, dilation) => (kernel - 1).checked_mul(dilation)?.checked_add(1),
        };
        match (reach(0), reach(1)) {
            (Some(rows), Some(cols)) => {
                Ok(Windows { kernel, stride, pad, dilation, reach: [rows, cols] })
            }
            _ => invalid(format!(
                "a kernel of {kernel:?}, with strides {stride:?} and dilations {dilation:?}"
            )),
        }
    }
}

/// The outputs and groups of a convolution, which divide outputs and channels.
fn counts(own: &Convolution, channels: usize) -> Outcome<[usize; 2]> {
    let count = own.num_output.unwrap_or(0) as usize;
    let groups = own.group.unwrap_or(1) as usize;
    let divides = |n: usize| groups > 0 && n > 0 && n.is_multiple_of(groups);
    match divides(count) && divides(channels) {
        true => Ok([count, groups]),
        false => invalid(format!("{count} outputs of {channels} channels in {groups} groups")),
    }
}

/// Weights `[a, b, spatial]` of a kernel, in the order that layers here have.
fn kernel(cx: &Cx<'_, '_>, a: usize, b: usize, kernel: [usize; 2]) -> Outcome<Stored> {
    let stored = cx.blob(0, &[a, b, kernel[0], kernel[1]])?;
    let spatial = kernel[0].saturating_mul(kernel[1]);
    Ok(Stored { channels_last: Some([a, b, spatial]), ..stored })
}

/// Adds a layer with these weights and, where it has a bias, that of the layer's second array.
fn weighted(
    cx: &mut Cx<'_, '_>,
    x: &Output,
    (layer, dims): (LayerSpec, Vec<usize>),
    weights: Stored,
    has_bias: bool,
) -> Outcome<Output> {
    let bias = if has_bias { Some(cx.blob(1, &dims[..1])?) } else { None };
    let y = cx.push(layer, &[x], dims);
    cx.numbers(&y, Role::Weight, Values::Stored(weights));
    if let Some(bias) = bias {
        cx.numbers(&y, Role::Bias, Values::Stored(bias));
    }
    Ok(y)
}

pub(super) fn conv(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let [channels, rows, cols] = x.image()?;
    let own = cx.layer.convolution_param.clone().unwrap_or_default();
    let windows = Windows::of(&own)?;
    let [count, groups] = counts(&own, channels)?;
    let mut dims = vec![count];
    for (axis, extent) in [rows, cols].into_iter().enumerate() {
        let (pad, reach) = (windows.pad[axis], windows.reach[axis]);
        let padded = extent.saturating_add(pad).saturating_add(pad);
        match padded.checked_sub(reach) {
            Some(span) => dims.push(span / windows.stride[axis] + 1),
            None => return invalid(format!("windows of {reach} over {extent} pixels")),
        }
    }
    let mut spec = conv2d(count, 1).kernel(windows.kernel).groups(groups);
    (spec.stride, spec.dilation) = (windows.stride, windows.dilation);
    spec.padding = windows.pad.map(|pad| [pad; 2]);
    spec.bias = own.bias_term.unwrap_or(true);
    let weights = kernel(cx, count, channels / groups, windows.kernel)?;
    let has_bias = spec.bias;
    weighted(cx, &x, (LayerSpec::Conv(spec), dims), weights, has_bias)
}

pub(super) fn conv_transpose(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let [channels, rows, cols] = x.image()?;
    let own = cx.layer.convolution_param.clone().unwrap_or_default();
    let windows = Windows::of(&own)?;
    let [count, groups] = counts(&own, channels)?;
    let mut dims = vec![count];
    for (axis, extent) in [rows, cols].into_iter().enumerate() {
        let (pad, stride) = (windows.pad[axis], windows.stride[axis]);
        let whole = extent.saturating_sub(1).saturating_mul(stride);
        let whole = whole.saturating_add(windows.reach[axis]);
        match whole.checked_sub(pad.saturating_mul(2)) {
            Some(own @ 1..) => dims.push(own),
            _ => return invalid(format!("{whole} pixels, and {pad} cut off on each side")),
        }
    }
    let mut spec = conv_transpose2d(count, windows.kernel).groups(groups);
    (spec.stride, spec.dilation) = (windows.stride, windows.dilation);
    spec.padding = windows.pad.map(|pad| [pad; 2]);
    spec.bias = own.bias_term.unwrap_or(true);
    let weights = kernel(cx, channels, count / groups, windows.kernel)?;
    let has_bias = spec.bias;
    weighted(cx, &x, (LayerSpec::ConvTranspose(spec), dims), weights, has_bias)
}

pub(super) fn inner_product(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let own = cx.layer.inner_product_param.clone().unwrap_or_default();
    let (inputs, count) = (x.count(), own.num_output.unwrap_or(0) as usize);
    let axis = own.axis.unwrap_or(1);
    if !is_channels(axis, &x.dims) {
        return invalid(format!("a product with the axes from {axis} on"));
    }
    let turned = own.transpose == Some(true);
    let mut weights = match turned {
        true => cx.blob(0, &[inputs, count])?,
        false => cx.blob(0, &[count, inputs])?,
    };
    weights.turned = turned.then_some([inputs, count]);
    let image = match x.dims[..] {
        [channels, rows, cols] => Some([channels, rows, cols]),
        _ => x.flattened,
    };
    weights.channels_last = image.map(|[channels, rows, cols]| [count, channels, rows * cols]);
    let mut spec = full_connect(count);
    spec.bias = own.bias_term.unwrap_or(true);
    let has_bias = spec.bias;
    let layer = (LayerSpec::FullConnect(spec), vec![count]);
    let y = weighted(cx, &x, layer, weights, has_bias)?;
    Ok(Output { flattened: None, ..y })
}

/// The channels, for layers with a number for each; refuses a flattened image, whose channels are spread.
fn per_channel(x: &Output) -> Outcome<usize> {
    match x.flattened.is_some() {
        true => invalid("a number for each element of an image"),
        false => Ok(x.channels()),
    }
}

/// A batch normalization. The file has sums: mean and variance are to be divided by its third array.
pub(super) fn batch_norm(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let channels = per_channel(&x)?;
    let own = cx.layer.batch_norm_param.clone().unwrap_or_default();
    if own.use_global_stats == Some(false) {
        let (file, name) = (&cx.lift.definition.file, cx.layer.name());
        log::warn!("{file}: layer `{name}`: the running statistics are taken, not a batch's");
    }
    let epsilon = own.eps.unwrap_or(USUAL_EPSILON);
    let (mean, variance) = (cx.known(0, &[channels])?, cx.known(1, &[channels])?);
    let factor = match cx.known(2, &[1])?[..] {
        [0.0] | [] => 0.0,
        [factor, ..] => 1.0 / f64::from(factor),
    };
    let running = mean.iter().chain(&variance);
    let running = running.map(|&number| (f64::from(number) * factor) as f32).collect();
    let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
    Ok(cx.normalization(&x, Normal { epsilon, scale, shift, running }))
}

/// Makes factors and addends part of the normalization before, where no other layer reads its output.
fn joins(cx: &mut Cx<'_, '_>, x: &Output, scale: Option<&[f32]>, shift: Option<&[f32]>) -> bool {
    let nodes = &cx.lift.nodes;
    let layer = x.node.and_then(|node| nodes.get(node)).map(|node| &node.layer);
    if !matches!(layer, Some(LayerSpec::BatchNorm(_))) || !cx.reads_alone() {
        return false;
    }
    for numbers in cx.lift.numbers.iter_mut().filter(|numbers| Some(numbers.node) == x.node) {
        let Values::Known(values) = &mut numbers.values else { continue };
        for (value, factor) in values.iter_mut().zip(scale.unwrap_or_default()) {
            *value *= factor;
        }
        if numbers.role == Role::Shift {
            for (value, addend) in values.iter_mut().zip(shift.unwrap_or_default()) {
                *value += addend;
            }
        }
    }
    true
}

/// A normalization that only multiplies and adds.
fn plain(cx: &mut Cx<'_, '_>, x: &Output, scale: Vec<f32>, shift: Vec<f32>) -> Output {
    let mut running = vec![0.0; scale.len()];
    running.resize(2 * scale.len(), 1.0 - EPSILON);
    cx.normalization(x, Normal { epsilon: EPSILON, scale, shift, running })
}

/// Refuses anything but one number for each channel.
fn check_axes(axis: Option<i32>, axes: Option<i32>, x: &Output) -> Outcome<()> {
    let (axis, axes) = (axis.unwrap_or(1), axes.unwrap_or(1));
    match is_channels(axis, &x.dims) && (axes == 1 || (axes == -1 && x.dims.len() == 1)) {
        true => Ok(()),
        false => invalid(format!("a number for each element of {axes} axes from {axis} on")),
    }
}

pub(super) fn scale(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let channels = per_channel(&x)?;
    let own = cx.layer.scale_param.clone().unwrap_or_default();
    check_axes(own.axis, own.num_axes, &x)?;
    let scale = cx.known(0, &[channels])?;
    let shift = match own.bias_term {
        Some(true) => Some(cx.known(1, &[channels])?),
        _ => None,
    };
    if joins(cx, &x, Some(&scale), shift.as_deref()) {
        return Ok(x);
    }
    if let Some(shift) = shift {
        return Ok(plain(cx, &x, scale, shift));
    }
    let y = cx.push(LayerSpec::Scale(ScaleSpec { initial: 1.0 }), &[&x], x.dims.clone());
    cx.numbers(&y, Role::Scale, Values::Known(scale));
    Ok(y)
}

pub(super) fn bias(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let channels = per_channel(&x)?;
    let own = cx.layer.bias_param.clone().unwrap_or_default();
    check_axes(own.axis, own.num_axes, &x)?;
    let shift = cx.known(0, &[channels])?;
    match joins(cx, &x, None, Some(&shift)) {
        true => Ok(x),
        false => Ok(plain(cx, &x, vec![1.0; channels], shift)),
    }
}

pub(super) fn prelu(cx: &mut Cx<'_, '_>) -> Outcome<Output> {
    let x = cx.one()?;
    let own = cx.layer.prelu_param.clone().unwrap_or_default();
    let shared = own.channel_shared == Some(true);
    let slopes = if shared { 1 } else { per_channel(&x)? };
    let slopes = cx.known(0, &[slopes])?;
    let spec = PreluSpec { shared, ..PreluSpec::default() };
    let y = cx.push(LayerSpec::Prelu(spec), &[&x], x.dims.clone());
    cx.numbers(&y, Role::Slope, Values::Known(slopes));
    Ok(y)
}
