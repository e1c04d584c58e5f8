//! Optimizers: a method, and what it remembers of each parameter.

use std::collections::BTreeMap;

use striate_graph::ParameterId;
use striate_tensor::ops::Optimize;
use striate_tensor::{Device, Error, Op, Result, Tensor, TensorUpdate};

use super::method::VELOCITY;
use super::{Method, Parameters, Rates, leaf_parameters};
use crate::layers::{Module, named_parameters};

/// What an optimizer remembers: tensors of each parameter by what they are, and how many steps there
/// were. Files keep it under these names.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Steps so far.
    pub steps: u64,
    /// Tensors of each parameter, of its shape, by what they are: `velocity`, `first-moment` and so on
    /// ([`Method::state`]). None of parameters that have not moved.
    pub tensors: BTreeMap<String, BTreeMap<ParameterId, Tensor>>,
}

/// How a parameter moves, as a part of a step: see [`Optimizer::step_several`].
#[derive(Clone, Debug)]
pub struct ParameterStep {
    /// The parameter; the first of tied ones.
    pub id: ParameterId,
    /// Its gradient.
    pub gradient: Tensor,
    /// How fast it learns.
    pub rates: Rates,
    /// What the gradient is multiplied by.
    pub scale: f32,
}

/// The velocities of a method that has none.
static NONE: BTreeMap<ParameterId, Tensor> = BTreeMap::new();

impl OptimizerState {
    /// Of gradient descent with these velocities.
    #[must_use]
    pub fn of_velocities(velocities: BTreeMap<ParameterId, Tensor>) -> Self {
        let tensors = BTreeMap::from([(VELOCITY.to_owned(), velocities)]);
        OptimizerState { steps: 0, tensors }
    }

    /// The velocities, by parameter; none where the method has none.
    pub fn velocities(&self) -> &BTreeMap<ParameterId, Tensor> {
        self.tensors.get(VELOCITY).unwrap_or(&NONE)
    }
}

/// An optimizer: a [`Method`] and what it remembers of each parameter, by its number.
///
/// Tied parameters, clones of one [leaf](Tensor::require_grad) in several places of a module, are one
/// parameter: it has one gradient and one state and moves once, by the rates of the first of its places,
/// and every place then holds the new value of the same leaf.
///
/// ```
/// use striate_nn::{
///     Context, FullConnect, Method, Module, Optimizer, parameter_gradients, require_grad,
/// };
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// // Learns y = 2x from four examples.
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![-1.0f32, 0.0, 1.0, 2.0], [4, 1], &device)?;
/// let y = Tensor::from_vec(vec![-2.0f32, 0.0, 2.0, 4.0], [4, 1], &device)?;
/// let mut layer = FullConnect::new(1, 1, RandomKey::new(7, 0), &device)?;
/// require_grad(&mut layer);
/// let mut optimizer = Optimizer::new(Method::adamw());
/// let rates = striate_nn::Rates { rate: 0.1, ..Method::adamw().usual_rates() };
/// for _ in 0..200 {
///     let loss = striate_nn::loss::mse(&layer.forward(&x, &Context::inference())?, &y)?;
///     let gradients = parameter_gradients(&layer, loss.backward()?);
///     optimizer.step(&mut layer, &gradients, |_| rates)?;
/// }
/// let weight = layer.weight().to_vec::<f32>()?[0];
/// assert!((weight - 2.0).abs() < 0.05, "{weight}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Optimizer {
    method: Method,
    state: OptimizerState,
}

