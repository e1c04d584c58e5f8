//! Stochastic depth (Huang, Sun, Liu, Sedra and Weinberger, "Deep networks with stochastic depth", 2016).

use serde::{Deserialize, Serialize};
use striate_graph::{NodeOp, Value};
use striate_tensor::{Error, Result, Tensor};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};

/// The images of a mini-batch zeroed at random in training, each as a whole, and the others scaled by
/// `1 / (1 - rate)`; in inference it does nothing. Before a sum with a shortcut it drops the branch, as
/// torchvision's `StochasticDepth` of mode `row` does. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StochasticDepthSpec {
    /// The probability that an image is dropped, from 0 to less than 1.
    pub rate: f32,
}

impl Layer for StochasticDepthSpec {
    fn detail(&self) -> String {
        self.rate.to_string()
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let rate = self.rate;
        if !(0.0..1.0).contains(&rate) {
            return Err(cx.error("a rate from 0 to less than 1", rate.to_string()));
        }
        match cx.slot() {
            Some(slot) if rate > 0.0 => {
                let scale = 1.0 / (1.0 - rate);
                cx.push_node(NodeOp::Dropout { rate, scale, slot, images: true }, &[x], false)
            }
            _ => Ok(x),
        }
    }
}

/// Zeroes images at random in training, each as a whole, and scales the others by `1 / (1 - rate)`; in
/// inference it does nothing. See [`StochasticDepthSpec`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StochasticDepth {
    rate: f32,
}

impl StochasticDepth {
    /// At a rate from 0 to less than 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the rate is not in that range.
    pub fn new(rate: f32) -> Result<Self> {
        if (0.0..1.0).contains(&rate) {
            return Ok(StochasticDepth { rate });
        }
        Err(Error::parameter("stochastic_depth", "rate", "from 0 to less than 1", rate))
    }

    /// The probability that an image is dropped.
    pub fn rate(&self) -> f32 {
        self.rate
    }
}

impl Module for StochasticDepth {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match cx.next_key() {
            Some(key) if self.rate > 0.0 => {
                x.dropout_images(self.rate, 1.0 / (1.0 - self.rate), key)
            }
            _ => Ok(x.clone()),
        }
    }
}
