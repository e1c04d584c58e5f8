//! The gradients of functions of each element.

use striate_tensor::ops::{UnaryGrad, UnaryKind};
use striate_tensor::{Operand, Result, TensorType};

use crate::binary::floats;
use crate::context::Context;
use crate::math::{clamp, exp, normal_tail, sigmoid};
use crate::memory::Memory;
use crate::unary::{gelu_inner, hard_sigmoid};

/// Operands: `x` or `y` of the function, and `dy`.
pub(crate) fn unary_grad(
    cx: &Context,
    op: &UnaryGrad,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    // One loop for each function, so that each is compiled into its own.
    macro_rules! by {
        ($f:expr) => {
            floats(cx, inputs, output, $f)
        };
    }
    let dx = match op.kind {
        UnaryKind::Abs => by!(|x, dy| {
            let below = if x < 0.0 { -1.0 } else { x };
            dy * if x > 0.0 { 1.0 } else { below }
        }),
        // What overflows on the way does so at the end, too.
        UnaryKind::Square => by!(|x, dy| 2.0 * (dy * x)),
        UnaryKind::Sqrt => by!(|y, dy| 0.5 * dy / y),
        UnaryKind::Rsqrt => by!(|y, dy| -0.5 * dy * y * y * y),
        UnaryKind::Recip => by!(|y, dy| -dy * y * y),
        UnaryKind::Exp => by!(|y, dy| dy * y),
        UnaryKind::Log => by!(|x, dy| dy / x),
        UnaryKind::Sin => by!(|x: f32, dy| dy * x.cos()),
        UnaryKind::Cos => by!(|x: f32, dy| -dy * x.sin()),
        UnaryKind::Tanh => by!(|y, dy| dy * ((1.0 - y) * (1.0 + y))),
        UnaryKind::Sigmoid => by!(|y, dy| dy * (y * (1.0 - y))),
        UnaryKind::LeakyRelu { slope } => {
            by!(move |x, dy| if x > 0.0 { dy } else { slope * dy })
        }
        UnaryKind::Elu { alpha } => by!(move |x, dy| {
            let below = dy * (alpha * exp(x));
            if x > 0.0 { dy } else { below }
        }),
        UnaryKind::Silu => by!(|x, dy| dy * silu(x)),
        UnaryKind::Gelu => by!(|x, dy| dy * gelu(x)),
        UnaryKind::GeluErf => by!(|x, dy| dy * gelu_erf(x)),
        UnaryKind::HardSwish => by!(|x: f32, dy| {
            let flat = hard_sigmoid(x);
            dy * if x.abs() < 3.0 { x * (1.0 / 3.0) + 0.5 } else { flat }
        }),
        UnaryKind::HardSigmoid => {
            by!(|x: f32, dy| if x.abs() < 3.0 { dy * (1.0 / 6.0) } else { 0.0 })
        }
        UnaryKind::Softplus => by!(|x, dy| dy * sigmoid(x)),
        UnaryKind::Mish => by!(|x, dy| dy * mish(x)),
        UnaryKind::Erf => {
            by!(|x: f32, dy| dy * (std::f32::consts::FRAC_2_SQRT_PI * exp(-(x * x))))
        }
        // Powers that cost less than the general one, in loops of their own.
        UnaryKind::Powf { exponent: 2.0 } => by!(|x, dy| 2.0 * (dy * x)),
        UnaryKind::Powf { exponent: 3.0 } => by!(|x, dy| 3.0 * (dy * (x * x))),
        UnaryKind::Powf { exponent } => {
            by!(move |x: f32, dy| dy * (exponent * x.powf(exponent - 1.0)))
        }
        UnaryKind::Clamp { min, max } => {
            by!(move |x, dy| if x >= min && x <= max { dy } else { 0.0 })
        }
        _ => return Ok(None),
    };
    dx.map(Some)
}

/// `s + x · s · (1 - s)` with `s = sigmoid(x)`, both factors from the nearer end. Beyond the bounds it is 0
/// or 1; an infinity times 0 would be NaN.
#[inline(always)]
fn silu(x: f32) -> f32 {
    let x = clamp(x, -120.0, 120.0);
    let e = exp(-x.abs());
    let near = 1.0 / (1.0 + e);
    let far = e * near;
    (if x < 0.0 { far } else { near }) + x * (near * far)
}

/// As [`silu`], of the argument that stands in GELU, times its own slope.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let x = clamp(x, -20.0, 20.0);
    let (inner, slope) = gelu_inner(x);
    let e = exp(-inner.abs());
    let near = 1.0 / (1.0 + e);
    let far = e * near;
    (if x < 0.0 { far } else { near }) + x * slope * (near * far)
}

/// `Φ(x) + x · φ(x)`, with the density `φ(x) = e^(-x² / 2) / √(2π)` of the normal distribution.
#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    const DENSITY_AT_0: f32 = 0.398_942_3; // 1 / √(2π)
    let x = clamp(x, -20.0, 20.0);
    let tail = normal_tail(x.abs());
    let share = if x < 0.0 { tail } else { 1.0 - tail };
    share + x * (DENSITY_AT_0 * exp(-0.5 * (x * x)))
}

/// With `w = eˣ` and `n = w · (w + 2)`, `tanh(ln(1 + w))` is `t = n / (n + 2)` and `sigmoid(x) · (1 - t²)` is
/// `4w · (w + 1) / (n + 2)²`. Beyond the bounds the slope is 0 or 1.
#[inline(always)]
fn mish(x: f32) -> f32 {
    let x = clamp(x, -120.0, 20.0);
    let w = exp(x);
    let n = w * (w + 2.0);
    let rest = 1.0 / (n + 2.0);
    n * rest + x * ((2.0 * w * rest) * (2.0 * (w + 1.0) * rest))
}
