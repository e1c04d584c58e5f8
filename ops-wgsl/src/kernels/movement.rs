//! Ops that move numbers: permute, slice, flip, pad, concatenate, gather.

use std::ops::Range;

use striate_tensor::ops::{Concatenate, Flip, Gather, Pad, Permute, Slice};
use striate_tensor::{DType, Result, TensorType, f16};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static MOVEMENT: Shader = shader!("movement.wgsl", 1, 1);
static GATHER: Shader = shader!("gather.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&MOVEMENT, &[("HALF", BOTH)]);
    all.extend(combinations(&GATHER, &[("HALF", BOTH)]));
    all
}

/// An axis of the output: which elements of the operand lie along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    /// The extent of the output.
    count: usize,
    /// The index in the output of the operand's index 0.
    low: usize,
    /// The extent of the operand.
    extent: usize,
    /// From one to the next in the operand, modulo 2^32.
    stride: u32,
}

impl Axis {
    /// Every index of the output is one of the operand.
    fn whole(&self) -> bool {
        self.low == 0 && self.extent == self.count
    }
}

/// Fewer axes that mean the same, the last one first.
fn joined(axes: &[Axis]) -> Vec<Axis> {
    let mut joined: Vec<Axis> = Vec::new();
    for &axis in axes.iter().rev() {
        if axis.count == 1 && axis.whole() {
            continue;
        }
        if let Some(inner) = joined.last_mut()
            && inner.whole()
            && axis.whole()
            && axis.stride == inner.stride.wrapping_mul(inner.count as u32)
        {
            inner.count *= axis.count;
            inner.extent *= axis.extent;
            continue;
        }
        joined.push(axis);
    }
    joined
}

/// How the elements of an output are those of an operand.
struct Movement<'a> {
    op: &'static str,
    axes: &'a [Axis],
    /// Where index 0 of every axis of the output lies in the operand; modulo 2^32.
    origin: u32,
    /// The bits of elements that the operand does not have; those are left alone where there are
    /// none.
    border: Option<u32>,
}

/// The parts of an operand that can be bound: at least one, since an operand without elements may
/// have a border all the same.
pub(super) fn sources(cx: &Context, x: Source<'_>) -> Vec<Range<usize>> {
    let mut sources = parts(&[cx.cuts(x.ty.count(), x.ty.dtype.size_bytes())]);
    if sources.is_empty() {
        sources.push(0..0);
    }
    sources
}

impl Movement<'_> {
    /// A dispatch for each part of the output and of the operand.
    fn launch(
        &self,
        cx: &Context,
        x: Source<'_>,
        y: &GpuBuffer,
        output: &TensorType,
    ) -> Result<()> {
        let axes = joined(self.axes);
        for part in parts(&[cx.cuts(output.count(), output.dtype.size_bytes())]) {
            for source in sources(cx, x) {
                let view = cx.view(x, source.clone())?;
                let written = cx.written(y, output.dtype, part.clone())?;
                let mut params = vec![
                    word(part.start),
                    word(part.len()),
                    self.origin.wrapping_sub(word(source.start)),
                    view.skip,
                    word(source.len()),
                    self.border.unwrap_or(0),
                    u32::from(self.border.is_some()),
                    word(axes.len()),
                ];
                for axis in &axes {
                    params.extend([
                        word(axis.count),
                        word(axis.low),
                        word(axis.extent),
                        axis.stride,
                    ]);
                }
                cx.launch(Launch {
                    op: self.op,
                    shader: &MOVEMENT,
                    constants: &[("HALF", half(x))],
                    params: &params,
                    outputs: &[&written.view],
                    inputs: &[&view],
                    groups: groups(part.len(), output.dtype),
                })?;
            }
        }
        Ok(())
    }
}

pub(super) fn groups(count: usize, dtype: DType) -> Groups {
    let words = if dtype == DType::F16 { count.div_ceil(2) } else { count };
    Groups::Flat(words.div_ceil(WORKGROUP))
}

/// The bits of a value in an element type, as a cast gives them.
pub(super) fn bits_of(value: f32, dtype: DType) -> u32 {
    match dtype {
        DType::F32 => value.to_bits(),
        DType::F16 => u32::from(f16::from_f32(value).to_bits()),
        DType::U32 => value as u32,
        DType::I32 => (value as i32).cast_unsigned(),
        // No kernel takes these.
        DType::F64 | DType::I64 | DType::I8 | DType::U8 | DType::Bool => 0,
    }
}

/// The element types that kernels which move elements take: words, and halves of words.
pub(super) fn moves(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::U32 | DType::I32)
}

