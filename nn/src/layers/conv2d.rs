//! Convolution.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{DType, Device, Error, RandomKey, Result, Shape, Tensor, ops};

use super::{Context, Module, Visitor, VisitorMut};
use crate::init::{Fresh, Initializer};
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;
use crate::shapes::dims;
use crate::spec::{Init, PerAxis, PerSide};

/// A convolution: `[n, rows, cols, channels]` to `[n, out rows, out cols, count]`, where `out rows
/// = (rows + padding above and below - reach) / stride + 1`, rounded down, and the kernel reaches over
/// `(kernel rows - 1) · dilation + 1` rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "StoredConvSpec")]
pub struct ConvSpec {
    /// Output channels.
    pub count: usize,
    /// Rows and cols of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next, `[rows, cols]`.
    #[serde(with = "crate::spec::pair")]
    pub stride: [usize; 2],
    /// Zeros around the image, `[[top, bottom], [left, right]]`.
    #[serde(with = "crate::spec::sides")]
    pub padding: [[usize; 2]; 2],
    /// Pixels from one cell of the kernel to the next, `[rows, cols]`.
    #[serde(with = "crate::spec::pair", skip_serializing_if = "is_dense")]
    pub dilation: [usize; 2],
    /// Parts that the channels fall into, ccv's input partition: an output sees its own part only.
    pub groups: usize,
    /// ccv's output partition: as many as `groups` where JSON leaves it out. It has no effect, but
    /// it must divide `count`, and ccv's files want a multiple of `groups`.
    pub out_groups: usize,
    /// A number is added to each output channel.
    #[serde(skip_serializing_if = "is_true")]
    pub bias: bool,
    /// Negative outputs become 0.
    pub relu: bool,
    /// What a fresh layer starts with.
    pub init: Init,
}

pub(super) fn is_dense(dilation: &[usize; 2]) -> bool {
    *dilation == [1, 1]
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn is_true(value: &bool) -> bool {
    *value
}

/// The stored form: what has a default may be left out. Without `relu`, a convolution has one: so it
/// was when all convolutions were ccv's.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StoredConvSpec {
    count: usize,
    kernel: [usize; 2],
    #[serde(default = "ones", with = "crate::spec::pair")]
    stride: [usize; 2],
    #[serde(default, with = "crate::spec::sides")]
    padding: [[usize; 2]; 2],
    #[serde(default = "ones", with = "crate::spec::pair")]
    dilation: [usize; 2],
    #[serde(default = "one")]
    groups: usize,
    out_groups: Option<usize>,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "yes")]
    relu: bool,
    #[serde(default)]
    init: Init,
}

pub(super) fn ones() -> [usize; 2] {
    [1, 1]
}

pub(super) fn one() -> usize {
    1
}

pub(super) fn yes() -> bool {
    true
}

impl From<StoredConvSpec> for ConvSpec {
    fn from(stored: StoredConvSpec) -> Self {
        let StoredConvSpec { count, kernel, stride, padding, dilation, .. } = stored;
        let StoredConvSpec { groups, out_groups, bias, relu, init, .. } = stored;
        let out_groups = out_groups.unwrap_or(groups);
        ConvSpec { count, kernel, stride, padding, dilation, groups, out_groups, bias, relu, init }
    }
}

/// A convolution of `count` kernels (rows and cols of the kernel: one number, or `[rows, cols]`):
/// stride 1, no padding, one group, a bias, no activation.
///
/// ```
/// use striate_nn::{NetworkSpec, conv2d};
///
/// let spec = NetworkSpec::new([32, 32, 3])
///     .conv(conv2d(16, 3).padding(1)).relu()
///     .conv(conv2d(32, [1, 5]).stride(2)).relu()
///     .full_connect(10);
/// assert_eq!(spec.verify(10)?.summary().weights, 432 + 2560 + 71_680);
/// # Ok::<(), striate_nn::Error>(())
/// ```
pub fn conv2d(count: usize, kernel: impl PerAxis) -> ConvSpec {
    ConvSpec {
        count,
        kernel: kernel.per_axis(),
        stride: [1; 2],
        padding: [[0; 2]; 2],
        dilation: [1; 2],
        groups: 1,
        out_groups: 1,
        bias: true,
        relu: false,
        init: Init::default(),
    }
}

/// As [`conv2d`], with a ReLU, as ccv's convolutions have it.
#[deprecated(since = "0.2.0", note = "write `conv2d(..)`, and `.relu()` where one is meant")]
pub fn conv(count: usize, kernel: usize) -> ConvSpec {
    conv2d(count, kernel).relu()
}

impl ConvSpec {
    /// With a kernel of other rows and cols.
    #[must_use]
    pub fn kernel(self, rows_cols: [usize; 2]) -> Self {
        ConvSpec { kernel: rows_cols, ..self }
    }

    /// With another stride: one number, or `[rows, cols]`.
    #[must_use]
    pub fn stride(self, stride: impl PerAxis) -> Self {
        ConvSpec { stride: stride.per_axis(), ..self }
    }

    /// With zeros around the image: one number, `[rows, cols]`, or `[[top, bottom], [left, right]]`.
    #[must_use]
    pub fn padding(self, padding: impl PerSide) -> Self {
        ConvSpec { padding: padding.per_side(), ..self }
    }

