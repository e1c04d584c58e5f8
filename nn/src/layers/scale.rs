//! A learnt factor for each channel.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{Binary, BinaryKind, Cast};
use striate_tensor::{DType, Device, Result, Tensor};

use super::module::{Context, Module, Visitor, VisitorMut};
use crate::init::Fresh;
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;

/// Each channel times a learnt factor: the layer scale of ConvNeXt (Touvron et al., "Going deeper with
/// image transformers", 2021). The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScaleSpec {
    /// What a fresh layer multiplies by.
    pub initial: f32,
}

impl Layer for ScaleSpec {
    fn detail(&self) -> String {
        format!("from {}", self.initial)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let channels = cx.per_image(x).last().copied().unwrap_or(0);
        cx.at_least_one("input channels", channels)?;
        cx.finite("initial factor", self.initial)?;
        let mut scale = cx.parameter(Role::Scale, &[channels], Fresh::Constant(self.initial))?;
        let dtype = cx.dtype(x);
        if cx.dtype(scale) != dtype {
            scale = cx.push(Cast { dtype }, &[scale])?;
        }
        cx.push(Binary { kind: BinaryKind::Mul }, &[x, scale])
    }
}

/// Each entry of the last axis times a learnt factor. The shape stays.
#[derive(Clone, Debug)]
pub struct LayerScale {
    scale: Tensor,
}

impl LayerScale {
    /// Fresh: all factors as specified.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(spec: ScaleSpec, channels: usize, device: &Device) -> Result<Self> {
        let scale = Tensor::full([channels], spec.initial, DType::F32, device)?;
        Ok(LayerScale { scale })
    }

    /// Of these factors, `[channels]`.
    pub fn from_tensors(scale: Tensor) -> Self {
        LayerScale { scale }
    }
}

impl Module for LayerScale {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.mul(&self.scale.cast(x.dtype())?)
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.parameter("weight", &self.scale);
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        visit.parameter("weight", &mut self.scale);
    }
}
