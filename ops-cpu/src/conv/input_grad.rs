//! The gradient in the input: a convolution of `dy` with the kernels turned round.
//!
//! Without strides it is one convolution, by any of the algorithms. With strides, the pixels fall
//! into phases by their remainder, each of which saw taps of its own: a convolution a phase. With a
//! dilation too, taps may share a phase sooner, and some phases see none.
//!
//! Where `dy` ends, such a convolution multiplies weights by zeros that no output stands for. That
//! adds nothing, unless a weight is NaN or infinite: then each product of the definition is summed
//! by [`exact`], slower, and no pixel meets a weight that it did not see.

use striate_tensor::ops::{Activation, Conv2d, Phase};
use striate_tensor::{Operand, Result, Shape, TensorType};

use super::{
    Added, Extents, Residual, Weights, all_finite, depthwise, direct, execute, form, winograd,
};
use crate::buffer::{CpuBuffer, Floats, floats};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;
use crate::part::Place;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// The gradient in the input of a convolution to `dy`, whose extents are `e`. A transposed convolution
/// adds a bias to it.
pub(super) fn input_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    [dy, weights]: [&Operand<'_>; 2],
    bias: Option<&Operand<'_>>,
    output: &TensorType,
) -> Result<Memory> {
    if output.count() == 0 {
        return cx.pool.take(output.size_bytes());
    }
    let dy = cx.widen(dy)?;
    let wide_bias = bias.map(|bias| cx.widen(bias)).transpose()?;
    let wide_bias = wide_bias.as_ref().map(|bias| bias.slice());
    if depthwise::takes(cx.level, op, e)
        && let Some(dx) = depthwise::input_grad(cx, op, e, dy.slice(), weights, wide_bias)?
    {
        return cx.narrow(dx, output);
    }
    let values = floats(weights)?;
    if !all_finite(cx, values) {
        let weights = cx.widen(weights)?;
        return cx.narrow(exact(cx, op, e, dy.slice(), weights.slice(), wide_bias)?, output);
    }
    let [rows, cols] = all_phases(op, e);
    if let Some(dx) = by_winograd(cx, op, e, dy.slice(), weights, wide_bias)? {
        return cx.narrow(dx, output);
    }
    let run = |row: Phase, col: Phase| {
        let (conv, extents) = of_phase(op, e, row, col);
        if op.groups == 1 && form(cx.level, &conv, &extents, false).is_none() {
            let taps = taps_of_phase(e, row, col);
            let (out, cells, channels) = (e.out, e.kernel[0] * e.kernel[1], e.channels);
            let turned = direct::Turned { weights: values, out, cells, channels, taps };
            let mut y = cx.pool.take(4 * e.n * row.count * col.count * channels)?;
            let place = Place::whole(y.slice_mut(), channels);
            let added = Added { bias, residual: Residual::None };
            direct::conv2d_turned(cx, &conv, &extents, dy.slice(), &turned, (added, place))?;
            return Ok(y);
        }
        let turned = turned(cx, op, e, values, row, col)?;
        let shape = Shape::new(&[e.channels, row.taps, col.taps, e.out / op.groups])?;
        let (turned, ty) = (CpuBuffer::pooled(turned), TensorType::f32(shape));
        execute(
            cx,
            &conv,
            &extents,
            dy.slice(),
            Weights { operand: &Operand { buffer: &turned, ty: &ty }, reused: false },
            Added { bias, residual: Residual::None },
        )
    };
    if op.stride == [1, 1]
        && let ([row], [col]) = (&rows[..], &cols[..])
    {
        return cx.narrow(run(*row, *col)?, output);
    }
    let mut dx = cx.pool.take(4 * output.count())?;
    // Where every pixel is of a phase, all are written below.
    let of_phases = |phases: &[Phase]| phases.iter().map(|phase| phase.count).sum::<usize>();
    if [of_phases(&rows), of_phases(&cols)] != [e.rows, e.cols] {
        start(cx, dx.slice_mut(), wide_bias);
    }
    let target = SharedOutput::new(dx.slice_mut());
    for &row in &rows {
        for &col in &cols {
            let part = run(row, col)?;
            let part: &[f32] = part.slice();
            let line = col.count * e.channels;
            cx.threads.for_each(e.n * row.count, |task| {
                let (n, r) = (task / row.count, row.first + task % row.count * op.stride[0]);
                let from = part[task * line..(task + 1) * line].chunks_exact(e.channels);
                for (c, from) in from.enumerate() {
                    let pixel = (n * e.rows + r) * e.cols + col.first + c * op.stride[1];
                    // SAFETY: a pixel of the phase is inside the image, and this task's alone.
                    unsafe {
                        let to = target.at(pixel * e.channels);
                        std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                    }
                }
            });
        }
    }
    cx.narrow(dx, output)
}

