//! Matrix products, and sums over axes.

use striate_tensor::ops::{self, ArgReduceKind, ReduceKind};

use super::movement::place;
use super::{Cx, Step};
use crate::onnx::elem::Elem;
use crate::onnx::export::emit::{At, Item, int, ints, refuse};
use crate::onnx::export::layout::{CHANNELS_FIRST, Group, Layout};

pub(super) fn matmul(cx: &mut Cx<'_>, op: &ops::MatMul) -> Step<Item> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if a.layout.rank() == 2 && b.layout.rank() == 2 {
        return gemm(cx, op, a, b);
    }
    let matrix = |item: &Item, transposed: bool, rank: usize| {
        let layout = item.layout.lifted(rank);
        let mut order: Vec<usize> = (0..rank).collect();
        if transposed {
            order.swap(rank - 1, rank - 2);
        }
        let groups = layout.groups(&order);
        (Item { layout, ..item.clone() }, groups)
    };
    let rank = cx.output.shape.rank();
    let (left, groups) = matrix(&a, op.transpose_a, rank);
    let rows = left.layout.groups(&[rank - if op.transpose_a { 1 } else { 2 }]);
    let a_name = cx.typed(&left, &groups, a.elem)?;
    let (right, groups) = matrix(&b, op.transpose_b, rank);
    let b_name = cx.typed(&right, &groups, a.elem)?;
    for layout in [&left.layout, &right.layout] {
        let open = layout.axes()[..rank - 2].iter().zip(cx.output.shape.dims());
        let broadcasts = |(group, extent): (&Group, &usize)| {
            layout.is_open(group) && layout.extent(group) != *extent
        };
        if open.into_iter().any(broadcasts) {
            return refuse("it broadcasts images against each other");
        }
    }
    let is_open = |layout: &Layout| layout.axes().iter().any(|group| layout.is_open(group));
    if is_open(&right.layout) && !right.layout.is_batch(&right.layout.axes()[0]) {
        return refuse("the images are part of its second operand");
    }
    let mut name = cx.emit.push("MatMul", &[&a_name, &b_name], vec![]);
    if op.bias {
        let bias = cx.input(2)?;
        let bias = cx.typed(&bias, bias.layout.axes(), a.elem)?;
        name = cx.emit.push("Add", &[&name, &bias], vec![]);
    }
    let name = cx.activation(name, op.activation, a.elem)?;
    let dims = cx.output.shape.dims().to_vec();
    let of = if is_open(&left.layout) || !is_open(&right.layout) { &left } else { &right };
    let own = of.layout.dims();
    let mut kept: Vec<_> = (0..rank)
        .map(|axis| (axis + 2 < rank && own[axis] == dims[axis]).then_some(axis))
        .collect();
    if of.layout == left.layout && !rows[0].is_empty() {
        kept[rank - 2] = Some(rank - if op.transpose_a { 1 } else { 2 });
    }
    let order: Vec<usize> = (0..rank).collect();
    Ok(cx.next(name, of, &kept, &order))
}

/// A product of two matrices. Weights follow the order in which the other operand lies.
fn gemm(cx: &mut Cx<'_>, op: &ops::MatMul, a: Item, mut b: Item) -> Step<Item> {
    let (m, k) = if op.transpose_a { (1, 0) } else { (0, 1) };
    let (b_k, b_n) = if op.transpose_b { (1, 0) } else { (0, 1) };
    let (a_value, b_value) = (matches!(a.at, At::Value(_)), matches!(b.at, At::Value(_)));
    if b.layout.is_open(&b.layout.axes()[b_n]) || a.layout.is_open(&a.layout.axes()[k]) {
        return refuse("the images are part of its second operand, or are summed");
    }
    let axes = a.layout.axes().to_vec();
    let mut a_k = axes[k].clone();
    let mut parts_k = b.layout.axes()[b_k].clone();
    if a_value && !b_value {
        let extents: Vec<usize> = a_k.iter().map(|&atom| a.layout.extents()[atom]).collect();
        let split = match extents.len() {
            0 | 1 => None,
            _ => b.layout.split(b_k, &extents),
        };
        let parts = split.as_ref().map(|layout| layout.axes()[b_k].clone());
        if let (Some(layout), Some(parts)) = (split, parts)
            && parts.len() == a_k.len()
        {
            let lies: Group = a
                .layout
                .file()
                .iter()
                .flatten()
                .copied()
                .filter(|atom| a_k.contains(atom))
                .collect();
            let place = |atom: &usize| a_k.iter().position(|own| own == atom);
            parts_k = lies.iter().filter_map(place).map(|place| parts[place]).collect();
            (a_k, b.layout) = (lies, layout);
        }
    }
    // Of a value the axes as they are; of a weight the usual ones, since it costs nothing.
    let a_groups = match a_value && op.transpose_a {
        true => vec![a_k, axes[m].clone()],
        false => vec![axes[m].clone(), a_k],
    };
    let n = b.layout.axes()[b_n].clone();
    let b_transposed = op.transpose_b || !b_value;
    let b_groups = if b_transposed { vec![n, parts_k] } else { vec![parts_k, n] };
    let a_name = cx.emit.realize(&a, &a_groups)?;
    let b_name = cx.typed(&b, &b_groups, a.elem)?;
    let mut inputs = vec![&*a_name, &b_name];
    let bias = match op.bias {
        true => {
            let bias = cx.input(2)?;
            cx.typed(&bias, bias.layout.axes(), a.elem)?
        }
        false => String::new(),
    };
    if op.bias {
        inputs.push(&bias);
    }
    let mut attributes = Vec::new();
    if a_value && op.transpose_a {
        attributes.push(int("transA", 1));
    }
    if b_transposed {
        attributes.push(int("transB", 1));
    }
    let name = cx.emit.push("Gemm", &inputs, attributes);
    let name = cx.activation(name, op.activation, a.elem)?;
    Ok(cx.next(name, &a, &[Some(m), None], &[0, 1]))
}

