//! Batch normalization (Ioffe and Szegedy, "Batch normalization: accelerating deep network training by
//! reducing internal covariate shift", 2015).

use serde::{Deserialize, Serialize};
use striate_graph::{NodeOp, Record, Value};
use striate_tensor::{DType, Device, Result, Tensor, ops};

use super::module::{BatchMoments, Buffer, Context, Module, Visitor, VisitorMut};
use crate::init::Fresh;
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;

/// Batch normalization: `(x - mean) / √(variance + epsilon) · scale + shift`, for each channel.
/// Training takes mean and (biased) variance of the mini-batch, inference the running ones. The shape
/// stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BatchNormSpec {
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of a mini-batch's statistics goes into the running ones, as PyTorch counts it:
    /// `running = (1 - momentum) · running + momentum · batch`.
    pub momentum: f32,
}

impl Default for BatchNormSpec {
    fn default() -> Self {
        batch_norm()
    }
}

/// Batch normalization with an epsilon of 0.00001 and a momentum of 0.1, as in torchvision's networks
/// but for those that say otherwise.
pub fn batch_norm() -> BatchNormSpec {
    BatchNormSpec { epsilon: 1e-5, momentum: 0.1 }
}

impl BatchNormSpec {
    /// With another number added to the variance.
    #[must_use]
    pub fn epsilon(self, epsilon: f32) -> Self {
        BatchNormSpec { epsilon, ..self }
    }

    /// With another share of a mini-batch's statistics in the running ones.
    #[must_use]
    pub fn momentum(self, momentum: f32) -> Self {
        BatchNormSpec { momentum, ..self }
    }

    fn op(&self, batch: bool) -> ops::BatchNorm {
        ops::BatchNorm { epsilon: self.epsilon, batch, ..ops::BatchNorm::default() }
    }
}

impl Layer for BatchNormSpec {
    fn detail(&self) -> String {
        format!("epsilon {}", self.epsilon)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let channels = cx.per_image(x).last().copied().unwrap_or(0);
        cx.at_least_one("input channels", channels)?;
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(cx.error("a finite epsilon above 0", self.epsilon.to_string()));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(cx.error("a momentum from 0 to 1", self.momentum.to_string()));
        }
        let scale = cx.parameter(Role::Scale, &[channels], Fresh::Constant(1.0))?;
        let shift = cx.parameter(Role::Shift, &[channels], Fresh::Constant(0.0))?;
        let (id, stored) = cx.buffer(&[2, channels], &[0.0, 1.0], self.momentum)?;
        if !cx.is_training() {
            return cx.push(self.op(false), &[x, stored, scale, shift]);
        }
        let moments = cx.push_node(NodeOp::Op(ops::Moments.into()), &[x], true)?;
        let count = cx.elements_a_channel(x);
        cx.record(Record { buffer: id, count, moments });
        cx.push(self.op(true), &[x, moments, scale, shift])
    }
}

/// Batch normalization over the last axis, with its running statistics. The shape stays.
///
/// In training it normalises by the batch's statistics and hands them to the [`Context`]; whoever
/// trains applies them once a mini-batch ([`update_statistics`](crate::update_statistics)).
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    scale: Tensor,
    shift: Tensor,
    /// Mean and variance, `[2, channels]`.
    running: Buffer,
    spec: BatchNormSpec,
}

impl BatchNorm2d {
    /// Fresh: scale 1, shift 0, running mean 0 and variance 1.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(spec: BatchNormSpec, channels: usize, device: &Device) -> Result<Self> {
        let scale = Tensor::full([channels], 1.0, DType::F32, device)?;
        let shift = Tensor::full([channels], 0.0, DType::F32, device)?;
        let mut running = vec![0.0f32; channels];
        running.resize(2 * channels, 1.0);
        let running = Buffer::new(Tensor::from_vec(running, [2, channels], device)?);
        Ok(BatchNorm2d { scale, shift, running, spec })
    }

    /// Of these tensors: scale and shift `[channels]`, running mean and variance f32 `[2, channels]`.
    pub fn from_tensors(
        spec: BatchNormSpec,
        scale: Tensor,
        shift: Tensor,
        running: Tensor,
    ) -> Self {
        BatchNorm2d { scale, shift, running: Buffer::new(running), spec }
    }

    /// The running mean and variance, `[2, channels]`.
    pub fn running(&self) -> &Tensor {
        self.running.value()
    }
}

impl Module for BatchNorm2d {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        if !cx.is_training() {
            return x.batch_norm(self.running(), &self.scale, &self.shift, self.spec.op(false));
        }
        let moments = striate_tensor::no_grad(|| x.moments())?;
        let channels = self.scale.ty().count().max(1);
        cx.record(BatchMoments {
            buffer: self.running.key(),
            count: (x.ty().count() / channels) as u64,
            momentum: self.spec.momentum,
            moments: moments.clone(),
        });
        x.batch_norm(&moments, &self.scale, &self.shift, self.spec.op(true))
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.parameter("weight", &self.scale);
        visit.parameter("bias", &self.shift);
        visit.buffer("running", &self.running);
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        visit.parameter("weight", &mut self.scale);
        visit.parameter("bias", &mut self.shift);
        visit.buffer("running", &mut self.running);
    }
}