/// What pixels are before anything is added: 0, or the bias.
fn start(cx: &Context, dx: &mut [f32], bias: Option<&[f32]>) {
    let pixel = bias.map_or(1, <[f32]>::len).max(1);
    cx.threads.for_each_part(dx, PART_ELEMS.div_ceil(pixel) * pixel, |_, dx| begin(dx, bias));
}

/// As [`start`], for some pixels.
fn begin(dx: &mut [f32], bias: Option<&[f32]>) {
    match bias {
        Some(bias) if !bias.is_empty() => {
            dx.chunks_mut(bias.len()).for_each(|dx| dx.copy_from_slice(&bias[..dx.len()]));
        }
        _ => dx.fill(0.0),
    }
}

/// The gradient as it is defined: each pixel sums over the outputs that saw it, and over nothing
/// else.
fn exact(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    dy: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
) -> Result<Memory> {
    let line = e.cols * e.channels;
    let mut dx = cx.pool.take(4 * e.n * e.rows * line)?;
    let (group_channels, group_out) = (e.channels / op.groups, e.out / op.groups);
    // The output that saw the pixel `at` of an axis under the tap `tap`, if any did.
    let seen_by = |axis: usize, at: usize, tap: usize, outputs: usize| {
        let from = (at + op.padding[axis][0]).checked_sub(tap * op.dilation[axis])?;
        let output = from / op.stride[axis];
        (from.is_multiple_of(op.stride[axis]) && output < outputs).then_some(output)
    };
    cx.threads.for_each_part(dx.slice_mut::<f32>(), line, |index, dx| {
        let (n, row) = (index / e.rows, index % e.rows);
        begin(dx, bias);
        for (col, dx) in dx.chunks_exact_mut(e.channels).enumerate() {
            for tap in 0..e.kernel[0] * e.kernel[1] {
                let (tap_row, tap_col) = (tap / e.kernel[1], tap % e.kernel[1]);
                let out_row = seen_by(0, row, tap_row, e.out_rows);
                let out_col = seen_by(1, col, tap_col, e.out_cols);
                let Some((out_row, out_col)) = out_row.zip(out_col) else { continue };
                let dy = &dy[((n * e.out_rows + out_row) * e.out_cols + out_col) * e.out..];
                for out in 0..e.out {
                    let from = (out * e.kernel[0] * e.kernel[1] + tap) * group_channels;
                    let weights = &weights[from..from + group_channels];
                    let dx = &mut dx[out / group_out * group_channels..][..group_channels];
                    for (dx, w) in dx.iter_mut().zip(weights) {
                        *dx += dy[out] * w;
                    }
                }
            }
        }
    });
    Ok(dx)
}

/// The phases of rows and of cols.
fn all_phases(op: &Conv2d, e: &Extents) -> [Vec<Phase>; 2] {
    let along = |axis: usize, extent: usize| -> Vec<Phase> {
        op.phases(axis, extent, e.kernel[axis]).collect()
    };
    [along(0, e.rows), along(1, e.cols)]
}

/// The convolution of `dy` that gives the pixels of a phase.
fn of_phase(op: &Conv2d, e: &Extents, row: Phase, col: Phase) -> (Conv2d, Extents) {
    let conv = Conv2d {
        stride: [1, 1],
        // Behind `dy` there are as many zeros as anything reads.
        padding: [[row.padding; 2], [col.padding; 2]],
        dilation: [row.dilation, col.dilation],
        bias: false,
        residual: false,
        activation: Activation::None,
        algorithm: op.algorithm.of_gradients(),
        ..*op
    };
    let extents = Extents {
        n: e.n,
        rows: e.out_rows,
        cols: e.out_cols,
        channels: e.out,
        out: e.channels,
        kernel: [row.taps, col.taps],
        out_rows: row.count,
        out_cols: col.count,
    };
    (conv, extents)
}

