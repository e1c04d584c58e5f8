//! Convolution.

use striate_tensor::{DType, Device, Error, RandomKey, Result, Shape, Tensor, ops};

use super::{Context, Module, Visitor, VisitorMut};
use crate::ConvSpec;
use crate::init::Initializer;

/// A convolution with bias, and ReLU where its specification says so: `[n, rows, cols, channels]`
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
        let bias = Tensor::full([spec.count], spec.init.bias, DType::F32, device)?;
        Ok(Conv2d { weight, bias: Some(bias), options: spec.op() })
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

    fn parameters(&self, visit: &mut Visitor) {
        visit.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visit.parameter("bias", bias);
        }
    }

    fn parameters_mut(&mut self, visit: &mut VisitorMut) {
        visit.parameter("weight", &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visit.parameter("bias", bias);
        }
    }
}
