//! Transposed convolution.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{DType, Device, Error, RandomKey, Result, Shape, Tensor, ops};

use super::conv2d::{is_dense, is_true, one, ones, yes};
use super::{Context, Module, Visitor, VisitorMut};
use crate::init::{Fresh, Initializer};
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;
use crate::spec::{Init, PerAxis, PerSide};

/// A transposed convolution (PyTorch's `ConvTranspose2d`): `[n, rows, cols, channels]` to `[n, out rows,
/// out cols, count]`, where `out rows = (rows - 1) · stride + (kernel rows - 1) · dilation + 1 - padding
/// above and below + output padding`. Each pixel, times the kernels, is added to a window of the output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConvTransposeSpec {
    /// Output channels.
    pub count: usize,
    /// Rows and cols of the kernel.
    pub kernel: [usize; 2],
    /// Pixels of the output from one window to the next, `[rows, cols]`.
    #[serde(default = "ones", with = "crate::spec::pair")]
    pub stride: [usize; 2],
    /// Pixels that are cut off the output, `[[top, bottom], [left, right]]`.
    #[serde(default, with = "crate::spec::sides")]
    pub padding: [[usize; 2]; 2],
    /// Pixels that are added to the output below and to the right, each less than the stride.
    #[serde(default, with = "crate::spec::pair", skip_serializing_if = "is_nothing")]
    pub output_padding: [usize; 2],
    /// Pixels from one cell of the kernel to the next, `[rows, cols]`.
    #[serde(default = "ones", with = "crate::spec::pair", skip_serializing_if = "is_dense")]
    pub dilation: [usize; 2],
    /// Parts that channels and outputs fall into: a channel is added to its own part only.
    #[serde(default = "one")]
    pub groups: usize,
    /// A number is added to each output channel.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub bias: bool,
    /// What a fresh layer starts with.
    #[serde(default)]
    pub init: Init,
}

fn is_nothing(padding: &[usize; 2]) -> bool {
    *padding == [0, 0]
}

/// A transposed convolution to `count` channels (rows and cols of the kernel: one number, or `[rows,
/// cols]`): stride 1, no padding, one group, a bias.
pub fn conv_transpose2d(count: usize, kernel: impl PerAxis) -> ConvTransposeSpec {
    ConvTransposeSpec {
        count,
        kernel: kernel.per_axis(),
        stride: [1; 2],
        padding: [[0; 2]; 2],
        output_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
        bias: true,
        init: Init::default(),
    }
}

impl ConvTransposeSpec {
    /// With another stride: one number, or `[rows, cols]`.
    #[must_use]
    pub fn stride(self, stride: impl PerAxis) -> Self {
        ConvTransposeSpec { stride: stride.per_axis(), ..self }
    }

    /// With so much of the output cut off: one number, `[rows, cols]`, or `[[top, bottom], [left,
    /// right]]`.
    #[must_use]
    pub fn padding(self, padding: impl PerSide) -> Self {
        ConvTransposeSpec { padding: padding.per_side(), ..self }
    }

    /// With so many pixels more below and to the right: one number, or `[rows, cols]`.
    #[must_use]
    pub fn output_padding(self, padding: impl PerAxis) -> Self {
        ConvTransposeSpec { output_padding: padding.per_axis(), ..self }
    }

    /// With a kernel whose cells are this far apart: one number, or `[rows, cols]`.
    #[must_use]
    pub fn dilation(self, dilation: impl PerAxis) -> Self {
        ConvTransposeSpec { dilation: dilation.per_axis(), ..self }
    }

    /// In groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        ConvTransposeSpec { groups, ..self }
    }

    /// Without a bias, as before batch normalization.
    #[must_use]
    pub fn without_bias(self) -> Self {
        ConvTransposeSpec { bias: false, ..self }
    }

    /// With biases that start at this.
    #[must_use]
    pub fn bias(self, bias: f32) -> Self {
        ConvTransposeSpec { bias: true, init: Init { bias, ..self.init }, ..self }
    }

    /// The op that computes it.
    pub fn op(&self) -> ops::ConvTranspose2d {
        ops::ConvTranspose2d {
            stride: self.stride,
            padding: self.padding,
            output_padding: self.output_padding,
            dilation: self.dilation,
            groups: self.groups,
            bias: self.bias,
            ..ops::ConvTranspose2d::default()
        }
    }
}

