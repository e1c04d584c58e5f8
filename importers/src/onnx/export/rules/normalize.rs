//! Normalizations and softmax.

use striate_tensor::ops;

use super::elementwise::affine;
use super::movement::place;
use super::products::reduced;
use super::{Cx, Step, same_atoms};
use crate::onnx::elem::Elem;
use crate::onnx::export::emit::{At, Item, Weight, float, int, refuse};
use crate::onnx::export::layout::{Group, Layout};

pub(super) fn softmax(cx: &mut Cx<'_>, op: &ops::Softmax) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    let node = if op.log { "LogSoftmax" } else { "Softmax" };
    Ok(cx.like(node, &[&name], vec![int("axis", place(&order, op.axis))], &x))
}

/// An operand whose second axis in the file is that of its channels, our last.
fn channels_second(cx: &mut Cx<'_>) -> Step<(String, Item)> {
    let (name, x) = cx.value(0)?;
    let rank = x.layout.rank();
    if rank < 2 {
        return refuse("expected 2 axes or more");
    }
    let layout = &x.layout;
    let (first, last) = (&layout.axes()[0], &layout.axes()[rank - 1]);
    if layout.file().first() == Some(first)
        && layout.file().get(1).is_some_and(|group| same_atoms(group, last))
    {
        return Ok((name, x));
    }
    let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    cx.in_order(x, &order)
}

pub(super) fn batch(cx: &mut Cx<'_>, op: &ops::BatchNorm) -> Step<Item> {
    if op.batch {
        return refuse("it is normalized by the statistics of a batch, as in training");
    }
    if op.residual {
        return refuse("an addend is part of it: export the graph before passes join nodes");
    }
    let (name, x) = channels_second(cx)?;
    let group = x.layout.file()[1].clone();
    let moments = cx.input(1)?;
    let At::Weight(weight) = &moments.at else {
        return refuse("its statistics are computed");
    };
    let [2, channels] = moments.layout.dims()[..] else {
        return refuse("expected statistics of 2 rows");
    };
    let mut names = Vec::with_capacity(4);
    for place in [2, 3] {
        let item = cx.input(place)?;
        names.push(cx.along(&item, &x.layout, &group, x.elem)?);
    }
    for (row, part) in ["mean", "var"].into_iter().enumerate() {
        let weight = Weight {
            key: (weight.key.0, row + 1),
            name: format!("{}_{part}", weight.name),
            tensor: weight.tensor.clone(),
            range: row * channels..(row + 1) * channels,
        };
        let layout = Layout::new(&[channels], false, &[0]);
        let item = Item { at: At::Weight(weight), layout, elem: moments.elem };
        names.push(cx.along(&item, &x.layout, &group, x.elem)?);
    }
    let inputs = [&*name, &*names[0], &*names[1], &*names[2], &*names[3]];
    let name = cx.emit.push("BatchNormalization", &inputs, vec![float("epsilon", op.epsilon)]);
    let name = cx.activation(name, op.activation, x.elem)?;
    Ok(Item { at: At::Value(name), ..x })
}

pub(super) fn groups(cx: &mut Cx<'_>, op: &ops::GroupNorm) -> Step<Item> {
    match (op.pixelwise, op.groups) {
        (true, 1) => layer(cx, op.epsilon),
        (true, _) => refuse("groups of the channels of a pixel have no form in ONNX"),
        (false, _) => of_images(cx, op),
    }
}

fn layer(cx: &mut Cx<'_>, epsilon: f32) -> Step<Item> {
    let (name, x) = cx.value(0)?;
    let rank = x.layout.rank();
    let Some(last) = x.layout.axes().last().cloned() else { return refuse("expected an axis") };
    let lies_last = x.layout.file().last().is_some_and(|group| same_atoms(group, &last));
    let (name, x) = match lies_last {
        true => (name, x),
        false => cx.in_order(x, &(0..rank).collect::<Vec<_>>())?,
    };
    let group = x.layout.file().last().cloned().unwrap_or_default();
    let mut numbers = Vec::with_capacity(2);
    for place in [1, 2] {
        let item = cx.input(place)?;
        numbers.push(cx.along(&item, &x.layout, &group, x.elem)?);
    }
    let [scale, shift] = [&*numbers[0], &*numbers[1]];
    if cx.emit.opset >= 17 {
        let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
        return Ok(cx.like("LayerNormalization", &[&name, scale, shift], attributes, &x));
    }
    let axis = [x.layout.file().len() as i64 - 1];
    let mean = reduced(cx, "ReduceMean", &name, &axis, true);
    let less = cx.emit.push("Sub", &[&name, &mean], vec![]);
    let square = cx.emit.push("Mul", &[&less, &less], vec![]);
    let variance = reduced(cx, "ReduceMean", &square, &axis, true);
    let variance = affine(cx, &variance, 1.0, epsilon, x.elem)?;
    let deviation = cx.emit.push("Sqrt", &[&variance], vec![]);
    let y = cx.emit.push("Div", &[&less, &deviation], vec![]);
    let y = cx.emit.push("Mul", &[&y, scale], vec![]);
    Ok(cx.like("Add", &[&y, shift], vec![], &x))
}

