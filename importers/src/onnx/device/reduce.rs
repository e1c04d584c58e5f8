//! Reductions over axes, and orders along one.

use striate_tensor::ops::{self, ArgReduceKind, Axes, BinaryKind, ReduceKind, UnaryKind};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, axes, axis, invalid};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" => reduce,
        "GlobalAveragePool" => |cx| global(cx, ReduceKind::Mean),
        "GlobalMaxPool" => |cx| global(cx, ReduceKind::Max),
        "ArgMax" => |cx| arg_reduce(cx, ArgReduceKind::Max),
        "ArgMin" => |cx| arg_reduce(cx, ArgReduceKind::Min),
        "TopK" => top_k,
        "CumSum" => cumulative_sum,
        _ => return None,
    })
}

/// A value without these axes, or with one entry there.
pub(super) fn over(
    cx: &mut Cx<'_>,
    kind: ReduceKind,
    x: &Dev,
    axes: &[usize],
    keep: bool,
) -> Step<Dev> {
    let x = cx.wide(x)?;
    let places: Vec<usize> = axes.iter().map(|&axis| x.place(axis)).collect();
    let op = ops::Reduce { kind, axes: Axes::new(&places)?, keep_axes: keep };
    let value = cx.push(op, &[x.value])?;
    Ok(without(&x, value, axes, keep))
}

/// What is left of a value when axes were reduced.
fn without(x: &Dev, value: striate_graph::Value, axes: &[usize], keep: bool) -> Dev {
    let elem = x.elem;
    if keep {
        let mut dims = x.dims.clone();
        axes.iter().for_each(|&axis| dims[axis] = 1);
        return Dev { value, axes: x.axes.clone(), dims, elem };
    }
    let left: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
    let dims = left.iter().map(|&axis| x.dims[axis]).collect();
    let number = |axis: &usize| left.iter().position(|at| at == axis);
    Dev { value, axes: x.axes.iter().filter_map(number).collect(), dims, elem }
}

/// The axes of a reduction: an attribute, or an operand in newer files; none where nothing is reduced.
fn reduced_axes(cx: &Cx<'_>, rank: usize) -> Step<Option<Vec<usize>>> {
    let list = cx.list("axes", 1)?.unwrap_or_default();
    match list.is_empty() {
        true if cx.attributes.flag("noop_with_empty_axes", false) => Ok(None),
        true => Ok(Some(Dev::plain(rank))),
        false => axes(&list, rank).map(Some),
    }
}

fn reduce(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let keep = cx.attributes.flag("keepdims", true);
    let axes = reduced_axes(cx, x.rank())?.unwrap_or_default();
    let op = cx.attributes.node.op_type.clone();
    let over = |cx: &mut Cx<'_>, kind, x: &Dev| over(cx, kind, x, &axes, keep);
    let y = match &*op {
        "ReduceSum" => over(cx, ReduceKind::Sum, &x)?,
        "ReduceMean" => over(cx, ReduceKind::Mean, &x)?,
        "ReduceMax" => over(cx, ReduceKind::Max, &x)?,
        "ReduceMin" => over(cx, ReduceKind::Min, &x)?,
        "ReduceProd" => over(cx, ReduceKind::Product, &x)?,
        "ReduceL1" => {
            let x = cx.unary(UnaryKind::Abs, &x)?;
            over(cx, ReduceKind::Sum, &x)?
        }
        "ReduceL2" | "ReduceSumSquare" => {
            let squares = cx.unary(UnaryKind::Square, &x)?;
            let sum = over(cx, ReduceKind::Sum, &squares)?;
            if op == "ReduceL2" { cx.unary(UnaryKind::Sqrt, &sum)? } else { sum }
        }
        "ReduceLogSum" => {
            let sum = over(cx, ReduceKind::Sum, &x)?;
            cx.unary(UnaryKind::Log, &sum)?
        }
        _ => log_sum_exp(cx, &x, &axes, keep)?,
    };
    Ok(vec![Item::Device(y)])
}

/// Less the maximum, so that no power is too large.
fn log_sum_exp(cx: &mut Cx<'_>, x: &Dev, axes: &[usize], keep: bool) -> Step<Dev> {
    if x.count() == 0 {
        let powers = cx.unary(UnaryKind::Exp, x)?;
        let sum = over(cx, ReduceKind::Sum, &powers, axes, keep)?;
        return cx.unary(UnaryKind::Log, &sum);
    }
    let most = over(cx, ReduceKind::Max, x, axes, true)?;
    // The maximum itself may be infinite.
    let bound = UnaryKind::Clamp { min: f32::MIN, max: f32::MAX };
    let most = cx.unary(bound, &most)?;
    let less = cx.binary(BinaryKind::Sub, x, &most)?;
    let powers = cx.unary(UnaryKind::Exp, &less)?;
    let sum = over(cx, ReduceKind::Sum, &powers, axes, true)?;
    let sum = cx.unary(UnaryKind::Log, &sum)?;
    let sum = cx.binary(BinaryKind::Add, &sum, &most)?;
    match keep {
        true => Ok(sum),
        false => over(cx, ReduceKind::Sum, &sum, axes, false),
    }
}

/// Over all pixels of each channel.
fn global(cx: &mut Cx<'_>, kind: ReduceKind) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    if x.rank() < 2 {
        return invalid(format!("expected images [n, channels, …], got {:?}", x.dims));
    }
    // The product of the extents after the channels is one reduction of neighbouring axes so.
    let x = cx.in_order(&x, &Dev::channels_last(x.rank()))?;
    let spatial: Vec<usize> = (2..x.rank()).collect();
    Ok(vec![Item::Device(over(cx, kind, &x, &spatial, true)?)])
}

fn arg_reduce(cx: &mut Cx<'_>, kind: ArgReduceKind) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    if cx.attributes.flag("select_last_index", false) {
        return Err(Stop::Host);
    }
    let axis = axis(cx.attributes.int("axis", 0), x.rank())?;
    let keep = cx.attributes.flag("keepdims", true);
    let op = ops::ArgReduce { kind, axis: x.place(axis), keep_axis: keep };
    let value = cx.push(op, &[x.value])?;
    let y = Dev { elem: Elem::I64, ..without(&x, value, &[axis], keep) };
    Ok(vec![Item::Device(y)])
}

fn top_k(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let axis = axis(cx.attributes.int("axis", -1), x.rank())?;
    let k = match cx.opset() {
        0..=9 => cx.attributes.int("k", 1),
        _ => cx.number(1)? as i64,
    };
    let Some(count) = usize::try_from(k).ok().filter(|&k| k <= x.dims[axis]) else {
        return invalid(format!("expected k up to {}, got {k}", x.dims[axis]));
    };
    let descending = cx.attributes.flag("largest", true);
    let place = x.place(axis);
    let places = cx.push(ops::ArgSort { axis: place, descending, count }, &[x.value])?;
    let values = cx.push(ops::TakeAlong { axis: place }, &[x.value, places])?;
    let mut dims = x.dims.clone();
    dims[axis] = count;
    let values = Dev { value: values, dims, ..x };
    let places = Dev { value: places, elem: Elem::I64, ..values.clone() };
    Ok(vec![Item::Device(values), Item::Device(places)])
}

fn cumulative_sum(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let axis = axis(cx.number(1)? as i64, x.rank())?;
    let flag = |name| cx.attributes.flag(name, false);
    let (exclusive, reverse) = (flag("exclusive"), flag("reverse"));
    let op = ops::CumulativeSum { axis: x.place(axis), exclusive, reverse };
    let value = cx.push(op, &[x.value])?;
    Ok(vec![cx.like(value, &x)])
}
