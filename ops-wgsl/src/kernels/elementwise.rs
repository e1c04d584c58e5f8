//! Element by element: unary, binary, comparison, select, cast.

use striate_tensor::ops::{Binary, BinaryKind, Compare, CompareKind, Unary, UnaryKind};
use striate_tensor::{DType, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::indices::{broadcast_strides, joined};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::kinds;
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static UNARY: Shader = shader!("unary.wgsl", 1, 1, "functions.wgsl"; kinds::unary);
static BINARY: Shader = shader!("binary.wgsl", 1, 2; kinds::binary, kinds::compare);
static SELECT: Shader = shader!("select.wgsl", 1, 3);
static CAST: Shader = shader!("cast.wgsl", 1, 1);

const TYPES: &[f64] = &[0.0, 1.0, 2.0];

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let unary = numbers(UnaryKind::ALL.iter().map(UnaryKind::number));
    let mut all = combinations(&UNARY, &[("KIND", &unary), ("HALF", BOTH)]);
    let binary = numbers(BinaryKind::ALL.iter().map(BinaryKind::number));
    let of_words = BinaryKind::ALL.iter().filter(|kind| takes_words(kind));
    let of_words = numbers(of_words.map(BinaryKind::number));
    let compare = numbers(CompareKind::ALL.iter().map(CompareKind::number));
    for (types, compares, kinds) in
        [(&TYPES[..2], 0.0, &binary), (&TYPES[2..], 0.0, &of_words), (TYPES, 1.0, &compare)]
    {
        let constants = [("KIND", &kinds[..]), ("TYPE", types), ("COMPARES", &[compares])];
        all.extend(combinations(&BINARY, &constants));
    }
    all.extend(combinations(&SELECT, &[("HALF", BOTH)]));
    all.extend(combinations(&CAST, &[("FROM", TYPES), ("TO", TYPES)]));
    all
}

/// Numbers of kinds as values of a constant.
pub(super) fn numbers(kinds: impl Iterator<Item = u32>) -> Vec<f64> {
    kinds.map(f64::from).collect()
}

/// Whether a function takes unsigned integers: the shape rule of the op says so.
fn takes_words(kind: &BinaryKind) -> bool {
    let words = TensorType::new(striate_tensor::Shape::scalar(), DType::U32);
    striate_tensor::Op::from(Binary { kind: *kind }).output(&[words; 2]).is_ok()
}

/// The number of an element type in shaders.
fn type_number(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 1.0,
        // Others have no kernel.
        _ => 2.0,
    }
}

/// Workgroups for so many elements, an invocation a word.
fn groups(count: usize, half: bool) -> Groups {
    let words = if half { count.div_ceil(2) } else { count };
    Groups::Flat(words.div_ceil(WORKGROUP))
}

/// Workgroups for so many elements, an invocation four words.
pub(super) fn vector_groups(count: usize, half: bool) -> Groups {
    Groups::Flat(count.div_ceil(if half { 8 } else { 4 } * WORKGROUP))
}

/// `a` and `b` of the shaders of functions of each element.
pub(super) fn parameters(kind: UnaryKind) -> [f32; 2] {
    let mut parameters = kind.parameters().into_iter().map(|(_, value)| value);
    [(); 2].map(|()| parameters.next().unwrap_or_default())
}

pub(super) fn unary(cx: &Context, op: &Unary, x: Source<'_>) -> Result<GpuBuffer> {
    let [a, b] = parameters(op.kind);
    let y = cx.allocate_for(&x.ty)?;
    let count = x.ty.count();
    for part in parts(&[cx.cuts(count, x.ty.dtype.size_bytes())]) {
        let written = cx.written(&y, x.ty.dtype, part.clone())?;
        cx.launch(Launch {
            op: striate_tensor::Op::from(*op).name(),
            shader: &UNARY,
            constants: &[("KIND", f64::from(op.kind.number())), ("HALF", half(x))],
            params: &[word(part.len()), f32::to_bits(a), f32::to_bits(b)],
            outputs: &[&written.view],
            inputs: &[&cx.view(x, part.clone())?],
            groups: vector_groups(part.len(), x.half()),
        })?;
    }
    Ok(y)
}