/// The cells of the kernel that the taps of a phase are: in opposite order.
fn taps_of_phase(e: &Extents, row: Phase, col: Phase) -> Vec<usize> {
    let cell = |tap: usize| {
        let row = row.tap + (row.taps - 1 - tap / col.taps) * row.step;
        let col = col.tap + (col.taps - 1 - tap % col.taps) * col.step;
        row * e.kernel[1] + col
    };
    (0..row.taps * col.taps).map(cell).collect()
}

/// What [`input_grad`] runs, for people.
pub(super) fn name(level: Level, op: &Conv2d, e: &Extents) -> String {
    if depthwise::takes(level, op, e) {
        return depthwise::NAME.into();
    }
    if let Some((.., form)) = whole_form(level, op, e) {
        return form.name();
    }
    let [rows, cols] = all_phases(op, e);
    let mut names: Vec<String> = Vec::new();
    for (row, col) in rows.iter().flat_map(|row| cols.iter().map(move |col| (row, col))) {
        let (conv, extents) = of_phase(op, e, *row, *col);
        let name = super::name(level, &conv, &extents, false);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" and ")
}

/// The gradient by Winograd's algorithm, where it is expected to win: it takes the kernels as they
/// lie.
fn by_winograd(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    dy: &[f32],
    weights: &Operand<'_>,
    bias: Option<&[f32]>,
) -> Result<Option<Memory>> {
    let Some((conv, extents, form)) = whole_form(cx.level, op, e) else { return Ok(None) };
    let kernels = winograd::Kernels::new(form, &conv, &extents, weights, true)?;
    let e = &extents;
    let mut dx = cx.pool.take(4 * e.n * e.out_rows * e.out_cols * e.out)?;
    let place = Place::whole(dx.slice_mut(), e.out);
    winograd::conv2d(cx, form, &conv, e, dy, &kernels, (bias, Residual::None, place))?;
    Ok(Some(dx))
}

/// The gradient as one convolution of `dy` by a form of Winograd's algorithm, where one is expected
/// to win.
fn whole_form(level: Level, op: &Conv2d, e: &Extents) -> Option<(Conv2d, Extents, winograd::Form)> {
    // Padding beyond the kernel would begin inside `dy`.
    let [rows, cols] = [0, 1].map(|axis| (e.kernel[axis]).checked_sub(op.padding[axis][0] + 1));
    let conv = Conv2d {
        padding: [[rows?; 2], [cols?; 2]],
        bias: false,
        residual: false,
        activation: Activation::None,
        algorithm: op.algorithm.of_gradients(),
        ..*op
    };
    let extents = Extents {
        rows: e.out_rows,
        cols: e.out_cols,
        channels: e.out,
        out: e.channels,
        out_rows: e.rows,
        out_cols: e.cols,
        ..*e
    };
    // A step of training changes the weights.
    form(level, &conv, &extents, false).map(|form| (conv, extents, form))
}

/// The taps of a phase in opposite order, with outputs and inputs exchanged in each group:
/// `[channels, taps, taps, group's outputs]`.
fn turned(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    weights: Floats<'_>,
    row: Phase,
    col: Phase,
) -> Result<Memory> {
    let (group_channels, group_out) = (e.channels / op.groups, e.out / op.groups);
    let line = row.taps * col.taps * group_out;
    let (cells, taps) = (e.kernel[0] * e.kernel[1], taps_of_phase(e, row, col));
    let mut turned = cx.pool.take(4 * e.channels * line)?;
    if line == 0 {
        return Ok(turned);
    }
    cx.threads.for_each_part(turned.slice_mut::<f32>(), CHANNELS * line, |index, to| {
        let first = index * CHANNELS;
        // The channels of a part, one group after another.
        let mut channel = first;
        while channel < first + to.len() / line {
            let (group, inner) = (channel / group_channels, channel % group_channels);
            let count = (first + to.len() / line - channel).min(group_channels - inner);
            let to = &mut to[(channel - first) * line..][..count * line];
            for (tap, &cell) in taps.iter().enumerate() {
                for o in 0..group_out {
                    let out = group * group_out + o;
                    let from = (out * cells + cell) * group_channels + inner;
                    let mut wide = [0.0; CHANNELS];
                    weights.range(from..from + count).copy_to(cx.level, &mut wide[..count]);
                    for (c, &x) in wide[..count].iter().enumerate() {
                        to[c * line + tap * group_out + o] = x;
                    }
                }
            }
            channel += count;
        }
    });
    Ok(turned)
}

/// Channels whose weights are turned together: a cache line of each output.
const CHANNELS: usize = 16;
