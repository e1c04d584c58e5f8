//! PReLU (He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015).

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{Binary, BinaryKind, Cast};
use striate_tensor::{DType, Device, Result, Tensor};

use super::module::{Context, Module, Visitor, VisitorMut};
use crate::init::Fresh;
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;

/// ReLU with a slope below zero that is learnt. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PreluSpec {
    /// One slope for all channels, not one for each.
    #[serde(skip_serializing_if = "is_false")]
    pub shared: bool,
    /// What slopes start with.
    #[serde(skip_serializing_if = "is_usual")]
    pub initial: f32,
}

const INITIAL: f32 = 0.25;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_usual(initial: &f32) -> bool {
    initial.to_bits() == INITIAL.to_bits()
}

impl Default for PreluSpec {
    fn default() -> Self {
        prelu()
    }
}

/// ReLU with a learnt slope below zero for each channel, 0.25 at first.
pub fn prelu() -> PreluSpec {
    PreluSpec { shared: false, initial: INITIAL }
}

impl PreluSpec {
    /// With one slope for all channels, as PyTorch's `PReLU` has it where no number is given.
    #[must_use]
    pub fn shared(self) -> Self {
        PreluSpec { shared: true, ..self }
    }

    /// With other slopes at first.
    #[must_use]
    pub fn initial(self, initial: f32) -> Self {
        PreluSpec { initial, ..self }
    }

    fn slopes(&self, channels: usize) -> usize {
        if self.shared { 1 } else { channels }
    }
}

impl Layer for PreluSpec {
    fn detail(&self) -> String {
        if self.shared { "shared".into() } else { String::new() }
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let channels = cx.per_image(x).last().copied().unwrap_or(0);
        cx.at_least_one("input channels", channels)?;
        cx.finite("initial slope", self.initial)?;
        let slopes = [self.slopes(channels)];
        let mut slope = cx.parameter(Role::Slope, &slopes, Fresh::Constant(self.initial))?;
        let dtype = cx.dtype(x);
        if cx.dtype(slope) != dtype {
            slope = cx.push(Cast { dtype }, &[slope])?;
        }
        cx.push(Binary { kind: BinaryKind::Prelu }, &[x, slope])
    }
}

/// ReLU with slopes below zero that are learnt, over the last axis. The shape stays.
#[derive(Clone, Debug)]
pub struct Prelu {
    slope: Tensor,
}

impl Prelu {
    /// Fresh, for so many channels.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(spec: PreluSpec, channels: usize, device: &Device) -> Result<Self> {
        let slope = Tensor::full([spec.slopes(channels)], spec.initial, DType::F32, device)?;
        Ok(Prelu { slope })
    }

    /// Of these slopes, `[channels]` or `[1]`.
    pub fn from_tensor(slope: Tensor) -> Self {
        Prelu { slope }
    }
}

impl Module for Prelu {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        if x.dtype() == self.slope.dtype() {
            return x.prelu(&self.slope);
        }
        x.prelu(&self.slope.cast(x.dtype())?)
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.parameter("weight", &self.slope);
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        visit.parameter("weight", &mut self.slope);
    }
}
