//! Softmax and its logarithm.

use super::{Axes, Backward, OpRule, Reduce, ReduceKind, Saved, float, operands};
use crate::{Axis, Result, Tensor, TensorType};

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

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::OUTPUT
    }

    /// Of `y = softmax(x)`: `dx = y · (dy - Σ dy · y)`. Of its logarithm: `dx = dy - e^y · Σ dy`.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (y, dy) = (cx.wide_output()?, cx.wide_dy()?);
        let sum = |x: &Tensor| {
            let axes = Axes::new(&[self.axis])?;
            let op = Reduce { kind: ReduceKind::Sum, axes, keep_axes: true };
            x.device().execute(&op.into(), &[x])
        };
        let dx = if self.log {
            dy.sub(&y.exp()?.mul(&sum(&dy)?)?)?
        } else {
            y.mul(&dy.sub(&sum(&dy.mul(&y)?)?)?)?
        };
        Ok(vec![Some(dx)])
    }
}

impl Tensor {
    /// Softmax along `axis`.
    ///
    /// # Errors
    /// Where there is no such axis, the tensor is not of floats, or the device fails.
    pub fn softmax(&self, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "softmax")?;
        self.device().execute(&Softmax { axis, log: false }.into(), &[self])
    }

    /// The logarithm of softmax along `axis`.
    ///
    /// # Errors
    /// Where there is no such axis, the tensor is not of floats, or the device fails.
    pub fn log_softmax(&self, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "log_softmax")?;
        self.device().execute(&Softmax { axis, log: true }.into(), &[self])
    }
}
