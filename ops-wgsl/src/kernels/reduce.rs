//! Reductions over axes.

use striate_tensor::ops::{ArgReduce, ArgReduceKind, Reduce, ReduceKind};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::kinds;
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static REDUCE: Shader = shader!("reduce.wgsl", 1, 1; kinds::reduce);
static ARG_REDUCE: Shader = shader!("arg_reduce.wgsl", 1, 1);

/// Invocations of a workgroup of `reduce.wgsl`.
const INVOCATIONS: usize = 64;
/// Elements that a workgroup reduces at a time, where they lie next in memory: 64 for each of its
/// invocations.
const PART_TOGETHER: usize = 4096;
/// Elements that an invocation reduces alone: more would leave a GPU idle, and lose digits.
const PART_ALONE: usize = 512;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let kinds = ReduceKind::ALL.iter().map(|kind| f64::from(in_shader(*kind).number()));
    let mut kinds: Vec<f64> = kinds.collect();
    kinds.dedup();
    let ways: [(&str, &[f64]); 2] = [("KIND", &kinds), ("TOGETHER", BOTH)];
    let floats = [&ways[..], &[("HALF", BOTH), ("WORDS", &[0.0])]].concat();
    let words = [&ways[..], &[("HALF", &[0.0]), ("WORDS", &[1.0])]].concat();
    let mut all = combinations(&REDUCE, &floats);
    all.extend(combinations(&REDUCE, &words));
    all.extend(combinations(&ARG_REDUCE, &[("MIN", BOTH), ("HALF", BOTH)]));
    all
}

/// The kind that the shader knows: a mean is a sum, divided at the end.
fn in_shader(kind: ReduceKind) -> ReduceKind {
    if kind == ReduceKind::Mean { ReduceKind::Sum } else { kind }
}

/// A tensor `[outer, extent, inner]` of which the extent is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    outer: usize,
    extent: usize,
    inner: usize,
}

/// The steps that reduce a set of axes: each a run of neighbours, the last run first, so that what
/// lies next in memory goes first.
fn steps(shape: &Shape, reduced: impl Fn(usize) -> bool) -> Vec<Step> {
    // Runs of neighbours that are reduced, or not.
    let mut runs: Vec<(bool, usize)> = Vec::new();
    for (axis, &extent) in shape.dims().iter().enumerate().filter(|(_, d)| **d != 1) {
        match runs.last_mut() {
            Some((kind, run)) if *kind == reduced(axis) => *run *= extent,
            _ => runs.push((reduced(axis), extent)),
        }
    }
    let mut steps = Vec::new();
    while let Some(place) = runs.iter().rposition(|(reduced, _)| *reduced) {
        let product = |runs: &[(bool, usize)]| runs.iter().map(|(_, extent)| extent).product();
        let (outer, inner) = (product(&runs[..place]), product(&runs[place + 1..]));
        steps.push(Step { outer, extent: runs[place].1, inner });
        runs.remove(place);
    }
    steps
}

pub(super) fn reduce(
    cx: &Context,
    op: &Reduce,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let kind = f64::from(in_shader(op.kind).number());
    let each: usize = op.axes.iter().map(|axis| x.ty.shape.dims()[axis]).product();
    let mut divisor = (op.kind == ReduceKind::Mean).then_some(each);
    let mut steps = steps(&x.ty.shape, |axis| op.axes.contains(axis));
    if steps.is_empty() {
        // Nothing to reduce: the tensor as it is.
        steps.push(Step { outer: x.ty.count(), extent: 1, inner: 1 });
    }
    let mut held: Option<GpuBuffer> = None;
    let last = steps.len() - 1;
    for (i, mut step) in steps.into_iter().enumerate() {
        // Long extents go in several rounds.
        loop {
            let source = match &held {
                Some(buffer) => {
                    let shape = Shape::new(&[step.outer * step.extent * step.inner])?;
                    // Halves have been widened.
                    let dtype = if x.half() { DType::F32 } else { x.ty.dtype };
                    Source { buffer, ty: TensorType::new(shape, dtype) }
                }
                None => x,
            };
            let part = if step.inner == 1 { PART_TOGETHER } else { PART_ALONE };
            let count = step.extent.div_ceil(part).max(1);
            let divide = if i == last && count == 1 { divisor.take() } else { None };
            held = Some(round(cx, op, kind, source, step, part, divide)?);
            step.extent = count;
            if count == 1 {
                break;
            }
        }
    }
    let buffer = match held {
        Some(buffer) => buffer,
        None => return Err(cx.gpu.error("a reduction without a step")),
    };
    if output.dtype != DType::F16 {
        return Ok(buffer);
    }
    let wide = TensorType::f32(output.shape);
    elementwise::cast(cx, Source { buffer: &buffer, ty: wide }, output.dtype)
}

