//! Softmax and its logarithm.

use super::{OpRule, float, operands};
use crate::{Result, Tensor, TensorType};

/// Softmax along an axis: `e^(x - max) / Σ e^(x - max)`, or its logarithm. Operand: floats. Output:
/// as it. A line with NaN or +∞ in it, or of nothing but -∞, becomes NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
    /// The logarithm of it, computed without the detour.
    pub log: bool,
}

impl OpRule for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands(self.name(), inputs)?;
        float(self.name(), "x", &x)?;
        x.shape.axis(self.axis, self.name())?;
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        // Maximum, difference, exponential, sum and quotient.
        5 * output.count() as u64
    }
}

impl Tensor {
    /// Softmax along `axis`.
    ///
    /// # Errors
    /// Where there is no such axis, the tensor is not of floats, or the device fails.
    pub fn softmax(&self, axis: usize) -> Result<Tensor> {
        self.device().execute(&Softmax { axis, log: false }.into(), &[self])
    }

    /// The logarithm of softmax along `axis`.
    ///
    /// # Errors
    /// Where there is no such axis, the tensor is not of floats, or the device fails.
    pub fn log_softmax(&self, axis: usize) -> Result<Tensor> {
        self.device().execute(&Softmax { axis, log: true }.into(), &[self])
    }
}
