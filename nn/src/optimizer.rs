//! Gradient descent on the parameters of modules.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use striate_tensor::{Error, Gradients, LeafId, Result, Tensor, ops};

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
/// loss does not depend on is not there. Tied parameters (clones of one
/// [leaf](Tensor::require_grad)) have one gradient: it stands under the first of their names.
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
/// that [`Tensor::backward_each`] hands out. Of tied parameters the first name, as in
/// [`named_gradients`].
pub fn leaf_names(module: &dyn Module) -> BTreeMap<LeafId, String> {
    let mut names = BTreeMap::new();
    let mut collect = |name: &str, tensor: &Tensor| {
        if let Some(leaf) = tensor.leaf_id() {
            names.entry(leaf).or_insert_with(|| name.to_owned());
        }
    };
    module.parameters(&mut Visitor::new(&mut collect));
    names
}

/// A leaf that stands in several places of a module.
struct Tied<'a> {
    /// The first of its names.
    name: String,
    gradient: Option<&'a Tensor>,
    /// Its new value, as soon as it has moved.
    moved: Option<Tensor>,
}

/// The leaves that stand in several places of a module.
fn tied<'a>(
    module: &dyn Module,
    gradients: &'a BTreeMap<String, Tensor>,
) -> Result<BTreeMap<LeafId, Tied<'a>>> {
    let mut names: BTreeMap<LeafId, Vec<String>> = BTreeMap::new();
    let mut collect = |name: &str, tensor: &Tensor| {
        if let Some(leaf) = tensor.leaf_id() {
            names.entry(leaf).or_default().push(name.to_owned());
        }
    };
    module.parameters(&mut Visitor::new(&mut collect));
    let mut tied = BTreeMap::new();
    for (leaf, names) in names {
        let [first, _, ..] = &names[..] else { continue };
        let given: Vec<&String> = names.iter().filter(|&n| gradients.contains_key(n)).collect();
        if let [one, other, ..] = given[..] {
            return Err(Error::gradient(
                "sgd",
                format!(
                    "`{one}` and `{other}` are one parameter, which has one gradient, and each of \
                     them was given one"
                ),
            ));
        }
        let gradient = given.first().and_then(|&name| gradients.get(name));
        tied.insert(leaf, Tied { name: first.clone(), gradient, moved: None });
    }
    Ok(tied)
}

/// Stochastic gradient descent with momentum, as in ccv (see [`ops::SgdMomentum`]). It keeps the
/// velocity of each parameter by its name.
///
/// Tied parameters, clones of one [leaf](Tensor::require_grad) in several places of a module, are
/// one parameter: it has one gradient and one velocity and moves once, by the rates of the first of
/// its names, and every place then holds the new value of the same leaf.
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
    /// Parameters without a gradient stay. The one gradient of tied parameters may stand under any
    /// of their names; the velocity stands under the first, and so does the step.
    ///
    /// # Errors
    /// Where a gradient or velocity has another shape than its parameter, a parameter is not f32,
    /// tied parameters have several gradients, or the device fails. Parameters before the one that
    /// failed have moved.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<String, Tensor>,
        step: impl Fn(&str) -> ops::SgdMomentum,
    ) -> Result<()> {
        let mut tied = tied(module, gradients)?;
        let mut result = Ok(());
        let mut advance = |name: &str, tensor: &mut Tensor| {
            if result.is_err() {
                return;
            }
            let Some(leaf) = tensor.leaf_id().and_then(|leaf| tied.get_mut(&leaf)) else {
                if let Some(gradient) = gradients.get(name) {
                    result = self.advance(name, tensor, gradient, step(name));
                }
                return;
            };
            match (&leaf.moved, leaf.gradient) {
                (Some(moved), _) => *tensor = moved.clone(),
                (None, Some(gradient)) => {
                    result = self.advance(&leaf.name, tensor, gradient, step(&leaf.name));
                    leaf.moved = Some(tensor.clone());
                }
                (None, None) => {}
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
        let mut seen = BTreeSet::new();
        let mut prepare = |name: &str, parameter: &Tensor| {
            // Tied parameters have one velocity, under the first name.
            let first = parameter.leaf_id().is_none_or(|leaf| seen.insert(leaf));
            if first && result.is_ok() {
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
