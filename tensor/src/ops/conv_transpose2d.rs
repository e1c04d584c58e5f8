//! Transposed convolution: what the gradient of a convolution in its input computes, as a layer.

use super::conv2d::Conv2dWeightGrad;
use super::gradient::bias_gradient;
use super::{Algorithm, Backward, Conv2d, Op, OpRule, Saved, float, operands_and_bias, same_shape};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// Transposed convolution over images (PyTorch's `ConvTranspose2d`): each pixel of `x`, times the
/// kernels of its channels, is added to a window of the output; windows begin `stride` pixels apart,
/// and the padding is cut off. Operands: `x [n, rows, cols, channels]`, `weights [channels, kernel
/// rows, kernel cols, out / groups]` and where asked `bias [out]`. Output: `[n, out rows, out cols,
/// out]` of the type of `x`, where `out rows = (rows - 1) · stride + (kernel rows - 1) · dilation + 1 -
/// top - bottom + output padding`, and cols alike.
///
/// It is the gradient of the [convolution](ConvTranspose2d::conv) from the output to `x`, with the
/// same weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2d {
    /// Pixels of the output from one window to the next, `[rows, cols]`.
    pub stride: [usize; 2],
    /// Pixels that are cut off the output, `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// Pixels that are added to the output below and to the right, `[rows, cols]`, each less than the
    /// stride: of the sizes that a convolution makes `x` of, the one that is meant.
    pub output_padding: [usize; 2],
    /// Pixels from one tap of the kernel to the next, `[rows, cols]`.
    pub dilation: [usize; 2],
    /// Parts that channels and outputs fall into: a channel is added to its own part only.
    pub groups: usize,
    /// A third operand is added to each pixel of the output.
    pub bias: bool,
    /// How it is computed.
    pub algorithm: Algorithm,
}

impl Default for ConvTranspose2d {
    /// Stride and dilation 1, no padding, one group, no bias.
    fn default() -> Self {
        ConvTranspose2d {
            stride: [1, 1],
            padding: [[0, 0], [0, 0]],
            output_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
            bias: false,
            algorithm: Algorithm::Auto,
        }
    }
}

impl ConvTranspose2d {
    /// The convolution from the output to `x`, without a bias.
    pub fn conv(&self) -> Conv2d {
        let ConvTranspose2d { stride, padding, dilation, groups, algorithm, .. } = *self;
        Conv2d { stride, padding, dilation, groups, algorithm, ..Conv2d::default() }
    }

    /// The extent of the output along an axis.
    fn extent(&self, axis: usize, extent: usize, window: usize) -> Result<usize> {
        let op = "conv_transpose2d";
        let (stride, [before, after]) = (self.stride[axis], self.padding[axis]);
        let extra = self.output_padding[axis];
        if stride == 0 {
            return Err(Error::parameter(op, "stride", "at least 1", self.stride));
        }
        if extra >= stride {
            let expected = format!("less than the stride {:?}", self.stride);
            return Err(Error::parameter(op, "output_padding", expected, self.output_padding));
        }
        let whole = (extent.checked_sub(1))
            .and_then(|steps| steps.checked_mul(stride))
            .and_then(|first| first.checked_add(window))
            .and_then(|end| end.checked_add(extra));
        let cut = before.checked_add(after);
        let left = whole.zip(cut).and_then(|(whole, cut)| whole.checked_sub(cut));
        left.filter(|&left| left > 0).ok_or_else(|| {
            Error::shape(
                op,
                "pixels, and more of the output than the padding cuts off",
                format!("{extent} pixels, windows of {window}, padding {before} and {after}"),
            )
        })
    }
}

impl OpRule for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let (x, weights, bias) = operands_and_bias(op, inputs, self.bias)?;
        float(op, "x", &x)?;
        float(op, "weights", &weights)?;
        let [n, rows, cols, channels] = x.shape.nhwc(op, "x")?;
        let [weight_channels, kernel_rows, kernel_cols, per_group] =
            weights.shape.nhwc(op, "weights")?;
        if weight_channels != channels {
            let expected = format!("weights [{channels}, rows, cols, outputs of a group]");
            return Err(Error::shape(op, expected, weights.shape));
        }
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Error::parameter(op, "groups", expected, self.groups));
        }
        let [window_rows, window_cols] = self.conv().window([kernel_rows, kernel_cols]);
        let out_rows = self.extent(0, rows, window_rows)?;
        let out_cols = self.extent(1, cols, window_cols)?;
        let out = per_group.saturating_mul(self.groups);
        let output = TensorType::new(Shape::new(&[n, out_rows, out_cols, out])?, x.dtype);
        // What is left to be checked is as for the convolution.
        let seen = self.conv().check(op, &output.shape, &weights.shape)?;
        same_shape(op, "x", &seen, &x.shape)?;
        if let Some(bias) = bias {
            float(op, "bias", &bias)?;
            same_shape(op, "bias", &Shape::new(&[out])?, &bias.shape)?;
        }
        Ok(output)
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        2 * Conv2d::macs(&inputs[0].shape, &inputs[1].shape)
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        let wants = |i| wanted.get(i).copied().unwrap_or(false);
        (Saved::operand(0).when(wants(1))).and(Saved::operand(1).when(wants(0)))
    }

    /// The convolution in `x`; its gradient in the weights, with operands exchanged.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let dy = cx.dy();
        let execute = |op: Op, inputs: &[&Tensor]| dy.device().execute(&op, inputs);
        let [_, kernel_rows, kernel_cols, _] = cx.ty(1)?.shape.nhwc(self.name(), "weights")?;
        let conv = self.conv();
        let dx = cx.wanted(0, || execute(conv.into(), &[dy, cx.operand(1)?]))?;
        let dw = cx.wanted(1, || {
            let op = Conv2dWeightGrad { conv, kernel: [kernel_rows, kernel_cols] };
            execute(op.into(), &[dy, cx.operand(0)?])
        })?;
        let mut gradients = vec![dx, dw];
        if self.bias {
            gradients.push(cx.wanted(2, || bias_gradient(dy))?);
        }
        Ok(gradients)
    }
}

impl Tensor {
    /// Transposed convolution of these images `[n, rows, cols, channels]` with `weights [channels,
    /// kernel rows, kernel cols, out / groups]` and `bias [out]` (`options.bias` is set by whether there
    /// is one): see [`ConvTranspose2d`].
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor, ops::ConvTranspose2d};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // Each pixel becomes a square of four.
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0], [1, 1, 2, 1], &device)?;
    /// let weights = Tensor::ones([1, 2, 2, 1], &device)?;
    /// let twice = ConvTranspose2d { stride: [2, 2], ..ConvTranspose2d::default() };
    /// let y = x.conv_transpose2d(&weights, None, twice)?;
    /// assert_eq!(y.dims(), [1, 2, 4, 1]);
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shapes do not fit, or the device fails.
    pub fn conv_transpose2d(
        &self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose2d,
    ) -> Result<Tensor> {
        let op = ConvTranspose2d { bias: bias.is_some(), ..options };
        let inputs: Vec<&Tensor> =
            [Some(self), Some(weights), bias].into_iter().flatten().collect();
        self.device().execute(&op.into(), &inputs)
    }
}
