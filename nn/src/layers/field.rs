//! What modules are made of, and what can be done to them as a whole.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use striate_tensor::{Device, LeafId, Result, Tensor, no_grad};

use super::module::{
    Buffer, BufferKey, Module, Visitor, VisitorMut, buffers_mut, named_parameters, parameters_mut,
};

/// What a module is made of: a module, a parameter ([`Tensor`]), a [`Buffer`], or an `Option`, a `Vec` or
/// an array of one. It is what [`#[derive(Module)]`](derive@crate::Module) takes as a field.
///
/// What is in a `Vec` or an array has its place as a name: `blocks.0`, `blocks.1`, …
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no module, parameter or buffer",
    note = "mark a field that holds something else with `#[module(skip)]`"
)]
pub trait ModuleField {
    /// Shows its parameters and buffers under this name.
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>);

    /// Hands them out under this name, to be changed.
    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>);
}

impl<M: Module> ModuleField for M {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        visit.child(name, self);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        visit.child(name, self);
    }
}

impl ModuleField for Box<dyn Module> {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        visit.child(name, &**self);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        visit.child(name, &mut **self);
    }
}

impl ModuleField for Tensor {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        visit.parameter(name, self);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        visit.parameter(name, self);
    }
}

impl ModuleField for Buffer {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        visit.buffer(name, self);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        visit.buffer(name, self);
    }
}

impl<P: ModuleField> ModuleField for Option<P> {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        if let Some(part) = self {
            part.visit(name, visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        if let Some(part) = self {
            part.visit_mut(name, visit);
        }
    }
}

impl<P: ModuleField> ModuleField for [P] {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        for (place, part) in self.iter().enumerate() {
            part.visit(&format!("{name}.{place}"), visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        for (place, part) in self.iter_mut().enumerate() {
            part.visit_mut(&format!("{name}.{place}"), visit);
        }
    }
}

impl<P: ModuleField> ModuleField for Vec<P> {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        self.as_slice().visit(name, visit);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        self.as_mut_slice().visit_mut(name, visit);
    }
}

impl<P: ModuleField, const N: usize> ModuleField for [P; N] {
    fn visit<'a>(&'a self, name: &str, visit: &mut Visitor<'a>) {
        self.as_slice().visit(name, visit);
    }

    fn visit_mut<'a>(&'a mut self, name: &str, visit: &mut VisitorMut<'a>) {
        self.as_mut_slice().visit_mut(name, visit);
    }
}

/// The number of numbers in a module's parameters. Tied parameters count once, buffers do not.
///
/// ```
/// use striate_nn::{FullConnect, parameter_count};
/// use striate_tensor::{Device, RandomKey, Reference};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let layer = FullConnect::new(10, 20, RandomKey::new(7, 0), &device)?;
/// assert_eq!(parameter_count(&layer), 210);
/// # Ok(())
/// # }
/// ```
pub fn parameter_count(module: &dyn Module) -> u64 {
    let mut leaves = BTreeSet::new();
    let parameters = named_parameters(module).into_iter().map(|(_, tensor)| tensor);
    let counted =
        parameters.filter(|tensor| tensor.leaf_id().is_none_or(|leaf| leaves.insert(leaf)));
    counted.map(|tensor| tensor.ty().count() as u64).sum()
}

/// Moves a module's parameters and buffers to a device. A [leaf](Tensor::require_grad) becomes a leaf of
/// its own there; clones of one leaf, or of one buffer, stay one. The module must have
/// [`parameters_mut`](Module::parameters_mut).
///
/// A [`Network`](crate::Network) has more than these, such as its mean image: move it by its own
/// [`to`](crate::Network::to).
///
/// # Errors
/// Where a device fails. The module is then as it was.
pub fn to(module: &mut dyn Module, device: &Device) -> Result<()> {
    let mut leaves = Leaves::default();
    let move_tensor = |tensor: &Tensor| match tensor.device().is(device) {
        true => Ok(tensor.clone()),
        false => leaves.change(tensor, |tensor| tensor.to(device)),
    };
    let parameters = parameters_mut(module);
    let parameters: Vec<Tensor> =
        parameters.iter().map(|(_, tensor)| &**tensor).map(move_tensor).collect::<Result<_>>()?;
    let mut buffers: BTreeMap<BufferKey, Tensor> = BTreeMap::new();
    for (_, buffer) in buffers_mut(module) {
        if let Entry::Vacant(entry) = buffers.entry(buffer.key()) {
            entry.insert(buffer.value().to(device)?);
        }
    }
    for ((_, place), moved) in parameters_mut(module).into_iter().zip(parameters) {
        *place = moved;
    }
    for (_, buffer) in buffers_mut(module) {
        if let Some(moved) = buffers.get(&buffer.key()) {
            buffer.set(moved.clone());
        }
    }
    Ok(())
}

/// Gives a module other parameters and buffers, in its order: as many as it has. What was a
/// [leaf](Tensor::require_grad) becomes a leaf of the new value, and clones of one leaf stay one, with
/// the value of the first.
pub fn set_tensors(module: &mut dyn Module, parameters: Vec<Tensor>, buffers: Vec<Tensor>) {
    let mut leaves = Leaves::default();
    for ((_, place), tensor) in parameters_mut(module).into_iter().zip(parameters) {
        let Some(leaf) = place.leaf_id() else {
            *place = tensor;
            continue;
        };
        let first = leaves.changed.entry(leaf).or_insert_with(|| tensor.detach().require_grad());
        *place = first.clone();
    }
    for ((_, buffer), tensor) in buffers_mut(module).into_iter().zip(buffers) {
        buffer.set(tensor);
    }
}

/// The leaves of a module that have been moved or cast, so that clones of one stay one.
#[derive(Default)]
pub(crate) struct Leaves {
    changed: BTreeMap<LeafId, Tensor>,
}

impl Leaves {
    /// Changes a parameter. A leaf is changed once, into a leaf.
    pub(crate) fn change(
        &mut self,
        tensor: &Tensor,
        change: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(leaf) = tensor.leaf_id() else { return change(tensor) };
        if let Some(changed) = self.changed.get(&leaf) {
            return Ok(changed.clone());
        }
        let changed = no_grad(|| change(tensor))?.require_grad();
        self.changed.insert(leaf, changed.clone());
        Ok(changed)
    }
}
