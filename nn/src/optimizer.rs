//! Gradient descent on the parameters of modules.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use striate_tensor::{Gradients, LeafId, Result, Tensor, ops};

use crate::layers::{Module, Visitor, VisitorMut};

/// How a parameter learns: stochastic gradient descent with momentum and weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rates {
    /// The learning rate.
    pub rate: f32,
    /// How much of the last step is kept.
    pub momentum: f32,
    /// The pull toward 0, times the learning rate.
    pub decay: f32,
}

impl Rates {
    /// The step with these rates, for a gradient that is to be multiplied by `scale`.
    pub fn step(self, scale: f32) -> ops::SgdMomentum {
        let Rates { rate, momentum, decay } = self;
        ops::SgdMomentum { rate, momentum, decay, scale }
    }
}

/// The gradients of a module's parameters by their full names, out of a backward pass. What the
/// loss does not depend on is not there.
pub fn named_gradients(module: &dyn Module, mut gradients: Gradients) -> BTreeMap<String, Tensor> {
    let mut named = BTreeMap::new();
    let mut collect = |name: &str, tensor: &Tensor| {
        if let Some(gradient) = gradients.take(tensor) {
            named.insert(name.to_owned(), gradient);
        }
    };
    module.parameters(&mut Visitor::new(&mut collect));
    named
}

/// The full names of a module's parameters by the leaves that they are: what the gradients are of
/// that [`Tensor::backward_each`] hands out.
pub fn leaf_names(module: &dyn Module) -> BTreeMap<LeafId, String> {
    let mut names = BTreeMap::new();
    let mut collect = |name: &str, tensor: &Tensor| {
        if let Some(leaf) = tensor.leaf_id() {
            // Of tied parameters the first, as in `named_gradients`.
            names.entry(leaf).or_insert_with(|| name.to_owned());
        }
    };
    module.parameters(&mut Visitor::new(&mut collect));
    names
}

/// Stochastic gradient descent with momentum, as in ccv (see [`ops::SgdMomentum`]). It keeps the
/// velocity of each parameter by its name.
///
/// ```
/// use std::collections::BTreeMap;
/// use striate_nn::{Context, FullConnect, Module, Rates, Sgd, named_gradients, require_grad};
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
///     let gradients = named_gradients(&layer, loss.backward()?);
///     sgd.step(&mut layer, &gradients, |_| rates.step(1.0))?;
/// }
/// let weight = layer.weight().to_vec::<f32>()?[0];
/// assert!((weight - 2.0).abs() < 0.05, "{weight}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sgd {
    velocities: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// With all velocities 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these velocities, by parameter.
    #[must_use]
    pub fn with_velocities(velocities: BTreeMap<String, Tensor>) -> Self {
        Sgd { velocities }
    }

    /// The velocities, by parameter; none for what has not moved yet.
    pub fn velocities(&self) -> &BTreeMap<String, Tensor> {
        &self.velocities
    }

    /// Moves every parameter that has a gradient, by the step that `step` gives for its name.
    /// Parameters without a gradient stay.
    ///
    /// # Errors
    /// Where a gradient or velocity has another shape than its parameter, a parameter is not f32,
    /// or the device fails. Parameters before the one that failed have moved.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<String, Tensor>,
        step: impl Fn(&str) -> ops::SgdMomentum,
    ) -> Result<()> {
        let mut result = Ok(());
        let mut advance = |name: &str, tensor: &mut Tensor| {
            if let (Some(gradient), true) = (gradients.get(name), result.is_ok()) {
                result = self.advance(name, tensor, gradient, step(name));
            }
        };
        module.parameters_mut(&mut VisitorMut::new(&mut advance));
        result
    }

    /// Makes the velocities that are not there yet. [`step`](Sgd::step) does so when it needs them;
    /// this does it before anything else takes memory: they stay, and should not lie between what
    /// comes and goes.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn prepare(&mut self, module: &dyn Module) -> Result<()> {
        let mut result = Ok(());
        let mut prepare = |name: &str, parameter: &Tensor| {
            if result.is_ok() {
                result = self.velocity(name, parameter).map(|_| ());
            }
        };
        module.parameters(&mut Visitor::new(&mut prepare));
        result
    }

    fn velocity(&mut self, name: &str, parameter: &Tensor) -> Result<&mut Tensor> {
        Ok(match self.velocities.entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Tensor::zeros(*parameter.shape(), parameter.device())?)
            }
        })
    }

    fn advance(
        &mut self,
        name: &str,
        parameter: &mut Tensor,
        gradient: &Tensor,
        step: ops::SgdMomentum,
    ) -> Result<()> {
        let velocity = self.velocity(name, parameter)?;
        parameter.sgd_momentum(velocity, gradient, step)
    }
}
