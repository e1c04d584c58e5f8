//! Which layer an operator is.

use striate_nn::{
    Activation, BlockSpec, ChannelShuffleSpec, ChannelsSpec, DropoutSpec, LayerSpec, PadSpec,
    PlainSpec, PoolSpec, PreluSpec, Role, ScaleSpec, batch_norm, conv_transpose2d, conv2d,
    full_connect, group_norm, instance_norm, layer_norm, lrn, pool,
};
use striate_tensor::ops::{BlockOrder, UnaryKind};

use super::{Cx, Output, Seen};
use crate::onnx::compile::item::{Step, axes, axis, counted, invalid};
use crate::onnx::device::{
    Windows, flat_dims, order, pad_widths, slice_steps, split_sizes, squeezed, transposed,
    unsqueezed, wanted_dims,
};

/// The outputs of a node, some of whose inputs are layers'.
pub(super) fn lift(cx: &mut Cx<'_, '_>) -> Step<Vec<Seen>> {
    let op = cx.attributes.node.op_type.clone();
    let output = match &*op {
        "Conv" => conv(cx)?,
        "ConvTranspose" => conv_transpose(cx)?,
        "Gemm" => gemm(cx)?,
        "MatMul" => matmul(cx)?,
        "BatchNormalization" => batch_normalization(cx)?,
        "InstanceNormalization" | "GroupNormalization" => group(cx)?,
        "LayerNormalization" => layer_normalization(cx)?,
        "LRN" => local_response(cx)?,
        "MaxPool" | "AveragePool" => windows(cx)?,
        "GlobalAveragePool" => global(cx, LayerSpec::GlobalAvgPool(PlainSpec {}), true)?,
        "GlobalMaxPool" => global(cx, LayerSpec::GlobalMaxPool(PlainSpec {}), true)?,
        "ReduceMean" => reduce_mean(cx)?,
        "Flatten" => {
            let dims = flat_dims(&cx.layer(0)?.dims, cx.attributes.int("axis", 1))?;
            reshaped(cx, dims)?
        }
        "Reshape" => {
            let wanted = cx.list("shape", 1)?.unwrap_or_default();
            let keeps = cx.attributes.flag("allowzero", false);
            let dims = wanted_dims(&cx.layer(0)?.dims, &wanted, keeps)?;
            reshaped(cx, dims)?
        }
        "Squeeze" => {
            let list = cx.list("axes", 1)?;
            let dims = squeezed(&cx.layer(0)?.dims, list.as_deref())?;
            reshaped(cx, dims)?
        }
        "Unsqueeze" => {
            let list = cx.list("axes", 1)?.unwrap_or_default();
            let dims = unsqueezed(&cx.layer(0)?.dims, &list)?;
            reshaped(cx, dims)?
        }
        "Transpose" => transpose(cx)?,
        "Identity" => cx.layer(0)?,
        "Dropout" => dropout(cx)?,
        "Softmax" | "LogSoftmax" => softmax(cx)?,
        "Add" | "Sum" | "Sub" | "Mul" | "Div" => arithmetic(cx)?,
        "Concat" => concat(cx)?,
        "Split" => return split(cx),
        "Slice" => slice(cx)?,
        "Pad" => pad(cx)?,
        "PRelu" => prelu(cx)?,
        "HardSigmoid" => hard_sigmoid(cx)?,
        "DepthToSpace" | "SpaceToDepth" => blocks(cx)?,
        _ => match function(cx)? {
            Some(kind) => activation(cx, kind)?,
            None => return invalid(format!("{op} is none of the layers' operators")),
        },
    };
    Ok(vec![Seen::Layer(output)])
}

