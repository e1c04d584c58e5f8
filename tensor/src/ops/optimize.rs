//! Steps of optimizers, in place.

use super::{OpRule, of_dtype, same_shape};
use crate::{DType, Error, Result, Tensor, TensorType};

/// A step of an optimizer, as PyTorch defines it, in place. Targets are the weights `w` and the state
/// that the optimizer keeps of them, the operand is the gradient; all are f32 of one shape. `g` below
/// is `scale` times the gradient.
///
/// ccv's gradient descent is [`SgdMomentum`](super::SgdMomentum): there the rate is inside the velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimize {
    /// Gradient descent. With `g ← g + decay · w`: `v ← momentum · v + g`, then `w ← w - rate · v`, and with
    /// Nesterov's momentum `w ← w - rate · (g + momentum · v)`. State: `v`.
    Sgd {
        /// The learning rate.
        rate: f32,
        /// How much of the velocity is kept.
        momentum: f32,
        /// The pull of weights toward 0.
        decay: f32,
        /// Whether the gradient is looked at where the velocity leads.
        nesterov: bool,
        /// The factor of the gradient.
        scale: f32,
    },
    /// Adam (Kingma and Ba 2015), and AdamW (Loshchilov and Hutter 2019) where the decay is decoupled: then
    /// `w ← w - rate · decay · w` first, else `g ← g + decay · w`. `m ← m + (1 - β₁) · (g - m)`, `s ← β₂ · s + (1 - β₂) ·
    /// g²`, `w ← w - rate / (1 - β₁ᵗ) · m / (√s / √(1 - β₂ᵗ) + ε)`. State: `m` and `s`.
    Adam {
        /// The learning rate.
        rate: f32,
        /// How much of the mean gradient and of the mean square is kept: β₁ and β₂.
        betas: [f64; 2],
        /// What keeps the quotient finite: ε.
        epsilon: f64,
        /// The pull of weights toward 0.
        decay: f32,
        /// Whether this pull is beside the gradient (AdamW) and not in it (Adam).
        decoupled: bool,
        /// The factor of the gradient.
        scale: f32,
        /// The number of the step, from 1: t.
        step: u64,
    },
    /// RMSprop (Hinton 2012). With `g ← g + decay · w`: `s ← α · s + (1 - α) · g²`, `q = g / (√s + ε)`, then `w ← w -
    /// rate · q`; with momentum `v ← momentum · v + q` and `w ← w - rate · v`. State: `s`, and `v` where there
    /// is a momentum.
    RmsProp {
        /// The learning rate.
        rate: f32,
        /// How much of the mean square is kept: α.
        alpha: f64,
        /// What keeps the quotient finite: ε.
        epsilon: f64,
        /// How much of the velocity is kept; 0 for none.
        momentum: f32,
        /// The pull of weights toward 0.
        decay: f32,
        /// The factor of the gradient.
        scale: f32,
    },
    /// A moving average: `a ← a + (1 - keep) · (x - a)`. The target is `a`, the operand `x`. No state.
    Average {
        /// How much of the average is kept.
        keep: f64,
    },
}

/// What a step multiplies by, rounded once to what devices compute with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptimizeFactors {
    /// Of the gradient.
    pub scale: f32,
    /// Of the weights, added to the gradient.
    pub decay: f32,
    /// Of the weights, before they move.
    pub shrink: f32,
    /// Of the velocity or the mean gradient: what is kept of it, and what comes in.
    pub first: [f32; 2],
    /// Of the mean square.
    pub second: [f32; 2],
    /// Of the root of the mean square.
    pub root: f32,
    /// Added to that.
    pub epsilon: f32,
    /// Of the step, the learning rate corrected.
    pub rate: f32,
}

