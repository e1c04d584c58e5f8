//! Convolutions and pools.

use striate_tensor::ops;

use super::{Cx, Step};
use crate::onnx::export::emit::{Item, int, ints, refuse};
use crate::onnx::export::layout::CHANNELS_FIRST;
use crate::onnx::proto::AttributeProto;

/// What a node on images keeps of its input: which image it is.
const IMAGES: [Option<usize>; 4] = [Some(0), None, None, None];

/// The same, and the channels.
pub(super) const IMAGES_AND_CHANNELS: [Option<usize>; 4] = [Some(0), None, None, Some(3)];

/// An operand as images, channels first.
pub(super) fn images(cx: &mut Cx<'_>, place: usize) -> Step<(String, Item)> {
    let item = cx.input(place)?;
    if item.layout.rank() != 4 {
        return refuse(format!("expected images of 4 axes, got {:?}", item.layout.dims()));
    }
    cx.in_order(item, &CHANNELS_FIRST)
}

/// The output, channels first.
pub(super) fn from_images(cx: &Cx<'_>, name: String, x: &Item, kept: &[Option<usize>; 4]) -> Item {
    cx.next(name, x, kept, &CHANNELS_FIRST)
}

pub(super) fn pads([[top, bottom], [left, right]]: [[usize; 2]; 2]) -> Vec<i64> {
    [top, left, bottom, right].map(|width| width as i64).to_vec()
}

fn pair(name: &str, pair: [usize; 2]) -> AttributeProto {
    ints(name, &pair.map(|number| number as i64))
}

/// Weights `[a, rows, cols, b]` as `[a, b, rows, cols]`, and a bias.
fn operands(cx: &mut Cx<'_>, x: &Item, bias: bool) -> Step<Vec<String>> {
    let weights = cx.input(1)?;
    if weights.layout.rank() != 4 {
        return refuse("expected weights of 4 axes");
    }
    let groups = weights.layout.groups(&CHANNELS_FIRST);
    let mut operands = vec![cx.typed(&weights, &groups, x.elem)?];
    if bias {
        let bias = cx.input(2)?;
        operands.push(cx.typed(&bias, bias.layout.axes(), x.elem)?);
    }
    Ok(operands)
}

fn kernel(cx: &Cx<'_>) -> Step<AttributeProto> {
    match cx.input(1)?.layout.dims()[..] {
        [_, rows, cols, _] => Ok(pair("kernel_shape", [rows, cols])),
        _ => refuse("expected weights of 4 axes"),
    }
}

/// A node of images, weights and where asked a bias.
fn with_weights(
    cx: &mut Cx<'_>,
    node: &str,
    op: &ops::Conv2d,
    more: Vec<AttributeProto>,
) -> Step<(String, Item)> {
    let (name, x) = images(cx, 0)?;
    let operands = operands(cx, &x, op.bias)?;
    let mut inputs = vec![&*name];
    inputs.extend(operands.iter().map(|operand| &**operand));
    let mut attributes = vec![
        pair("dilations", op.dilation),
        int("group", op.groups as i64),
        kernel(cx)?,
        ints("pads", &pads(op.padding)),
        pair("strides", op.stride),
    ];
    attributes.extend(more);
    Ok((cx.emit.push(node, &inputs, attributes), x))
}

pub(super) fn conv(cx: &mut Cx<'_>, op: &ops::Conv2d) -> Step<Item> {
    let (mut name, x) = with_weights(cx, "Conv", op, vec![])?;
    if op.residual {
        let (other, _) = images(cx, if op.bias { 3 } else { 2 })?;
        name = cx.emit.push("Add", &[&name, &other], vec![]);
    }
    let name = cx.activation(name, op.activation, x.elem)?;
    Ok(from_images(cx, name, &x, &IMAGES))
}

pub(super) fn conv_transpose(cx: &mut Cx<'_>, op: &ops::ConvTranspose2d) -> Step<Item> {
    let conv = ops::Conv2d { bias: op.bias, ..op.conv() };
    let more = vec![pair("output_padding", op.output_padding)];
    let (name, x) = with_weights(cx, "ConvTranspose", &conv, more)?;
    Ok(from_images(cx, name, &x, &IMAGES))
}

/// The attributes of a pool whose windows may reach over the edge as far as ours.
fn window(op: &ops::Pool2d, padding: [[usize; 2]; 2]) -> Vec<AttributeProto> {
    // Cells beyond the padding never count, nor does the padding: it is the same to the file.
    let reach = [0, 1].map(|axis| [padding[axis][0], padding[axis][1] + op.extra[axis]]);
    vec![pair("kernel_shape", op.size), ints("pads", &pads(reach)), pair("strides", op.stride)]
}

pub(super) fn max_pool(cx: &mut Cx<'_>, op: &ops::Pool2d) -> Step<Item> {
    let (name, x) = images(cx, 0)?;
    let name = cx.emit.push("MaxPool", &[&name], window(op, op.padding));
    Ok(from_images(cx, name, &x, &IMAGES_AND_CHANNELS))
}

pub(super) fn avg_pool(cx: &mut Cx<'_>, op: &ops::Pool2d) -> Step<Item> {
    let (mut name, x) = images(cx, 0)?;
    let is_padded = op.padding != [[0; 2]; 2];
    let mut padding = op.padding;
    let mut counts = 0;
    if op.count_padding && is_padded {
        match op.extra {
            [0, 0] => counts = 1,
            // The padding counts, and what is beyond it does not.
            _ => {
                let around = pads(padding);
                let list = [0, 0, around[0], around[1], 0, 0, around[2], around[3]];
                let list = cx.emit.ints(&list);
                name = cx.emit.push("Pad", &[&name, &list], vec![]);
                padding = [[0; 2]; 2];
            }
        }
    }
    let mut attributes = window(op, padding);
    attributes.push(int("count_include_pad", counts));
    let name = cx.emit.push("AveragePool", &[&name], attributes);
    Ok(from_images(cx, name, &x, &IMAGES_AND_CHANNELS))
}
