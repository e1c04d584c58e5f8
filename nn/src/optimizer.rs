//! Gradient descent on the parameters of modules.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use striate_graph::ParameterId;
use striate_tensor::{Error, Gradients, LeafId, Result, Tensor, ops};

use crate::layers::{Module, named_parameters, parameters_mut};

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

/// The gradients of a module's parameters, out of a backward pass. What the loss does not depend on is
/// not there. Tied parameters (clones of one [leaf](Tensor::require_grad)) have one gradient: it stands
/// under the first of them.
pub fn parameter_gradients(
    module: &dyn Module,
    mut gradients: Gradients,
) -> BTreeMap<ParameterId, Tensor> {
    let parameters = named_parameters(module).into_iter().enumerate();
    let gradient = |(place, (_, tensor)): (usize, (String, Tensor))| {
        Some((ParameterId(place as u32), gradients.take(&tensor)?))
    };
    parameters.filter_map(gradient).collect()
}

/// As [`parameter_gradients`], by the parameters' full names: for people.
pub fn named_gradients(module: &dyn Module, mut gradients: Gradients) -> BTreeMap<String, Tensor> {
    let named = named_parameters(module).into_iter();
    named.filter_map(|(name, tensor)| Some((name, gradients.take(&tensor)?))).collect()
}

/// The parameters of a module by the leaves that they are: what the gradients are of that
/// [`Tensor::backward_each`] hands out. Of tied parameters the first, as in [`parameter_gradients`].
pub fn leaf_parameters(module: &dyn Module) -> BTreeMap<LeafId, ParameterId> {
    let mut leaves = BTreeMap::new();
    for (place, (_, tensor)) in named_parameters(module).into_iter().enumerate() {
        if let Some(leaf) = tensor.leaf_id() {
            leaves.entry(leaf).or_insert(ParameterId(place as u32));
        }
    }
    leaves
}

/// The parameters of a module, gathered once to be changed by number, in any order.
pub struct Parameters<'m> {
    slots: Vec<(String, &'m mut Tensor)>,
    /// The first place of each leaf.
    leaves: BTreeMap<LeafId, ParameterId>,
    /// The other places of leaves that stand in several, by the first.
    tied: BTreeMap<ParameterId, Vec<usize>>,
}

impl<'m> Parameters<'m> {
    /// Those of a module that has [`parameters_mut`](Module::parameters_mut).
    pub fn of(module: &'m mut dyn Module) -> Self {
        let slots = parameters_mut(module);
        let (mut leaves, mut tied) = (BTreeMap::new(), BTreeMap::<_, Vec<usize>>::new());
        for (place, (_, tensor)) in slots.iter().enumerate() {
            let Some(leaf) = tensor.leaf_id() else { continue };
            match leaves.entry(leaf) {
                Entry::Vacant(entry) => {
                    entry.insert(ParameterId(place as u32));
                }
                Entry::Occupied(entry) => tied.entry(*entry.get()).or_default().push(place),
            }
        }
        Parameters { slots, leaves, tied }
    }

    /// The parameter that is this leaf; of tied ones the first.
    pub fn of_leaf(&self, leaf: LeafId) -> Option<ParameterId> {
        self.leaves.get(&leaf).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first of the places that hold the same leaf as this one.
    fn first(&self, id: ParameterId) -> Option<ParameterId> {
        let (_, tensor) = self.slots.get(id.index())?;
        Some(tensor.leaf_id().and_then(|leaf| self.of_leaf(leaf)).unwrap_or(id))
    }
}

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
pub struct Sgd {
    velocities: BTreeMap<ParameterId, Tensor>,
}

impl Sgd {
    /// With all velocities 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these velocities, by parameter.
    #[must_use]
    pub fn with_velocities(velocities: BTreeMap<ParameterId, Tensor>) -> Self {
        Sgd { velocities }
    }

    /// The velocities, by parameter; none for what has not moved yet.
    pub fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        &self.velocities
    }

    /// Moves every parameter that has a gradient, by the step that `step` gives for it. Parameters
    /// without a gradient stay. The one gradient of tied parameters may stand under any of them; the
    /// velocity stands under the first, and so does the step.
    ///
    /// # Errors
    /// Where a gradient or velocity has another shape than its parameter, a parameter is not f32,
    /// tied parameters have several gradients, or the device fails. Parameters before the one that
    /// failed have moved.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<ParameterId, Tensor>,
        step: impl Fn(ParameterId) -> ops::SgdMomentum,
    ) -> Result<()> {
        let mut parameters = Parameters::of(module);
        let mut under = BTreeMap::new();
        for &id in gradients.keys() {
            let Some(first) = parameters.first(id) else { continue };
            if let Some(other) = under.insert(first, id) {
                let name = |id: ParameterId| &parameters.slots[id.index()].0;
                return Err(Error::gradient(
                    "sgd",
                    format!(
                        "`{}` and `{}` are one parameter, which has one gradient, and each of them \
                         was given one",
                        name(other),
                        name(id)
                    ),
                ));
            }
        }
        for (first, id) in under {
            self.step_one(&mut parameters, first, &gradients[&id], step(first))?;
        }
        Ok(())
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
        let count = parameters.len();
        let id = parameters.first(id).unwrap_or(id);
        let Some((_, parameter)) = parameters.slots.get_mut(id.index()) else {
            let expected = format!("one of {count} parameters");
            return Err(Error::parameter("sgd", "parameter", expected, id.0));
        };
        let velocity = self.velocity(id, parameter)?;
        parameter.sgd_momentum(velocity, gradient, step)?;
        if let Some(places) = parameters.tied.get(&id) {
            let moved = parameters.slots[id.index()].1.clone();
            for &place in places {
                *parameters.slots[place].1 = moved.clone();
            }
        }
        Ok(())
    }

    /// Makes the velocities that are not there yet. [`step`](Sgd::step) does so when it needs them;
    /// this does it before anything else takes memory: they stay, and should not lie between what
    /// comes and goes.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn prepare(&mut self, module: &dyn Module) -> Result<()> {
        let leaves = leaf_parameters(module);
        for (place, (_, parameter)) in named_parameters(module).into_iter().enumerate() {
            let id = ParameterId(place as u32);
            // Tied parameters have one velocity, under the first.
            if parameter.leaf_id().is_none_or(|leaf| leaves.get(&leaf) == Some(&id)) {
                self.velocity(id, &parameter)?;
            }
        }
        Ok(())
    }

    fn velocity(&mut self, id: ParameterId, parameter: &Tensor) -> Result<&mut Tensor> {
        Ok(match self.velocities.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Tensor::zeros(*parameter.shape(), parameter.device())?)
            }
        })
    }
}
