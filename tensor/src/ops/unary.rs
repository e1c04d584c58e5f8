//! Element by element: one number to one number.

use super::gradient::zero;
use super::kinds::kinds;
use super::relu::relu_grad;
use super::{Backward, OpRule, Saved, float, operands};
use crate::{Error, Result, Tensor, TensorType};

kinds! {
    /// Which function.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[non_exhaustive]
    pub enum UnaryKind {
        /// `-x`
        Neg => "neg",
        /// `|x|`
        Abs => "abs",
        /// -1, 0 or 1; NaN stays NaN
        Sign => "sign",
        /// `x²`
        Square => "square",
        /// `√x`
        Sqrt => "sqrt",
        /// `1 / √x`
        Rsqrt => "rsqrt",
        /// `1 / x`
        Recip => "recip",
        /// `eˣ`
        Exp => "exp",
        /// The natural logarithm.
        Log => "log",
        /// The sine, of radians.
        Sin => "sin",
        /// The cosine, of radians.
        Cos => "cos",
        /// The hyperbolic tangent.
        Tanh => "tanh",
        /// The error function.
        Erf => "erf",
        /// `1 / (1 + e⁻ˣ)`
        Sigmoid => "sigmoid",
        /// `max(x, 0)`; NaN stays NaN
        Relu => "relu",
        /// `x` where positive, `slope · x` elsewhere.
        LeakyRelu {
            /// The slope below zero.
            slope: f32 = 0.01,
        } => "leaky_relu",
        /// `x` where positive, `alpha · (eˣ - 1)` elsewhere.
        Elu {
            /// The limit below zero, negated.
            alpha: f32 = 1.0,
        } => "elu",
        /// `x · sigmoid(x)`
        Silu => "silu",
        /// `x · Φ(x)` by its tanh approximation.
        Gelu => "gelu",
        /// `x · Φ(x)`, with the normal distribution `Φ(x) = (1 + erf(x / √2)) / 2`
        GeluErf => "gelu_erf",
        /// `x · min(max(x + 3, 0), 6) / 6`
        HardSwish => "hard_swish",
        /// `min(max(x + 3, 0), 6) / 6`
        HardSigmoid => "hard_sigmoid",
        /// `ln(1 + eˣ)`
        Softplus => "softplus",
        /// `x · tanh(ln(1 + eˣ))`
        Mish => "mish",
        /// The largest integer not above.
        Floor => "floor",
        /// The smallest integer not below.
        Ceil => "ceil",
        /// The nearest integer, halves to even.
        Round => "round",
        /// `scale · x + shift`
        Affine {
            /// The factor.
            scale: f32 = -2.5,
            /// The term.
            shift: f32 = 0.75,
        } => "affine",
        /// `x` to a constant power, as [`f32::powf`]: a negative `x` has whole powers only.
        Powf {
            /// The power.
            exponent: f32 = -0.75,
        } => "powf",
        /// `x` kept between two bounds; NaN stays NaN.
        Clamp {
            /// The lower bound.
            min: f32 = -1.0,
            /// The upper bound.
            max: f32 = 1.5,
        } => "clamp",
    }
}

impl UnaryKind {
    /// ReLU up to 6, `min(max(x, 0), 6)`: a [`Clamp`](UnaryKind::Clamp).
    pub const RELU6: UnaryKind = UnaryKind::Clamp { min: 0.0, max: 6.0 };
}

/// Element by element, one number to one number. Operand: floats of any shape. Output: as it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// Which function.
    pub kind: UnaryKind,
}