/// The function of an activation.
fn function(cx: &Cx<'_, '_>) -> Step<Option<UnaryKind>> {
    let attributes = cx.attributes;
    Ok(Some(match &*attributes.node.op_type {
        "Relu" => UnaryKind::Relu,
        "Sigmoid" => UnaryKind::Sigmoid,
        "Tanh" => UnaryKind::Tanh,
        "HardSwish" => UnaryKind::HardSwish,
        "Softplus" => UnaryKind::Softplus,
        "Mish" => UnaryKind::Mish,
        "Exp" => UnaryKind::Exp,
        "Sqrt" => UnaryKind::Sqrt,
        "Abs" => UnaryKind::Abs,
        "Neg" => UnaryKind::Neg,
        "Erf" => UnaryKind::Erf,
        "LeakyRelu" => UnaryKind::LeakyRelu { slope: attributes.float("alpha", 0.01) },
        "Elu" => UnaryKind::Elu { alpha: attributes.float("alpha", 1.0) },
        "Swish" if attributes.float("alpha", 1.0) == 1.0 => UnaryKind::Silu,
        "Gelu" if attributes.text("approximate", "none") == "tanh" => UnaryKind::Gelu,
        "Gelu" => UnaryKind::GeluErf,
        "Clip" => {
            let bound = |name: &str, place: usize, default: f32| -> Step<f32> {
                if cx.optional(place).is_none() {
                    return Ok(attributes.float(name, default));
                }
                Ok(cx.floats(place)?.first().copied().unwrap_or(default))
            };
            let min = bound("min", 1, f32::MIN)?;
            let max = bound("max", 2, f32::MAX)?;
            match (min, max) {
                (0.0, f32::MAX) => UnaryKind::Relu,
                _ if min <= max => UnaryKind::Clamp { min, max },
                _ => return invalid("bounds that cross"),
            }
        }
        _ => return Ok(None),
    }))
}

fn activation(cx: &mut Cx<'_, '_>, kind: UnaryKind) -> Step<Output> {
    let x = cx.layer(0)?;
    let layer = LayerSpec::Activation(Activation::new(kind));
    Ok(Output { node: cx.push(layer, &[x.node], x.dims.clone()).node, ..x })
}

fn hard_sigmoid(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let scale = cx.attributes.float("alpha", 0.2);
    let shift = cx.attributes.float("beta", 0.5);
    if (scale - 1.0 / 6.0).abs() < 1e-6 && shift == 0.5 {
        return activation(cx, UnaryKind::HardSigmoid);
    }
    let x = activation(cx, UnaryKind::Affine { scale, shift })?;
    let layer = LayerSpec::Activation(Activation::new(UnaryKind::Clamp { min: 0.0, max: 1.0 }));
    Ok(Output { node: cx.push(layer, &[x.node], x.dims.clone()).node, ..x })
}

