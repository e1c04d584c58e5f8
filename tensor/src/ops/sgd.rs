//! A step of gradient descent, in place.

use super::{OpRule, of_dtype, operands, same_shape};
use crate::{DType, Result, Tensor, TensorType};

/// A step of gradient descent with momentum, as in ccv: `v ← momentum · v - decay · rate · w - rate
/// · scale · gradient`, then `w ← w + v`. The decay is not scaled, and the rate is inside `v`.
/// Updates in place `w` and `v`; the operand is the gradient; all are f32 of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdMomentum {
    /// The learning rate.
    pub rate: f32,
    /// How much of the last step is kept.
    pub momentum: f32,
    /// The pull of weights toward 0.
    pub decay: f32,
    /// The factor of the gradient: one over the number of samples that it sums.
    pub scale: f32,
}

impl OpRule for SgdMomentum {
    fn name(&self) -> &'static str {
        "sgd_momentum"
    }

    /// Takes `[w, v, gradient]`.
    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [w, v, gradient] = operands(op, inputs)?;
        for (what, ty) in [("w", &w), ("v", &v), ("gradient", &gradient)] {
            of_dtype(op, what, ty, DType::F32)?;
            same_shape(op, what, &w.shape, &ty.shape)?;
        }
        Ok(w)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        6 * output.count() as u64
    }
}

impl Tensor {
    /// A step of gradient descent on these weights and their velocity, in place: see
    /// [`SgdMomentum`].
    ///
    /// # Errors
    /// Where the shapes differ or are not of f32, or the device fails.
    pub fn sgd_momentum(
        &mut self,
        velocity: &mut Tensor,
        gradient: &Tensor,
        step: SgdMomentum,
    ) -> Result<()> {
        Tensor::update(step.into(), vec![self, velocity], &[gradient])
    }
}