    /// With a kernel whose cells are this far apart: one number, or `[rows, cols]`.
    #[must_use]
    pub fn dilation(self, dilation: impl PerAxis) -> Self {
        ConvSpec { dilation: dilation.per_axis(), ..self }
    }

    /// In groups (ccv's input partition). The output partition follows, unless it was set to
    /// something else.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        let follows = self.out_groups == self.groups;
        let out_groups = if follows { groups } else { self.out_groups };
        ConvSpec { groups, out_groups, ..self }
    }

    /// With another output partition, which ccv stores and nothing uses.
    #[must_use]
    pub fn out_groups(self, out_groups: usize) -> Self {
        ConvSpec { out_groups, ..self }
    }

    /// With a ReLU: negative outputs become 0.
    #[must_use]
    pub fn relu(self) -> Self {
        ConvSpec { relu: true, ..self }
    }

    /// Without a ReLU.
    #[must_use]
    pub fn linear(self) -> Self {
        ConvSpec { relu: false, ..self }
    }

    /// Without a bias, as before batch normalization.
    #[must_use]
    pub fn without_bias(self) -> Self {
        ConvSpec { bias: false, ..self }
    }

    /// With biases that start at this.
    #[must_use]
    pub fn bias(self, bias: f32) -> Self {
        ConvSpec { bias: true, init: Init { bias, ..self.init }, ..self }
    }

    /// The op that computes it.
    pub fn op(&self) -> ops::Conv2d {
        ops::Conv2d {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
            bias: self.bias,
            activation: ops::Activation::relu(self.relu),
            ..ops::Conv2d::default()
        }
    }
}

/// Up to so many values a channel, the outputs of a convolution before batch normalization are computed by its
/// definition in training. Normalization by few values enlarges rounding, and Winograd's algorithm costs
/// two bits: gradients of GoogLeNet for four images of 64 pixels are off by up to 5e-3 with it, by 1e-3
/// without, which is what PyTorch's are off by in single precision.
const FEW_VALUES: u64 = 1024;

impl Layer for ConvSpec {
    fn detail(&self) -> String {
        let groups =
            if self.groups > 1 { format!(" groups {}", self.groups) } else { String::new() };
        let dilation = match self.dilation {
            [1, 1] => String::new(),
            [rows, cols] if rows == cols => format!(" dilation {rows}"),
            each => format!(" dilation {}", dims(&each)),
        };
        let window = super::pool::window(&self.kernel, self.stride, self.padding);
        let bias = if self.bias { "" } else { " no bias" };
        let relu = if self.relu { " relu" } else { "" };
        format!("{window}{groups}{dilation}{bias}{relu}")
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [seen_rows, seen_cols, channels] = cx.image(x)?;
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
        let mut windows = |axis: usize| {
            let size = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]);
            let size = size.saturating_add(1);
            cx.windows(x, axis, (size, self.stride[axis], self.padding[axis]))
        };
        let (rows, cols) = (windows(0)?, windows(1)?);
        cx.bounded(&[rows, cols, self.count], "outputs")?;
        let weight = [self.count, kernel_rows, kernel_cols, channels / self.groups];
        let weights = Fresh::Weights(self.init.into());
        let mut operands = vec![x, cx.parameter(Role::Weight, &weight, weights)?];
        if self.bias {
            let bias = Fresh::Constant(self.init.bias);
            operands.push(cx.parameter(Role::Bias, &[self.count], bias)?);
        }
        let mut op = self.op();
        let values = cx.elements_a_channel(x) / (seen_rows * seen_cols).max(1) as u64;
        if cx.is_normalized_by_batch() && values * (rows * cols) as u64 <= FEW_VALUES {
            op.algorithm = ops::Algorithm::DirectOutputs;
        }
        cx.push(op, &operands)
    }
}

/// A convolution, with bias and ReLU where its specification says so: `[n, rows, cols, channels]`
/// to `[n, out rows, out cols, count]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    options: ops::Conv2d,
}

impl Conv2d {
    /// A convolution over `channels` with fresh weights.
    ///
    /// # Errors
    /// Where the groups do not divide the channels, a size is too large, or the device fails.
    pub fn new(spec: ConvSpec, channels: usize, key: RandomKey, device: &Device) -> Result<Self> {
        if spec.groups == 0 || !channels.is_multiple_of(spec.groups) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Error::parameter("conv2d", "groups", expected, spec.groups));
        }
        let [rows, cols] = spec.kernel;
        let shape = Shape::new(&[spec.count, rows, cols, channels / spec.groups])?;
        let weight = Initializer::from(spec.init).weights(&shape, key, device)?;
        let bias = || Tensor::full([spec.count], spec.init.bias, DType::F32, device);
        let bias = spec.bias.then(bias).transpose()?;
        Ok(Conv2d { weight, bias, options: spec.op() })
    }

    /// A convolution of these weights, `[out, kernel rows, kernel cols, channels / groups]`, and
    /// biases `[out]`; `options` gives the rest.
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, options: ops::Conv2d) -> Self {
        Conv2d { weight, bias, options }
    }

    /// The weights.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The biases.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Stride, padding, groups and ReLU.
    pub fn options(&self) -> &ops::Conv2d {
        &self.options
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.conv2d(&self.weight, self.bias.as_ref(), self.options)
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
