//! Convolutions and pools.

use striate_graph::Value;
use striate_tensor::ops;

use super::Rule;
use crate::onnx::attributes::Attributes;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, extents, invalid, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Conv" => conv,
        "ConvTranspose" => conv_transpose,
        "MaxPool" => max_pool,
        "AveragePool" => average_pool,
        _ => return None,
    })
}

/// How windows go over the axes behind the channels.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) kernel: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    pub(crate) pads: Vec<[usize; 2]>,
}

impl Windows {
    /// Of a node on images of these extents; `kernel` where it comes with the weights.
    pub(crate) fn of(
        attributes: Attributes<'_>,
        spatial: &[usize],
        kernel: Option<&[usize]>,
    ) -> Step<Self> {
        let rank = spatial.len();
        let list = |name: &str, default: usize| -> Step<Vec<usize>> {
            let Some(list) = attributes.ints(name) else { return Ok(vec![default; rank]) };
            let list = extents(list)?;
            match list.len() == rank && (default == 0 || !list.contains(&0)) {
                true => Ok(list),
                false => {
                    invalid(format!("expected {rank} positive numbers as {name}, got {list:?}"))
                }
            }
        };
        let kernel = match kernel {
            Some(kernel) => kernel.to_vec(),
            None if attributes.has("kernel_shape") => list("kernel_shape", 1)?,
            None => return invalid("expected a kernel_shape, got none"),
        };
        let (strides, dilations) = (list("strides", 1)?, list("dilations", 1)?);
        let mut pads = vec![[0; 2]; rank];
        match attributes.text("auto_pad", "NOTSET") {
            "NOTSET" | "" => {
                let list = attributes.ints("pads").map(extents);
                if let Some(list) = list.transpose()? {
                    if list.len() != 2 * rank {
                        return invalid(format!("expected {} pads, got {list:?}", 2 * rank));
                    }
                    pads = (0..rank).map(|axis| [list[axis], list[axis + rank]]).collect();
                }
            }
            "VALID" => {}
            side @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..rank {
                    let window = window(kernel[axis], dilations[axis]);
                    let outputs = spatial[axis].div_ceil(strides[axis]);
                    let reach = outputs.saturating_sub(1).saturating_mul(strides[axis]);
                    let whole = reach.saturating_add(window).saturating_sub(spatial[axis]);
                    pads[axis] = same(whole, side == "SAME_UPPER");
                }
            }
            other => return unsupported(format!("auto_pad `{other}`")),
        }
        Ok(Windows { kernel, strides, dilations, pads })
    }

    /// As rows and columns; images of one axis have one row.
    fn pair<T: Copy>(list: &[T], one: T) -> Option<[T; 2]> {
        match list {
            [cols] => Some([one, *cols]),
            [rows, cols] => Some([*rows, *cols]),
            _ => None,
        }
    }

    fn is_dilated(&self) -> bool {
        self.dilations.iter().any(|&dilation| dilation != 1)
    }
}

/// What a kernel spans.
pub(crate) fn window(kernel: usize, dilation: usize) -> usize {
    kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
}

/// A border on both sides; the larger part after, or before.
fn same(whole: usize, upper: bool) -> [usize; 2] {
    let (less, more) = (whole / 2, whole - whole / 2);
    if upper { [less, more] } else { [more, less] }
}

/// Images `[n, rows, cols, channels]` of a value with one or two spatial axes.
fn images(cx: &mut Cx<'_>, x: &Dev) -> Step<Value> {
    let x = cx.wide(x)?;
    let x = cx.in_order(&x, &Dev::channels_last(x.rank()))?;
    match x.dims[..] {
        [n, channels, cols] => cx.reshape(x.value, &[n, 1, cols, channels]),
        [_, _, _, _] => Ok(x.value),
        // More axes are computed on the host.
        [_, _, _, ..] => Err(Stop::Host),
        _ => invalid(format!("expected images [n, channels, …], got {:?}", x.dims)),
    }
}

/// The images as a value of the file.
fn from_images(cx: &mut Cx<'_>, value: Value, rank: usize, elem: Elem) -> Step<Vec<Item>> {
    let [n, rows, cols, channels] = cx.graph.ty(value).shape.nhwc("conv2d", "x")?;
    let axes = Dev::channels_last(rank);
    if rank == 3 {
        let value = cx.reshape(value, &[n, cols, channels])?;
        return Ok(vec![Item::Device(Dev { value, axes, dims: vec![n, channels, cols], elem })]);
    }
    let dims = vec![n, channels, rows, cols];
    Ok(vec![Item::Device(Dev { value, axes, dims, elem })])
}

/// Weights with their second axis last: `[out, rows, cols, channels / groups]`.
fn weights(cx: &mut Cx<'_>, rank: usize) -> Step<Value> {
    let item = cx.item(1)?.clone();
    if item.dims().len() != rank {
        return invalid(format!("expected weights of {rank} axes, got {:?}", item.dims()));
    }
    let order = Dev::channels_last(rank);
    let value = match &item {
        Item::Host(array) => cx.weight(array, &order)?,
        Item::Device(dev) => cx.in_order(dev, &order)?.value,
    };
    match (rank, item.dims()) {
        (3, &[out, per_group, cols]) => cx.reshape(value, &[out, 1, cols, per_group]),
        _ => Ok(value),
    }
}

fn bias(cx: &mut Cx<'_>, operands: &mut Vec<Value>) -> Step<bool> {
    if cx.optional(2).is_none() {
        return Ok(false);
    }
    let bias = cx.float(2)?;
    operands.push(cx.wide(&bias)?.value);
    Ok(true)
}