impl Optimize {
    /// The names of these ops.
    pub const NAMES: &'static [&'static str] = &["sgd", "adam", "rms_prop", "average"];

    /// How many tensors of state it keeps beside the weights.
    pub const fn states(&self) -> usize {
        match self {
            Optimize::Sgd { .. } => 1,
            Optimize::Adam { .. } => 2,
            Optimize::RmsProp { momentum, .. } => 1 + (*momentum > 0.0) as usize,
            Optimize::Average { .. } => 0,
        }
    }

    /// What devices multiply by: the same on all.
    pub fn factors(&self) -> OptimizeFactors {
        let wide = self.wide_factors();
        let pair = |[kept, comes]: [f64; 2]| [kept as f32, comes as f32];
        OptimizeFactors {
            scale: wide.scale as f32,
            decay: wide.decay as f32,
            shrink: wide.shrink as f32,
            first: pair(wide.first),
            second: pair(wide.second),
            root: wide.root as f32,
            epsilon: wide.epsilon as f32,
            rate: wide.rate as f32,
        }
    }

    /// What the definition multiplies by.
    pub(crate) fn wide_factors(&self) -> WideFactors {
        let still = WideFactors {
            scale: 1.0,
            decay: 0.0,
            shrink: 1.0,
            first: [0.0, 1.0],
            second: [0.0, 1.0],
            root: 1.0,
            epsilon: 0.0,
            rate: 0.0,
        };
        let kept = |keep: f64| [keep, 1.0 - keep];
        match *self {
            Optimize::Sgd { rate, momentum, decay, scale, .. } => WideFactors {
                scale: scale.into(),
                decay: decay.into(),
                first: [momentum.into(), 1.0],
                rate: rate.into(),
                ..still
            },
            Optimize::Adam { rate, betas, epsilon, decay, decoupled, scale, step } => {
                let (rate, decay) = (f64::from(rate), f64::from(decay));
                let step = i32::try_from(step.max(1)).unwrap_or(i32::MAX);
                let correction = |beta: f64| 1.0 - beta.powi(step);
                WideFactors {
                    scale: scale.into(),
                    decay: if decoupled { 0.0 } else { decay },
                    shrink: if decoupled { 1.0 - rate * decay } else { 1.0 },
                    first: kept(betas[0]),
                    second: kept(betas[1]),
                    root: correction(betas[1]).sqrt().recip(),
                    epsilon,
                    rate: rate / correction(betas[0]),
                }
            }
            Optimize::RmsProp { rate, alpha, epsilon, momentum, decay, scale } => WideFactors {
                scale: scale.into(),
                decay: decay.into(),
                first: [momentum.into(), 1.0],
                second: kept(alpha),
                epsilon,
                rate: rate.into(),
                ..still
            },
            Optimize::Average { keep } => WideFactors { first: kept(keep), ..still },
        }
    }
}

/// As [`OptimizeFactors`], before rounding.
#[derive(Clone, Copy)]
pub(crate) struct WideFactors {
    pub(crate) scale: f64,
    pub(crate) decay: f64,
    pub(crate) shrink: f64,
    pub(crate) first: [f64; 2],
    pub(crate) second: [f64; 2],
    pub(crate) root: f64,
    pub(crate) epsilon: f64,
    pub(crate) rate: f64,
}

impl OpRule for Optimize {
    fn name(&self) -> &'static str {
        match self {
            Optimize::Sgd { .. } => "sgd",
            Optimize::Adam { .. } => "adam",
            Optimize::RmsProp { .. } => "rms_prop",
            Optimize::Average { .. } => "average",
        }
    }

    /// Takes the targets, the weights first, and the operand last.
    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let expected = 2 + self.states();
        if inputs.len() != expected {
            let expected = expected.to_string();
            return Err(Error::Operands { op, expected, got: inputs.len() });
        }
        let w = inputs[0];
        for (place, ty) in inputs.iter().enumerate() {
            let what = match place {
                0 => "w",
                _ if place + 1 == expected => "gradient",
                _ => "state",
            };
            of_dtype(op, what, ty, DType::F32)?;
            same_shape(op, what, &w.shape, &ty.shape)?;
        }
        Ok(w)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        let each = match self {
            Optimize::Sgd { .. } => 7,
            Optimize::Adam { .. } => 15,
            Optimize::RmsProp { .. } => 12,
            Optimize::Average { .. } => 3,
        };
        each * output.count() as u64
    }
}

impl Tensor {
    /// A step of an optimizer on these weights and the state that it keeps of them, in place: see
    /// [`Optimize`], which says how many tensors the state has.
    ///
    /// # Errors
    /// Where their number is another, shapes differ or are not of f32, or the device fails.
    pub fn optimize(
        &mut self,
        state: &mut [&mut Tensor],
        gradient: &Tensor,
        step: Optimize,
    ) -> Result<()> {
        let targets = std::iter::once(self).chain(state.iter_mut().map(|tensor| &mut **tensor));
        Tensor::update(step.into(), targets.collect(), &[gradient])
    }
}
