//! Convolution with integers of 8 bits.

use super::{Conv2d, OpRule, of_dtype, same_shape};
use crate::{DType, Error, Result, Shape, Tensor, TensorType};

/// The levels that numbers are rounded to: 256 of them, `scale` apart, of which number `zero` is 0.
///
/// ```
/// use striate_tensor::ops::Levels;
///
/// let levels = Levels::of_range(-0.5, 3.484375);
/// assert_eq!(levels, Levels { scale: 1.0 / 64.0, zero: 32 });
/// assert_eq!(levels.level(0.0), 32);
/// assert_eq!(levels.level(100.0), 255);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// From one level to the next: finite and above 0.
    pub scale: f32,
    /// The level of 0.
    pub zero: u8,
}

impl Levels {
    /// The level of the largest number.
    const LAST: f32 = 255.0;

    /// Levels from `low` to `high`, and to 0 where that lies outside. Where both are 0, or not finite, the
    /// scale is 1.
    pub fn of_range(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / Self::LAST;
        if !scale.is_normal() || !(1.0 / scale).is_normal() {
            return Levels { scale: 1.0, zero: 0 };
        }
        // In range, since neither end is beyond 0.
        Levels { scale, zero: (-low / scale).round_ties_even().clamp(0.0, Self::LAST) as u8 }
    }

    /// What numbers are multiplied by: `1 / scale`, rounded to f32.
    pub fn factor(&self) -> f32 {
        1.0 / self.scale
    }

    /// The distance from the lowest level to 0 and from 0 to the highest, as floats: the lower one is
    /// negative.
    pub fn limits(&self) -> [f32; 2] {
        let zero = f32::from(self.zero);
        [-zero, Self::LAST - zero]
    }

    /// The level of a number: `x / scale`, multiplied in f32, rounded to the nearest (ties to even), and
    /// kept in range. NaN has the lowest.
    pub fn level(&self, x: f32) -> u8 {
        let [low, high] = self.limits();
        let scaled = x * self.factor();
        let scaled = if scaled > low { scaled } else { low };
        (scaled.min(high).round_ties_even() - low) as u8
    }

    /// Refuses what is no scale.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the scale, or one over it, is no normal number above 0.
    pub fn check(&self, op: &'static str) -> Result<()> {
        if self.scale > 0.0 && self.scale.is_normal() && self.factor().is_normal() {
            return Ok(());
        }
        Err(Error::parameter(op, "scale", "a normal number above 0", self.scale))
    }
}

/// Convolution of images that are rounded to levels, with weights of integers: products and sums are exact,
/// so that every device gives the same ones. Inference only.
///
/// Operands: `x [n, rows, cols, channels]` f32; `weights [out, kernel rows, kernel cols, channels]` i8, of
/// -127 to 127; `scales [out]` f32, what an integer of each output's weights stands for; then `bias [out]`
/// and `residual` (of the output's shape) f32, where the convolution has them. Output: f32
/// `[n, out rows, out cols, out]`,
///
/// `activation((Σ (level(x) - zero) · weights) · (scale · scales[out]) + bias + residual)`.
///
/// Numbers beyond the [levels](Levels) become the lowest or the highest, NaN the lowest. A weight of -128 is
/// taken as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dInt8 {
    /// Stride, padding, dilation, and what is added to the sums; of one group. `algorithm` plays no part.
    pub conv: Conv2d,
    /// What `x` is rounded to.
    pub levels: Levels,
}

impl Conv2dInt8 {
    /// The most weights of an output: as many products are below 2^31.
    pub const MAX_DEPTH: usize = 1 << 16;

    /// Whether this convolution can be computed with integers, for as many weights of an output.
    pub fn takes(conv: &Conv2d, depth: usize) -> bool {
        conv.groups == 1 && depth <= Self::MAX_DEPTH
    }
}

