//! Element by element: one number to one number.

use super::{OpRule, float, operands};
use crate::{Error, Result, Tensor, TensorType};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum UnaryKind {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// -1, 0 or 1; NaN stays NaN
    Sign,
    /// `x²`
    Square,
    /// `√x`
    Sqrt,
    /// `1 / √x`
    Rsqrt,
    /// `1 / x`
    Recip,
    /// `eˣ`
    Exp,
    /// The natural logarithm.
    Log,
    /// The sine, of radians.
    Sin,
    /// The cosine, of radians.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `max(x, 0)`; NaN stays NaN
    Relu,
    /// `x` where positive, `slope · x` elsewhere.
    LeakyRelu {
        /// The slope below zero.
        slope: f32,
    },
    /// `x` where positive, `alpha · (eˣ - 1)` elsewhere.
    Elu {
        /// The limit below zero, negated.
        alpha: f32,
    },
    /// `x · sigmoid(x)`
    Silu,
    /// `x · Φ(x)` by its tanh approximation.
    Gelu,
    /// The largest integer not above.
    Floor,
    /// The smallest integer not below.
    Ceil,
    /// The nearest integer, halves to even.
    Round,
    /// `scale · x + shift`
    Affine {
        /// The factor.
        scale: f32,
        /// The term.
        shift: f32,
    },
    /// `x` to a constant power, as [`f32::powf`]: a negative `x` has whole powers only.
    Powf {
        /// The power.
        exponent: f32,
    },
    /// `x` kept between two bounds; NaN stays NaN.
    Clamp {
        /// The lower bound.
        min: f32,
        /// The upper bound.
        max: f32,
    },
}

/// Element by element, one number to one number. Operand: floats of any shape. Output: as it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// Which function.
    pub kind: UnaryKind,
}

impl OpRule for Unary {
    fn name(&self) -> &'static str {
        match self.kind {
            UnaryKind::Neg => "neg",
            UnaryKind::Abs => "abs",
            UnaryKind::Sign => "sign",
            UnaryKind::Square => "square",
            UnaryKind::Sqrt => "sqrt",
            UnaryKind::Rsqrt => "rsqrt",
            UnaryKind::Recip => "recip",
            UnaryKind::Exp => "exp",
            UnaryKind::Log => "log",
            UnaryKind::Sin => "sin",
            UnaryKind::Cos => "cos",
            UnaryKind::Tanh => "tanh",
            UnaryKind::Sigmoid => "sigmoid",
            UnaryKind::Relu => "relu",
            UnaryKind::LeakyRelu { .. } => "leaky_relu",
            UnaryKind::Elu { .. } => "elu",
            UnaryKind::Silu => "silu",
            UnaryKind::Gelu => "gelu",
            UnaryKind::Floor => "floor",
            UnaryKind::Ceil => "ceil",
            UnaryKind::Round => "round",
            UnaryKind::Affine { .. } => "affine",
            UnaryKind::Powf { .. } => "powf",
            UnaryKind::Clamp { .. } => "clamp",
        }
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
