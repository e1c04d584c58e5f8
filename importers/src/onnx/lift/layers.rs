//! Which layer an operator is.

use striate_nn::{Activation, DropoutSpec, LayerSpec, PlainSpec, Role, ScaleSpec};
use striate_tensor::ops::UnaryKind;

use super::places::{
    blocks, concat, global, pad, reduce_mean, reshaped, slice, split, transpose, windows,
};
use super::weighted::{
    batch_normalization, conv, conv_transpose, gemm, group, layer_normalization, local_response,
    matmul, prelu,
};
use super::{Cx, Output, Seen};
use crate::onnx::compile::item::{Step, invalid};
use crate::onnx::device::{flat_dims, squeezed, unsqueezed, wanted_dims};

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
pub(super) enum Factor {
    Number(f32),
    Channels(Vec<f32>),
}

pub(super) fn factor(cx: &Cx<'_, '_>, place: usize, x: &Output) -> Step<Factor> {
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
