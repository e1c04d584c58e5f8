//! Pooling to a number of windows.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{Concatenate, Pool2d, Resize, Slice, adaptive_windows};
use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::LayerKind;
use crate::lower::{Layer, Lowering};
use crate::shapes::dims;

/// Pooling over windows that cover the image, as many as asked for: `[n, rows, cols, channels]` to `[n, out
/// rows, out cols, channels]`. Window `i` along an axis goes from `floor(i · in / out)` to
/// `ceil((i + 1) · in / out)`, as PyTorch's. An image of as many pixels stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdaptivePoolSpec {
    /// Rows and cols of the output.
    #[serde(with = "crate::spec::pair")]
    pub size: [usize; 2],
}

impl Layer for AdaptivePoolSpec {
    fn detail(&self) -> String {
        format!("to {}", dims(&self.size))
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [rows, cols, channels] = cx.image(x)?;
        cx.each_at_least_one("an output", self.size)?;
        cx.bounded(&[self.size[0], self.size[1], channels], "outputs")?;
        if self.size == [rows, cols] {
            return Ok(x);
        }
        match cx.kind() {
            LayerKind::AdaptiveAvgPool => cx.push(Resize::area(self.size), &[x]),
            _ => lower_max(cx, x, self.size),
        }
    }
}

/// As [`Tensor::adaptive_max_pool2d`].
fn lower_max(
    cx: &mut Lowering<'_>,
    x: Value,
    [out_rows, out_cols]: [usize; 2],
) -> crate::Result<Value> {
    let [rows, cols, _] = cx.image(x)?;
    if rows.is_multiple_of(out_rows) && cols.is_multiple_of(out_cols) {
        return cx.push(Pool2d::whole([rows / out_rows, cols / out_cols]), &[x]);
    }
    let mut x = x;
    for (axis, outputs) in [(1, out_rows), (2, out_cols)] {
        let extents = cx.shape(x).dims().to_vec();
        let mut pooled = Vec::with_capacity(outputs);
        for window in adaptive_windows(extents[axis], outputs) {
            let mut size = [1, 1];
            size[axis - 1] = window.len();
            let mut ranges: Vec<_> = extents.iter().map(|&extent| 0..extent).collect();
            ranges[axis] = window;
            let cut = cx.push(Slice { ranges }, &[x])?;
            pooled.push(cx.push(Pool2d::whole(size), &[cut])?);
        }
        x = cx.push(Concatenate { axis }, &pooled)?;
    }
    Ok(x)
}

/// The means of windows that cover the image, as many rows and cols of them as this says: PyTorch's
/// `AdaptiveAvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d(pub [usize; 2]);

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.adaptive_avg_pool2d(self.0)
    }
}

/// The maxima of windows that cover the image, as many rows and cols of them as this says: PyTorch's
/// `AdaptiveMaxPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool2d(pub [usize; 2]);

impl Module for AdaptiveMaxPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.adaptive_max_pool2d(self.0)
    }
}
