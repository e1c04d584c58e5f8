//! Full-connect layers.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{DType, Device, RandomKey, Result, Shape, Tensor, ops};

use super::conv2d::is_true;
use super::{Context, Dropout, Module, Visitor, VisitorMut};
use crate::init::{Fresh, Initializer};
use crate::lower::{Layer, Lowering};
use crate::parameters::Role;
use crate::spec::Init;

/// A full-connect layer: `[n, ..]`, flattened row, col, channel, to `[n, count]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FullConnectSpec {
    /// Outputs.
    pub count: usize,
    /// A number is added to each output.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub bias: bool,
    /// Negative outputs become 0.
    #[serde(default)]
    pub relu: bool,
    /// The probability with which training mutes an output (after the ReLU); 0 for none.
    #[serde(default)]
    pub dropout: f32,
    /// What a fresh layer starts with.
    #[serde(default)]
    pub init: Init,
}

fn yes() -> bool {
    true
}

/// A full-connect layer of `count` outputs with a bias, without ReLU and dropout.
///
/// ```
/// use striate_nn::{Context, FullConnect, Module, full_connect, parameter_count};
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// let device = Device::new(Reference::new());
/// let layer = FullConnect::new(full_connect(10).relu(), 64, RandomKey::new(7, 0), &device)?;
/// assert_eq!(parameter_count(&layer), 64 * 10 + 10);
/// let y = layer.forward(&Tensor::zeros([2, 64], &device)?, &Context::inference())?;
/// assert_eq!(y.dims(), [2, 10]);
/// # Ok::<(), striate_tensor::Error>(())
/// ```
pub fn full_connect(count: usize) -> FullConnectSpec {
    FullConnectSpec { count, bias: true, relu: false, dropout: 0.0, init: Init::default() }
}

impl From<usize> for FullConnectSpec {
    fn from(count: usize) -> Self {
        full_connect(count)
    }
}

impl FullConnectSpec {
    /// With ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        FullConnectSpec { relu: true, ..self }
    }

    /// With outputs muted at this rate in training.
    #[must_use]
    pub fn dropout(self, rate: f32) -> Self {
        FullConnectSpec { dropout: rate, ..self }
    }

    /// Without a bias.
    #[must_use]
    pub fn without_bias(self) -> Self {
        FullConnectSpec { bias: false, ..self }
    }

    /// With biases that start at this.
    #[must_use]
    pub fn bias(self, bias: f32) -> Self {
        FullConnectSpec { bias: true, init: Init { bias, ..self.init }, ..self }
    }

    /// The op that computes it on `[n, in]` and weights `[count, in]`.
    pub fn op(&self) -> ops::MatMul {
        ops::MatMul {
            transpose_a: false,
            transpose_b: true,
            bias: self.bias,
            activation: ops::Activation::relu(self.relu),
        }
    }

    /// What training multiplies the outputs by that dropout keeps: `1 / (1 - rate)`.
    pub fn kept_scale(&self) -> f32 {
        1.0 / (1.0 - self.dropout)
    }
}

impl Layer for FullConnectSpec {
    fn detail(&self) -> String {
        let relu = if self.relu { "relu" } else { "linear" };
        let bias = if self.bias { "" } else { " no bias" };
        let dropout = match self.dropout {
            0.0 => String::new(),
            rate => format!(" dropout {rate}"),
        };
        format!("{relu}{bias}{dropout}")
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        cx.at_least_one("a count", self.count)?;
        cx.finite("initial gain", self.init.gain)?;
        cx.finite("initial bias", self.init.bias)?;
        cx.check_flattened(x)?;
        let x = cx.flat(x)?;
        let inputs = cx.per_image(x).iter().product();
        cx.bounded(&[self.count, inputs], "weights")?;
        let weights = Fresh::Weights(self.init.into());
        let mut operands = vec![x, cx.parameter(Role::Weight, &[self.count, inputs], weights)?];
        if self.bias {
            let bias = Fresh::Constant(self.init.bias);
            operands.push(cx.parameter(Role::Bias, &[self.count], bias)?);
        }
        let y = cx.push(self.op(), &operands)?;
        super::dropout::lower(cx, y, self.dropout)
    }
}

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
        let bias = || Tensor::full([spec.count], spec.init.bias, DType::F32, device);
        let bias = spec.bias.then(bias).transpose()?;
        let dropout = match spec.dropout {
            0.0 => None,
            rate => Some(Dropout::new(rate)?),
        };
        Ok(FullConnect { weight, bias, relu: spec.relu, dropout })
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
        let activation = ops::Activation::relu(self.relu);
        let options = ops::MatMul { transpose_b: true, activation, ..Default::default() };
        let y = x.flatten()?.matmul_with(&self.weight, self.bias.as_ref(), options)?;
        match &self.dropout {
            Some(dropout) => dropout.forward(&y, cx),
            None => Ok(y),
        }
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visit.parameter("bias", bias);
        }
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        visit.parameter("weight", &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visit.parameter("bias", bias);
        }
    }
}
