//! Element by element: one number to one number.

use super::kinds::kinds;
use super::relu::relu_grad;
use super::unary_grad::UnaryGrad;
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

    /// What the slope is computed from: whichever of input and output gives it with less work, or with
    /// more digits.
    pub const fn slope(&self) -> Slope {
        match self {
            UnaryKind::Neg
            | UnaryKind::Affine { .. }
            | UnaryKind::Sign
            | UnaryKind::Floor
            | UnaryKind::Ceil
            | UnaryKind::Round => Slope::Constant,
            UnaryKind::Sqrt
            | UnaryKind::Rsqrt
            | UnaryKind::Recip
            | UnaryKind::Exp
            | UnaryKind::Tanh
            | UnaryKind::Sigmoid
            | UnaryKind::Relu => Slope::OfOutput,
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
            | UnaryKind::Clamp { .. } => Slope::OfInput,
        }
    }
}

/// What the slope of a [`UnaryKind`] is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slope {
    /// Nothing: it is the same everywhere, or almost everywhere.
    Constant,
    /// The input.
    OfInput,
    /// The output.
    OfOutput,
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
        match self.kind.slope() {
            Slope::Constant => Saved::NOTHING,
            Slope::OfInput => Saved::operand(0),
            Slope::OfOutput => Saved::OUTPUT,
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let kept = match self.kind {
            UnaryKind::Sign | UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => {
                return Ok(vec![None]);
            }
            // A constant.
            UnaryKind::Powf { exponent: 0.0 } => return Ok(vec![None]),
            UnaryKind::Neg => return Ok(vec![Some(cx.dy().neg()?)]),
            UnaryKind::Affine { scale, .. } => return Ok(vec![Some(cx.dy().affine(scale, 0.0)?)]),
            UnaryKind::Relu => return Ok(vec![Some(relu_grad(cx.output()?, cx.dy())?)]),
            kind if kind.slope() == Slope::OfOutput => cx.output()?,
            _ => cx.operand(0)?,
        };
        let op = UnaryGrad { kind: self.kind }.into();
        Ok(vec![Some(cx.device().execute(&op, &[kept, cx.dy()])?)])
    }
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
