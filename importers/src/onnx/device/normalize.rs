//! Normalizations and softmax.

use striate_graph::Value;
use striate_tensor::ops::{self, BinaryKind, ReduceKind, UnaryKind};

use super::Rule;
use super::reduce::over;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, axes, axis, invalid, unsupported};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "BatchNormalization" => batch,
        "InstanceNormalization" => instance,
        "GroupNormalization" => group,
        "LayerNormalization" => layer,
        "RMSNormalization" => root_mean_square,
        "LpNormalization" => lp,
        "MeanVarianceNormalization" => mean_variance,
        "LRN" => lrn,
        "Softmax" => |cx| softmax(cx, false),
        "LogSoftmax" => |cx| softmax(cx, true),
        _ => return None,
    })
}

/// A value with its channels last, and how many there are.
fn channels_last(cx: &mut Cx<'_>, x: &Dev) -> Step<(Dev, usize)> {
    let &[_, channels, ..] = &x.dims[..] else {
        return invalid(format!("expected [n, channels, …], got {:?}", x.dims));
    };
    let x = cx.wide(x)?;
    Ok((cx.in_order(&x, &Dev::channels_last(x.rank()))?, channels))
}

/// An operand of a number for each channel, in f32.
fn per_channel(cx: &mut Cx<'_>, place: usize, channels: usize) -> Step<Value> {
    let dev = cx.float(place)?;
    let dev = cx.wide(&dev)?;
    match dev.count() == channels {
        true => cx.reshape(dev.value, &[channels]),
        false => {
            let got = format!("{:?}", dev.dims);
            invalid(format!("expected {channels} numbers as input {place}, got {got}"))
        }
    }
}

fn batch(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let momentum = cx.attributes.float("momentum", 0.9);
    if cx.opset() < 9 && !cx.attributes.flag("spatial", true) {
        return unsupported("statistics of each pixel (spatial = 0)");
    }
    let x = cx.float(0)?;
    let (x, channels) = channels_last(cx, &x)?;
    let (scale, shift) = (per_channel(cx, 1, channels)?, per_channel(cx, 2, channels)?);
    let (mean, variance) = (per_channel(cx, 3, channels)?, per_channel(cx, 4, channels)?);
    if cx.attributes.flag("training_mode", false) {
        let moments = cx.push(ops::Moments, &[x.value])?;
        let op = ops::BatchNorm { epsilon, ..ops::BatchNorm::default() };
        let y = cx.push(op, &[x.value, moments, scale, shift])?;
        let mut outputs = vec![cx.like(y, &x)];
        for (row, before) in [mean, variance].into_iter().enumerate() {
            let now =
                cx.push(ops::Slice { ranges: vec![row..row + 1, 0..channels] }, &[moments])?;
            let now = cx.reshape(now, &[channels])?;
            let [before, now] =
                [(before, momentum), (now, 1.0 - momentum)].map(|(value, scale)| {
                    cx.push(ops::Unary { kind: UnaryKind::Affine { scale, shift: 0.0 } }, &[value])
                });
            let running = cx.push(ops::Binary { kind: BinaryKind::Add }, &[before?, now?])?;
            outputs.push(cx.made(running, vec![channels], x.elem));
        }
        return Ok(outputs);
    }
    let rows = [cx.reshape(mean, &[1, channels])?, cx.reshape(variance, &[1, channels])?];
    let moments = cx.push(ops::Concatenate { axis: 0 }, &rows)?;
    let op = ops::BatchNorm { epsilon, ..ops::BatchNorm::default() };
    let value = cx.push(op, &[x.value, moments, scale, shift])?;
    Ok(vec![cx.like(value, &x)])
}

fn instance(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let x = cx.float(0)?;
    let (x, channels) = channels_last(cx, &x)?;
    let (scale, shift) = (per_channel(cx, 1, channels)?, per_channel(cx, 2, channels)?);
    let op = ops::GroupNorm::group(channels, epsilon);
    let value = cx.push(op, &[x.value, scale, shift])?;
    Ok(vec![cx.like(value, &x)])
}

fn group(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let groups = cx.attributes.int("num_groups", 0).max(0) as usize;
    let x = cx.float(0)?;
    let (x, channels) = channels_last(cx, &x)?;
    let mut numbers = Vec::with_capacity(2);
    for place in [1, 2] {
        // Until opset 21 there was one for each group.
        let is_of_groups = cx.opset() < 21 && cx.item(place)?.dims() == [groups];
        numbers.push(match is_of_groups && groups > 0 && channels.is_multiple_of(groups) {
            true => {
                let each = per_channel(cx, place, groups)?;
                let group = (0..channels).map(|channel| (channel / (channels / groups)) as u32);
                let group = cx.words(&[channels], group.collect())?;
                cx.push(ops::Gather { axis: 0 }, &[each, group])?
            }
            false => per_channel(cx, place, channels)?,
        });
    }
    let op = ops::GroupNorm::group(groups, epsilon);
    let value = cx.push(op, &[x.value, numbers[0], numbers[1]])?;
    Ok(vec![cx.like(value, &x)])
}

/// A scale or shift of layer normalization as one number for each element of a row.
fn row(cx: &mut Cx<'_>, place: usize, dims: &[usize], default: f32) -> Step<Value> {
    let count = dims.iter().product();
    if cx.optional(place).is_none() {
        return cx.constant(&[count], vec![default; count]);
    }
    let given = cx.float(place)?;
    let given = cx.wide(&given)?;
    let value = cx.constant(dims, vec![1.0; count])?;
    let ones = Dev { value, axes: Dev::plain(dims.len()), dims: dims.to_vec(), elem: given.elem };
    let whole = match given.count() == count {
        true => cx.plain(&given)?,
        false => {
            let whole = cx.binary(BinaryKind::Mul, &ones, &given)?;
            cx.plain(&whole)?
        }
    };
    cx.reshape(whole.value, &[count])
}

