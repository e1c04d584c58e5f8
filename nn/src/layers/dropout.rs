//! Dropout.

use striate_tensor::{Error, Result, Tensor};

use super::{Context, Module};

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
