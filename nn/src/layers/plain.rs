//! Layers without weights.

use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::{LrnSpec, PoolSpec};

/// Max pooling: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2d(pub PoolSpec);

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.max_pool2d(self.0.op())
    }
}

/// Average pooling over the cells inside the image: `[n, rows, cols, channels]` to `[n, out rows,
/// out cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2d(pub PoolSpec);

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.avg_pool2d(self.0.op())
    }
}

/// Local response normalization across the last axis. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn(pub LrnSpec);

impl Module for Lrn {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.lrn(self.0.op())
    }
}

/// Negative elements become 0. The shape stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relu;

impl Module for Relu {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.relu()
    }
}

/// `[n, ..]` to `[n, everything else]`, without a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.flatten()
    }
}
