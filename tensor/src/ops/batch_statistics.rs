//! Small ops on the numbers that batch normalization has of each channel.

use super::batch_norm::{check_epsilon, pairs};
use super::{OpRule, operands};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// Checks two operands, f32 `[2, channels]`, and gives the number of channels.
fn two_pairs(
    op: &'static str,
    [first, second]: [&'static str; 2],
    inputs: &[TensorType],
) -> Result<usize> {
    let [a, b] = operands(op, inputs)?;
    let &[2, channels] = a.shape.dims() else {
        return Err(Error::shape(op, format!("{first} [2, channels]"), a.shape));
    };
    pairs(op, first, &a, channels)?;
    pairs(op, second, &b, channels)?;
    Ok(channels)
}

/// The gradient of batch normalization in its scale. Operands: the sums of
/// [`BatchNormSums`](super::BatchNormSums) and the moments, both f32 `[2, channels]`. Output: f32
/// `[channels]`, `Σ dy · (x - mean) / √(variance + epsilon)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormScaleGrad {
    /// As [`BatchNorm::epsilon`](super::BatchNorm::epsilon).
    pub epsilon: f32,
}

impl OpRule for BatchNormScaleGrad {
    fn name(&self) -> &'static str {
        "batch_norm_scale_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        check_epsilon(self.name(), self.epsilon)?;
        let channels = two_pairs(self.name(), ["sums", "moments"], inputs)?;
        Ok(TensorType::f32(Shape::new(&[channels])?))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        3 * output.count() as u64
    }
}

/// Running moments, one mini-batch on: `(1 - momentum) · running + momentum · batch`, with the unbiased
/// variance of the batch, `count / (count - 1)` times the biased one, as in PyTorch. Operands: the running
/// moments and the [`Moments`](super::Moments) of the mini-batch, both f32 `[2, channels]`. Output: as
/// they.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningMoments {
    /// The share of the mini-batch, from 0 to 1.
    pub momentum: f32,
    /// Elements that the mini-batch has in each channel, at least 2: one alone has no variance.
    pub count: u64,
}

impl RunningMoments {
    /// What is left of the running moments, and the factors of the mini-batch's mean and variance.
    pub fn factors(&self) -> [f32; 3] {
        let unbiased = self.count as f64 / (self.count as f64 - 1.0);
        let of_variance = (f64::from(self.momentum) * unbiased) as f32;
        [1.0 - self.momentum, self.momentum, of_variance]
    }
}

impl OpRule for RunningMoments {
    fn name(&self) -> &'static str {
        "running_moments"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::parameter(op, "momentum", "from 0 to 1", self.momentum));
        }
        if self.count < 2 {
            return Err(Error::parameter(op, "count", "at least 2", self.count));
        }
        let channels = two_pairs(op, ["running moments", "moments"], inputs)?;
        Ok(TensorType::f32(Shape::new(&[2, channels])?))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        3 * output.count() as u64
    }
}

impl Tensor {
    /// These running moments `[2, channels]`, one mini-batch on: see [`RunningMoments`].
    ///
    /// # Errors
    /// Where types or shapes do not fit or a number is out of its range, or the device fails.
    pub fn running_moments(&self, moments: &Tensor, step: RunningMoments) -> Result<Tensor> {
        self.device().execute(&step.into(), &[self, moments])
    }
}
