//! Full-connect layers.

use striate_tensor::{DType, Device, RandomKey, Result, Shape, Tensor, ops};

use super::{Context, Module, Visitor, VisitorMut};
use crate::init::Initializer;
use crate::{Dropout, FullConnectSpec};

/// A full-connect layer with bias, ReLU where its specification says so, and dropout of its
/// outputs in training: `[n, ..]`, flattened row, col, channel, to `[n, count]`.
#[derive(Clone, Debug)]
pub struct FullConnect {
    weight: Tensor,
    bias: Option<Tensor>,
    relu: bool,
    dropout: Option<Dropout>,
}

impl FullConnect {
    /// A layer of `inputs` inputs with fresh weights: a number of outputs, or a whole
    /// specification.
    ///
    /// # Errors
    /// Where a size is zero or too large, the dropout rate is no probability, or the device fails.
    pub fn new(
        spec: impl Into<FullConnectSpec>,
        inputs: usize,
        key: RandomKey,
        device: &Device,
    ) -> Result<Self> {
        let spec = spec.into();
        let shape = Shape::new(&[spec.count, inputs])?;
        let weight = Initializer::from(spec.init).weights(&shape, key, device)?;
        let bias = Tensor::full([spec.count], spec.init.bias, DType::F32, device)?;
        let dropout = match spec.dropout {
            0.0 => None,
            rate => Some(Dropout::new(rate)?),
        };
        Ok(FullConnect { weight, bias: Some(bias), relu: spec.relu, dropout })
    }

    /// A layer of these weights `[out, in]` and biases `[out]`, without dropout.
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, relu: bool) -> Self {
        FullConnect { weight, bias, relu, dropout: None }
    }

    /// The weights.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The biases.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

impl Module for FullConnect {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let options = ops::MatMul { transpose_b: true, relu: self.relu, ..Default::default() };
        let y = x.flatten()?.matmul_with(&self.weight, self.bias.as_ref(), options)?;
        match &self.dropout {
            Some(dropout) => dropout.forward(&y, cx),
            None => Ok(y),
        }
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