pub(super) fn reduce(cx: &mut Cx<'_>, op: &ops::Reduce) -> Step<Item> {
    let axes: Vec<usize> = op.axes.iter().collect();
    if axes.is_empty() {
        return cx.input(0);
    }
    let rank = cx.input(0)?.layout.rank();
    let whole = match op.kind {
        ReduceKind::Mean => Some("GlobalAveragePool"),
        ReduceKind::Max => Some("GlobalMaxPool"),
        _ => None,
    };
    if let (Some(whole), 4, [1, 2], true) = (whole, rank, &axes[..], op.keep_axes) {
        let x = cx.input(0)?;
        let (name, x) = cx.in_order(x, &CHANNELS_FIRST)?;
        if x.elem.is_float() {
            let name = cx.emit.push(whole, &[&name], vec![]);
            return Ok(cx.next(name, &x, &[Some(0), None, None, Some(3)], &CHANNELS_FIRST));
        }
    }
    let (name, x, order) = cx.ordered(0)?;
    let node = match op.kind {
        ReduceKind::Sum => "ReduceSum",
        ReduceKind::Mean => "ReduceMean",
        ReduceKind::Product => "ReduceProd",
        ReduceKind::Max => "ReduceMax",
        ReduceKind::Min => "ReduceMin",
        _ => return refuse("this reduction has no form in ONNX"),
    };
    let places: Vec<i64> = axes.iter().map(|&axis| place(&order, axis)).collect();
    let name = reduced(cx, node, &name, &places, op.keep_axes);
    Ok(without(cx, name, &x, &axes, op.keep_axes, &order))
}

/// A reduction over axes of the file.
pub(super) fn reduced(cx: &mut Cx<'_>, op: &str, x: &str, axes: &[i64], keep: bool) -> String {
    let keep = int("keepdims", i64::from(keep));
    // Axes have become an input, that of sums first.
    if op == "ReduceSum" || cx.emit.opset >= 18 {
        let axes = cx.emit.ints(axes);
        return cx.emit.push(op, &[x, &axes], vec![keep]);
    }
    cx.emit.push(op, &[x], vec![ints("axes", axes), keep])
}

/// A value without these axes, or with an extent of 1 there.
fn without(
    cx: &Cx<'_>,
    name: String,
    x: &Item,
    axes: &[usize],
    keep: bool,
    order: &[usize],
) -> Item {
    let rank = x.layout.rank();
    if keep {
        let kept: Vec<_> = (0..rank).map(|axis| (!axes.contains(&axis)).then_some(axis)).collect();
        return cx.next(name, x, &kept, order);
    }
    let left: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
    let kept: Vec<_> = left.iter().map(|&axis| Some(axis)).collect();
    let place = |axis: &usize| left.iter().position(|own| own == axis);
    let order: Vec<usize> = order.iter().filter_map(place).collect();
    cx.next(name, x, &kept, &order)
}

pub(super) fn arg_reduce(cx: &mut Cx<'_>, op: &ops::ArgReduce) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    let node = match op.kind {
        ArgReduceKind::Max => "ArgMax",
        ArgReduceKind::Min => "ArgMin",
    };
    let axis = int("axis", place(&order, op.axis));
    let keep = int("keepdims", i64::from(op.keep_axis));
    let name = cx.emit.push(node, &[&name], vec![axis, keep]);
    let item = without(cx, name, &x, &[op.axis], op.keep_axis, &order);
    Ok(Item { elem: Elem::I64, ..item })
}

pub(super) fn cumulative_sum(cx: &mut Cx<'_>, op: &ops::CumulativeSum) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    let axis = cx.emit.ints(&[place(&order, op.axis)]);
    let attributes =
        vec![int("exclusive", i64::from(op.exclusive)), int("reverse", i64::from(op.reverse))];
    Ok(cx.like("CumSum", &[&name, &axis], attributes, &x))
}