fn pair<T: Copy>(list: &[T]) -> Step<[T; 2]> {
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

fn conv(cx: &mut Cx<'_, '_>) -> Step<Output> {
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
fn spec_extent(windows: &Windows, spatial: &[usize]) -> Step<[usize; 2]> {
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

fn conv_transpose(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn gemm(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn matmul(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn layer_normalization(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn batch_normalization(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn group(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn local_response(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn windows(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let windows = Windows::of(cx.attributes, &x.dims[2..], None)?;
    if windows.dilations.iter().any(|&dilation| dilation != 1)
        || cx.attributes.node.output.len() > 1
    {
        return invalid("windows that are dilated, or places of maxima");
    }
    let mut spec: PoolSpec = pool(pair(&windows.kernel)?);
    (spec.stride, spec.padding) = (pair(&windows.strides)?, pair(&windows.pads)?);
    spec.ceil = cx.attributes.flag("ceil_mode", false);
    spec.count_padding = cx.attributes.flag("count_include_pad", false);
    let is_max = cx.attributes.node.op_type == "MaxPool";
    spec.first_maximum = is_max;
    spec.count_padding &= !is_max;
    let op = spec.op(x.dims[2], x.dims[3]);
    let mut padded = windows.clone();
    for (axis, pads) in padded.pads.iter_mut().enumerate() {
        pads[1] += op.extra[axis];
    }
    let out = spec_extent(&padded, &x.dims[2..])?;
    let layer = if is_max { LayerSpec::MaxPool(spec) } else { LayerSpec::AvgPool(spec) };
    Ok(cx.push(layer, &[x.node], vec![1, x.dims[1], out[0], out[1]]))
}

fn global(cx: &mut Cx<'_, '_>, layer: LayerSpec, keep: bool) -> Step<Output> {
    let x = cx.image(0)?;
    let channels = x.dims[1];
    let y = cx.push(layer, &[x.node], vec![1, channels, 1, 1]);
    match keep {
        true => Ok(y),
        false => flat(cx, y),
    }
}

fn reduce_mean(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    let list = cx.list("axes", 1)?.unwrap_or_default();
    let mut over = axes(&list, x.dims.len())?;
    over.sort_unstable();
    if over != [2, 3] {
        return invalid(format!("a mean over the axes {list:?}"));
    }
    global(cx, LayerSpec::GlobalAvgPool(PlainSpec {}), cx.attributes.flag("keepdims", true))
}

/// An image as one row.
fn flat(cx: &mut Cx<'_, '_>, x: Output) -> Step<Output> {
    let &[1, channels, rows, cols] = &x.dims[..] else {
        return invalid(format!("a row made of {:?}", x.dims));
    };
    let row = channels * rows * cols;
    let y = cx.push(LayerSpec::Flatten(PlainSpec {}), &[x.node], vec![1, row]);
    let flattened = match x.channels_last {
        // The file has them in our order.
        true => None,
        false => Some([channels, rows, cols]),
    };
    Ok(Output { flattened, ..y })
}

/// The same elements in another shape: as much of that as layers do.
fn reshaped(cx: &mut Cx<'_, '_>, dims: Vec<usize>) -> Step<Output> {
    let x = cx.layer(0)?;
    if dims == x.dims {
        return Ok(x);
    }
    match (&x.dims[..], &dims[..]) {
        ([1, ..], [1, row]) if x.dims.len() == 4 && x.dims.iter().product::<usize>() == *row => {
            flat(cx, x)
        }
        // The groups of a channel shuffle: two more reshapes and a transposition follow.
        ([1, c, h, w], [1, g, k, r, q]) if !x.channels_last && g * k == *c && (r, q) == (h, w) => {
            Ok(Output { dims, ..x })
        }
        ([1, k, g, h, w], [1, c, r, q]) if k * g == *c && (r, q) == (h, w) => {
            Ok(Output { dims, ..x })
        }
        _ => invalid(format!("{:?} made {dims:?}", x.dims)),
    }
}

fn transpose(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    let order = order(cx.attributes.ints("perm"), x.dims.len())?;
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims[axis]).collect();
    match (&order[..], x.channels_last) {
        ([0, 3, 1, 2], true) => Ok(Output { dims, channels_last: false, ..x }),
        ([0, 2, 3, 1], false) => Ok(Output { dims, channels_last: true, ..x }),
        ([0, 2, 1, 3, 4], false) => {
            let groups = x.dims[1];
            let layer = LayerSpec::ChannelShuffle(ChannelShuffleSpec { groups });
            Ok(cx.push(layer, &[x.node], dims))
        }
        _ => invalid(format!("axes in the order {order:?}")),
    }
}

fn dropout(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.layer(0)?;
    let rate = match cx.optional(1) {
        Some(_) => cx.floats(1)?.first().copied().unwrap_or(0.5),
        None => cx.attributes.float("ratio", 0.5),
    };
    let layer = LayerSpec::Dropout(DropoutSpec { rate });
    Ok(Output { node: cx.push(layer, &[x.node], x.dims.clone()).node, ..x })
}

/// The probabilities of a classifier: a network here ends before them.
fn softmax(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let is_last = cx.attributes.node.output.first() == Some(&cx.lift.file.result());
    match is_last {
        true => cx.layer(0),
        false => invalid("a softmax that is not at the end"),
    }
}

/// A known operand of one number, or one for each channel.
enum Factor {
    Number(f32),
    Channels(Vec<f32>),
}

fn factor(cx: &Cx<'_, '_>, place: usize, x: &Output) -> Step<Factor> {
    let array = cx.known(place)?;
    let values = cx.floats(place)?;
    if let [number] = values[..] {
        return Ok(Factor::Number(number));
    }
    let (channels, rank) = match (x.dims.len(), x.channels_last) {
        (2, _) => (x.dims[1], 1),
        (4, false) => (x.dims[1], 3),
        (4, true) => (x.dims[3], 1),
        _ => return invalid("a constant for each element"),
    };
    let of_channels = |dims: &[usize]| {
        let own = dims.len().checked_sub(rank).map(|at| (&dims[..at], dims[at], &dims[at + 1..]));
        own.is_some_and(|(before, at, after)| {
            at == channels && before.iter().chain(after).all(|&extent| extent == 1)
        })
    };
    match of_channels(&array.dims) {
        true => Ok(Factor::Channels(values)),
        false => invalid(format!("a constant {:?} for {:?}", array.dims, x.dims)),
    }
}

fn arithmetic(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let op = cx.attributes.node.op_type.clone();
    if let [Some(Seen::Layer(a)), Some(Seen::Layer(b))] = cx.inputs {
        let (a, b) = (a.clone(), b.clone());
        let layer = match &*op {
            "Add" | "Sum" => LayerSpec::Add(PlainSpec {}),
            "Mul" => LayerSpec::Multiply(PlainSpec {}),
            _ => return invalid("a difference or quotient of layers"),
        };
        let dims = match a.dims.iter().product::<usize>() >= b.dims.iter().product() {
            true => a.dims.clone(),
            false => b.dims.clone(),
        };
        if a.channels_last != b.channels_last || a.flattened != b.flattened {
            return invalid("operands whose channels lie in different places");
        }
        return Ok(Output {
            node: cx.push(layer, &[a.node, b.node], dims.clone()).node,
            dims,
            ..a
        });
    }
    let place = match cx.inputs {
        [Some(Seen::Layer(_)), Some(Seen::Known(_))] => 0,
        [Some(Seen::Known(_)), Some(Seen::Layer(_))] if op != "Div" => 1,
        _ => return invalid("other than two operands"),
    };
    let x = cx.layer(place)?;
    match factor(cx, 1 - place, &x)? {
        Factor::Number(number) => {
            let (scale, shift) = match (&*op, place) {
                ("Add" | "Sum", _) => (1.0, number),
                ("Sub", 0) => (1.0, -number),
                ("Sub", _) => (-1.0, number),
                ("Div", _) => (1.0 / number, 0.0),
                _ => (number, 0.0),
            };
            let layer = LayerSpec::Activation(Activation::new(UnaryKind::Affine { scale, shift }));
            Ok(Output { node: cx.push(layer, &[x.node], x.dims.clone()).node, ..x })
        }
        Factor::Channels(values)
            if is_after_norm(cx, place, &x) && (op == "Add" || op == "Mul") =>
        {
            after_norm(cx, &x, &values, op == "Mul");
            Ok(x)
        }
        Factor::Channels(values) if op == "Add" => bias(cx, place, x, values),
        Factor::Channels(values) if op == "Mul" && x.dims.len() == 4 => {
            let y =
                cx.push(LayerSpec::Scale(ScaleSpec { initial: 1.0 }), &[x.node], x.dims.clone());
            if let Some(node) = y.node {
                cx.numbers(node, Role::Scale, values);
            }
            Ok(Output { node: y.node, ..x })
        }
        Factor::Channels(_) => invalid("a constant for each channel"),
    }
}

/// Whether a batch normalization made an operand that nothing else reads.
fn is_after_norm(cx: &Cx<'_, '_>, place: usize, x: &Output) -> bool {
    let layer = x.node.and_then(|node| cx.lift.nodes.get(node)).map(|node| &node.layer);
    matches!(layer, Some(LayerSpec::BatchNorm(_))) && cx.reads_alone(place)
}

/// A factor or addend for each channel as part of the normalization before it.
fn after_norm(cx: &mut Cx<'_, '_>, x: &Output, values: &[f32], factor: bool) {
    let own = cx.lift.numbers.iter_mut().filter(|numbers| Some(numbers.node) == x.node);
    for numbers in own {
        for (number, value) in numbers.values.iter_mut().zip(values) {
            match numbers.role {
                _ if factor => *number *= value,
                Role::Shift => *number += value,
                _ => {}
            }
        }
    }
}

/// What is added to each channel, as the bias of the layer before.
fn bias(cx: &mut Cx<'_, '_>, place: usize, x: Output, values: Vec<f32>) -> Step<Output> {
    let alone = cx.reads_alone(place);
    let Some(node) = x.node.filter(|_| alone) else { return invalid("an addend for each channel") };
    let bias = match &mut cx.lift.nodes[node].layer {
        LayerSpec::Conv(conv) => &mut conv.bias,
        LayerSpec::ConvTranspose(conv) => &mut conv.bias,
        LayerSpec::FullConnect(full) => &mut full.bias,
        _ => return invalid("an addend for each channel"),
    };
    if std::mem::replace(bias, true) {
        return invalid("a second bias");
    }
    cx.numbers(node, Role::Bias, values);
    Ok(x)
}

fn concat(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let first = cx.layer(0)?;
    let axis = axis(cx.attributes.int("axis", 1), first.dims.len())?;
    let channels = if first.channels_last { 3 } else { 1 };
    if axis != channels || (first.dims.len() != 4 && first.flattened.is_some()) {
        return invalid(format!("a join along axis {axis}"));
    }
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    let mut nodes = Vec::with_capacity(cx.inputs.len());
    for place in 0..cx.inputs.len() {
        let x = cx.layer(place)?;
        if x.dims.len() != dims.len() || x.channels_last != first.channels_last {
            return invalid("a join of unlike images");
        }
        dims[axis] += x.dims[axis];
        nodes.push(x.node);
    }
    if nodes.len() == 1 {
        return Ok(first);
    }
    let node = cx.push(LayerSpec::Concatenate(PlainSpec {}), &nodes, dims.clone()).node;
    Ok(Output { node, dims, ..first })
}

/// Some of the channels.
fn channels(cx: &mut Cx<'_, '_>, x: &Output, from: usize, count: usize) -> Output {
    let mut dims = x.dims.clone();
    dims[1] = count;
    cx.push(LayerSpec::Channels(ChannelsSpec { first: from, count }), &[x.node], dims)
}

fn split(cx: &mut Cx<'_, '_>) -> Step<Vec<Seen>> {
    let x = cx.image(0)?;
    let axis = axis(cx.attributes.int("axis", 0), 4)?;
    if axis != 1 {
        return invalid(format!("parts of axis {axis}"));
    }
    let given = cx.list("split", 1)?;
    let sizes = split_sizes(x.dims[1], given.as_deref(), cx.attributes.node.output.len())?;
    let mut from = 0;
    let mut outputs = Vec::with_capacity(sizes.len());
    for count in sizes {
        outputs.push(Seen::Layer(channels(cx, &x, from, count)));
        from += count;
    }
    Ok(outputs)
}

fn slice(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let (starts, ends) = (cx.list("starts", 1)?, cx.list("ends", 2)?);
    let (list, steps) = (cx.list("axes", 3)?, cx.list("steps", 4)?);
    let starts = starts.unwrap_or_default();
    let ends = ends.unwrap_or_default();
    let parts = slice_steps(&x.dims, [&starts, &ends], list.as_deref(), steps.as_deref())?;
    let mut y = x;
    for part in parts {
        if part.count == y.dims[part.axis] && part.step == 1 {
            continue;
        }
        if part.axis != 1 || part.step != 1 {
            return invalid(format!("a part of axis {}", part.axis));
        }
        y = channels(cx, &y, part.start as usize, part.count);
    }
    Ok(y)
}

fn pad(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let pads = cx.list("pads", 1)?.unwrap_or_default();
    let list = match cx.optional(3) {
        Some(_) => Some(cx.known(3)?.ints().to_vec()),
        None => None,
    };
    let widths = pad_widths(&pads, list.as_deref(), 4)?;
    if widths[..2] != [[0, 0], [0, 0]] || widths.iter().flatten().any(|&width| width < 0) {
        return invalid("a border other than around images");
    }
    let side = |axis: usize| widths[axis].map(|width| width as usize);
    let value = match cx.optional(2) {
        Some(_) => cx.floats(2)?.first().copied().unwrap_or(0.0),
        None => cx.attributes.float("value", 0.0),
    };
    let spec: PadSpec = striate_nn::pad([side(2), side(3)]);
    let spec = match cx.attributes.text("mode", "constant") {
        "constant" => spec.value(value),
        "reflect" => spec.reflect(),
        "edge" => spec.edge(),
        _ => spec.wrap(),
    };
    let extent = |axis: usize| side(axis).iter().fold(x.dims[axis], |a, &b| a.saturating_add(b));
    let dims = vec![1, x.dims[1], extent(2), extent(3)];
    Ok(cx.push(LayerSpec::Pad(spec), &[x.node], dims))
}

fn prelu(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

fn blocks(cx: &mut Cx<'_, '_>) -> Step<Output> {
    let x = cx.image(0)?;
    let block = cx.attributes.int("blocksize", 0).max(0) as usize;
    let order = match cx.attributes.text("mode", "DCR") {
        "CRD" => BlockOrder::Crd,
        _ => BlockOrder::Dcr,
    };
    if block == 0 {
        return invalid("blocks of no pixels");
    }
    let spec = BlockSpec { block, order };
    let [c, h, w] = [x.dims[1], x.dims[2], x.dims[3]];
    let times = |a: usize| a.saturating_mul(block);
    let (layer, dims) = match cx.attributes.node.op_type == "DepthToSpace" {
        true => (LayerSpec::DepthToSpace(spec), vec![1, c / block / block, times(h), times(w)]),
        false => (LayerSpec::SpaceToDepth(spec), vec![1, times(times(c)), h / block, w / block]),
    };
    counted(&dims)?;
    Ok(cx.push(layer, &[x.node], dims))
}
