//! Reductions over axes on the host.

use super::walk::{each, place, strides};
use super::{Host, Rule};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, axes};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" => reduce,
        _ => return None,
    })
}

fn reduce(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let rank = x.dims.len();
    let list = host.list("axes", 1).unwrap_or_default();
    let gone = match list.is_empty() {
        true if host.attributes.flag("noop_with_empty_axes", false) => Vec::new(),
        true => (0..rank).collect(),
        false => axes(&list, rank)?,
    };
    let kept: Vec<usize> = (0..rank).filter(|axis| !gone.contains(axis)).collect();
    let dims: Vec<usize> = match host.attributes.flag("keepdims", true) {
        true => (0..rank).map(|at| if gone.contains(&at) { 1 } else { x.dims[at] }).collect(),
        false => kept.iter().map(|&axis| x.dims[axis]).collect(),
    };
    let outer: Vec<usize> = kept.iter().map(|&axis| x.dims[axis]).collect();
    let inner: Vec<usize> = gone.iter().map(|&axis| x.dims[axis]).collect();
    let own = strides(&x.dims);
    let steps = |axes: &[usize]| -> Vec<usize> { axes.iter().map(|&axis| own[axis]).collect() };
    let (outer_steps, inner_steps) = (steps(&kept), steps(&gone));
    let offsets = each(&inner, |at| place(at, &inner_steps));
    let op = &*host.attributes.node.op_type;
    if x.elem.is_float() {
        let values = x.floats();
        let of = |at: &[usize]| {
            let first = place(at, &outer_steps);
            let all = offsets.iter().map(|offset| values[first + offset]);
            floats(op, all, offsets.len())
        };
        return Ok(vec![Array::of_floats(x.elem, dims, each(&outer, of))]);
    }
    let values = x.ints();
    let of = |at: &[usize]| {
        let first = place(at, &outer_steps);
        let all = offsets.iter().map(|offset| values[first + offset]);
        let count = offsets.len() as i64;
        match op {
            "ReduceSum" => all.fold(0, i64::wrapping_add),
            "ReduceProd" => all.fold(1, i64::wrapping_mul),
            "ReduceMax" => all.max().unwrap_or(x.elem.range().0),
            "ReduceMin" => all.min().unwrap_or(x.elem.range().1),
            "ReduceMean" => all.fold(0, i64::wrapping_add).checked_div(count).unwrap_or(0),
            "ReduceL1" => all.fold(0i64, |sum, x| sum.wrapping_add(x.wrapping_abs())),
            "ReduceSumSquare" => all.fold(0i64, |sum, x| sum.wrapping_add(x.wrapping_mul(x))),
            _ => floats(op, all.map(|x| x as f64), offsets.len()) as i64,
        }
    };
    Ok(vec![Array::of_ints(x.elem, dims, each(&outer, of))])
}

fn floats(op: &str, all: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    match op {
        "ReduceSum" => all.sum(),
        "ReduceMean" => all.sum::<f64>() / count as f64,
        "ReduceProd" => all.product(),
        "ReduceMax" => all.fold(f64::NEG_INFINITY, |m, x| if x.is_nan() { x } else { m.max(x) }),
        "ReduceMin" => all.fold(f64::INFINITY, |m, x| if x.is_nan() { x } else { m.min(x) }),
        "ReduceL1" => all.map(f64::abs).sum(),
        "ReduceL2" => all.map(|x| x * x).sum::<f64>().sqrt(),
        "ReduceSumSquare" => all.map(|x| x * x).sum(),
        "ReduceLogSum" => all.sum::<f64>().ln(),
        _ => {
            let most = all.clone().fold(f64::NEG_INFINITY, f64::max);
            let most = if most.is_finite() { most } else { 0.0 };
            all.map(|x| (x - most).exp()).sum::<f64>().ln() + most
        }
    }
}
