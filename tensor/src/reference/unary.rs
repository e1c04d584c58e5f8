//! Element by element: one number to one number.

use super::values::{Floats, relu};
use crate::ops::{Unary, UnaryKind};

pub(super) fn unary(op: &Unary, x: &Floats) -> Vec<f64> {
    x.values.iter().map(|&x| apply(op.kind, x)).collect()
}

fn apply(kind: UnaryKind, x: f64) -> f64 {
    match kind {
        UnaryKind::Neg => -x,
        UnaryKind::Abs => x.abs(),
        UnaryKind::Sign if x > 0.0 => 1.0,
        UnaryKind::Sign if x < 0.0 => -1.0,
        UnaryKind::Sign => x,
        UnaryKind::Square => x * x,
        UnaryKind::Sqrt => x.sqrt(),
        UnaryKind::Rsqrt => 1.0 / x.sqrt(),
        UnaryKind::Recip => 1.0 / x,
        UnaryKind::Exp => x.exp(),
        UnaryKind::Log => x.ln(),
        UnaryKind::Sin => x.sin(),
        UnaryKind::Cos => x.cos(),
        UnaryKind::Tanh => x.tanh(),
        UnaryKind::Sigmoid => sigmoid(x),
        UnaryKind::Relu => relu(x),
        UnaryKind::LeakyRelu { slope } => if_positive(x, f64::from(slope) * x),
        UnaryKind::Elu { alpha } => if_positive(x, f64::from(alpha) * x.exp_m1()),
        UnaryKind::Silu => x * sigmoid(x),
        UnaryKind::Gelu => gelu(x),
        UnaryKind::HardSwish => x * hard_sigmoid(x),
        UnaryKind::HardSigmoid => hard_sigmoid(x),
        UnaryKind::Floor => x.floor(),
        UnaryKind::Ceil => x.ceil(),
        UnaryKind::Round => x.round_ties_even(),
        UnaryKind::Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
        UnaryKind::Powf { exponent } => x.powf(f64::from(exponent)),
        UnaryKind::Clamp { min, max } => x.clamp(f64::from(min), f64::from(max)),
    }
}

fn if_positive(x: f64, otherwise: f64) -> f64 {
    if x > 0.0 { x } else { otherwise }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Howard et al., "Searching for MobileNetV3", 2019.
fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Hendrycks and Gimpel, "Gaussian error linear units", 2016.
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}