/// Group normalization: instance normalization of groups, then scale and shift of each channel.
fn of_images(cx: &mut Cx<'_>, op: &ops::GroupNorm) -> Step<Item> {
    let x = cx.input(0)?;
    let dims = x.layout.dims();
    let (rank, channels) = (dims.len(), dims.last().copied().unwrap_or(1));
    if rank < 2 {
        return refuse("expected 2 axes or more");
    }
    let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    if op.groups == channels {
        let (_, x) = cx.in_order(x, &order)?;
        let mut groups = x.layout.groups(&order);
        let channels = groups[1].clone();
        if rank == 2 {
            groups.push(Group::new());
        }
        let name = cx.emit.realize(&x, &groups)?;
        let mut numbers = Vec::with_capacity(2);
        for place in [1, 2] {
            let item = cx.input(place)?;
            numbers.push(cx.along(&item, &x.layout, &channels, x.elem)?);
        }
        let inputs = [&*name, &*numbers[0], &*numbers[1]];
        let attributes = vec![float("epsilon", op.epsilon)];
        let name = cx.emit.push("InstanceNormalization", &inputs, attributes);
        let mut layout = x.layout.clone();
        layout.set_file(groups);
        return Ok(Cx::made(name, layout, x.elem));
    }
    let (_, x) = cx.in_order(x, &order)?;
    let (x, group, rest) = cx.in_groups(x, op.groups)?;
    let pixels = x.layout.groups(&order[2..]).concat();
    let together = vec![x.layout.axes()[0].clone(), group, [rest, pixels].concat()];
    let name = cx.emit.realize(&x, &together)?;
    let count = op.groups;
    let ones = cx.emit.floats(&[count], &vec![1.0; count], x.elem, "ones")?;
    let zeros = cx.emit.floats(&[count], &vec![0.0; count], x.elem, "zeros")?;
    let attributes = vec![float("epsilon", op.epsilon)];
    let name = cx.emit.push("InstanceNormalization", &[&name, &ones, &zeros], attributes);
    let mut layout = x.layout.clone();
    layout.set_file(together);
    let (mut name, y) = cx.in_order(Cx::made(name, layout, x.elem), &order)?;
    for (place, op) in [(1, "Mul"), (2, "Add")] {
        let number = per_channel(cx, place, rank, y.elem)?;
        name = cx.emit.push(op, &[&name, &number], vec![]);
    }
    Ok(Item { at: At::Value(name), ..y })
}

/// A number for each channel, to be broadcast to `[n, channels, …]`.
fn per_channel(cx: &mut Cx<'_>, place: usize, rank: usize, elem: Elem) -> Step<String> {
    let item = cx.input(place)?;
    if item.layout.rank() != 1 {
        return refuse("it has not one number for each channel");
    }
    let mut groups = vec![item.layout.axes()[0].clone()];
    groups.resize(rank - 1, Group::new());
    cx.typed(&item, &groups, elem)
}

/// The file's windows are those of one group, its factor is of the mean, and even windows reach further to
/// one side.
pub(super) fn lrn(cx: &mut Cx<'_>, op: &ops::Lrn) -> Step<Item> {
    let x = cx.input(0)?;
    let rank = x.layout.rank();
    let order: Vec<usize> = match rank {
        0 => return refuse("expected an axis of channels"),
        1 => vec![0],
        _ => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
    };
    let (_, x) = cx.in_order(x, &order)?;
    let (mut x, group, channel) = cx.in_groups(x, op.groups)?;
    let images = if rank > 1 { x.layout.axes()[0].clone() } else { Group::new() };
    let pixels: Vec<Group> = x.layout.groups(order.get(2..).unwrap_or_default());
    let mut wanted = vec![[images, group].concat(), channel];
    match &pixels[..] {
        [rows, cols] => wanted.extend([rows.clone(), cols.clone()]),
        _ => wanted.extend([pixels.concat(), Group::new()]),
    }
    let name = cx.emit.realize(&x, &wanted)?;
    let size = op.size / 2 * 2 + 1;
    let attributes = vec![
        float("alpha", op.alpha * size as f32),
        float("beta", op.beta),
        float("bias", op.kappa),
        int("size", size as i64),
    ];
    let name = cx.emit.push("LRN", &[&name], attributes);
    x.layout.set_file(wanted);
    Ok(Item { at: At::Value(name), ..x })
}
