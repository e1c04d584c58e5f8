//! Layer normalization (Ba, Kiros and Hinton, "Layer normalization", 2016).

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{Device, Result, Tensor, ops};

use super::group_norm::{check_epsilon, fresh, lower_norm, modules};
use super::module::{Context, Module, Visitor, VisitorMut};
use crate::lower::{Layer, Lowering};

/// Layer normalization over the channels: `(x - mean) / √(variance + epsilon) · scale + shift`, with
/// the mean and the (biased) variance of the channels of each pixel, as ConvNeXt has it. The shape
/// stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LayerNormSpec {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Default for LayerNormSpec {
    fn default() -> Self {
        layer_norm()
    }
}

/// Layer normalization with PyTorch's epsilon of 0.00001. (ConvNeXt's is 0.000001.)
pub fn layer_norm() -> LayerNormSpec {
    LayerNormSpec { epsilon: 1e-5 }
}

impl LayerNormSpec {
    /// With another number added to the variance.
    #[must_use]
    pub fn epsilon(self, epsilon: f32) -> Self {
        LayerNormSpec { epsilon }
    }
}

impl Layer for LayerNormSpec {
    fn detail(&self) -> String {
        format!("epsilon {}", self.epsilon)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        check_epsilon(cx, self.epsilon)?;
        lower_norm(cx, inputs, |_, _| Ok(ops::GroupNorm::layer(self.epsilon)))
    }
}

modules! {
    /// Layer normalization over the last axis. The shape stays.
    LayerNorm(LayerNormSpec) |norm, x| x.layer_norm(&norm.scale, &norm.shift, norm.spec.epsilon);
}
