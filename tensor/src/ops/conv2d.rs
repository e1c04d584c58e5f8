//! Convolution over images, and its gradients.

use super::gradient::{before_activation, bias_gradient, epilogue_saved};
use super::{Activation, Backward, OpRule, Saved, float, operands, same_shape};
use crate::{Error, Op, Result, Shape, Tensor, TensorType};

/// How a convolution is computed.
///
/// ```
/// use striate_tensor::ops::{Algorithm, Conv2d};
///
/// // No Winograd's convolution: infinities stay where they are.
/// let op = Conv2d { algorithm: Algorithm::Direct, ..Conv2d::default() };
/// assert_ne!(op, Conv2d::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// What the device finds fastest for the shape.
    #[default]
    Auto,
    /// Each product of the definition, summed.
    Direct,
    /// The outputs as [`Direct`](Algorithm::Direct), the gradients as [`Auto`](Algorithm::Auto): for a
    /// convolution before batch normalization by few values, which enlarges the rounding of outputs, not that
    /// of gradients.
    DirectOutputs,
}

impl Algorithm {
    /// How the gradients of a convolution are computed that is computed so.
    #[must_use]
    pub fn of_gradients(self) -> Self {
        match self {
            Algorithm::Direct => Algorithm::Direct,
            Algorithm::Auto | Algorithm::DirectOutputs => Algorithm::Auto,
        }
    }
}

/// Convolution (correlation: the kernel is not flipped) over images. Operands: `x [n, rows, cols,
/// channels]`, `weights [out, kernel rows, kernel cols, channels / groups]` and where asked `bias
/// [out]`, then `residual` of the output's shape. Output: `[n, out rows, out cols, out]` of the type of `x`, where `out rows = (rows + top +
/// bottom - (kernel rows - 1) · dilation - 1) / stride + 1`, rounded down, and cols alike.
///
/// Padding is zeros that take part like any pixel: an infinite weight over them gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Pixels from one output to the next, `[rows, cols]`.
    pub stride: [usize; 2],
    /// Zeros around the images, `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one tap of the kernel to the next, `[rows, cols]`.
    pub dilation: [usize; 2],
    /// Parts that the channels fall into: an output sees the inputs of its own part only.
    pub groups: usize,
    /// A third operand is added to each pixel.
    pub bias: bool,
    /// The last operand is added after the bias, before the activation: the other branch of a
    /// residual block.
    pub residual: bool,
    /// What is applied to each result.
    pub activation: Activation,
    /// How it is computed.
    pub algorithm: Algorithm,
}

impl Default for Conv2d {
    /// Stride and dilation 1, no padding, one group, no bias, no residual, no activation.
    fn default() -> Self {
        Conv2d {
            stride: [1, 1],
            padding: [[0, 0], [0, 0]],
            dilation: [1, 1],
            groups: 1,
            bias: false,
            residual: false,
            activation: Activation::None,
            algorithm: Algorithm::Auto,
        }
    }
}

/// The largest extent of an image with its padding: kernels count positions in 32 bits with a sign,
/// since those in the padding are negative.
const MAX_EXTENT: usize = i32::MAX as usize;

/// The number of windows of `size` along an axis with padding before and after: the common rule of
/// convolutions and pools.
pub(crate) fn windows(
    op: &'static str,
    extent: usize,
    size: usize,
    stride: usize,
    [before, after]: [usize; 2],
) -> Result<usize> {
    if stride == 0 || stride > MAX_EXTENT {
        return Err(Error::parameter(op, "stride", format!("from 1 to {MAX_EXTENT}"), stride));
    }
    let padded = (before.checked_add(after))
        .and_then(|p| p.checked_add(extent))
        .filter(|&padded| padded <= MAX_EXTENT);
    match padded.and_then(|padded| padded.checked_sub(size)) {
        Some(span) if size > 0 => Ok(span / stride + 1),
        _ => {
            let padding = match before == after {
                true => format!("padding {before}"),
                false => format!("padding {before} before and {after} after"),
            };
            Err(Error::shape(
                op,
                format!("a window of 1 to {} (the image with its padding)", padded.unwrap_or(0)),
                format!("a window of {size} over {extent} with {padding}"),
            ))
        }
    }
}