impl OpRule for Unary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands(self.name(), inputs)?;
        float(self.name(), "x", &x)?;
        if let UnaryKind::Clamp { min, max } = self.kind
            && (min.is_nan() || max.is_nan() || min > max)
        {
            return Err(Error::parameter(self.name(), "min", format!("at most max = {max}"), min));
        }
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        match self.kind {
            UnaryKind::Neg
            | UnaryKind::Affine { .. }
            | UnaryKind::Sign
            | UnaryKind::Floor
            | UnaryKind::Ceil
            | UnaryKind::Round => Saved::NOTHING,
            UnaryKind::Sqrt
            | UnaryKind::Rsqrt
            | UnaryKind::Recip
            | UnaryKind::Exp
            | UnaryKind::Tanh
            | UnaryKind::Sigmoid
            | UnaryKind::Relu => Saved::OUTPUT,
            UnaryKind::Abs
            | UnaryKind::Square
            | UnaryKind::Log
            | UnaryKind::Sin
            | UnaryKind::Cos
            | UnaryKind::LeakyRelu { .. }
            | UnaryKind::Elu { .. }
            | UnaryKind::Silu
            | UnaryKind::Gelu
            | UnaryKind::GeluErf
            | UnaryKind::HardSwish
            | UnaryKind::HardSigmoid
            | UnaryKind::Softplus
            | UnaryKind::Mish
            | UnaryKind::Erf
            | UnaryKind::Powf { .. }
            | UnaryKind::Clamp { .. } => Saved::operand(0),
        }
    }

    /// `dy` times the derivative, which is written in `x` or in `y`, whichever was kept.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let x = || cx.wide_operand(0);
        let y = || cx.wide_output();
        let dy = cx.wide_dy()?;
        let times = |slope: Tensor| dy.mul(&slope);
        let dx = match self.kind {
            UnaryKind::Sign | UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => {
                return Ok(vec![None]);
            }
            // A constant.
            UnaryKind::Powf { exponent: 0.0 } => return Ok(vec![None]),
            UnaryKind::Relu => relu_grad(cx.output()?, cx.dy()),
            UnaryKind::Neg => dy.neg(),
            UnaryKind::Abs => times(x()?.sign()?),
            UnaryKind::Square => times(x()?.affine(2.0, 0.0)?),
            UnaryKind::Sqrt => dy.div(&y()?.affine(2.0, 0.0)?),
            UnaryKind::Rsqrt => {
                let y = y()?;
                times(y.square()?.mul(&y)?.affine(-0.5, 0.0)?)
            }
            UnaryKind::Recip => times(y()?.square()?.neg()?),
            UnaryKind::Exp => times(y()?),
            UnaryKind::Log => dy.div(&x()?),
            UnaryKind::Sin => times(x()?.cos()?),
            UnaryKind::Cos => times(x()?.sin()?.neg()?),
            UnaryKind::Tanh => times(y()?.square()?.affine(-1.0, 1.0)?),
            UnaryKind::Sigmoid => {
                let y = y()?;
                times(y.mul(&y.affine(-1.0, 1.0)?)?)
            }
            UnaryKind::LeakyRelu { slope } => {
                let x = x()?;
                x.gt(&zero(&x)?)?.select(&dy, &dy.affine(slope, 0.0)?)
            }
            UnaryKind::Elu { alpha } => {
                let x = x()?;
                let below = times(x.exp()?.affine(alpha, 0.0)?)?;
                x.gt(&zero(&x)?)?.select(&dy, &below)
            }
            UnaryKind::Silu => {
                let x = x()?;
                let s = x.sigmoid()?;
                times(s.mul(&x.mul(&s.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?)?)
            }
            UnaryKind::Gelu => times(gelu_slope(&x()?)?),
            UnaryKind::GeluErf => times(gelu_erf_slope(&x()?)?),
            UnaryKind::HardSwish => {
                let x = x()?;
                // Outside the bend it is 0 or 1, which the hard sigmoid is there.
                let bend = x.affine(1.0 / 3.0, 0.5)?;
                times(bends(&x)?.select(&bend, &x.hard_sigmoid()?)?)
            }
            UnaryKind::HardSigmoid => {
                bends(&x()?)?.select(&dy.affine(1.0 / 6.0, 0.0)?, &zero(&dy)?)
            }
            UnaryKind::Softplus => times(x()?.sigmoid()?),
            UnaryKind::Mish => times(mish_slope(&x()?)?),
            UnaryKind::Erf => {
                const TWO_BY_ROOT_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI;
                times(x()?.square()?.neg()?.exp()?.affine(TWO_BY_ROOT_PI, 0.0)?)
            }
            UnaryKind::Affine { scale, .. } => dy.affine(scale, 0.0),
            UnaryKind::Powf { exponent } => {
                times(x()?.powf(exponent - 1.0)?.affine(exponent, 0.0)?)
            }
            UnaryKind::Clamp { min, max } => {
                let x = x()?;
                x.eq(&x.clamp(min, max)?)?.select(&dy, &zero(&dy)?)
            }
        };
        Ok(vec![Some(dx?)])
    }
}

/// Whether `x` is between -3 and 3, where the hard sigmoid is neither 0 nor 1.
fn bends(x: &Tensor) -> Result<Tensor> {
    x.abs()?.affine(-1.0, 3.0)?.gt(&zero(x)?)
}

/// Of `x / 2 · (1 + t)` with `t = tanh(c · (x + d · x³))`: `(1 + t) / 2 + x / 2 · (1 - t²) · c · (1 +
/// 3 · d · x²)`.
fn gelu_slope(x: &Tensor) -> Result<Tensor> {
    const C: f32 = 0.797_884_6; // √(2 / π)
    const D: f32 = 0.044_715;
    // Beyond this it is 0 or 1 in f32, and 0 times an infinite square must not make it NaN.
    let x = x.clamp(-10.0, 10.0)?;
    let square = x.square()?;
    let t = x.mul(&square.affine(C * D, C)?)?.tanh()?;
    let inner = square.affine(3.0 * C * D, C)?;
    let bend = t.square()?.affine(-0.5, 0.5)?.mul(&x)?.mul(&inner)?;
    t.affine(0.5, 0.5)?.add(&bend)
}

