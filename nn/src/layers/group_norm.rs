//! Group normalization (Wu and He, "Group normalization", 2018) and instance normalization (Ulyanov,
//! Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast stylization",
//! 2016).

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{DType, Device, Result, Tensor, ops};

use super::module::{Context, Module, Visitor, VisitorMut};
use crate::init::Fresh;
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;

/// Group normalization: `(x - mean) / √(variance + epsilon) · scale + shift`, with the mean and the
/// (biased) variance of all pixels of an image in a group of channels; scale and shift are numbers of
/// each channel. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GroupNormSpec {
    /// Groups that the channels fall into.
    pub groups: usize,
    /// Added to the variance.
    #[serde(default = "usual_epsilon")]
    pub epsilon: f32,
}

fn usual_epsilon() -> f32 {
    1e-5
}

/// Group normalization with PyTorch's epsilon of 0.00001.
pub fn group_norm(groups: usize) -> GroupNormSpec {
    GroupNormSpec { groups, epsilon: usual_epsilon() }
}

impl GroupNormSpec {
    /// With another number added to the variance.
    #[must_use]
    pub fn epsilon(self, epsilon: f32) -> Self {
        GroupNormSpec { epsilon, ..self }
    }

    fn op(&self) -> ops::GroupNorm {
        ops::GroupNorm::group(self.groups, self.epsilon)
    }
}

impl Layer for GroupNormSpec {
    fn detail(&self) -> String {
        format!("{} groups, epsilon {}", self.groups, self.epsilon)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        check_epsilon(cx, self.epsilon)?;
        lower_norm(cx, inputs, |cx, channels| {
            cx.divides(self.groups, "input channels", channels)?;
            Ok(self.op())
        })
    }
}

/// Instance normalization: `(x - mean) / √(variance + epsilon) · scale + shift`, with the mean and the
/// (biased) variance of all pixels of an image, each channel by itself. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InstanceNormSpec {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Default for InstanceNormSpec {
    fn default() -> Self {
        instance_norm()
    }
}

/// Instance normalization with PyTorch's epsilon of 0.00001. It has scale and shift, as PyTorch's has
/// with `affine=True`; no running statistics.
pub fn instance_norm() -> InstanceNormSpec {
    InstanceNormSpec { epsilon: usual_epsilon() }
}

impl InstanceNormSpec {
    /// With another number added to the variance.
    #[must_use]
    pub fn epsilon(self, epsilon: f32) -> Self {
        InstanceNormSpec { epsilon }
    }
}

impl Layer for InstanceNormSpec {
    fn detail(&self) -> String {
        format!("epsilon {}", self.epsilon)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        check_epsilon(cx, self.epsilon)?;
        lower_norm(cx, inputs, |_, channels| Ok(ops::GroupNorm::group(channels, self.epsilon)))
    }
}

pub(super) fn check_epsilon(cx: &Lowering<'_>, epsilon: f32) -> crate::Result<()> {
    if epsilon.is_finite() && epsilon > 0.0 {
        return Ok(());
    }
    Err(cx.error("a finite epsilon above 0", epsilon.to_string()))
}

/// Lowers a normalization by scale and shift of each channel, of which `op` is told the number.
pub(super) fn lower_norm(
    cx: &mut Lowering<'_>,
    inputs: &[Value],
    op: impl FnOnce(&Lowering<'_>, usize) -> crate::Result<ops::GroupNorm>,
) -> crate::Result<Value> {
    let x = cx.one(inputs)?;
    let channels = cx.per_image(x).last().copied().unwrap_or(0);
    cx.at_least_one("input channels", channels)?;
    let op = op(cx, channels)?;
    let scale = cx.parameter(Role::Scale, &[channels], Fresh::Constant(1.0))?;
    let shift = cx.parameter(Role::Shift, &[channels], Fresh::Constant(0.0))?;
    cx.push(op, &[x, scale, shift])
}

/// A fresh scale of 1 and shift of 0.
pub(super) fn fresh(channels: usize, device: &Device) -> Result<[Tensor; 2]> {
    let scale = Tensor::full([channels], 1.0, DType::F32, device)?;
    let shift = Tensor::full([channels], 0.0, DType::F32, device)?;
    Ok([scale, shift])
}

/// Makes modules with scale and shift of each channel.
macro_rules! modules {
    ($($(#[$doc:meta])* $module:ident($spec:ty) |$of:ident, $x:ident| $norm:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $module {
            scale: Tensor,
            shift: Tensor,
            spec: $spec,
        }

        impl $module {
            /// Fresh: scale 1, shift 0.
            ///
            /// # Errors
            /// Where the device fails.
            pub fn new(spec: $spec, channels: usize, device: &Device) -> Result<Self> {
                let [scale, shift] = fresh(channels, device)?;
                Ok($module { scale, shift, spec })
            }

            /// Of these tensors: scale and shift `[channels]`.
            pub fn from_tensors(spec: $spec, scale: Tensor, shift: Tensor) -> Self {
                $module { scale, shift, spec }
            }
        }

        impl Module for $module {
            fn forward(&self, $x: &Tensor, _: &Context) -> Result<Tensor> {
                let $of = self;
                $norm
            }

            fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
                visit.parameter("weight", &self.scale);
                visit.parameter("bias", &self.shift);
            }

            fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
                visit.parameter("weight", &mut self.scale);
                visit.parameter("bias", &mut self.shift);
            }
        }
    )*};
}

pub(super) use modules;

modules! {
    /// Group normalization of `[n, .., channels]`. The shape stays.
    GroupNorm(GroupNormSpec) |norm, x| x.group_norm(&norm.scale, &norm.shift, norm.spec.op());
    /// Instance normalization of `[n, rows, cols, channels]`. The shape stays.
    InstanceNorm2d(InstanceNormSpec) |norm, x| {
        x.instance_norm(&norm.scale, &norm.shift, norm.spec.epsilon)
    };
}