impl Conv2d {
    pub(super) fn check(&self, op: &'static str, x: &Shape, weights: &Shape) -> Result<Shape> {
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        let [out, kernel_rows, kernel_cols, per_group] = weights.nhwc(op, "weights")?;
        if self.groups == 0
            || !channels.is_multiple_of(self.groups)
            || !out.is_multiple_of(self.groups)
        {
            let expected = format!("a divisor of the {channels} channels and the {out} outputs");
            return Err(Error::parameter(op, "groups", expected, self.groups));
        }
        if per_group != channels / self.groups {
            let expected = format!(
                "weights [out, rows, cols, {}] for {channels} channels in {} groups",
                channels / self.groups,
                self.groups
            );
            return Err(Error::shape(op, expected, weights));
        }
        for dilation in self.dilation {
            if dilation == 0 || dilation > MAX_EXTENT {
                let expected = format!("from 1 to {MAX_EXTENT}");
                return Err(Error::parameter(op, "dilation", expected, self.dilation));
            }
        }
        let [size_rows, size_cols] = self.window([kernel_rows, kernel_cols]);
        let out_rows = windows(op, rows, size_rows, self.stride[0], self.padding[0])?;
        let out_cols = windows(op, cols, size_cols, self.stride[1], self.padding[1])?;
        Shape::new(&[n, out_rows, out_cols, out])
    }

    /// The pixels from the first tap of a kernel of these `[rows, cols]` to the last:
    /// `(kernel - 1) · dilation + 1`.
    pub fn window(&self, kernel: [usize; 2]) -> [usize; 2] {
        // Saturated, it is larger than any image.
        [0, 1].map(|axis| match kernel[axis] {
            0 => 0,
            taps => (taps - 1).saturating_mul(self.dilation[axis]).saturating_add(1),
        })
    }

    pub(super) fn macs(output: &Shape, weights: &Shape) -> u64 {
        let per_output: usize = weights.dims().iter().skip(1).product();
        // Half of what the flops can be, which count a multiplication and an addition.
        (output.count() as u64).saturating_mul(per_output as u64).min(u64::MAX / 2)
    }
}

impl OpRule for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let epilogue = usize::from(self.bias) + usize::from(self.residual);
        let (&[x, weights, ref added @ ..], true) = (inputs, inputs.len() == 2 + epilogue) else {
            let expected = (2 + epilogue).to_string();
            return Err(Error::Operands { op: "conv2d", expected, got: inputs.len() });
        };
        let (bias, residual) = added.split_at(usize::from(self.bias));
        float("conv2d", "x", &x)?;
        float("conv2d", "weights", &weights)?;
        self.activation.check("conv2d")?;
        let output = self.check("conv2d", &x.shape, &weights.shape)?;
        if let [bias] = bias {
            float("conv2d", "bias", bias)?;
            same_shape("conv2d", "bias", &Shape::new(&[output.dims()[3]])?, &bias.shape)?;
        }
        if let [residual] = residual {
            float("conv2d", "residual", residual)?;
            same_shape("conv2d", "residual", &output, &residual.shape)?;
        }
        Ok(TensorType::new(output, x.dtype))
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        2 * Conv2d::macs(&output.shape, &inputs[1].shape)
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        epilogue_saved(self.activation, wanted)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [_, rows, cols, _] = cx.ty(0)?.shape.nhwc("conv2d", "x")?;
        let [_, kernel_rows, kernel_cols, _] = cx.ty(1)?.shape.nhwc("conv2d", "weights")?;
        let plain = Conv2d { activation: Activation::None, ..*self };
        let dy = &before_activation(self.activation, &plain.into(), cx)?;
        let execute = |op: Op, inputs: &[&Tensor]| dy.device().execute(&op, inputs);
        let conv = Conv2d { algorithm: self.algorithm.of_gradients(), ..*self };
        let dx = cx.wanted(0, || {
            let op = Conv2dInputGrad { conv, input: [rows, cols] };
            execute(op.into(), &[dy, cx.operand(1)?])
        })?;
        let dw = cx.wanted(1, || {
            let op = Conv2dWeightGrad { conv, kernel: [kernel_rows, kernel_cols] };
            execute(op.into(), &[cx.operand(0)?, dy])
        })?;
        let mut gradients = vec![dx, dw];
        if self.bias {
            gradients.push(cx.wanted(2, || bias_gradient(dy))?);
        }
        if self.residual {
            gradients.push(cx.wanted(gradients.len(), || Ok(dy.clone()))?);
        }
        Ok(gradients)
    }
}

/// The gradient of a convolution in its input. Operands: `dy` (of the output's shape) and
/// `weights`. Output: of the input's shape and the type of `dy`. A pixel that no window covers gets
/// 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dInputGrad {
    /// The convolution; `bias`, `residual` and `activation` play no part.
    pub conv: Conv2d,
    /// Rows and cols of its input.
    pub input: [usize; 2],
}

