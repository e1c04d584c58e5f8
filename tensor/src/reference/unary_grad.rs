//! The gradient of a function of each element.

use super::unary::{erfc, hard_sigmoid, sigmoid, softplus};
use super::values::Floats;
use crate::ops::{UnaryGrad, UnaryKind};

pub(super) fn unary_grad(op: &UnaryGrad, kept: &Floats, dy: &Floats) -> Vec<f64> {
    let pairs = kept.values.iter().zip(&dy.values);
    pairs.map(|(&kept, &dy)| apply(op.kind, kept, dy)).collect()
}

/// `v` is `x` or `y` of the function, as [`UnaryKind::slope`] says.
fn apply(kind: UnaryKind, v: f64, dy: f64) -> f64 {
    match kind {
        UnaryKind::Abs if v == 0.0 => dy * v,
        UnaryKind::Abs => dy * v.signum(),
        UnaryKind::Square => dy * 2.0 * v,
        UnaryKind::Sqrt => dy / (2.0 * v),
        UnaryKind::Rsqrt => dy * -0.5 * v * v * v,
        UnaryKind::Recip => -dy * v * v,
        UnaryKind::Exp => dy * v,
        UnaryKind::Log => dy / v,
        UnaryKind::Sin => dy * v.cos(),
        UnaryKind::Cos => -dy * v.sin(),
        UnaryKind::Tanh => dy * (1.0 - v * v),
        UnaryKind::Sigmoid => dy * v * (1.0 - v),
        UnaryKind::Relu => {
            if v <= 0.0 {
                0.0
            } else {
                dy
            }
        }
        UnaryKind::LeakyRelu { .. } if v > 0.0 => dy,
        UnaryKind::LeakyRelu { slope } => dy * f64::from(slope),
        UnaryKind::Elu { .. } if v > 0.0 => dy,
        UnaryKind::Elu { alpha } => dy * f64::from(alpha) * v.exp(),
        UnaryKind::Silu => dy * silu(v),
        UnaryKind::Gelu => dy * gelu(v),
        UnaryKind::GeluErf => dy * gelu_erf(v),
        UnaryKind::HardSwish if v.abs() < 3.0 => dy * (v / 3.0 + 0.5),
        // 0 or 1.
        UnaryKind::HardSwish => dy * hard_sigmoid(v),
        UnaryKind::HardSigmoid => {
            if v.abs() < 3.0 {
                dy / 6.0
            } else {
                0.0
            }
        }
        UnaryKind::Softplus => dy * sigmoid(v),
        UnaryKind::Mish => dy * mish(v),
        UnaryKind::Erf => dy * std::f64::consts::FRAC_2_SQRT_PI * (-v * v).exp(),
        UnaryKind::Powf { exponent } => {
            let exponent = f64::from(exponent);
            dy * exponent * v.powf(exponent - 1.0)
        }
        UnaryKind::Clamp { min, max } => {
            if v >= f64::from(min) && v <= f64::from(max) {
                dy
            } else {
                0.0
            }
        }
        // Constant: the shape rule refuses them.
        UnaryKind::Neg => -dy,
        UnaryKind::Affine { scale, .. } => dy * f64::from(scale),
        UnaryKind::Sign | UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => 0.0,
    }
}

/// Of `x · s` with `s = sigmoid(x)`: `s + x · s · (1 - s)`.
fn silu(x: f64) -> f64 {
    // Beyond this it is 0 or 1, and an infinity times 0 must not make it NaN.
    let x = x.clamp(-700.0, 700.0);
    sigmoid(x) + x * sigmoid(x) * sigmoid(-x)
}

/// Of `x · u` with `u = sigmoid(2c · (x + d · x³))`, which is `(1 + tanh(c · …)) / 2`: `u + x · u · (1 - u) ·
/// 2c · (1 + 3d · x²)`.
fn gelu(x: f64) -> f64 {
    let (twice_c, d) = (2.0 * (2.0 / std::f64::consts::PI).sqrt(), 0.044715);
    let x = x.clamp(-100.0, 100.0);
    let inner = twice_c * (x + d * x.powi(3));
    let bend = sigmoid(inner) * sigmoid(-inner);
    sigmoid(inner) + x * bend * twice_c * (1.0 + 3.0 * d * x * x)
}

/// `Φ(x) + x · φ(x)`, with the density `φ(x) = e^(-x² / 2) / √(2π)` of the normal distribution.
fn gelu_erf(x: f64) -> f64 {
    let x = x.clamp(-100.0, 100.0);
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
}

/// Of `x · t` with `t = tanh(softplus(x))`: `t + x · sigmoid(x) · (1 - t²)`.
fn mish(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let t = softplus(x).tanh();
    t + x * sigmoid(x) * (1.0 - t * t)
}