impl OpRule for Conv2dInt8 {
    fn name(&self) -> &'static str {
        "conv2d_int8"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [bias, residual] = [self.conv.bias, self.conv.residual].map(usize::from);
        let (&[x, weights, scales, ref added @ ..], true) =
            (inputs, inputs.len() == 3 + bias + residual)
        else {
            let expected = (3 + bias + residual).to_string();
            return Err(Error::Operands { op, expected, got: inputs.len() });
        };
        of_dtype(op, "x", &x, DType::F32)?;
        of_dtype(op, "weights", &weights, DType::I8)?;
        of_dtype(op, "scales", &scales, DType::F32)?;
        let (bias, residual) = added.split_at(bias);
        bias.iter().try_for_each(|ty| of_dtype(op, "bias", ty, DType::F32))?;
        residual.iter().try_for_each(|ty| of_dtype(op, "residual", ty, DType::F32))?;
        self.levels.check(op)?;
        self.conv.activation.check(op)?;
        if self.conv.groups != 1 {
            return Err(Error::parameter(op, "groups", "1", self.conv.groups));
        }
        let output = self.conv.check(op, &x.shape, &weights.shape)?;
        let [out, kernel @ ..] = weights.shape.nhwc(op, "weights")?;
        if kernel.iter().product::<usize>() > Self::MAX_DEPTH {
            let expected = format!("at most {} weights of an output", Self::MAX_DEPTH);
            return Err(Error::shape(op, expected, weights.shape));
        }
        let of_outputs = Shape::new(&[out])?;
        same_shape(op, "scales", &of_outputs, &scales.shape)?;
        bias.iter().try_for_each(|ty| same_shape(op, "bias", &of_outputs, &ty.shape))?;
        residual.iter().try_for_each(|ty| same_shape(op, "residual", &output, &ty.shape))?;
        Ok(TensorType::f32(output))
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        2 * Conv2d::macs(&output.shape, &inputs[1].shape)
    }
}

impl Tensor {
    /// Convolution with integers: of these images `[n, rows, cols, channels]` f32 with `weights [out, kernel
    /// rows, kernel cols, channels]` i8 and their `scales [out]` f32. `added` is a bias `[out]`, a residual of
    /// the output's shape, or both (`op.conv` is set by whether they are there). See [`Conv2dInt8`].
    ///
    /// ```
    /// # use striate_tensor::ops::{Conv2d, Conv2dInt8, Levels};
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![0.26f32, 0.5], [1, 1, 1, 2], &device)?;
    /// let weights = Tensor::from_vec(vec![3i8, -4], [1, 1, 1, 2], &device)?;
    /// let scales = Tensor::from_vec(vec![2.0f32], [1], &device)?;
    /// let levels = Levels { scale: 0.25, zero: 0 };
    /// let op = Conv2dInt8 { conv: Conv2d::default(), levels };
    /// // 0.26 is level 1, and 0.5 level 2.
    /// let y = x.conv2d_int8([&weights, &scales], [None, None], op)?;
    /// assert_eq!(y.to_vec::<f32>()?, [(3.0 - 8.0) * 0.25 * 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where types and shapes do not fit; [`Error::Unsupported`] on a GPU, or the device fails.
    pub fn conv2d_int8(
        &self,
        [weights, scales]: [&Tensor; 2],
        [bias, residual]: [Option<&Tensor>; 2],
        op: Conv2dInt8,
    ) -> Result<Tensor> {
        let conv = Conv2d { bias: bias.is_some(), residual: residual.is_some(), ..op.conv };
        let inputs = [Some(self), Some(weights), Some(scales), bias, residual];
        let inputs: Vec<&Tensor> = inputs.into_iter().flatten().collect();
        self.device().execute(&Conv2dInt8 { conv, ..op }.into(), &inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_hold_0_and_both_ends() {
        for (low, high) in [(-1.0, 4.0), (0.5, 6.0), (-3.0, -1.0), (-1e-3, 1e3), (-7.0, 0.0)] {
            let levels = Levels::of_range(low, high);
            assert!(levels.check("test").is_ok());
            assert_eq!(levels.level(0.0), levels.zero);
            for x in [low.min(0.0), high.max(0.0)] {
                let back = (f32::from(levels.level(x)) - f32::from(levels.zero)) * levels.scale;
                assert!((back - x).abs() <= 0.5001 * levels.scale, "{low} {high}: {x} {back}");
            }
            assert_eq!((levels.level(f32::NEG_INFINITY), levels.level(f32::NAN)), (0, 0));
            assert_eq!(levels.level(f32::INFINITY), 255);
        }
        for (low, high) in [(0.0, 0.0), (f32::NAN, f32::NAN), (0.0, f32::INFINITY), (0.0, 1e-44)] {
            assert_eq!(Levels::of_range(low, high), Levels { scale: 1.0, zero: 0 });
        }
    }

    #[test]
    fn what_is_no_scale_is_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            assert!(Levels { scale, zero: 3 }.check("test").is_err(), "{scale}");
        }
    }
}