/// `Φ(x) + x · φ(x)`, with the density `φ(x) = e^(-x² / 2) / √(2π)` of the normal distribution.
fn gelu_erf_slope(x: &Tensor) -> Result<Tensor> {
    const ROOT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
    const DENSITY_AT_0: f32 = 0.398_942_3; // 1 / √(2π)
    // Beyond this it is 0 or 1 in f32, and an infinity times 0 must not make it NaN.
    let x = x.clamp(-20.0, 20.0)?;
    let share = x.affine(ROOT_HALF, 0.0)?.erf()?.affine(0.5, 0.5)?;
    let density = x.square()?.affine(-0.5, 0.0)?.exp()?.affine(DENSITY_AT_0, 0.0)?;
    share.add(&x.mul(&density)?)
}

/// Of `x · t` with `t = tanh(softplus(x))`: `t + x · sigmoid(x) · (1 - t²)`.
fn mish_slope(x: &Tensor) -> Result<Tensor> {
    // Beyond this it is 0 or 1 in f32, and an infinity times 0 must not make it NaN.
    let x = x.clamp(-110.0, 30.0)?;
    let t = x.softplus()?.tanh()?;
    let bend = t.square()?.affine(-1.0, 1.0)?;
    t.add(&x.mul(&x.sigmoid()?)?.mul(&bend)?)
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident($($arg:ident),*) => $kind:expr;)*) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// Where the tensor is not of floats, or the device fails.
            pub fn $method(&self, $($arg: f32),*) -> Result<Tensor> {
                self.device().execute(&Unary { kind: $kind }.into(), &[self])
            })*
        }
    };
}

methods! {
    /// `-x`, element by element.
    neg() => UnaryKind::Neg;
    /// The absolute value, element by element.
    abs() => UnaryKind::Abs;
    /// -1, 0 or 1, element by element.
    sign() => UnaryKind::Sign;
    /// The square, element by element.
    square() => UnaryKind::Square;
    /// The square root, element by element.
    sqrt() => UnaryKind::Sqrt;
    /// The reciprocal of the square root, element by element.
    rsqrt() => UnaryKind::Rsqrt;
    /// The reciprocal, element by element.
    recip() => UnaryKind::Recip;
    /// The exponential, element by element.
    exp() => UnaryKind::Exp;
    /// The natural logarithm, element by element.
    log() => UnaryKind::Log;
    /// The sine, element by element.
    sin() => UnaryKind::Sin;
    /// The cosine, element by element.
    cos() => UnaryKind::Cos;
    /// The hyperbolic tangent, element by element.
    tanh() => UnaryKind::Tanh;
    /// The error function, `2 / √π · ∫₀ˣ e^(-t²) dt`, element by element.
    erf() => UnaryKind::Erf;
    /// The logistic function, element by element.
    sigmoid() => UnaryKind::Sigmoid;
    /// `max(x, 0)`, element by element; NaN stays NaN.
    relu() => UnaryKind::Relu;
    /// ReLU with a slope below zero, element by element.
    leaky_relu(slope) => UnaryKind::LeakyRelu { slope };
    /// The exponential linear unit, element by element.
    elu(alpha) => UnaryKind::Elu { alpha };
    /// `x · sigmoid(x)`, element by element.
    silu() => UnaryKind::Silu;
    /// The Gaussian error linear unit (tanh approximation), element by element.
    gelu() => UnaryKind::Gelu;
    /// The Gaussian error linear unit as it is defined, `x · (1 + erf(x / √2)) / 2`, element by element.
    gelu_erf() => UnaryKind::GeluErf;
    /// `x · hard_sigmoid(x)`, element by element: SiLU of straight lines.
    hard_swish() => UnaryKind::HardSwish;
    /// `min(max(x + 3, 0), 6) / 6`, element by element.
    hard_sigmoid() => UnaryKind::HardSigmoid;
    /// `ln(1 + eˣ)`, element by element: ReLU with a round bend.
    softplus() => UnaryKind::Softplus;
    /// `x · tanh(softplus(x))`, element by element.
    mish() => UnaryKind::Mish;
    /// `min(max(x, 0), 6)`, element by element; NaN stays NaN.
    relu6() => UnaryKind::RELU6;
    /// The largest integer not above, element by element.
    floor() => UnaryKind::Floor;
    /// The smallest integer not below, element by element.
    ceil() => UnaryKind::Ceil;
    /// The nearest integer, halves to even, element by element.
    round() => UnaryKind::Round;
    /// `scale · x + shift`, element by element.
    affine(scale, shift) => UnaryKind::Affine { scale, shift };
    /// A constant power, element by element.
    powf(exponent) => UnaryKind::Powf { exponent };
    /// Kept between two bounds, element by element; NaN stays NaN.
    clamp(min, max) => UnaryKind::Clamp { min, max };
}
