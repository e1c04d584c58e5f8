//! Local response normalization.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::{Result, Tensor, ops};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};

/// Local response normalization: `y = x · (kappa + alpha · Σ x²)^-beta`, summed over `size`
/// channels around each, clipped to its own part. As in ccv, `alpha` is not divided by the size,
/// and an even size equals the next odd one. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LrnSpec {
    /// Channels in the window.
    pub size: usize,
    /// The constant of the denominator.
    pub kappa: f32,
    /// The factor of the sum of squares.
    pub alpha: f32,
    /// The power of the denominator.
    pub beta: f32,
    /// Parts that the channels fall into.
    #[serde(default = "one")]
    pub groups: usize,
}

fn one() -> usize {
    1
}

/// Local response normalization over `size` channels, with the constants of AlexNet: kappa 2, alpha
/// 0.0001 (not divided by the size), beta 0.75; one group.
///
/// ```
/// use striate_nn::{NetworkSpec, conv2d, lrn};
///
/// let spec = NetworkSpec::new([32, 32, 3]).conv(conv2d(96, 5)).relu().lrn(lrn(5)).full_connect(10);
/// spec.verify(10)?;
/// # Ok::<(), striate_nn::Error>(())
/// ```
pub fn lrn(size: usize) -> LrnSpec {
    LrnSpec { size, kappa: 2.0, alpha: 1e-4, beta: 0.75, groups: 1 }
}

impl LrnSpec {
    /// With another constant in the denominator.
    #[must_use]
    pub fn kappa(self, kappa: f32) -> Self {
        LrnSpec { kappa, ..self }
    }

    /// With another factor of the sum of squares. Caffe and PyTorch divide theirs by the size:
    /// divide it here.
    #[must_use]
    pub fn alpha(self, alpha: f32) -> Self {
        LrnSpec { alpha, ..self }
    }

    /// With another power.
    #[must_use]
    pub fn beta(self, beta: f32) -> Self {
        LrnSpec { beta, ..self }
    }

    /// In groups: a window stays inside its own.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        LrnSpec { groups, ..self }
    }

    /// The op that computes it.
    pub fn op(&self) -> ops::Lrn {
        let LrnSpec { size, kappa, alpha, beta, groups } = *self;
        ops::Lrn { size, kappa, alpha, beta, groups }
    }
}

impl Layer for LrnSpec {
    fn detail(&self) -> String {
        let groups =
            if self.groups > 1 { format!(" groups {}", self.groups) } else { String::new() };
        format!("{}{groups}", self.size)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [_, _, channels] = cx.image(x)?;
        cx.at_least_one("a window", self.size)?;
        cx.divides(self.groups, "input channels", channels)?;
        for (what, value) in [("kappa", self.kappa), ("alpha", self.alpha), ("beta", self.beta)] {
            cx.finite(what, value)?;
        }
        cx.push(self.op(), &[x])
    }
}

/// Local response normalization across the last axis. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn(pub LrnSpec);

impl Module for Lrn {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.lrn(self.0.op())
    }
}