pub(super) fn permute(
    cx: &Context,
    op: &Permute,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let strides = x.ty.shape.strides();
    let axes: Vec<Axis> = (output.shape.dims().iter().zip(&op.order))
        .map(|(&count, &axis)| Axis { count, low: 0, extent: count, stride: word(strides[axis]) })
        .collect();
    let y = cx.allocate_for(output)?;
    let movement = Movement { op: "permute", axes: &axes, origin: 0, border: None };
    movement.launch(cx, x, &y, output)?;
    Ok(y)
}

pub(super) fn slice(
    cx: &Context,
    op: &Slice,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let strides = x.ty.shape.strides();
    let axis = |(range, stride): (&Range<usize>, usize)| Axis {
        count: range.len(),
        low: 0,
        extent: range.len(),
        stride: word(stride),
    };
    let axes: Vec<Axis> = op.ranges.iter().zip(strides).map(axis).collect();
    let origin = op.ranges.iter().zip(strides).map(|(range, stride)| range.start * stride).sum();
    let y = cx.allocate_for(output)?;
    let movement = Movement { op: "slice", axes: &axes, origin: word(origin), border: None };
    movement.launch(cx, x, &y, output)?;
    Ok(y)
}

pub(super) fn flip(
    cx: &Context,
    op: &Flip,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let strides = x.ty.shape.strides();
    let mut origin = 0;
    let axes: Vec<Axis> = (output.shape.dims().iter().zip(strides).enumerate())
        .map(|(axis, (&count, stride))| {
            let mut step = word(stride);
            if op.axes.contains(axis) {
                origin += (count - 1) * stride;
                step = step.wrapping_neg();
            }
            Axis { count, low: 0, extent: count, stride: step }
        })
        .collect();
    let y = cx.allocate_for(output)?;
    let movement = Movement { op: "flip", axes: &axes, origin: word(origin), border: None };
    movement.launch(cx, x, &y, output)?;
    Ok(y)
}

pub(super) fn pad(cx: &Context, op: &Pad, x: Source<'_>, output: &TensorType) -> Result<GpuBuffer> {
    let strides = x.ty.shape.strides();
    let axes: Vec<Axis> = (output.shape.dims().iter().zip(x.ty.shape.dims()))
        .zip(op.widths.iter().zip(strides))
        .map(|((&count, &extent), (&[low, _], stride))| Axis {
            count,
            low,
            extent,
            stride: word(stride),
        })
        .collect();
    let border = bits_of(op.value, output.dtype);
    let y = cx.allocate_for(output)?;
    let movement = Movement { op: "pad", axes: &axes, origin: 0, border: Some(border) };
    movement.launch(cx, x, &y, output)?;
    Ok(y)
}

pub(super) fn concatenate(
    cx: &Context,
    op: &Concatenate,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let y = cx.allocate_for(output)?;
    let mut before = 0;
    for &x in inputs {
        let strides = x.ty.shape.strides();
        let dims = output.shape.dims().iter().zip(x.ty.shape.dims());
        let axes: Vec<Axis> = (dims.zip(strides).enumerate())
            .map(|(axis, ((&count, &extent), stride))| {
                let low = if axis == op.axis { before } else { 0 };
                Axis { count, low, extent, stride: word(stride) }
            })
            .collect();
        before += x.ty.shape.dims()[op.axis];
        if x.ty.count() > 0 {
            // Each operand leaves the places of the others as they are.
            let movement = Movement { op: "concatenate", axes: &axes, origin: 0, border: None };
            movement.launch(cx, x, &y, output)?;
        }
    }
    Ok(y)
}

pub(super) fn gather(
    cx: &Context,
    op: &Gather,
    x: Source<'_>,
    indices: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, extent, inner] = x.ty.shape.around(op.axis, "gather")?;
    // As the op says: NaN is 0 as an integer, so infinity there, which saturates.
    let beyond = if output.dtype.is_float() { f32::NAN } else { f32::INFINITY };
    let beyond = bits_of(beyond, output.dtype);
    let size = output.dtype.size_bytes();
    let places = cx.whole(indices)?;
    let y = cx.allocate_for(output)?;
    for part in parts(&[cx.cuts(output.count(), size)]) {
        for source in sources(cx, x) {
            let view = cx.view(x, source.clone())?;
            let written = cx.written(&y, output.dtype, part.clone())?;
            cx.launch(Launch {
                op: "gather",
                shader: &GATHER,
                constants: &[("HALF", half(x))],
                params: &[
                    word(part.start),
                    word(part.len()),
                    word(indices.ty.count()),
                    word(extent),
                    word(inner),
                    word(source.start),
                    word(source.len()),
                    beyond,
                ],
                outputs: &[&written.view],
                inputs: &[&view, &places],
                groups: groups(part.len(), output.dtype),
            })?;
        }
    }
    Ok(y)
}