fn layer(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let first = axis(cx.attributes.int("axis", -1), x.rank())?;
    let count: usize = x.dims[first..].iter().product();
    let rows: usize = x.dims[..first].iter().product();
    // Over the channels of images, as they lie.
    let is_last = first + 1 == x.rank() && x.axes.last() == Some(&first);
    let x = if is_last { x } else { cx.plain(&x)? };
    let dims = x.dims[first..].to_vec();
    let (scale, shift) = (row(cx, 1, &dims, 1.0)?, row(cx, 2, &dims, 0.0)?);
    let seen = match is_last {
        true => x.value,
        false => cx.reshape(x.value, &[rows, count])?,
    };
    let value = cx.push(ops::GroupNorm::layer(epsilon), &[seen, scale, shift])?;
    let physical = x.physical();
    let value = cx.reshape(value, &physical)?;
    let mut outputs = vec![cx.like(value, &x)];
    if cx.outputs() > 1 {
        let axes: Vec<usize> = (first..x.rank()).collect();
        let mean = over(cx, ReduceKind::Mean, &x, &axes, true)?;
        let less = cx.binary(BinaryKind::Sub, &x, &mean)?;
        let squares = cx.unary(UnaryKind::Square, &less)?;
        let variance = over(cx, ReduceKind::Mean, &squares, &axes, true)?;
        let variance = cx.affine(&variance, 1.0, epsilon)?;
        let inverse = cx.unary(UnaryKind::Rsqrt, &variance)?;
        outputs.extend([Item::Device(mean), Item::Device(inverse)]);
    }
    Ok(outputs)
}

fn root_mean_square(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let epsilon = cx.attributes.float("epsilon", 1e-5);
    let (x, scale) = (cx.float(0)?, cx.float(1)?);
    let first = axis(cx.attributes.int("axis", -1), x.rank())?;
    let axes: Vec<usize> = (first..x.rank()).collect();
    let squares = cx.unary(UnaryKind::Square, &x)?;
    let mean = over(cx, ReduceKind::Mean, &squares, &axes, true)?;
    let mean = cx.affine(&mean, 1.0, epsilon)?;
    let inverse = cx.unary(UnaryKind::Rsqrt, &mean)?;
    let y = cx.binary(BinaryKind::Mul, &x, &inverse)?;
    Ok(vec![Item::Device(cx.binary(BinaryKind::Mul, &y, &scale)?)])
}

fn lp(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let axis = axis(cx.attributes.int("axis", -1), x.rank())?;
    let norm = match cx.attributes.int("p", 2) {
        1 => {
            let sizes = cx.unary(UnaryKind::Abs, &x)?;
            over(cx, ReduceKind::Sum, &sizes, &[axis], true)?
        }
        2 => {
            let squares = cx.unary(UnaryKind::Square, &x)?;
            let sum = over(cx, ReduceKind::Sum, &squares, &[axis], true)?;
            cx.unary(UnaryKind::Sqrt, &sum)?
        }
        p => return unsupported(format!("p = {p}")),
    };
    Ok(vec![Item::Device(cx.binary(BinaryKind::Div, &x, &norm)?)])
}

fn mean_variance(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let list = cx.attributes.ints("axes").unwrap_or(&[0, 2, 3]);
    let over_axes = axes(list, x.rank())?;
    let mean = over(cx, ReduceKind::Mean, &x, &over_axes, true)?;
    let less = cx.binary(BinaryKind::Sub, &x, &mean)?;
    let squares = cx.unary(UnaryKind::Square, &less)?;
    let variance = over(cx, ReduceKind::Mean, &squares, &over_axes, true)?;
    let deviation = cx.unary(UnaryKind::Sqrt, &variance)?;
    let deviation = cx.affine(&deviation, 1.0, 1e-9)?;
    Ok(vec![Item::Device(cx.binary(BinaryKind::Div, &less, &deviation)?)])
}

fn lrn(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let size = cx.attributes.int("size", 1).max(0) as usize;
    let alpha = cx.attributes.float("alpha", 1e-4);
    let beta = cx.attributes.float("beta", 0.75);
    let kappa = cx.attributes.float("bias", 1.0);
    if size.is_multiple_of(2) {
        return unsupported(format!("a window of {size} channels, an even number"));
    }
    let x = cx.float(0)?;
    let (x, _) = channels_last(cx, &x)?;
    let op = ops::Lrn { size, kappa, alpha: alpha / size as f32, beta, groups: 1 };
    let value = cx.push(op, &[x.value])?;
    Ok(vec![cx.like(value, &x)])
}

fn softmax(cx: &mut Cx<'_>, log: bool) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    if cx.opset() >= 13 {
        let axis = axis(cx.attributes.int("axis", -1), x.rank())?;
        let value = cx.push(ops::Softmax { axis: x.place(axis), log }, &[x.value])?;
        return Ok(vec![cx.like(value, &x)]);
    }
    // All axes from this one on are one.
    let dims = super::reshape::flat_dims(&x.dims, cx.attributes.int("axis", 1))?;
    let x = cx.plain(&x)?;
    let value = cx.reshape(x.value, &dims)?;
    let value = cx.push(ops::Softmax { axis: 1, log }, &[value])?;
    let value = cx.reshape(value, &x.dims)?;
    Ok(vec![cx.like(value, &x)])
}
