//! Gradient descent as in ccv.

use std::collections::BTreeMap;

use striate_graph::ParameterId;
use striate_tensor::{Result, Tensor, ops};

use super::{Method, Optimizer, OptimizerState, Parameters};
use crate::layers::Module;

/// Stochastic gradient descent with momentum, as in ccv (see [`ops::SgdMomentum`]). It keeps the
/// velocity of each parameter by its number.
///
/// Tied parameters, clones of one [leaf](Tensor::require_grad) in several places of a module, are
/// one parameter: it has one gradient and one velocity and moves once, by the rates of the first of
/// its places, and every place then holds the new value of the same leaf.
///
/// ```
/// use striate_nn::{Context, FullConnect, Module, Rates, Sgd, parameter_gradients, require_grad};
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// // Learns y = 2x from four examples.
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![-1.0f32, 0.0, 1.0, 2.0], [4, 1], &device)?;
/// let y = Tensor::from_vec(vec![-2.0f32, 0.0, 2.0, 4.0], [4, 1], &device)?;
/// let mut layer = FullConnect::new(1, 1, RandomKey::new(7, 0), &device)?;
/// require_grad(&mut layer);
/// let mut sgd = Sgd::new();
/// let rates = Rates { rate: 0.1, momentum: 0.9, decay: 0.0 };
/// for _ in 0..100 {
///     let error = layer.forward(&x, &Context::inference())?.sub(&y)?;
///     let loss = error.mul(&error)?.mean_all()?;
///     let gradients = parameter_gradients(&layer, loss.backward()?);
///     sgd.step(&mut layer, &gradients, |_| rates.step(1.0))?;
/// }
/// let weight = layer.weight().to_vec::<f32>()?[0];
/// assert!((weight - 2.0).abs() < 0.05, "{weight}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sgd(Optimizer);

impl Sgd {
    /// With all velocities 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these velocities, by parameter.
    #[must_use]
    pub fn with_velocities(velocities: BTreeMap<ParameterId, Tensor>) -> Self {
        Sgd(Optimizer::with_state(Method::Sgd, OptimizerState::of_velocities(velocities)))
    }

    /// The velocities, by parameter; none for what has not moved yet.
    pub fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        self.0.state().velocities()
    }

    /// Moves every parameter that has a gradient, by the step that `step` gives for it. Parameters
    /// without a gradient stay. The one gradient of tied parameters may stand under any of them; the
    /// velocity stands under the first, and so does the step.
    ///
    /// # Errors
    /// Where a gradient or velocity has another shape than its parameter, a parameter is not f32,
    /// tied parameters have several gradients: then nothing moves. Where the device fails: then some
    /// may have moved.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<ParameterId, Tensor>,
        step: impl Fn(ParameterId) -> ops::SgdMomentum,
    ) -> Result<()> {
        self.0.step_by(module, gradients, |id| step(id).into())
    }

    /// Moves one parameter, and with it those that are tied to it.
    ///
    /// # Errors
    /// As [`step`](Sgd::step); where there is no such parameter.
    pub fn step_one(
        &mut self,
        parameters: &mut Parameters<'_>,
        id: ParameterId,
        gradient: &Tensor,
        step: ops::SgdMomentum,
    ) -> Result<()> {
        self.0.step_several_by(parameters, vec![(id, gradient, step.into())])
    }

    /// Makes the velocities that are not there yet. [`step`](Sgd::step) does so when it needs them;
    /// this does it before anything else takes memory: they stay, and should not lie between what
    /// comes and goes.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn prepare(&mut self, module: &dyn Module) -> Result<()> {
        self.0.prepare(module)
    }
}
