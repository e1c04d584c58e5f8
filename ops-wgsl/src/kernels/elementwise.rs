//! Element by element: unary, binary, comparison, select, cast.

use striate_tensor::ops::{Binary, BinaryKind, Compare, CompareKind, Unary, UnaryKind};
use striate_tensor::{DType, Result, TensorType};

use super::indices::{broadcast_strides, joined};
use super::{BOTH, Constants, WORKGROUP, combinations, half, word};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static UNARY: Shader = shader!("unary.wgsl", 1, 1);
static BINARY: Shader = shader!("binary.wgsl", 1, 2);
static SELECT: Shader = shader!("select.wgsl", 1, 3);
static CAST: Shader = shader!("cast.wgsl", 1, 1);

const TYPES: &[f64] = &[0.0, 1.0, 2.0];

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let kinds: Vec<f64> = (0..24).map(f64::from).collect();
    let mut all = combinations(&UNARY, &[("KIND", &kinds), ("HALF", BOTH)]);
    for (types, compares, kinds) in [
        (&TYPES[..2], 0.0, &kinds[..7]),
        (&TYPES[2..], 0.0, &[0.0, 1.0, 2.0, 4.0, 5.0]),
        (TYPES, 1.0, &kinds[..6]),
    ] {
        let constants = [("KIND", kinds), ("TYPE", types), ("COMPARES", &[compares])];
        all.extend(combinations(&BINARY, &constants));
    }
    all.extend(combinations(&SELECT, &[("HALF", BOTH)]));
    all.extend(combinations(&CAST, &[("FROM", TYPES), ("TO", TYPES)]));
    all
}

/// The number of an element type in shaders.
fn type_number(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 1.0,
        DType::U32 => 2.0,
    }
}

/// Workgroups for so many elements, an invocation a word.
fn groups(count: usize, half: bool) -> Groups {
    let words = if half { count.div_ceil(2) } else { count };
    Groups::Flat(words.div_ceil(WORKGROUP))
}

pub(super) fn unary(cx: &Context, op: &Unary, x: Source<'_>) -> Result<GpuBuffer> {
    let (kind, a, b) = match op.kind {
        UnaryKind::Neg => (0, 0.0, 0.0),
        UnaryKind::Abs => (1, 0.0, 0.0),
        UnaryKind::Sign => (2, 0.0, 0.0),
        UnaryKind::Square => (3, 0.0, 0.0),
        UnaryKind::Sqrt => (4, 0.0, 0.0),
        UnaryKind::Rsqrt => (5, 0.0, 0.0),
        UnaryKind::Recip => (6, 0.0, 0.0),
        UnaryKind::Exp => (7, 0.0, 0.0),
        UnaryKind::Log => (8, 0.0, 0.0),
        UnaryKind::Sin => (9, 0.0, 0.0),
        UnaryKind::Cos => (10, 0.0, 0.0),
        UnaryKind::Tanh => (11, 0.0, 0.0),
        UnaryKind::Sigmoid => (12, 0.0, 0.0),
        UnaryKind::Relu => (13, 0.0, 0.0),
        UnaryKind::LeakyRelu { slope } => (14, slope, 0.0),
        UnaryKind::Elu { alpha } => (15, alpha, 0.0),
        UnaryKind::Silu => (16, 0.0, 0.0),
        UnaryKind::Gelu => (17, 0.0, 0.0),
        UnaryKind::Floor => (18, 0.0, 0.0),
        UnaryKind::Ceil => (19, 0.0, 0.0),
        UnaryKind::Round => (20, 0.0, 0.0),
        UnaryKind::Affine { scale, shift } => (21, scale, shift),
        UnaryKind::Powf { exponent } => (22, exponent, 0.0),
        UnaryKind::Clamp { min, max } => (23, min, max),
        _ => return Err(cx.gpu.unsupported("unary", format!("no kernel for {:?}", op.kind))),
    };
    let y = cx.allocate_for(&x.ty)?;
    let count = x.ty.count();
    for part in parts(&[cx.cuts(count, x.ty.dtype.size_bytes())]) {
        let written = cx.written(&y, x.ty.dtype, part.clone())?;
        cx.launch(Launch {
            op: striate_tensor::Op::from(*op).name(),
            shader: &UNARY,
            constants: &[("KIND", f64::from(kind)), ("HALF", half(x))],
            params: &[word(part.len()), f32::to_bits(a), f32::to_bits(b)],
            outputs: &[&written.view],
            inputs: &[&cx.view(x, part.clone())?],
            groups: groups(part.len(), x.half()),
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
    let kind = match op.kind {
        BinaryKind::Add => 0,
        BinaryKind::Sub => 1,
        BinaryKind::Mul => 2,
        BinaryKind::Div => 3,
        BinaryKind::Maximum => 4,
        BinaryKind::Minimum => 5,
        BinaryKind::Pow => 6,
        _ => return Err(cx.gpu.unsupported("binary", format!("no kernel for {:?}", op.kind))),
    };
    pairs(cx, striate_tensor::Op::from(*op).name(), kind, false, operands, output)
}

pub(super) fn compare(
    cx: &Context,
    op: &Compare,
    operands: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let kind = match op.kind {
        CompareKind::Eq => 0,
        CompareKind::Ne => 1,
        CompareKind::Lt => 2,
        CompareKind::Le => 3,
        CompareKind::Gt => 4,
        CompareKind::Ge => 5,
    };
    pairs(cx, striate_tensor::Op::from(*op).name(), kind, true, operands, output)
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
