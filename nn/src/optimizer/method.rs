//! Ways to go down a gradient, as data.

use serde::{Deserialize, Serialize};
use striate_tensor::ops::{Optimize, SgdMomentum};

use super::Rates;

/// A way to go down a gradient. Beside its own numbers each takes a learning rate and a decay from the
/// [`Rates`] of a parameter, and a momentum where it says so.
///
/// ```
/// use striate_nn::Method;
///
/// assert_eq!(Method::adamw().name(), "adamw");
/// assert_eq!(Method::adamw().state(0.0), ["first-moment", "second-moment"]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Gradient descent with momentum, as in ccv: the learning rate is inside the velocity
    /// ([`SgdMomentum`]). Takes momentum.
    #[default]
    Sgd,
    /// Gradient descent with momentum, as in PyTorch: the learning rate multiplies the velocity, so that a
    /// change of it is felt at once ([`Optimize::Sgd`]). Takes momentum.
    TorchSgd {
        /// Whether the gradient is looked at where the velocity leads.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam; the decay is part of the gradient ([`Optimize::Adam`]).
    Adam {
        /// How much of the mean gradient and of the mean square is kept.
        #[serde(default = "usual_betas")]
        betas: [f64; 2],
        /// What keeps the quotient finite.
        #[serde(default = "usual_epsilon")]
        epsilon: f64,
    },
    /// AdamW: Adam with a decay beside the gradient.
    #[serde(rename = "adamw")]
    AdamW {
        /// How much of the mean gradient and of the mean square is kept.
        #[serde(default = "usual_betas")]
        betas: [f64; 2],
        /// What keeps the quotient finite.
        #[serde(default = "usual_epsilon")]
        epsilon: f64,
    },
    /// RMSprop ([`Optimize::RmsProp`]). Takes momentum.
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// How much of the mean square is kept.
        #[serde(default = "usual_alpha")]
        alpha: f64,
        /// What keeps the quotient finite.
        #[serde(default = "usual_epsilon")]
        epsilon: f64,
    },
}

/// The state of momentum.
pub(super) const VELOCITY: &str = "velocity";
/// The mean gradient.
const FIRST: &str = "first-moment";
/// The mean square of the gradient.
const SECOND: &str = "second-moment";

fn usual_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn usual_epsilon() -> f64 {
    1e-8
}

fn usual_alpha() -> f64 {
    0.99
}

impl Method {
    /// The names of all methods.
    pub const NAMES: [&'static str; 5] = ["sgd", "torch-sgd", "adam", "adamw", "rmsprop"];

    /// Adam with its usual numbers: β 0.9 and 0.999, ε 1e-8.
    pub fn adam() -> Self {
        Method::Adam { betas: usual_betas(), epsilon: usual_epsilon() }
    }

    /// AdamW with the usual numbers of [`adam`](Method::adam).
    pub fn adamw() -> Self {
        Method::AdamW { betas: usual_betas(), epsilon: usual_epsilon() }
    }

    /// RMSprop with its usual numbers: α 0.99, ε 1e-8.
    pub fn rmsprop() -> Self {
        Method::RmsProp { alpha: usual_alpha(), epsilon: usual_epsilon() }
    }

    /// A method of these [names](Method::NAMES) with its usual numbers.
    pub fn by_name(name: &str) -> Option<Self> {
        let all = [
            Method::Sgd,
            Method::TorchSgd { nesterov: false },
            Method::adam(),
            Method::adamw(),
            Method::rmsprop(),
        ];
        all.into_iter().find(|method| method.name() == name)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Method::Sgd => "sgd",
            Method::TorchSgd { .. } => "torch-sgd",
            Method::Adam { .. } => "adam",
            Method::AdamW { .. } => "adamw",
            Method::RmsProp { .. } => "rmsprop",
        }
    }

    /// Whether it takes momentum from [`Rates`].
    pub const fn takes_momentum(&self) -> bool {
        matches!(self, Method::Sgd | Method::TorchSgd { .. } | Method::RmsProp { .. })
    }

    /// Rates that it is usually given: of weights. Biases, and scales and shifts of normalization, have
    /// the same without decay.
    pub const fn usual_rates(&self) -> Rates {
        match self {
            Method::Sgd | Method::TorchSgd { .. } => {
                Rates { rate: 0.01, momentum: 0.9, decay: 0.0005 }
            }
            Method::AdamW { .. } => Rates { rate: 0.001, momentum: 0.0, decay: 0.01 },
            Method::Adam { .. } | Method::RmsProp { .. } => {
                Rates { rate: 0.001, momentum: 0.0, decay: 0.0 }
            }
        }
    }

    /// The names of the tensors that it keeps of each parameter, at this momentum.
    pub const fn state(&self, momentum: f32) -> &'static [&'static str] {
        match self {
            Method::Sgd | Method::TorchSgd { .. } => &[VELOCITY],
            Method::Adam { .. } | Method::AdamW { .. } => &[FIRST, SECOND],
            Method::RmsProp { .. } if momentum > 0.0 => &[SECOND, VELOCITY],
            Method::RmsProp { .. } => &[SECOND],
        }
    }

    /// What makes no sense in its numbers, where something does not: what was expected, and what is
    /// there.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let share = |number: f64| (0.0..1.0).contains(&number);
        let (shares, epsilon): (&[f64], f64) = match self {
            Method::Sgd | Method::TorchSgd { .. } => return None,
            Method::Adam { betas, epsilon } | Method::AdamW { betas, epsilon } => (betas, *epsilon),
            Method::RmsProp { alpha, epsilon } => (std::slice::from_ref(alpha), *epsilon),
        };
        if let Some(other) = shares.iter().find(|&&number| !share(number)) {
            return Some(("betas and alpha from 0 to less than 1", other.to_string()));
        }
        let positive = epsilon > 0.0 && epsilon.is_finite();
        (!positive).then(|| ("an epsilon above 0", epsilon.to_string()))
    }

    /// The step, number `step` from 1, with these rates, for a gradient that is to be multiplied by
    /// `scale`.
    pub fn op(&self, rates: Rates, scale: f32, step: u64) -> striate_tensor::Op {
        let Rates { rate, momentum, decay } = rates;
        let adam = |betas, epsilon, decoupled| Optimize::Adam {
            rate,
            betas,
            epsilon,
            decay,
            decoupled,
            scale,
            step,
        };
        match *self {
            Method::Sgd => SgdMomentum { rate, momentum, decay, scale }.into(),
            Method::TorchSgd { nesterov } => {
                Optimize::Sgd { rate, momentum, decay, nesterov, scale }.into()
            }
            Method::Adam { betas, epsilon } => adam(betas, epsilon, false).into(),
            Method::AdamW { betas, epsilon } => adam(betas, epsilon, true).into(),
            Method::RmsProp { alpha, epsilon } => {
                Optimize::RmsProp { rate, alpha, epsilon, momentum, decay, scale }.into()
            }
        }
    }
}