/// The parts of an output that can be bound together with the operands of its own shape; smaller
/// ones are bound whole.
fn broadcast_parts(
    cx: &Context,
    operands: &[Source<'_>],
    output: &TensorType,
) -> Vec<std::ops::Range<usize>> {
    let count = output.count();
    let full = operands.iter().filter(|x| x.ty.count() == count);
    let mut cuts: Vec<Vec<usize>> = full.map(|x| cx.cuts(count, x.ty.dtype.size_bytes())).collect();
    cuts.push(cx.cuts(count, output.dtype.size_bytes()));
    parts(&cuts)
}

/// A part of an operand of the output's size, or all of a smaller one; and its first element.
fn broadcast_view(
    cx: &Context,
    x: Source<'_>,
    part: &std::ops::Range<usize>,
    count: usize,
) -> Result<(crate::buffer::View, u32)> {
    if x.ty.count() == count {
        return Ok((cx.view(x, part.clone())?, word(part.start)));
    }
    Ok((cx.whole(x)?, 0))
}

pub(super) fn binary(
    cx: &Context,
    op: &Binary,
    operands: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    pairs(cx, striate_tensor::Op::from(*op).name(), op.kind.number(), false, operands, output)
}

pub(super) fn compare(
    cx: &Context,
    op: &Compare,
    operands: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    pairs(cx, striate_tensor::Op::from(*op).name(), op.kind.number(), true, operands, output)
}

fn pairs(
    cx: &Context,
    op: &'static str,
    kind: u32,
    compares: bool,
    [a, b]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let rank = output.shape.rank();
    let [strides_a, strides_b] = [a, b].map(|x| broadcast_strides(&x.ty.shape, rank));
    let axes: Vec<_> = (output.shape.dims().iter().zip(strides_a.iter().zip(&strides_b)))
        .map(|(&extent, (&a, &b))| (extent, [a, b]))
        .collect();
    let axes = joined(&axes);
    let y = cx.allocate_for(output)?;
    for part in broadcast_parts(cx, &[a, b], output) {
        let (view_a, first_a) = broadcast_view(cx, a, &part, output.count())?;
        let (view_b, first_b) = broadcast_view(cx, b, &part, output.count())?;
        let written = cx.written(&y, output.dtype, part.clone())?;
        let mut params = vec![word(part.start), word(part.len())];
        params.extend([first_a.wrapping_sub(view_a.skip), first_b.wrapping_sub(view_b.skip)]);
        params.extend([word(axes.len()), 0, 0, 0]);
        params.extend(axes.iter().flat_map(|&(extent, [a, b])| [word(extent), a, b, 0]));
        cx.launch(Launch {
            op,
            shader: &BINARY,
            constants: &[
                ("KIND", f64::from(kind)),
                ("TYPE", type_number(a.ty.dtype)),
                ("COMPARES", flag(compares)),
            ],
            params: &params,
            outputs: &[&written.view],
            inputs: &[&view_a, &view_b],
            groups: groups(part.len(), output.dtype == DType::F16),
        })?;
    }
    Ok(y)
}

pub(super) fn select(
    cx: &Context,
    operands: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let rank = output.shape.rank();
    let strides = operands.map(|x| broadcast_strides(&x.ty.shape, rank));
    let axes: Vec<_> = (output.shape.dims().iter().enumerate())
        .map(|(axis, &extent)| (extent, [0, 1, 2].map(|i: usize| strides[i][axis])))
        .collect();
    let axes = joined(&axes);
    let y = cx.allocate_for(output)?;
    for part in broadcast_parts(cx, &operands, output) {
        let mut views = Vec::with_capacity(3);
        let mut params = vec![word(part.start), word(part.len())];
        for x in operands {
            let (view, first) = broadcast_view(cx, x, &part, output.count())?;
            params.push(first.wrapping_sub(view.skip));
            views.push(view);
        }
        params.extend([word(axes.len()), 0, 0]);
        params.extend(axes.iter().flat_map(|&(extent, [c, a, b])| [word(extent), c, a, b]));
        let written = cx.written(&y, output.dtype, part.clone())?;
        cx.launch(Launch {
            op: "select",
            shader: &SELECT,
            constants: &[("HALF", flag(output.dtype == DType::F16))],
            params: &params,
            outputs: &[&written.view],
            inputs: &[&views[0], &views[1], &views[2]],
            groups: groups(part.len(), output.dtype == DType::F16),
        })?;
    }
    Ok(y)
}

pub(super) fn cast(cx: &Context, x: Source<'_>, dtype: DType) -> Result<GpuBuffer> {
    let output = TensorType::new(x.ty.shape, dtype);
    let count = x.ty.count();
    let y = cx.allocate_for(&output)?;
    let cuts = [x.ty.dtype, dtype].map(|dtype| cx.cuts(count, dtype.size_bytes()));
    for part in parts(&cuts) {
        let written = cx.written(&y, dtype, part.clone())?;
        cx.launch(Launch {
            op: "cast",
            shader: &CAST,
            constants: &[("FROM", type_number(x.ty.dtype)), ("TO", type_number(dtype))],
            params: &[word(part.len())],
            outputs: &[&written.view],
            inputs: &[&cx.view(x, part.clone())?],
            groups: groups(part.len(), dtype == DType::F16),
        })?;
    }
    Ok(y)
}

/// Computes an output in f32, and narrows it where it is to be f16.
pub(super) fn computed(
    cx: &Context,
    output: &TensorType,
    compute: impl FnOnce(Source<'_>) -> Result<()>,
) -> Result<GpuBuffer> {
    let wide = TensorType::f32(output.shape);
    let buffer = cx.allocate_for(&wide)?;
    compute(Source { buffer: &buffer, ty: wide })?;
    if output.dtype == DType::F32 {
        return Ok(buffer);
    }
    cast(cx, Source { buffer: &buffer, ty: wide }, output.dtype)
}
