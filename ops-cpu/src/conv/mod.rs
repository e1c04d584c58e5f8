//! Convolution.
//!
//! [`direct`] is an implicit product over the taps of the kernel. Other algorithms have their file
//! beside it; the choice is made here, from the shape alone.

pub(crate) mod chain;
mod depthwise;
mod direct;
mod input_grad;
pub(crate) mod int8;
pub(crate) mod scaled;
mod weight_grad;
mod windows;
mod winograd;

use std::sync::atomic::{AtomicBool, Ordering};

use striate_tensor::ops::{Algorithm, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, ConvTranspose2d};
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::Floats;
use crate::context::Context;
use crate::gemm::tile_shape;
use crate::memory::Memory;
use crate::part::Place;
use crate::simd::Level;

/// The name of the algorithm that sums every product of the definition.
const DIRECT: &str = "direct";

/// The extents of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) n: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) channels: usize,
    pub(crate) out: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) out_rows: usize,
    pub(crate) out_cols: usize,
}

impl Extents {
    /// Of a convolution of `x` to `y`.
    fn of(op: &'static str, x: &TensorType, weights: &TensorType, y: &TensorType) -> Result<Self> {
        let [n, rows, cols, channels] = x.shape.nhwc(op, "x")?;
        let [out, kernel_rows, kernel_cols, _] = weights.shape.nhwc(op, "weights")?;
        let [_, out_rows, out_cols, _] = y.shape.nhwc(op, "y")?;
        let kernel = [kernel_rows, kernel_cols];
        Ok(Extents { n, rows, cols, channels, out, kernel, out_rows, out_cols })
    }
}

/// Executes a convolution.
pub(crate) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let extents = Extents::of("conv2d", inputs[0].ty, inputs[1].ty, output)?;
    let x = cx.widen(&inputs[0])?;
    let bias = if op.bias { Some(&inputs[2]) } else { None };
    let residual = match (op.residual, inputs.last()) {
        (true, Some(last)) => Some(cx.widen(last)?),
        _ => None,
    };
    let residual = match &residual {
        Some(residual) => Residual::Beside(residual.slice()),
        None => Residual::None,
    };
    let added = Added { bias, residual };
    let y = execute(cx, op, &extents, x.slice(), Weights::reused(&inputs[1]), added)?;
    cx.narrow(y, output)
}

/// Whether [`conv2d_part`] takes such a convolution.
pub(crate) fn writes_parts(
    level: Level,
    op: &Conv2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> bool {
    let extents = Extents::of("conv2d", &inputs[0], &inputs[1], output);
    let filtered = |e| depthwise::takes(level, op, &e) || depthwise::takes_groups(level, op, &e);
    !op.residual && extents.is_ok_and(|e| !filtered(e))
}

/// Executes a convolution in f32 whose output is a part of a wider tensor.
pub(crate) fn conv2d_part(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
    place: Place<'_>,
) -> Result<()> {
    let extents = Extents::of("conv2d", inputs[0].ty, inputs[1].ty, output)?;
    let x = cx.widen(&inputs[0])?;
    let added = Added { bias: op.bias.then(|| &inputs[2]), residual: Residual::None };
    execute_at(cx, op, &extents, x.slice(), Weights::reused(&inputs[1]), added, place)
}

/// Whether [`conv2d_over`] takes such a convolution: in f32, with a residual that is read where the outputs are
/// written, once.
pub(crate) fn adds_in_place(
    level: Level,
    op: &Conv2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> bool {
    let floats = [&inputs[0], output].iter().all(|ty| ty.dtype == DType::F32);
    let takes = |e: &Extents| match form(level, op, e, true) {
        _ if depthwise::takes(level, op, e) || depthwise::takes_groups(level, op, e) => false,
        Some(_) => true,
        None => direct::writes_once(op, e),
    };
    let extents = Extents::of("conv2d", &inputs[0], &inputs[1], output);
    op.residual && floats && extents.is_ok_and(|e| takes(&e))
}

/// Executes a convolution whose residual is in the memory of its output. The operands are the others.
pub(crate) fn conv2d_over(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
    y: &mut [f32],
) -> Result<()> {
    let e = Extents::of("conv2d", inputs[0].ty, inputs[1].ty, output)?;
    let x = cx.widen(&inputs[0])?;
    let added = Added { bias: op.bias.then(|| &inputs[2]), residual: Residual::Within };
    let place = Place::whole(y, e.out);
    execute_at(cx, op, &e, x.slice(), Weights::reused(&inputs[1]), added, place)
}

/// Executes the gradient of a convolution in its input.
pub(crate) fn conv2d_input_grad(
    cx: &Context,
    op: &Conv2dInputGrad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let extents = Extents::of("conv2d_input_grad", output, inputs[1].ty, inputs[0].ty)?;
    input_grad::input_grad(cx, &op.conv, &extents, [&inputs[0], &inputs[1]], None, output)
}

/// Executes a transposed convolution: it is the gradient in the input, and a bias.
pub(crate) fn conv_transpose2d(
    cx: &Context,
    op: &ConvTranspose2d,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let extents = Extents::of("conv_transpose2d", output, inputs[1].ty, inputs[0].ty)?;
    let bias = if op.bias { Some(&inputs[2]) } else { None };
    input_grad::input_grad(cx, &op.conv(), &extents, [&inputs[0], &inputs[1]], bias, output)
}

/// Executes the gradient of a convolution in its weights.
pub(crate) fn conv2d_weight_grad(
    cx: &Context,
    op: &Conv2dWeightGrad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let extents = Extents::of("conv2d_weight_grad", inputs[0].ty, output, inputs[1].ty)?;
    weight_grad::weight_grad(cx, &op.conv, &extents, inputs, output)
}

/// The weights of a convolution, and whether later runs will use the same.
#[derive(Clone, Copy)]
struct Weights<'a> {
    operand: &'a Operand<'a>,
    reused: bool,
}

impl<'a> Weights<'a> {
    fn reused(operand: &'a Operand<'a>) -> Self {
        Weights { operand, reused: true }
    }
}

/// What is added to the sums of a convolution.
#[derive(Clone, Copy, Default)]
struct Added<'a> {
    bias: Option<&'a Operand<'a>>,
    residual: Residual<'a>,
}