impl Optimizer {
    /// From rest.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Optimizer { method, state: OptimizerState::default() }
    }

    /// With what it remembered.
    #[must_use]
    pub fn with_state(method: Method, state: OptimizerState) -> Self {
        Optimizer { method, state }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What it remembers.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// Moves every parameter that has a gradient, by the rates that `rates` gives for it. Parameters
    /// without a gradient stay. The one gradient of tied parameters may stand under any of them; the
    /// state stands under the first, and so do the rates.
    ///
    /// # Errors
    /// Where a gradient or state has another shape than its parameter, a parameter is not f32, tied
    /// parameters have several gradients: then nothing moves. Where the device fails: then some may have
    /// moved.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<ParameterId, Tensor>,
        rates: impl Fn(ParameterId) -> Rates,
    ) -> Result<()> {
        self.begin_step();
        self.step_rest(module, gradients, |id| (rates(id), 1.0))
    }

    /// Counts a step that [`step_one`](Optimizer::step_one) and [`step_rest`](Optimizer::step_rest) make.
    pub fn begin_step(&mut self) {
        self.state.steps = self.state.steps.saturating_add(1);
    }

    /// As [`step`](Optimizer::step), as a part of the step that was [begun](Optimizer::begin_step):
    /// gradients are multiplied by the number that comes with the rates.
    ///
    /// # Errors
    /// As [`step`](Optimizer::step).
    pub fn step_rest(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<ParameterId, Tensor>,
        rates: impl Fn(ParameterId) -> (Rates, f32),
    ) -> Result<()> {
        let (method, steps) = (self.method, self.state.steps);
        self.step_by(module, gradients, |id| {
            let (rates, scale) = rates(id);
            method.op(rates, scale, steps)
        })
    }

    /// Moves some parameters, and with each those that are tied to it, as a part of the step that was
    /// [begun](Optimizer::begin_step). To the same bits as one by one: a GPU moves many at once.
    ///
    /// # Errors
    /// As [`step`](Optimizer::step); where there is no such parameter.
    pub fn step_several(
        &mut self,
        parameters: &mut Parameters<'_>,
        steps: &[ParameterStep],
    ) -> Result<()> {
        let (method, count) = (self.method, self.state.steps);
        let own = |step: &ParameterStep| method.op(step.rates, step.scale, count);
        let steps: Vec<_> = steps.iter().map(|step| (step.id, &step.gradient, own(step))).collect();
        self.step_several_by(parameters, steps)
    }

    /// Moves one parameter, and with it those that are tied to it, as a part of the step that was
    /// [begun](Optimizer::begin_step). Its gradient is multiplied by `scale`.
    ///
    /// # Errors
    /// As [`step`](Optimizer::step); where there is no such parameter.
    pub fn step_one(
        &mut self,
        parameters: &mut Parameters<'_>,
        id: ParameterId,
        gradient: &Tensor,
        rates: Rates,
        scale: f32,
    ) -> Result<()> {
        let op = self.method.op(rates, scale, self.state.steps);
        self.step_several_by(parameters, vec![(id, gradient, op)])
    }

    pub(super) fn step_by(
        &mut self,
        module: &mut dyn Module,
        gradients: &BTreeMap<ParameterId, Tensor>,
        op: impl Fn(ParameterId) -> Op,
    ) -> Result<()> {
        let mut parameters = Parameters::of(module);
        let mut under = BTreeMap::new();
        for &id in gradients.keys() {
            let Some(first) = parameters.first(id) else { continue };
            if let Some(other) = under.insert(first, id) {
                let name = |id: ParameterId| &parameters.slots[id.index()].0;
                return Err(Error::gradient(
                    self.method.name(),
                    format!(
                        "`{}` and `{}` are one parameter, which has one gradient, and each of them \
                         was given one",
                        name(other),
                        name(id)
                    ),
                ));
            }
        }
        let steps = under.iter().map(|(&first, id)| (first, &gradients[id], op(first)));
        let steps = steps.collect();
        self.step_several_by(&mut parameters, steps)
    }

    /// Moves parameters, each by its own op: the first of tied ones stand for all of them.
    pub(super) fn step_several_by(
        &mut self,
        parameters: &mut Parameters<'_>,
        steps: Vec<(ParameterId, &Tensor, Op)>,
    ) -> Result<()> {
        let mut moving = BTreeMap::new();
        for (id, gradient, op) in steps {
            let id = parameters.first(id).unwrap_or(id);
            let Some((_, parameter)) = parameters.slots.get(id.index()) else {
                let expected = format!("one of {} parameters", parameters.len());
                return Err(Error::parameter(self.method.name(), "parameter", expected, id.0));
            };
            if !matches!(op, Op::SgdMomentum(_) | Op::Optimize(_)) {
                let reason = "it is no step of an optimizer, or of another one";
                return Err(Error::gradient(op.name(), reason));
            }
            let names = self.state_names(&op);
            self.make_state(names, id, parameter)?;
            let own = Moving { op, gradient, names, state: Vec::with_capacity(names.len()) };
            if moving.insert(id, own).is_some() {
                let reason = format!("parameter {} is to move twice in a step", id.0);
                return Err(Error::gradient(self.method.name(), reason));
            }
        }
        let (Some((&first, _)), Some((&last, _))) =
            (moving.first_key_value(), moving.last_key_value())
        else {
            return Ok(());
        };
        for (name, tensors) in &mut self.state.tensors {
            for (id, tensor) in tensors.range_mut(first..=last) {
                let Some(own) = moving.get_mut(id) else { continue };
                if let Some(place) = own.names.iter().position(|slot| slot == name) {
                    own.state.push((place, tensor));
                }
            }
        }
        let mut updates: Vec<(Device, Vec<TensorUpdate<'_>>)> = Vec::new();
        let mut moved = Vec::with_capacity(moving.len());
        let slots = parameters.slots.iter_mut().enumerate().skip(first.index());
        for (place, (_, parameter)) in slots.take(1 + last.index() - first.index()) {
            let id = ParameterId(place as u32);
            let Some(Moving { op, gradient, mut state, .. }) = moving.remove(&id) else { continue };
            moved.push(id);
            state.sort_by_key(|(place, _)| *place);
            let state = state.into_iter().map(|(_, tensor)| tensor);
            let known = updates.iter().position(|(device, _)| device.is(parameter.device()));
            let known = known.unwrap_or_else(|| {
                updates.push((parameter.device().clone(), Vec::new()));
                updates.len() - 1
            });
            let targets = std::iter::once(&mut **parameter).chain(state).collect();
            updates[known].1.push(TensorUpdate { op, targets, inputs: vec![gradient] });
        }
        for (device, mut updates) in updates {
            device.update(&mut updates)?;
        }
        for id in moved {
            let Some(places) = parameters.tied.get(&id) else { continue };
            let moved = parameters.slots[id.index()].1.clone();
            for &place in places {
                *parameters.slots[place].1 = moved.clone();
            }
        }
        Ok(())
    }

    /// What it remembers for such an op.
    fn state_names(&self, op: &Op) -> &'static [&'static str] {
        let momentum = match op {
            Op::Optimize(Optimize::RmsProp { momentum, .. }) => *momentum,
            _ => 0.0,
        };
        self.method.state(momentum)
    }

    /// Makes the state that is not there yet. [`step`](Optimizer::step) does so when it needs it; this
    /// does it before anything else takes memory: state stays, and should not lie between what comes and
    /// goes.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn prepare(&mut self, module: &dyn Module) -> Result<()> {
        let leaves = leaf_parameters(module);
        for (place, (_, parameter)) in named_parameters(module).into_iter().enumerate() {
            let id = ParameterId(place as u32);
            // Tied parameters have one state, under the first.
            if parameter.leaf_id().is_none_or(|leaf| leaves.get(&leaf) == Some(&id)) {
                // What momentum adds to RMSprop is made when it is needed.
                self.make_state(self.method.state(0.0), id, &parameter)?;
            }
        }
        Ok(())
    }

    fn make_state(&mut self, names: &[&str], id: ParameterId, parameter: &Tensor) -> Result<()> {
        for name in names {
            if !self.state.tensors.contains_key(*name) {
                self.state.tensors.insert((*name).to_owned(), BTreeMap::new());
            }
            if let Some(tensors) = self.state.tensors.get_mut(*name)
                && !tensors.contains_key(&id)
            {
                let zeros = Tensor::zeros(*parameter.shape(), parameter.device())?;
                tensors.insert(id, zeros);
            }
        }
        Ok(())
    }
}

/// A parameter that is about to move.
struct Moving<'a> {
    op: Op,
    gradient: &'a Tensor,
    /// Of what it needs, and that, each with its place among them.
    names: &'static [&'static str],
    state: Vec<(usize, &'a mut Tensor)>,
}
