//! Gradient descent on the parameters of modules.

mod method;
mod sgd;
mod steps;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};
use striate_graph::ParameterId;
use striate_tensor::{Gradients, LeafId, Tensor, ops};

use crate::layers::{Module, named_parameters, parameters_mut};

pub use method::Method;
pub use sgd::Sgd;
pub use steps::{Optimizer, OptimizerState, ParameterStep};

/// How fast a parameter learns, and how it is pulled toward 0. A [`Method`] says what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rates {
    /// The learning rate.
    pub rate: f32,
    /// How much of the last step is kept; of no meaning to methods that have moments of their own.
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

impl fmt::Debug for Parameters<'_> {
    /// The names of the parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|(name, _)| name)).finish()
    }
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

    /// The parameter with this number.
    pub fn get(&self, id: ParameterId) -> Option<&Tensor> {
        self.slots.get(id.index()).map(|(_, tensor)| &**tensor)
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
