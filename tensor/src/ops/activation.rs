//! What an op does to its result before it writes it.

use super::relu::relu_grad;
use super::{UnaryGrad, UnaryKind};
use crate::{Error, Result, Tensor};

/// A function that an op applies to its result before it writes it: one whose slope is 1 or 0.
///
/// Every backend computes all of them, so that a new one has to be a new version.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// None: the result as it is.
    #[default]
    None,
    /// `max(y, 0)`; NaN stays NaN.
    Relu,
    /// `y` kept between two bounds, as [`UnaryKind::Clamp`]; NaN stays NaN.
    Clamp {
        /// The lower bound.
        min: f32,
        /// The upper bound.
        max: f32,
    },
}

impl Activation {
    /// The activation that does what a function of each element does, where there is one.
    pub fn of(kind: UnaryKind) -> Option<Activation> {
        match kind {
            UnaryKind::Relu => Some(Activation::Relu),
            UnaryKind::Clamp { min, max } => Some(Activation::Clamp { min, max }),
            _ => None,
        }
    }

    /// The same as a function of each element; none for [`None`](Activation::None).
    pub fn unary(self) -> Option<UnaryKind> {
        match self {
            Activation::None => None,
            Activation::Relu => Some(UnaryKind::Relu),
            Activation::Clamp { min, max } => Some(UnaryKind::Clamp { min, max }),
        }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self == Activation::None
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

    /// The gradient of what was given to this activation, from that of its output. `given` computes
    /// what it was given, `y` is its output: which of them is needed, depends on the activation.
    pub(super) fn gradient<'a>(
        self,
        dy: &Tensor,
        y: impl FnOnce() -> Result<&'a Tensor>,
        given: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Activation::None => Ok(dy.clone()),
            Activation::Relu => relu_grad(y()?, dy),
            Activation::Clamp { min, max } => {
                let op = UnaryGrad { kind: UnaryKind::Clamp { min, max } };
                dy.device().execute(&op.into(), &[&given()?, dy])
            }
        }
    }
}
