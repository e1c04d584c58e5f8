//! Outputs that are some channels of a wider tensor: parts of a concatenation, written where they belong.

use striate_tensor::ops::Slice;
use striate_tensor::{DType, Error, Op, Operand, Part, Result, TensorType};

use crate::buffer::{CpuBuffer, own};
use crate::context::Context;
use crate::conv;
use crate::elementwise::PART_ELEMS;
use crate::pool2d;

/// Where an op writes its output: pixels of so many floats, of which it has those from `first` on.
pub(crate) struct Place<'a> {
    /// All pixels.
    pub(crate) values: &'a mut [f32],
    /// Of a pixel.
    pub(crate) first: usize,
    /// Floats from one pixel to the next.
    pub(crate) pitch: usize,
}

impl<'a> Place<'a> {
    /// An output of its own, whose pixels have so many channels.
    pub(crate) fn whole(values: &'a mut [f32], channels: usize) -> Self {
        Place { values, first: 0, pitch: channels }
    }
}

/// Whether [`execute`] takes such an op.
pub(crate) fn supports(cx: &Context, op: &Op, inputs: &[TensorType], output: &TensorType) -> bool {
    let floats = output.dtype == DType::F32 && inputs.iter().all(|x| x.dtype == DType::F32);
    let is_last = |axis: usize| axis + 1 == output.shape.rank();
    match op {
        Op::Concatenate(op) => is_last(op.axis),
        Op::Slice(op) => inputs.first().is_some_and(|x| of_last_axis(op, x).is_some()),
        Op::Conv2d(op) => floats && conv::writes_parts(cx.level, op, inputs, output),
        Op::MaxPool2d(_) | Op::AvgPool2d(_) => floats,
        _ => false,
    }
}

/// Executes an op that is [supported](supports).
pub(crate) fn execute(
    cx: &Context,
    op: &Op,
    inputs: &[Operand<'_>],
    output: &TensorType,
    part: Part<'_>,
) -> Result<()> {
    let buffer: &mut CpuBuffer = part.buffer.unique().ok_or_else(|| Error::Device {
        device: "cpu".into(),
        message: "the memory of a tensor in parts is shared, or of another backend".into(),
    })?;
    let to = buffer.bytes_mut(&cx.pool)?;
    let [channels, pitch] =
        [output, part.ty].map(|ty| ty.shape.dims().last().copied().unwrap_or(1));
    let size = output.dtype.size_bytes();
    let columns = |from: usize, pitch: usize| (size * from, size * pitch);
    let to_columns = columns(part.first, pitch);
    match op {
        Op::Concatenate(_) => {
            let mut at = to_columns.0;
            for input in inputs {
                let width = input.ty.shape.dims().last().copied().unwrap_or(1);
                let from = (own(input.buffer)?.bytes(), columns(0, width));
                copy(cx, from, to, (at, to_columns.1), size * width);
                at += size * width;
            }
            Ok(())
        }
        Op::Slice(slice) => {
            let Some(first) = of_last_axis(slice, inputs[0].ty) else { return unsupported(op) };
            let width = inputs[0].ty.shape.dims().last().copied().unwrap_or(1);
            let from = (own(inputs[0].buffer)?.bytes(), columns(first, width));
            copy(cx, from, to, to_columns, size * channels);
            Ok(())
        }
        _ => {
            let values = bytemuck::try_cast_slice_mut(to).map_err(|error| Error::Device {
                device: "cpu".into(),
                message: format!("the memory of {} is none of f32: {error}", part.ty),
            })?;
            let place = Place { values, first: part.first, pitch };
            match op {
                Op::Conv2d(op) => conv::conv2d_part(cx, op, inputs, output, place),
                Op::MaxPool2d(op) => pool2d::max_pool2d_part(cx, op, inputs, output, place),
                Op::AvgPool2d(op) => pool2d::avg_pool2d_part(cx, &op.0, inputs, output, place),
                op => unsupported(op),
            }
        }
    }
}

fn unsupported(op: &Op) -> Result<()> {
    Err(Error::Unsupported {
        device: "cpu".into(),
        op: op.name(),
        reason: "its output cannot be a part of a wider tensor".into(),
    })
}

/// The first channel of a slice that takes all of the other axes.
fn of_last_axis(op: &Slice, x: &TensorType) -> Option<usize> {
    let (last, others) = op.ranges.split_last()?;
    let mut others = others.iter().zip(x.shape.dims());
    others.all(|(range, &extent)| *range == (0..extent)).then_some(last.start)
}

/// Copies `width` bytes of each row, from bytes at a first one and a pitch to others.
fn copy(
    cx: &Context,
    (from, (from_first, from_pitch)): (&[u8], (usize, usize)),
    to: &mut [u8],
    (to_first, to_pitch): (usize, usize),
    width: usize,
) {
    if width == 0 {
        return;
    }
    let rows = (4 * PART_ELEMS).div_ceil(width);
    cx.threads.for_each_part(to, rows * to_pitch, |index, to| {
        let from = from[index * rows * from_pitch..].chunks_exact(from_pitch);
        for (to, from) in to.chunks_exact_mut(to_pitch).zip(from) {
            to[to_first..to_first + width].copy_from_slice(&from[from_first..from_first + width]);
        }
    });
}