fn conv(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let rank = x.rank();
    let value = images(cx, &x)?;
    let weights_dims = cx.item(1)?.dims().to_vec();
    let mut operands = vec![value, weights(cx, rank)?];
    let windows = Windows::of(cx.attributes, &x.dims[2..], weights_dims.get(2..))?;
    let groups = cx.attributes.int("group", 1).max(0) as usize;
    let (Some(stride), Some(padding), Some(dilation)) = (
        Windows::pair(&windows.strides, 1),
        Windows::pair(&windows.pads, [0; 2]),
        Windows::pair(&windows.dilations, 1),
    ) else {
        return Err(Stop::Host);
    };
    let bias = bias(cx, &mut operands)?;
    let algorithm = cx.algorithm;
    let conv =
        ops::Conv2d { stride, padding, dilation, groups, bias, algorithm, ..Default::default() };
    let value = cx.push(conv, &operands)?;
    from_images(cx, value, rank, x.elem)
}

fn conv_transpose(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let rank = x.rank();
    let value = images(cx, &x)?;
    let weights_dims = cx.item(1)?.dims().to_vec();
    let mut operands = vec![value, weights(cx, rank)?];
    let (windows, extra) = transposed(cx.attributes, &x.dims[2..], weights_dims.get(2..))?;
    let (Some(stride), Some(padding), Some(dilation), Some(output_padding)) = (
        Windows::pair(&windows.strides, 1),
        Windows::pair(&windows.pads, [0; 2]),
        Windows::pair(&windows.dilations, 1),
        Windows::pair(&extra, 0),
    ) else {
        return Err(Stop::Host);
    };
    if output_padding.iter().zip(stride).any(|(extra, stride)| *extra >= stride) {
        return Err(Stop::Host);
    }
    let groups = cx.attributes.int("group", 1).max(0) as usize;
    let bias = bias(cx, &mut operands)?;
    let algorithm = cx.algorithm;
    let op =
        ops::ConvTranspose2d { stride, padding, output_padding, dilation, groups, bias, algorithm };
    let value = cx.push(op, &operands)?;
    from_images(cx, value, rank, x.elem)
}

/// The windows of a transposed convolution, and what is added after each axis.
pub(crate) fn transposed(
    attributes: Attributes<'_>,
    spatial: &[usize],
    kernel: Option<&[usize]>,
) -> Step<(Windows, Vec<usize>)> {
    let rank = spatial.len();
    let auto = attributes.text("auto_pad", "NOTSET");
    // The borders of a convolution do not fit here.
    let mut windows = match auto {
        "NOTSET" | "" | "VALID" => Windows::of(attributes, spatial, kernel)?,
        _ => {
            let mut node = attributes.node.clone();
            node.attribute.retain(|attribute| attribute.name != "auto_pad");
            Windows::of(Attributes { node: &node, ..attributes }, spatial, kernel)?
        }
    };
    let list = |name: &str| attributes.ints(name).map(extents);
    let mut extra = list("output_padding").transpose()?.unwrap_or_else(|| vec![0; rank]);
    let output = list("output_shape").transpose()?;
    if extra.len() != rank || output.as_ref().is_some_and(|output| output.len() < rank) {
        return invalid(format!("expected {rank} numbers as output_padding and output_shape"));
    }
    let is_same = auto == "SAME_UPPER" || auto == "SAME_LOWER";
    for axis in 0..rank {
        let wanted = match &output {
            Some(output) => output[output.len() - rank + axis],
            None if is_same => spatial[axis].saturating_mul(windows.strides[axis]),
            None => continue,
        };
        let window = window(windows.kernel[axis], windows.dilations[axis]);
        let reach = spatial[axis].saturating_sub(1).saturating_mul(windows.strides[axis]);
        let whole = reach.saturating_add(window).saturating_add(extra[axis]);
        windows.pads[axis] = same(whole.saturating_sub(wanted), auto == "SAME_UPPER");
        extra[axis] += wanted.saturating_sub(whole);
    }
    Ok((windows, extra))
}

/// A pool over images, where devices have it.
fn pool(cx: &mut Cx<'_>) -> Step<(Value, ops::Pool2d, Dev)> {
    let x = cx.float(0)?;
    let windows = Windows::of(cx.attributes, x.dims.get(2..).unwrap_or_default(), None)?;
    let value = images(cx, &x)?;
    let (Some(size), Some(stride), Some(padding)) = (
        Windows::pair(&windows.kernel, 1),
        Windows::pair(&windows.strides, 1),
        Windows::pair(&windows.pads, [0; 2]),
    ) else {
        return Err(Stop::Host);
    };
    let is_far = (0..2).any(|axis| padding[axis].iter().any(|&pad| pad >= size[axis]));
    if windows.is_dilated() || is_far {
        return Err(Stop::Host);
    }
    let mut pool =
        ops::Pool2d { size, stride, padding, ties: ops::Ties::First, ..Default::default() };
    if cx.attributes.flag("ceil_mode", false) {
        let [_, rows, cols, _] = cx.graph.ty(value).shape.nhwc("max_pool2d", "x")?;
        pool = pool.with_ceil(rows, cols);
    }
    Ok((value, pool, x))
}

fn max_pool(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    if cx.outputs() > 1 {
        return Err(Stop::Host);
    }
    let (value, pool, x) = pool(cx)?;
    let value = cx.push(striate_tensor::Op::MaxPool2d(pool), &[value])?;
    from_images(cx, value, x.rank(), x.elem)
}

fn average_pool(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let count_padding = cx.attributes.flag("count_include_pad", false);
    let (value, pool, x) = pool(cx)?;
    let pool = ops::Pool2d { count_padding, ..pool };
    let value = cx.push(ops::AvgPool2d(pool), &[value])?;
    from_images(cx, value, x.rank(), x.elem)
}
