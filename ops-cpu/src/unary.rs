//! Element by element: one number to one number.

use striate_tensor::ops::{Unary, UnaryKind};
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::elementwise::map;
use crate::math::{
    clamp, erf, exp, exp_m1, ln, normal_tail, sigmoid, softplus, tanh, times_sigmoid,
};
use crate::memory::Memory;

pub(crate) fn unary(
    cx: &Context,
    op: &Unary,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    let x = &inputs[0];
    // One loop for each function, so that each is compiled into its own.
    macro_rules! by {
        ($f:expr) => {
            map(cx, x, output, $f)
        };
    }
    let y = match op.kind {
        UnaryKind::Neg => by!(|x: f32| -x),
        UnaryKind::Abs => by!(f32::abs),
        UnaryKind::Sign => by!(sign),
        UnaryKind::Square => by!(|x| x * x),
        UnaryKind::Sqrt => by!(f32::sqrt),
        UnaryKind::Rsqrt => by!(|x| 1.0 / x.sqrt()),
        UnaryKind::Recip => by!(f32::recip),
        UnaryKind::Exp => by!(exp),
        UnaryKind::Log => by!(ln),
        UnaryKind::Sin => by!(f32::sin),
        UnaryKind::Cos => by!(f32::cos),
        UnaryKind::Tanh => by!(tanh),
        UnaryKind::Sigmoid => by!(sigmoid),
        UnaryKind::Relu => by!(|x| if x < 0.0 { 0.0 } else { x }),
        UnaryKind::LeakyRelu { slope } => by!(move |x| if x > 0.0 { x } else { slope * x }),
        UnaryKind::Elu { alpha } => by!(move |x| {
            let below = alpha * exp_m1(x);
            if x > 0.0 { x } else { below }
        }),
        UnaryKind::Silu => by!(silu),
        UnaryKind::Gelu => by!(gelu),
        UnaryKind::GeluErf => by!(gelu_erf),
        UnaryKind::HardSwish => by!(|x| x * hard_sigmoid(x)),
        UnaryKind::HardSigmoid => by!(hard_sigmoid),
        UnaryKind::Softplus => by!(softplus),
        UnaryKind::Mish => by!(mish),
        UnaryKind::Erf => by!(erf),
        UnaryKind::Floor => by!(f32::floor),
        UnaryKind::Ceil => by!(f32::ceil),
        UnaryKind::Round => by!(f32::round_ties_even),
        UnaryKind::Affine { scale, shift } => by!(move |x| scale * x + shift),
        UnaryKind::Powf { exponent } => powf(cx, exponent, x, output),
        UnaryKind::Clamp { min, max } => by!(move |x| clamp(x, min, max)),
        _ => return Ok(None),
    };
    y.map(Some)
}

#[inline(always)]
fn sign(x: f32) -> f32 {
    let negative = if x < 0.0 { -1.0 } else { x };
    if x > 0.0 { 1.0 } else { negative }
}

const TWICE_ROOT_2_BY_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::SQRT_2;

/// GELU (Hendrycks and Gimpel, "Gaussian error linear units", 2016) is `x` times the sigmoid of this, by
/// `(1 + tanh u) / 2 = sigmoid(2u)`, which does not lose the digits of small results. And the slope of
/// this.
#[inline(always)]
pub(crate) fn gelu_inner(x: f32) -> (f32, f32) {
    let square = x * x;
    let inner = TWICE_ROOT_2_BY_PI * (x + 0.044715 * (square * x));
    (inner, TWICE_ROOT_2_BY_PI * (1.0 + 3.0 * 0.044715 * square))
}

/// `x · sigmoid(x)`
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    times_sigmoid(x, x)
}

/// `x · Φ(x)` by its tanh approximation.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    times_sigmoid(x, gelu_inner(x).0)
}

/// `x · Φ(x)`, where `Φ` is taken from the nearer end, so that small results keep their digits.
#[inline(always)]
pub(crate) fn gelu_erf(x: f32) -> f32 {
    let tail = normal_tail(x.abs());
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// Misra, "Mish", 2019: with `w = eˣ` and `n = w · (w + 2)`, `tanh(ln(1 + w))` is `n / (n + 2)`. From 20
/// on that is 1 in f32; `w` is kept from becoming infinite.
#[inline(always)]
pub(crate) fn mish(x: f32) -> f32 {
    let w = exp(clamp(x, f32::NEG_INFINITY, 20.0));
    let n = w * (w + 2.0);
    x * (n / (n + 2.0))
}

/// Howard et al., "Searching for MobileNetV3", 2019. Scaled before `x` is multiplied with it: the
/// product does not overflow.
#[inline(always)]
pub(crate) fn hard_sigmoid(x: f32) -> f32 {
    clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)
}

/// Powers that cost less than the general one, in loops of their own.
fn powf(cx: &Context, exponent: f32, x: &Operand<'_>, output: &TensorType) -> Result<Memory> {
    match exponent {
        -1.0 => map(cx, x, output, f32::recip),
        // As a power, the root of -∞ is ∞ and that of -0 is 0.
        0.5 => map(cx, x, output, |x| {
            let root = (x + 0.0).sqrt();
            if x == f32::NEG_INFINITY { f32::INFINITY } else { root }
        }),
        1.0 => map(cx, x, output, |x| x),
        2.0 => map(cx, x, output, |x| x * x),
        3.0 => map(cx, x, output, |x| x * x * x),
        _ => map(cx, x, output, move |x| x.powf(exponent)),
    }
}