impl Layer for ConvTransposeSpec {
    fn detail(&self) -> String {
        let mut text = super::pool::window(&self.kernel, self.stride, self.padding);
        if self.output_padding != [0, 0] {
            text.push_str(&format!(" output pad {}", crate::shapes::dims(&self.output_padding)));
        }
        if self.groups > 1 {
            text.push_str(&format!(" groups {}", self.groups));
        }
        if self.dilation != [1, 1] {
            text.push_str(&format!(" dilation {}", crate::shapes::dims(&self.dilation)));
        }
        text + if self.bias { "" } else { " no bias" }
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [_, _, channels] = cx.image(x)?;
        let [kernel_rows, kernel_cols] = self.kernel;
        cx.at_least_one("a count", self.count)?;
        cx.at_least_one("kernel rows", kernel_rows)?;
        cx.at_least_one("kernel cols", kernel_cols)?;
        cx.each_at_least_one("a stride", self.stride)?;
        cx.each_at_least_one("a dilation", self.dilation)?;
        cx.divides(self.groups, "input channels", channels)?;
        cx.divides(self.groups, "outputs", self.count)?;
        cx.finite("initial gain", self.init.gain)?;
        cx.finite("initial bias", self.init.bias)?;
        let weight = [channels, kernel_rows, kernel_cols, self.count / self.groups];
        let weights = Fresh::Weights(self.init.into());
        let mut operands = vec![x, cx.parameter(Role::Weight, &weight, weights)?];
        if self.bias {
            let bias = Fresh::Constant(self.init.bias);
            operands.push(cx.parameter(Role::Bias, &[self.count], bias)?);
        }
        cx.push(self.op(), &operands)
    }
}

/// A transposed convolution, with a bias where its specification says so: `[n, rows, cols, channels]`
/// to `[n, out rows, out cols, count]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    options: ops::ConvTranspose2d,
}

impl ConvTranspose2d {
    /// A transposed convolution of `channels` with fresh weights.
    ///
    /// # Errors
    /// Where the groups do not divide the channels or the outputs, a size is too large, or the device
    /// fails.
    pub fn new(
        spec: ConvTransposeSpec,
        channels: usize,
        key: RandomKey,
        device: &Device,
    ) -> Result<Self> {
        let divides = |count: usize| spec.groups > 0 && count.is_multiple_of(spec.groups);
        if !divides(channels) || !divides(spec.count) {
            let expected =
                format!("a divisor of the {channels} channels and {} outputs", spec.count);
            return Err(Error::parameter("conv_transpose2d", "groups", expected, spec.groups));
        }
        let [rows, cols] = spec.kernel;
        let shape = Shape::new(&[channels, rows, cols, spec.count / spec.groups])?;
        let weight = Initializer::from(spec.init).weights(&shape, key, device)?;
        let bias = || Tensor::full([spec.count], spec.init.bias, DType::F32, device);
        let bias = spec.bias.then(bias).transpose()?;
        Ok(ConvTranspose2d { weight, bias, options: spec.op() })
    }

    /// A transposed convolution of these weights, `[channels, kernel rows, kernel cols, out / groups]`,
    /// and biases `[out]`; `options` gives the rest.
    pub fn from_tensors(
        weight: Tensor,
        bias: Option<Tensor>,
        options: ops::ConvTranspose2d,
    ) -> Self {
        ConvTranspose2d { weight, bias, options }
    }

    /// The weights.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The biases.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.conv_transpose2d(&self.weight, self.bias.as_ref(), self.options)
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visit.parameter("bias", bias);
        }
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        visit.parameter("weight", &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visit.parameter("bias", bias);
        }
    }
}
