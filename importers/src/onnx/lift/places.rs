//! Layers that move, join and pool.

use striate_nn::{
    BlockSpec, ChannelShuffleSpec, ChannelsSpec, LayerSpec, PadSpec, PlainSpec, PoolSpec, pool,
};
use striate_tensor::ops::BlockOrder;

use super::weighted::{pair, spec_extent};
use super::{Cx, Output, Seen};
use crate::onnx::compile::item::{Step, axes, axis, counted, invalid};
use crate::onnx::device::{Windows, order, pad_widths, slice_steps, split_sizes};

pub(super) fn windows(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

pub(super) fn global(cx: &mut Cx<'_, '_>, layer: LayerSpec, keep: bool) -> Step<Output> {
    let x = cx.image(0)?;
    let channels = x.dims[1];
    let y = cx.push(layer, &[x.node], vec![1, channels, 1, 1]);
    match keep {
        true => Ok(y),
        false => flat(cx, y),
    }
}

pub(super) fn reduce_mean(cx: &mut Cx<'_, '_>) -> Step<Output> {
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
pub(super) fn reshaped(cx: &mut Cx<'_, '_>, dims: Vec<usize>) -> Step<Output> {
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

pub(super) fn transpose(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

pub(super) fn concat(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

pub(super) fn split(cx: &mut Cx<'_, '_>) -> Step<Vec<Seen>> {
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

pub(super) fn slice(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

pub(super) fn pad(cx: &mut Cx<'_, '_>) -> Step<Output> {
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

pub(super) fn blocks(cx: &mut Cx<'_, '_>) -> Step<Output> {
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
