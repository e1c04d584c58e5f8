//! Tensors of random numbers.

use super::{OpRule, operands};
use crate::{Device, Error, RandomKey, Result, Shape, Tensor, TensorType};

/// Uniform random numbers in `[low, high)`. No operands. Output: f32; element `i` is `low + (high -
/// low) · u`, where `u` is number `i` of the [key](RandomKey)'s sequence as a
/// [float](crate::random::unit_float). Each step is rounded to f32; a device may fuse the last two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uniform {
    /// The shape of the output.
    pub shape: Shape,
    /// The lower end, inclusive.
    pub low: f32,
    /// The upper end, exclusive but for rounding.
    pub high: f32,
    /// Which random sequence.
    pub key: RandomKey,
}

impl OpRule for Uniform {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [] = operands("uniform", inputs)?;
        let finite = self.low.is_finite() && (self.high - self.low).is_finite();
        if !(finite && self.low <= self.high) {
            let expected = format!("at most high = {}, and their difference finite", self.high);
            return Err(Error::parameter("uniform", "low", expected, self.low));
        }
        Ok(TensorType::f32(self.shape))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        2 * output.count() as u64
    }
}

/// Normal random numbers. No operands. Output: f32; elements `2i` and `2i + 1` are `mean + deviation
/// ·` the [pair](crate::random::normal_pair) of numbers `2i` and `2i + 1` of the
/// [key](RandomKey)'s sequence (Box and Muller 1958).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// The shape of the output.
    pub shape: Shape,
    /// The mean.
    pub mean: f32,
    /// The standard deviation, not negative.
    pub deviation: f32,
    /// Which random sequence.
    pub key: RandomKey,
}

impl OpRule for Normal {
    fn name(&self) -> &'static str {
        "normal"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [] = operands("normal", inputs)?;
        if !(self.mean.is_finite() && self.deviation.is_finite() && self.deviation >= 0.0) {
            return Err(Error::parameter(
                "normal",
                "deviation",
                "finite, not negative",
                self.deviation,
            ));
        }
        Ok(TensorType::f32(self.shape))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        8 * output.count() as u64
    }
}

impl Tensor {
    /// Uniform random numbers in `[low, high)`.
    ///
    /// ```
    /// # use striate_tensor::{Device, RandomKey, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // The same numbers on every device; another stream of the seed gives others.
    /// let a = Tensor::uniform([4], -1.0, 1.0, RandomKey::new(7, 0), &device)?;
    /// let b = Tensor::uniform([4], -1.0, 1.0, RandomKey::new(7, 1), &device)?;
    /// assert_ne!(a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shape is too large, the bounds are not finite and in order, or the device fails.
    pub fn uniform<S>(
        shape: S,
        low: f32,
        high: f32,
        key: RandomKey,
        device: &Device,
    ) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        device.execute(&Uniform { shape: shape.try_into()?, low, high, key }.into(), &[])
    }

    /// Normal random numbers.
    ///
    /// # Errors
    /// Where the shape is too large, the deviation is negative or not finite, or the device fails.
    pub fn normal<S>(
        shape: S,
        mean: f32,
        deviation: f32,
        key: RandomKey,
        device: &Device,
    ) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        device.execute(&Normal { shape: shape.try_into()?, mean, deviation, key }.into(), &[])
    }
}
