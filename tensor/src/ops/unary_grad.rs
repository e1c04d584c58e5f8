//! The gradient of a function of each element.

use super::{OpRule, Slope, UnaryKind, float, of_dtype, operands, same_shape};
use crate::{Error, Result, TensorType};

/// The gradient of a [`Unary`](super::Unary) op, in one pass: `dx = dy · slope`. Operands: `x` or `y` of
/// the function, whichever [`UnaryKind::slope`] says, and `dy`, of one shape and type. Output: as them.
///
/// Of functions whose slope is constant the gradient is an op of `dy` alone, and that of ReLU is
/// [`ReluGrad`](super::ReluGrad): both are refused here.
///
/// Beside a bend, the slope is that from below for [`LeakyRelu`](UnaryKind::LeakyRelu) and
/// [`Elu`](UnaryKind::Elu), 0 for the hard sigmoid, 0 or 1 for the hard swish, and 1 at the bounds of
/// [`Clamp`](UnaryKind::Clamp). Where a smooth function becomes a line, at infinity, its slope is that of
/// the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryGrad {
    /// Which function.
    pub kind: UnaryKind,
}

impl UnaryGrad {
    /// Whether there is such an op for this function.
    pub fn takes(kind: &UnaryKind) -> bool {
        kind.slope() != Slope::Constant && *kind != UnaryKind::Relu
    }
}

impl OpRule for UnaryGrad {
    fn name(&self) -> &'static str {
        "unary_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        if !UnaryGrad::takes(&self.kind) {
            let expected = "a function with a slope that changes, and not ReLU";
            return Err(Error::parameter(op, "kind", expected, self.kind.name()));
        }
        let [kept, dy] = operands(op, inputs)?;
        let what = if self.kind.slope() == Slope::OfOutput { "y" } else { "x" };
        float(op, what, &kept)?;
        of_dtype(op, "dy", &dy, kept.dtype)?;
        same_shape(op, "dy", &kept.shape, &dy.shape)?;
        Ok(dy)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        2 * output.count() as u64
    }
}
