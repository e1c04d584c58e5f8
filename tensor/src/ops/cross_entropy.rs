//! Cross-entropy of logits against labels.

use super::{Backward, OpRule, Saved, float, of_dtype, operands, same_shape};
use crate::{DType, Result, Shape, Tensor, TensorType};

/// Cross-entropy: minus the logarithm of the softmax at the label. Operands: `logits [n, classes]`
/// (floats) and `labels [n]` (u32). Output: `[n]` f32, one loss a sample. A label that is no class
/// gives NaN: a device cannot stop halfway, and a wrong label must not pass unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossEntropy;

impl OpRule for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [logits, labels] = operands(op, inputs)?;
        float(op, "logits", &logits)?;
        of_dtype(op, "labels", &labels, DType::U32)?;
        let [n, _] = logits.shape.matrix(op, "logits")?;
        let per_sample = Shape::new(&[n])?;
        same_shape(op, "labels", &per_sample, &labels.shape)?;
        Ok(TensorType::f32(per_sample))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        4 * inputs[0].count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0).and(Saved::operand(1))
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let operands = [cx.operand(0)?, cx.operand(1)?, cx.dy()];
        Ok(vec![Some(cx.device().execute(&CrossEntropyGrad.into(), &operands)?), None])
    }
}

/// The gradient of cross-entropy in the logits. Operands: `logits [n, classes]` (floats), `labels
/// [n]` (u32) and `dy [n]` (floats). Output: of the type of the logits, `dy · (softmax - 1 at the
/// label)` for each sample; NaN where the label is no class, as the loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossEntropyGrad;

impl OpRule for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [logits, labels, dy] = operands(op, inputs)?;
        float(op, "logits", &logits)?;
        of_dtype(op, "labels", &labels, DType::U32)?;
        float(op, "dy", &dy)?;
        let [n, _] = logits.shape.matrix(op, "logits")?;
        let per_sample = Shape::new(&[n])?;
        same_shape(op, "labels", &per_sample, &labels.shape)?;
        same_shape(op, "dy", &per_sample, &dy.shape)?;
        Ok(logits)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        // Softmax, and the product with dy.
        6 * output.count() as u64
    }
}

impl Tensor {
    /// The cross-entropy of these logits `[n, classes]` against labels `[n]` (u32): `[n]`.
    ///
    /// # Errors
    /// Where types or shapes do not fit, or the device fails.
    pub fn cross_entropy(&self, labels: &Tensor) -> Result<Tensor> {
        self.device().execute(&CrossEntropy.into(), &[self, labels])
    }
}
