//! Elements zeroed at random.

use super::{Backward, OpRule, float, operands};
use crate::{Error, RandomKey, Result, Tensor, TensorType};

/// Elements zeroed at random. Operand: floats. Output: element `i` is 0 where number `i` of the
/// [key](RandomKey)'s uniform sequence is less than the rate, times `scale` elsewhere. The mask is
/// never stored: applying the same op to the gradient gives the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of a zero, in `[0, 1]`.
    pub rate: f32,
    /// The factor of what is kept: 1 as in ccv, `1 / (1 - rate)` for inverted dropout.
    pub scale: f32,
    /// Which random sequence.
    pub key: RandomKey,
}

impl OpRule for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("dropout", inputs)?;
        float("dropout", "x", &x)?;
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(Error::parameter("dropout", "rate", "from 0 to 1", self.rate));
        }
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cx.device().execute(&(*self).into(), &[cx.dy()])?)])
    }
}

impl Tensor {
    /// Elements zeroed at random with probability `rate`, the others times `scale`.
    ///
    /// # Errors
    /// Where the rate is no probability, the tensor is not of floats, or the device fails.
    pub fn dropout(&self, rate: f32, scale: f32, key: RandomKey) -> Result<Tensor> {
        self.device().execute(&Dropout { rate, scale, key }.into(), &[self])
    }

    /// The images of a batch (whatever has one index of axis 0) zeroed at random with probability `rate`,
    /// each as a whole, the others times `scale`.
    ///
    /// # Errors
    /// Where the rate is no probability, there are no axes, the tensor is not of floats, or the device
    /// fails.
    pub fn dropout_images(&self, rate: f32, scale: f32, key: RandomKey) -> Result<Tensor> {
        float("dropout", "x", self.ty())?;
        let images = self.shape().axis(0, "dropout")?;
        let ones = Tensor::full([images], 1.0, self.dtype(), self.device())?;
        let mut factors = vec![1; self.shape().rank()];
        factors[0] = images;
        self.mul(&ones.dropout(rate, scale, key)?.reshape(&factors[..])?)
    }
}
