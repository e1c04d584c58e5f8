//! Element by element: two numbers to one.

use half::f16;
use half::slice::HalfFloatSliceExt;
use striate_tensor::ops::{Binary, BinaryKind};
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::{BLOCK_ELEMS, Broadcast, Zip, is_half, zip, zip_floats};
use crate::memory::Memory;

pub(crate) fn binary(
    cx: &Context,
    op: &Binary,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    if output.dtype == DType::U32 {
        return unsigned(cx, op, inputs, output);
    }
    // One loop for each function, so that each is compiled into its own.
    macro_rules! by {
        ($f:expr) => {
            floats(cx, inputs, output, $f)
        };
    }
    let y = match op.kind {
        BinaryKind::Add => by!(|a, b| a + b),
        BinaryKind::Sub => by!(|a, b| a - b),
        BinaryKind::Mul => by!(|a, b| a * b),
        BinaryKind::Div => by!(|a, b| a / b),
        BinaryKind::Maximum => by!(|a, b| if a > b || a.is_nan() { a } else { b }),
        BinaryKind::Minimum => by!(|a, b| if a < b || a.is_nan() { a } else { b }),
        BinaryKind::Pow => by!(f32::powf),
        BinaryKind::Prelu => by!(|a, b| if a > 0.0 { a } else { b * a }),
        _ => return Ok(None),
    };
    y.map(Some)
}

/// The gradient of ReLU: operands `y` and `dy`.
pub(crate) fn relu_grad(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    floats(cx, inputs, output, |y, dy| if y <= 0.0 { 0.0 } else { dy })
}

/// `f` of each pair, in f32.
pub(crate) fn floats(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
) -> Result<Memory> {
    if is_half(output) {
        return zip_floats(cx, inputs, output, |a, b, to: &mut [f16]| {
            let mut result = [0.0; BLOCK_ELEMS];
            let result = &mut result[..to.len()];
            cx.level.run(Zip { a, b, to: &mut *result, f });
            to.convert_from_f32_slice(result);
        });
    }
    zip_floats(cx, inputs, output, |a, b, to| cx.level.run(Zip { a, b, to, f }))
}

fn unsigned(
    cx: &Context,
    op: &Binary,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    let f: fn(u32, u32) -> u32 = match op.kind {
        BinaryKind::Add => u32::wrapping_add,
        BinaryKind::Sub => u32::wrapping_sub,
        BinaryKind::Mul => u32::wrapping_mul,
        BinaryKind::Maximum => u32::max,
        BinaryKind::Minimum => u32::min,
        _ => return Ok(None),
    };
    let a = Broadcast::new(elements(&inputs[0])?, &inputs[0].ty.shape, &output.shape);
    let b = Broadcast::new(elements(&inputs[1])?, &inputs[1].ty.shape, &output.shape);
    zip(cx, [a, b], output, |a, b, to| {
        for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
            *to = f(a, b);
        }
    })
    .map(Some)
}
