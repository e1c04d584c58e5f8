//! Cross-entropy with smoothed labels, weights of classes and ignored labels.

use super::{Backward, OpRule, Saved, float, of_dtype, operands, same_shape};
use crate::{DType, Error, Result, Shape, Tensor, TensorType};

/// Cross-entropy against smoothed labels with weights of classes: `Σ q_c · -ln softmax_c` with `q_c = w_c · ((1 -
/// smoothing) · [c is the label] + smoothing / classes)`. Operands: `logits [n, classes]` (floats), `labels
/// [n]` (u32) and `weights [classes]` (f32). Output: `[n]` f32, one loss a sample; 0 where the label is
/// ignored, NaN where it is another that is no class. What has no weight adds nothing, whatever its logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedCrossEntropy {
    /// The share of each label that is spread over all classes.
    pub smoothing: f32,
    /// The label of samples that do not count.
    pub ignored: Option<u32>,
}

impl WeightedCrossEntropy {
    fn check(&self, op: &'static str) -> Result<()> {
        match (0.0..=1.0).contains(&self.smoothing) {
            true => Ok(()),
            false => Err(Error::parameter(op, "smoothing", "a share from 0 to 1", self.smoothing)),
        }
    }
}

/// The number of samples; checks all operands but `dy`.
fn samples(
    op: &'static str,
    logits: &TensorType,
    labels: &TensorType,
    weights: &TensorType,
) -> Result<Shape> {
    float(op, "logits", logits)?;
    of_dtype(op, "labels", labels, DType::U32)?;
    of_dtype(op, "weights", weights, DType::F32)?;
    let [n, classes] = logits.shape.matrix(op, "logits")?;
    let per_sample = Shape::new(&[n])?;
    same_shape(op, "labels", &per_sample, &labels.shape)?;
    same_shape(op, "weights", &Shape::new(&[classes])?, &weights.shape)?;
    Ok(per_sample)
}

impl OpRule for WeightedCrossEntropy {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        self.check(op)?;
        let [logits, labels, weights] = operands(op, inputs)?;
        Ok(TensorType::f32(samples(op, &logits, &labels, &weights)?))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        7 * inputs[0].count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0).and(Saved::operand(1)).and(Saved::operand(2))
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        if cx.wants(2) {
            let reason = "weights of classes are constants; detach them";
            return Err(Error::gradient(self.name(), reason));
        }
        let operands = [cx.operand(0)?, cx.operand(1)?, cx.operand(2)?, cx.dy()];
        let gradient = cx.device().execute(&WeightedCrossEntropyGrad(*self).into(), &operands)?;
        Ok(vec![Some(gradient), None, None])
    }
}

/// The gradient of [`WeightedCrossEntropy`] in the logits. Operands: those, and `dy [n]` (floats). Output: of
/// the type of the logits, `dy · (softmax · Σ q - q)` for each sample; 0 where the label is ignored, NaN where
/// it is another that is no class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedCrossEntropyGrad(pub WeightedCrossEntropy);

impl OpRule for WeightedCrossEntropyGrad {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        self.0.check(op)?;
        let [logits, labels, weights, dy] = operands(op, inputs)?;
        let per_sample = samples(op, &logits, &labels, &weights)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &per_sample, &dy.shape)?;
        Ok(logits)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        9 * output.count() as u64
    }
}

impl Tensor {
    /// The cross-entropy of these logits `[n, classes]` against smoothed labels `[n]` (u32), with weights of the
    /// classes `[classes]`: `[n]`. See [`WeightedCrossEntropy`].
    ///
    /// # Errors
    /// Where types or shapes do not fit, or the device fails.
    pub fn weighted_cross_entropy(
        &self,
        labels: &Tensor,
        weights: &Tensor,
        op: WeightedCrossEntropy,
    ) -> Result<Tensor> {
        self.device().execute(&op.into(), &[self, labels, weights])
    }
}
