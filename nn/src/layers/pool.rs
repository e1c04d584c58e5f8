//! Pooling: the maximum or mean of each window, or of the whole image.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{AvgPool2d as AvgPoolOp, Axes, Pool2d, Reduce, ReduceKind, Ties};
use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::LayerKind;
use crate::lower::{Layer, Lowering};
use crate::shapes::dims;
use crate::spec::{PerAxis, PerSide};

/// Pooling: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`, counted as for a
/// convolution. Windows are clipped to the image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolSpec {
    /// Rows and cols of the window.
    #[serde(with = "crate::spec::pair")]
    pub size: [usize; 2],
    /// Pixels from one window to the next, `[rows, cols]`.
    #[serde(with = "crate::spec::pair")]
    pub stride: [usize; 2],
    /// How far windows reach over the edge, `[[top, bottom], [left, right]]`; less than the size.
    #[serde(default, with = "crate::spec::sides")]
    pub padding: [[usize; 2]; 2],
    /// ccv's partition: stored; it has no effect.
    #[serde(default = "one")]
    pub groups: usize,
    /// The number of windows is rounded up: the last ones reach over the edge, as with PyTorch's
    /// `ceil_mode`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ceil: bool,
    /// A mean counts the padding as zeros, as with PyTorch's `count_include_pad`. Without it, padding
    /// takes no part.
    #[serde(default, skip_serializing_if = "is_false")]
    pub count_padding: bool,
    /// Of equal maxima in a window the first alone gets the gradient, as in PyTorch. Without it each
    /// gets all of it, as in ccv.
    #[serde(default, skip_serializing_if = "is_false")]
    pub first_maximum: bool,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Pooling over windows of `size` (one number, or `[rows, cols]`) side by side (stride `size`), no
/// padding.
///
/// ```
/// use striate_nn::{NetworkSpec, conv2d, pool};
///
/// // Windows of 3x3 that overlap, as AlexNet's: 32 x 32 pixels become 15 x 15.
/// let spec = NetworkSpec::new([32, 32, 3]).max_pool(pool(3).stride(2)).full_connect(10);
/// assert_eq!(spec.verify(10)?.summary().weights, 15 * 15 * 3 * 10);
/// # Ok::<(), striate_nn::Error>(())
/// ```
pub fn pool(size: impl PerAxis) -> PoolSpec {
    let size = size.per_axis();
    PoolSpec {
        size,
        stride: size,
        padding: [[0; 2]; 2],
        groups: 1,
        ceil: false,
        count_padding: false,
        first_maximum: false,
    }
}

impl PoolSpec {
    /// With another stride: one number, or `[rows, cols]`.
    #[must_use]
    pub fn stride(self, stride: impl PerAxis) -> Self {
        PoolSpec { stride: stride.per_axis(), ..self }
    }

    /// With windows that reach over the edge: one number, `[rows, cols]`, or
    /// `[[top, bottom], [left, right]]`.
    #[must_use]
    pub fn padding(self, padding: impl PerSide) -> Self {
        PoolSpec { padding: padding.per_side(), ..self }
    }

    /// With a partition, which ccv stores and nothing uses.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        PoolSpec { groups, ..self }
    }

    /// With the number of windows rounded up: see [`ceil`](PoolSpec::ceil).
    #[must_use]
    pub fn ceil(self) -> Self {
        PoolSpec { ceil: true, ..self }
    }

    /// With padding that counts as zeros in a mean: see [`count_padding`](PoolSpec::count_padding).
    #[must_use]
    pub fn count_padding(self) -> Self {
        PoolSpec { count_padding: true, ..self }
    }

    /// With the gradient for the first of equal maxima: see
    /// [`first_maximum`](PoolSpec::first_maximum).
    #[must_use]
    pub fn first_maximum(self) -> Self {
        PoolSpec { first_maximum: true, ..self }
    }

    /// The op that computes it over an image of so many rows and cols (as max pooling; wrap it for
    /// average pooling).
    pub fn op(&self, rows: usize, cols: usize) -> Pool2d {
        let op = Pool2d {
            size: self.size,
            stride: self.stride,
            padding: self.padding,
            count_padding: self.count_padding,
            ties: if self.first_maximum { Ties::First } else { Ties::All },
            ..Pool2d::square(1, 1, 0)
        };
        if self.ceil { op.with_ceil(rows, cols) } else { op }
    }
}

/// `3x3/2 pad 1`, in tables.
pub(super) fn window(size: &[usize; 2], stride: [usize; 2], padding: [[usize; 2]; 2]) -> String {
    let stride = match stride {
        [rows, cols] if rows == cols => rows.to_string(),
        each => dims(&each),
    };
    let pad = match padding {
        [[0, 0], [0, 0]] => String::new(),
        [[a, b], [c, d]] if a == b && c == d && a == c => format!(" pad {a}"),
        [[a, b], [c, d]] if a == b && c == d => format!(" pad {a}x{c}"),
        [[a, b], [c, d]] => format!(" pad {a},{b}x{c},{d}"),
    };
    format!("{}/{stride}{pad}", dims(size))
}

impl Layer for PoolSpec {
    fn detail(&self) -> String {
        let ceil = if self.ceil { " ceil" } else { "" };
        let counted = if self.count_padding { " count padding" } else { "" };
        format!("{}{ceil}{counted}", window(&self.size, self.stride, self.padding))
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [rows, cols, _] = cx.image(x)?;
        cx.each_at_least_one("a window", self.size)?;
        cx.each_at_least_one("a stride", self.stride)?;
        for axis in 0..2 {
            let padding = self.padding[axis].into_iter().max().unwrap_or(0);
            if padding >= self.size[axis] {
                let expected = format!("a padding less than the window of {}", self.size[axis]);
                return Err(cx.error(expected, padding.to_string()));
            }
            cx.windows(x, axis, (self.size[axis], self.stride[axis], self.padding[axis]))?;
        }
        let op = self.op(rows, cols);
        match cx.kind() {
            LayerKind::AvgPool => cx.push(AvgPoolOp(op), &[x]),
            _ => cx.push(op, &[x]),
        }
    }
}

/// The mean or maximum of all pixels, for each channel, as an image of one pixel.
pub(crate) fn lower_global(
    cx: &mut Lowering<'_>,
    inputs: &[Value],
    kind: ReduceKind,
) -> crate::Result<Value> {
    let x = cx.one(inputs)?;
    cx.image(x)?;
    let axes = Axes::new(&[1, 2]).map_err(|source| cx.op_error(source))?;
    cx.push(Reduce { kind, axes, keep_axes: true }, &[x])
}

/// Max pooling: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2d(pub PoolSpec);

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        let [_, rows, cols, _] = x.shape().nhwc("max_pool2d", "x")?;
        x.max_pool2d(self.0.op(rows, cols))
    }
}

/// Average pooling: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2d(pub PoolSpec);

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        let [_, rows, cols, _] = x.shape().nhwc("avg_pool2d", "x")?;
        x.avg_pool2d(self.0.op(rows, cols))
    }
}

/// The mean of all pixels, for each channel: `[n, rows, cols, channels]` to `[n, 1, 1, channels]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalAvgPool2d;

impl Module for GlobalAvgPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.shape().nhwc("global_avg_pool2d", "x")?;
        x.reduce(ReduceKind::Mean, [1, 2], true)
    }
}
