//! The function that an op applies to its results before it writes them.

use super::UnaryKind;

/// The function that a convolution or a product applies to each result before it writes it: those of
/// [`UnaryKind`] that stand between the layers of networks and have no parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// None: results are written as they are.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
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
    /// All of them, [`None`](Activation::None) first.
    pub const ALL: [Activation; 11] = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
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

    /// The one that computes this function; none where there is no such one.
    pub fn of(kind: UnaryKind) -> Option<Self> {
        Self::ALL.into_iter().find(|activation| activation.kind() == Some(kind))
    }

    /// The function; none of [`None`](Activation::None).
    pub const fn kind(self) -> Option<UnaryKind> {
        Some(match self {
            Activation::None => return None,
            Activation::Relu => UnaryKind::Relu,
            Activation::Relu6 => UnaryKind::RELU6,
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

    /// Whether results are written as they are.
    pub const fn is_none(self) -> bool {
        matches!(self, Activation::None)
    }

    /// `relu`, `relu6` and so on; `none`.
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Relu6 => "relu6",
            _ => match self.kind() {
                Some(kind) => kind.name(),
                None => "none",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_function() {
        for activation in Activation::ALL {
            assert_eq!(
                activation.kind().map_or(Some(Activation::None), Activation::of),
                Some(activation)
            );
        }
        assert_eq!(Activation::of(UnaryKind::Neg), None);
        assert_eq!(Activation::of(UnaryKind::Clamp { min: 0.0, max: 1.0 }), None);
        assert_eq!(Activation::Relu6.name(), "relu6");
        assert_eq!(Activation::HardSwish.name(), "hard_swish");
    }
}
