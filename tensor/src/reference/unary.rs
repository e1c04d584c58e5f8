//! Element by element: one number to one number.

use super::values::{Floats, relu};
use crate::ops::{Activation, Unary, UnaryKind};

pub(super) fn unary(op: &Unary, x: &Floats) -> Vec<f64> {
    x.values.iter().map(|&x| apply(op.kind, x)).collect()
}

/// What an activation makes of a result.
pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    activation.kind().map_or(x, |kind| apply(kind, x))
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
        UnaryKind::GeluErf => x * 0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        UnaryKind::HardSwish => x * hard_sigmoid(x),
        UnaryKind::HardSigmoid => hard_sigmoid(x),
        UnaryKind::Softplus => softplus(x),
        // Misra, "Mish: a self regularized non-monotonic activation function", 2019.
        UnaryKind::Mish => x * softplus(x).tanh(),
        UnaryKind::Erf => erf(x),
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

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Howard et al., "Searching for MobileNetV3", 2019.
pub(super) fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Hendrycks and Gimpel, "Gaussian error linear units", 2016.
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// `ln(1 + eˣ)`, of an exponential that cannot be infinite.
pub(super) fn softplus(x: f64) -> f64 {
    relu(x) + (-x.abs()).exp().ln_1p()
}

/// From here on the continued fraction of [`erfc`] has converged after its 60 steps.
const SERIES_UP_TO: f64 = 2.5;

/// The error function: `2 / √π · e^(-x²) · Σ 2ⁿ x^(2n + 1) / (1 · 3 · … · (2n + 1))` near 0.
fn erf(x: f64) -> f64 {
    if x.abs() >= SERIES_UP_TO {
        return (1.0 - erfc(x.abs())).copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..100 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `1 - erf(x)`: `e^(-x²) / √π / (x + ½ / (x + 1 / (x + 1½ / (x + …))))` far from 0.
pub(super) fn erfc(x: f64) -> f64 {
    if x.abs() < SERIES_UP_TO {
        return 1.0 - erf(x);
    }
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let fraction = (1..=60).rev().fold(x, |below, k| x + 0.5 * f64::from(k) / below);
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun, "Handbook of mathematical functions", 1964, tables 7.1 and 7.2; the last
    /// two by the same series with 40 digits.
    #[test]
    fn the_error_function_has_its_digits() {
        let erf_known = [
            (0.0, 0.0),
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
            (2.45, 0.999_469_419_9),
        ];
        for (x, y) in erf_known {
            assert!((erf(x) - y).abs() < 1e-10 && (erf(-x) + y).abs() < 1e-10, "{x}: {}", erf(x));
            assert!((erfc(x) - (1.0 - y)).abs() < 1e-10, "{x}: {}", erfc(x));
        }
        for (x, y) in [(2.5, 4.069_520_174_449_59e-4), (5.0, 1.537_459_794_428_03e-12)] {
            assert!((erfc(x) / y - 1.0).abs() < 1e-10, "{x}: {}", erfc(x));
        }
        assert_eq!((erf(f64::INFINITY), erf(f64::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((erfc(f64::INFINITY), erfc(f64::NEG_INFINITY)), (0.0, 2.0));
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
        // The two ways meet.
        let (before, after) = (erf(SERIES_UP_TO - 1e-12), erf(SERIES_UP_TO));
        assert!((before - after).abs() < 1e-13, "{before} {after}");
    }
}
