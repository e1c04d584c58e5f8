//! The gradient of ReLU.

use super::{OpRule, float, operands, same_shape};
use crate::{Result, Tensor, TensorType};

/// The gradient of ReLU. Operands: `y` (what ReLU gave, or got: the signs are the same) and `dy`, of
/// one shape. Output: of the type of `dy`; 0 where `y <= 0`, as in ccv, and `dy` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReluGrad;

impl OpRule for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [y, dy] = operands(op, inputs)?;
        float(op, "y", &y)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &y.shape, &dy.shape)?;
        Ok(dy)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }
}

/// `dy` where `y` is positive, 0 elsewhere.
pub(super) fn relu_grad(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    dy.device().execute(&ReluGrad.into(), &[y, dy])
}