impl OpRule for Conv2dInputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [dy, weights] = operands(op, inputs)?;
        float(op, "dy", &dy)?;
        float(op, "weights", &weights)?;
        let [n, ..] = dy.shape.nhwc(op, "dy")?;
        let [_, _, _, per_group] = weights.shape.nhwc(op, "weights")?;
        let channels = per_group.saturating_mul(self.conv.groups);
        let x = Shape::new(&[n, self.input[0], self.input[1], channels])?;
        let expected = self.conv.check(op, &x, &weights.shape)?;
        same_shape(op, "dy", &expected, &dy.shape)?;
        Ok(TensorType::new(x, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        2 * Conv2d::macs(&inputs[0].shape, &inputs[1].shape)
    }
}

/// The gradient of a convolution in its weights. Operands: `x` and `dy` (of the output's shape).
/// Output: f32 of the weights' shape. (The gradient in the bias is a sum of `dy` over all else.)
/// The zeros of the padding take part as they do in the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dWeightGrad {
    /// The convolution; `bias`, `residual` and `activation` play no part.
    pub conv: Conv2d,
    /// Rows and cols of its kernel.
    pub kernel: [usize; 2],
}

impl OpRule for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, dy] = operands(op, inputs)?;
        float(op, "x", &x)?;
        float(op, "dy", &dy)?;
        let [_, _, _, channels] = x.shape.nhwc(op, "x")?;
        let [_, _, _, out] = dy.shape.nhwc(op, "dy")?;
        let per_group = channels / self.conv.groups.max(1);
        let weights = Shape::new(&[out, self.kernel[0], self.kernel[1], per_group])?;
        let expected = self.conv.check(op, &x.shape, &weights)?;
        same_shape(op, "dy", &expected, &dy.shape)?;
        Ok(TensorType::f32(weights))
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        2 * Conv2d::macs(&inputs[1].shape, &output.shape)
    }
}

impl Tensor {
    /// Convolution of these images `[n, rows, cols, channels]` with `weights [out, kernel rows,
    /// kernel cols, channels / groups]` and `bias [out]` (`options.bias` is set by whether there is
    /// one, and nothing else is added: see [`conv2d_residual`](Tensor::conv2d_residual)).
    ///
    /// ```
    /// # use striate_tensor::ops::{Activation, Conv2d};
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // The first layer of AlexNet: 96 kernels of 11x11 over 3 channels.
    /// let images = Tensor::zeros([2, 35, 35, 3], &device)?;
    /// let weights = Tensor::ones([96, 11, 11, 3], &device)?;
    /// let bias = Tensor::ones([96], &device)?;
    /// let padding = [[1; 2]; 2];
    /// let activation = Activation::Relu;
    /// let conv = Conv2d { stride: [4, 4], padding, activation, ..Conv2d::default() };
    /// let y = images.conv2d(&weights, Some(&bias), conv)?;
    /// assert_eq!(y.dims(), [2, 7, 7, 96]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shapes do not fit, or the device fails.
    pub fn conv2d(
        &self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        options: Conv2d,
    ) -> Result<Tensor> {
        self.convolved(weights, bias, None, options)
    }

    /// Convolution as [`conv2d`](Tensor::conv2d), with `residual` (of the output's shape) added after
    /// the bias and before the ReLU.
    ///
    /// ```
    /// # use striate_tensor::ops::{Activation, Conv2d};
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // The end of a residual block: its input comes back where it leaves.
    /// let input = Tensor::ones([1, 2, 2, 1], &device)?;
    /// let inner = Tensor::ones([1, 2, 2, 1], &device)?;
    /// let weights = Tensor::full([1, 1, 1, 1], -3.0, input.dtype(), &device)?;
    /// let conv = Conv2d { activation: Activation::Relu, ..Conv2d::default() };
    /// assert_eq!(inner.conv2d(&weights, None, conv)?.to_vec::<f32>()?, [0.0; 4]);
    /// let shifted = input.affine(5.0, 0.0)?;
    /// let y = inner.conv2d_residual(&weights, None, &shifted, conv)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0; 4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shapes do not fit, or the device fails.
    pub fn conv2d_residual(
        &self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        residual: &Tensor,
        options: Conv2d,
    ) -> Result<Tensor> {
        self.convolved(weights, bias, Some(residual), options)
    }

    fn convolved(
        &self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
        options: Conv2d,
    ) -> Result<Tensor> {
        let op = Conv2d { bias: bias.is_some(), residual: residual.is_some(), ..options };
        let inputs: Vec<&Tensor> =
            [Some(self), Some(weights), bias, residual].into_iter().flatten().collect();
        self.device().execute(&op.into(), &inputs)
    }
}