/// What is added to each output of a convolution.
#[derive(Clone, Copy, Default)]
enum Residual<'a> {
    #[default]
    None,
    /// Values of the output's shape.
    Beside(&'a [f32]),
    /// What is in the output: each number is read where it is written over, and nowhere else.
    Within,
}

impl<'a> Residual<'a> {
    /// The values, where they are beside the output.
    fn beside(self) -> Option<&'a [f32]> {
        match self {
            Residual::Beside(values) => Some(values),
            Residual::None | Residual::Within => None,
        }
    }

    /// What is added from an element of the output on, which is at `output`.
    fn at(self, element: usize, output: *mut f32) -> *const f32 {
        match self {
            Residual::None => std::ptr::null(),
            Residual::Beside(values) => values[element..].as_ptr(),
            Residual::Within => output,
        }
    }
}

/// A convolution in f32 by the algorithm that is expected to win. Its padding before may be less
/// than none, wrapped: then it begins inside the images.
fn execute(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    weights: Weights<'_>,
    added: Added<'_>,
) -> Result<Memory> {
    if depthwise::takes(cx.level, op, e) || depthwise::takes_groups(cx.level, op, e) {
        let bias = added.bias.map(|bias| cx.widen(bias)).transpose()?;
        let added = [bias.as_ref().map(|bias| bias.slice()), added.residual.beside()];
        if let Some(y) = depthwise::conv2d(cx, op, e, x, weights.operand, added)? {
            return Ok(y);
        }
    }
    let mut y = cx.pool.take(4 * e.n * e.out_rows * e.out_cols * e.out)?;
    execute_at(cx, op, e, x, weights, added, Place::whole(y.slice_mut(), e.out))?;
    Ok(y)
}

/// As [`execute`], of a convolution that is not depthwise. A residual is added to whole outputs only.
fn execute_at(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    weights: Weights<'_>,
    added: Added<'_>,
    place: Place<'_>,
) -> Result<()> {
    debug_assert!(matches!(added.residual, Residual::None) || place.pitch == e.out);
    if e.n * e.out_rows * e.out_cols * e.out == 0 {
        return Ok(());
    }
    let form = form(cx.level, op, e, weights.reused);
    let Some(form) = form else {
        // The zeros between merged groups must not meet an infinity.
        let merged = match groups_of_a_vector(cx.level, op, e) {
            1 => 1,
            merged if all_finite(cx, Floats::F32(x)) => merged,
            _ => 1,
        };
        return direct::conv2d(cx, op, e, merged, x, weights.operand, (added, place));
    };
    let kernels = winograd::Kernels::new(form, op, e, weights.operand, false)?;
    let bias = added.bias.map(|bias| cx.widen(bias)).transpose()?;
    let bias = bias.as_ref().map(|bias| bias.slice());
    winograd::conv2d(cx, form, op, e, x, &kernels, (bias, added.residual, place))
}

