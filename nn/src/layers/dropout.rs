//! Dropout.

use serde::{Deserialize, Serialize};
use striate_graph::{NodeOp, Value};
use striate_tensor::{Error, Result, Tensor};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};

/// Elements muted at random in training, the others scaled by `1 / (1 - rate)`; in inference it does
/// nothing. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DropoutSpec {
    /// The probability of a zero, from 0 to less than 1.
    pub rate: f32,
}

impl Layer for DropoutSpec {
    fn detail(&self) -> String {
        self.rate.to_string()
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        lower(cx, x, self.rate)
    }
}

/// Dropout of a value, where this is training and the rate is not 0.
pub(crate) fn lower(cx: &mut Lowering<'_>, x: Value, rate: f32) -> crate::Result<Value> {
    if !(0.0..1.0).contains(&rate) {
        return Err(cx.error("a dropout rate from 0 to less than 1", rate.to_string()));
    }
    match cx.slot() {
        Some(slot) if rate > 0.0 => {
            let scale = 1.0 / (1.0 - rate);
            cx.push_node(NodeOp::Dropout { rate, scale, slot, images: false }, &[x], false)
        }
        _ => Ok(x),
    }
}

/// Zeroes elements at random in training, and scales the others by `1 / (1 - rate)` so that sums
/// keep their size; in inference it does nothing. The shape stays.
///
/// ccv does not scale in training but multiplies the trained weights and biases by `1 - rate` in
/// the end. Since ReLU keeps factors, both compute the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rate: f32,
}

impl Dropout {
    /// Dropout at a rate from 0 to less than 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the rate is not in that range.
    pub fn new(rate: f32) -> Result<Self> {
        if (0.0..1.0).contains(&rate) {
            return Ok(Dropout { rate });
        }
        Err(Error::parameter("dropout", "rate", "from 0 to less than 1", rate))
    }

    /// The probability of a zero.
    pub fn rate(&self) -> f32 {
        self.rate
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match cx.next_key() {
            Some(key) if self.rate > 0.0 => x.dropout(self.rate, 1.0 / (1.0 - self.rate), key),
            _ => Ok(x.clone()),
        }
    }
}