/// One round: every part of the extent becomes one element.
fn round(
    cx: &Context,
    op: &Reduce,
    kind: f64,
    x: Source<'_>,
    step: Step,
    part: usize,
    divide: Option<usize>,
) -> Result<GpuBuffer> {
    let Step { outer, extent, inner } = step;
    let count = extent.div_ceil(part).max(1);
    let y = cx.allocate_for(&TensorType::f32(Shape::new(&[outer, count, inner])?))?;
    let size = x.ty.dtype.size_bytes();
    // Rows that can be bound apart: the outer ones; where there is but one, its parts.
    let (rows, x_row, y_row, parts_of_row, row_extent) = match outer {
        1 => (count, part.min(extent.max(1)) * inner, inner, 1, part),
        _ => (outer, extent * inner, count * inner, count, extent),
    };
    let elements = outer * extent * inner;
    let x_cuts = match elements {
        0 => vec![0, rows],
        _ => cx.cuts(rows, x_row * size),
    };
    for rows in parts(&[x_cuts, cx.cuts(rows, 4 * y_row)]) {
        let range = (rows.start * x_row).min(elements)..(rows.end * x_row).min(elements);
        let view = cx.view(x, range.clone())?;
        let outputs = rows.start * y_row..rows.end * y_row;
        let written = cx.written(&y, DType::F32, outputs.clone())?;
        // The parts of one outer row are a row each here, of which the last may be shorter.
        let (row_extent, parts_here) = match outer {
            1 => (range.len() / inner, rows.len()),
            _ => (row_extent, parts_of_row),
        };
        let together = inner == 1;
        let groups = if together { outputs.len() } else { outputs.len().div_ceil(INVOCATIONS) };
        cx.launch(Launch {
            op: striate_tensor::Op::from(*op).name(),
            shader: &REDUCE,
            constants: &[
                ("KIND", kind),
                ("HALF", half(x)),
                ("TOGETHER", flag(together)),
                ("WORDS", flag(x.ty.dtype == DType::U32)),
            ],
            params: &[
                word(outputs.len()),
                word(row_extent),
                word(inner),
                word(part),
                word(parts_here),
                view.skip,
                (divide.unwrap_or(1) as f32).to_bits(),
                u32::from(divide.is_some()),
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view],
            groups: Groups::Flat(groups),
        })?;
        cx.finish(&y, &written)?;
    }
    Ok(y)
}

pub(super) fn arg_reduce(
    cx: &Context,
    op: &ArgReduce,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [outer, extent, inner] = x.ty.shape.around(op.axis, "arg_reduce")?;
    let y = cx.allocate_for(output)?;
    let row = extent * inner;
    for rows in parts(&[cx.cuts(outer, row * x.ty.dtype.size_bytes()), cx.cuts(outer, 4 * inner)]) {
        let view = cx.view(x, rows.start * row..rows.end * row)?;
        let outputs = rows.start * inner..rows.end * inner;
        let written = cx.written(&y, DType::U32, outputs.clone())?;
        cx.launch(Launch {
            op: striate_tensor::Op::from(*op).name(),
            shader: &ARG_REDUCE,
            constants: &[("MIN", flag(op.kind == ArgReduceKind::Min)), ("HALF", half(x))],
            params: &[word(outputs.len()), word(extent), word(inner), view.skip, written.view.skip],
            outputs: &[&written.view],
            inputs: &[&view],
            groups: Groups::Flat(outputs.len().div_ceil(WORKGROUP)),
        })?;
        cx.finish(&y, &written)?;
    }
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_axes_are_reduced_together_the_last_first() {
        let shape = Shape::new(&[2, 3, 1, 4, 5]).unwrap();
        let step = |outer, extent, inner| Step { outer, extent, inner };
        assert_eq!(steps(&shape, |_| true), [step(1, 120, 1)]);
        assert_eq!(steps(&shape, |axis| axis < 4), [step(1, 24, 5)]);
        assert_eq!(steps(&shape, |axis| axis == 4 || axis == 0), [step(24, 5, 1), step(1, 2, 12)]);
        assert_eq!(steps(&shape, |axis| axis == 2), []);
    }
}