/// Groups of few channels that are computed as one, with zeros between them: their products alone would
/// fill a small part of a vector.
fn groups_of_a_vector(level: Level, op: &Conv2d, e: &Extents) -> usize {
    let widest = (e.channels.max(e.out)).checked_div(op.groups).unwrap_or(0);
    level.lanes().checked_div(widest).unwrap_or(1).clamp(1, op.groups)
}

/// The same for a register block, and a divisor of their number.
fn groups_of_a_tile(level: Level, op: &Conv2d, e: &Extents) -> usize {
    let widest = (e.channels.max(e.out)).checked_div(op.groups).unwrap_or(0);
    let most = tile_shape(level).cols.checked_div(widest).unwrap_or(1).min(op.groups);
    (1..=most).rev().find(|&merged| op.groups.is_multiple_of(merged)).unwrap_or(1)
}

/// Elements that one task looks through.
const CHECKED_ELEMS: usize = 1 << 16;

/// Whether none of them is NaN or infinite.
fn all_finite(cx: &Context, values: Floats<'_>) -> bool {
    let finite = AtomicBool::new(true);
    cx.threads.for_each(values.len().div_ceil(CHECKED_ELEMS), |task| {
        let part = task * CHECKED_ELEMS..values.len().min((task + 1) * CHECKED_ELEMS);
        if !values.range(part).all_finite() {
            finite.store(false, Ordering::Relaxed);
        }
    });
    finite.into_inner()
}

/// The form of Winograd's algorithm that computes a convolution; the direct one does if none. By whether
/// its weights will be `reused`.
fn form(level: Level, op: &Conv2d, e: &Extents, reused: bool) -> Option<winograd::Form> {
    match op.algorithm {
        Algorithm::Direct | Algorithm::DirectOutputs => None,
        _ => winograd::form(level, op, e, reused),
    }
}

/// What [`execute`] runs, for people.
fn name(level: Level, op: &Conv2d, e: &Extents, reused: bool) -> String {
    if depthwise::takes(level, op, e) {
        return depthwise::NAME.into();
    }
    if depthwise::takes_groups(level, op, e) {
        return depthwise::GROUPS_NAME.into();
    }
    match form(level, op, e, reused) {
        Some(form) => form.name(),
        None => DIRECT.into(),
    }
}

/// What [`conv2d`] runs, for people.
pub(crate) fn conv2d_name(
    level: Level,
    op: &Conv2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<String> {
    Ok(name(level, op, &Extents::of("conv2d", &inputs[0], &inputs[1], output)?, true))
}

/// What [`conv2d_input_grad`] runs, for people.
pub(crate) fn conv2d_input_grad_name(
    level: Level,
    op: &Conv2dInputGrad,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<String> {
    let extents = Extents::of("conv2d_input_grad", output, &inputs[1], &inputs[0])?;
    Ok(input_grad::name(level, &op.conv, &extents))
}

/// What [`conv_transpose2d`] runs, for people.
pub(crate) fn conv_transpose2d_name(
    level: Level,
    op: &ConvTranspose2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<String> {
    let extents = Extents::of("conv_transpose2d", output, &inputs[1], &inputs[0])?;
    Ok(input_grad::name(level, &op.conv(), &extents))
}

/// What [`conv2d_weight_grad`] runs, for people.
pub(crate) fn conv2d_weight_grad_name(
    level: Level,
    op: &Conv2dWeightGrad,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<String> {
    let extents = Extents::of("conv2d_weight_grad", &inputs[0], output, &inputs[1])?;
    Ok(weight_grad::name(level, &op.conv, &extents))
}

/// The biases of each group, filled up to whole panels.
fn padded_bias(
    cx: &Context,
    bias: &Operand<'_>,
    groups: usize,
    group_out: usize,
    padded: usize,
) -> Result<Memory> {
    let mut memory = cx.pool.take(4 * groups * padded)?;
    let bias = cx.widen(bias)?;
    let to = memory.slice_mut::<f32>();
    to.fill(0.0);
    if group_out > 0 {
        for (to, from) in to.chunks_exact_mut(padded).zip(bias.slice().chunks(group_out)) {
            to[..from.len()].copy_from_slice(from);
        }
    }
    Ok(memory)
}
