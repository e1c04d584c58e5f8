//! Orders and sums along an axis on the host.

use std::cmp::Ordering;

use super::walk::{each, place, strides};
use super::{Host, Rule};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, axis, invalid};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "ArgMax" => |host| arg(host, true),
        "ArgMin" => |host| arg(host, false),
        "TopK" => top_k,
        "CumSum" => cumulative_sum,
        _ => return None,
    })
}

/// The lines along an axis: for each the place of its first element, and the distance of neighbours.
fn lines(dims: &[usize], axis: usize) -> (Vec<usize>, usize) {
    let own = strides(dims);
    let mut outer = dims.to_vec();
    outer[axis] = 1;
    (each(&outer, |at| place(at, &own)), own[axis])
}

/// How elements compare: floats by their order with NaN largest.
fn order(x: &Array) -> impl Fn(usize, usize) -> Ordering + use<> {
    let floats = x.elem.is_float().then(|| x.floats());
    let ints = if floats.is_some() { None } else { Some(x.ints()) };
    move |a, b| match (&floats, &ints) {
        (Some(x), _) => {
            x[a].partial_cmp(&x[b]).unwrap_or_else(|| x[a].is_nan().cmp(&x[b].is_nan()))
        }
        (_, Some(x)) => x[a].cmp(&x[b]),
        _ => Ordering::Equal,
    }
}

fn arg(host: &Host<'_>, largest: bool) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    if x.dims[axis] == 0 {
        return invalid(format!("expected entries at axis {axis}, got {:?}", x.dims));
    }
    let last = host.attributes.flag("select_last_index", false);
    let (firsts, step) = lines(&x.dims, axis);
    let compare = order(x);
    let best = |first: usize| {
        (1..x.dims[axis]).fold(0, |best, i| {
            let order = compare(first + i * step, first + best * step);
            let order = if largest { order } else { order.reverse() };
            if order.is_gt() || (last && order.is_eq()) { i } else { best }
        })
    };
    let values = firsts.into_iter().map(|first| best(first) as i64).collect();
    let mut dims = x.dims.clone();
    match host.attributes.flag("keepdims", true) {
        true => dims[axis] = 1,
        false => drop(dims.remove(axis)),
    }
    Ok(vec![Array::of_ints(Elem::I64, dims, values)])
}

fn top_k(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let axis = axis(host.attributes.int("axis", -1), x.dims.len())?;
    let k = match host.optional(1) {
        Some(_) => host.number(1)?,
        None => host.attributes.int("k", 1),
    };
    let extent = x.dims[axis];
    let Some(k) = usize::try_from(k).ok().filter(|&k| k <= extent) else {
        return invalid(format!("expected k up to {extent}, got {k}"));
    };
    let largest = host.attributes.flag("largest", true);
    let (firsts, step) = lines(&x.dims, axis);
    let compare = order(x);
    let mut dims = x.dims.clone();
    dims[axis] = k;
    let (targets, target_step) = lines(&dims, axis);
    let count = dims.iter().product();
    let (mut places, mut indices) = (vec![None; count], vec![0; count]);
    for (first, target) in firsts.into_iter().zip(targets) {
        let mut line: Vec<usize> = (0..extent).collect();
        line.sort_by(|&a, &b| {
            let order = compare(first + a * step, first + b * step);
            if largest { order.reverse() } else { order }
        });
        for (rank, &i) in line.iter().take(k).enumerate() {
            places[target + rank * target_step] = Some(first + i * step);
            indices[target + rank * target_step] = i as i64;
        }
    }
    Ok(vec![x.pick(dims.clone(), &places), Array::of_ints(Elem::I64, dims, indices)])
}

fn cumulative_sum(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let axis = axis(host.number(1)?, x.dims.len())?;
    let flag = |name| host.attributes.flag(name, false);
    let (exclusive, reverse) = (flag("exclusive"), flag("reverse"));
    let (firsts, step) = lines(&x.dims, axis);
    let extent = x.dims[axis];
    let places = |first: usize| {
        let at = move |i: usize| first + if reverse { extent - 1 - i } else { i } * step;
        (0..extent).map(at)
    };
    if x.elem.is_float() {
        let (from, mut to) = (x.floats(), vec![0.0; x.count()]);
        for first in firsts {
            let mut sum = 0.0;
            for at in places(first) {
                let next = sum + from[at];
                to[at] = if exclusive { sum } else { next };
                sum = next;
            }
        }
        return Ok(vec![Array::of_floats(x.elem, x.dims.clone(), to)]);
    }
    let (from, mut to) = (x.ints(), vec![0; x.count()]);
    for first in firsts {
        let mut sum: i64 = 0;
        for at in places(first) {
            let next = sum.wrapping_add(from[at]);
            to[at] = if exclusive { sum } else { next };
            sum = next;
        }
    }
    Ok(vec![Array::of_ints(x.elem, x.dims.clone(), to)])
}
