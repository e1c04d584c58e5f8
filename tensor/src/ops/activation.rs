//! What an op does to its result before it writes it.

use std::hash::{Hash, Hasher};

use super::relu::relu_grad;
use super::unary::Slope;
use super::{UnaryGrad, UnaryKind};
use crate::{Error, Result, Tensor};

/// A function that an op applies to its result before it writes it: those of [`UnaryKind`] that stand
/// between the layers of networks.
///
/// Convolutions and products take all of them, batch normalization those whose slope is 1 or 0
/// ([`is_mask`](Activation::is_mask)). Two are equal where their bounds are the same bits.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Activation {
    /// None: the result as it is.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `x` kept between two bounds, as [`UnaryKind::Clamp`]; NaN stays NaN.
    Clamp {
        /// The lower bound.
        min: f32,
        /// The upper bound.
        max: f32,
    },
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `min(max(x + 3, 0), 6) / 6`
    HardSigmoid,
    /// `x · min(max(x + 3, 0), 6) / 6`
    HardSwish,
    /// `x · sigmoid(x)`
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x · Φ(x)` by its tanh approximation.
    Gelu,
    /// `x · Φ(x)`
    GeluErf,
    /// `x · tanh(ln(1 + eˣ))`
    Mish,
}

impl Activation {
    /// ReLU up to 6, `min(max(x, 0), 6)`: a [`Clamp`](Activation::Clamp).
    pub const RELU6: Activation = Activation::Clamp { min: 0.0, max: 6.0 };

    /// One of each, [`None`](Activation::None) first.
    pub const ALL: [Activation; 11] = [
        Activation::None,
        Activation::Relu,
        Activation::RELU6,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Silu,
        Activation::Tanh,
        Activation::Gelu,
        Activation::GeluErf,
        Activation::Mish,
    ];

    /// ReLU, or none.
    pub const fn relu(is_on: bool) -> Self {
        if is_on { Activation::Relu } else { Activation::None }
    }

    /// The activation that does what a function of each element does, where there is one.
    pub fn of(kind: UnaryKind) -> Option<Self> {
        match kind {
            UnaryKind::Clamp { min, max } => Some(Activation::Clamp { min, max }),
            kind => Self::ALL.into_iter().find(|activation| activation.kind() == Some(kind)),
        }
    }

    /// The same as a function of each element; none for [`None`](Activation::None).
    pub const fn kind(self) -> Option<UnaryKind> {
        Some(match self {
            Activation::None => return None,
            Activation::Relu => UnaryKind::Relu,
            Activation::Clamp { min, max } => UnaryKind::Clamp { min, max },
            Activation::Sigmoid => UnaryKind::Sigmoid,
            Activation::HardSigmoid => UnaryKind::HardSigmoid,
            Activation::HardSwish => UnaryKind::HardSwish,
            Activation::Silu => UnaryKind::Silu,
            Activation::Tanh => UnaryKind::Tanh,
            Activation::Gelu => UnaryKind::Gelu,
            Activation::GeluErf => UnaryKind::GeluErf,
            Activation::Mish => UnaryKind::Mish,
        })
    }

    /// Whether there is one.
    pub const fn is_some(self) -> bool {
        !self.is_none()
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        matches!(self, Activation::None)
    }

    /// Whether its slope is 1 or 0 everywhere: none, ReLU or a clamp.
    pub const fn is_mask(self) -> bool {
        matches!(self, Activation::None | Activation::Relu | Activation::Clamp { .. })
    }

    /// `none`, `relu`, `clamp` and so on.
    pub const fn name(self) -> &'static str {
        match self.kind() {
            Some(kind) => kind.name(),
            None => "none",
        }
    }

    /// Refuses bounds that are no bounds.
    pub(super) fn check(self, op: &'static str) -> Result<()> {
        match self {
            Activation::Clamp { min, max } if min.is_nan() || max.is_nan() || min > max => {
                Err(Error::parameter(op, "min", format!("at most max = {max}"), min))
            }
            _ => Ok(()),
        }
    }

    /// As [`check`](Activation::check), and refuses what is no [mask](Activation::is_mask).
    pub(super) fn check_mask(self, op: &'static str) -> Result<()> {
        match self.is_mask() {
            true => self.check(op),
            false => Err(Error::parameter(op, "activation", "none, relu or clamp", self.name())),
        }
    }

    /// Whether its gradient is found in its output: elsewhere in what it was given.
    pub(super) fn is_found_in_output(self) -> bool {
        self.kind().is_some_and(|kind| kind.slope() == Slope::OfOutput)
    }

    /// The gradient of what was given to this activation, from that of its output. `given` computes
    /// what it was given, `y` is its output: which of them is needed, depends on the activation.
    pub(super) fn gradient<'a>(
        self,
        dy: &Tensor,
        y: impl FnOnce() -> Result<&'a Tensor>,
        given: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(kind) = self.kind() else { return Ok(dy.clone()) };
        let computed;
        let kept = match self.is_found_in_output() {
            true => y()?,
            false => {
                computed = given()?;
                &computed
            }
        };
        match kind {
            UnaryKind::Relu => relu_grad(kept, dy),
            kind => dy.device().execute(&UnaryGrad { kind }.into(), &[kept, dy]),
        }
    }

    /// What tells it from others.
    fn key(self) -> (std::mem::Discriminant<Self>, [u32; 2]) {
        let bounds = match self {
            Activation::Clamp { min, max } => [min.to_bits(), max.to_bits()],
            _ => [0; 2],
        };
        (std::mem::discriminant(&self), bounds)
    }
}

impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Activation {}

impl Hash for Activation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_function() {
        for activation in Activation::ALL {
            let found = activation.kind().map_or(Some(Activation::None), Activation::of);
            assert_eq!(found, Some(activation));
        }
        assert_eq!(Activation::of(UnaryKind::Neg), None);
        let clamp = Activation::Clamp { min: -1.0, max: 1.0 };
        assert_eq!(Activation::of(UnaryKind::Clamp { min: -1.0, max: 1.0 }), Some(clamp));
        assert_ne!(clamp, Activation::RELU6);
        assert_eq!(Activation::HardSwish.name(), "hard_swish");
    }
}
