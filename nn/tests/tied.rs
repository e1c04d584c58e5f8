//! Tied parameters: clones of one leaf in several places of a module.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::collections::BTreeMap;

use striate_nn::{
    Context, FullConnect, Module, ParameterId, Rates, Sequential, Sgd, Visitor, VisitorMut,
    leaf_parameters, named_parameters, parameter_gradients, require_grad,
};
use striate_tensor::{Device, Reference, Result, Tensor};

/// `x · a · b · c`
struct Products {
    factors: [Tensor; 3],
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Module for Products {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        self.factors.iter().try_fold(x.clone(), |x, factor| x.matmul(factor))
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        NAMES.iter().zip(&self.factors).for_each(|(name, factor)| visit.parameter(name, factor));
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        let factors = NAMES.iter().zip(&mut self.factors);
        factors.for_each(|(name, factor)| visit.parameter(name, factor));
    }
}

fn device() -> Device {
    Device::new(Reference::new())
}

fn number(value: f32) -> Tensor {
    Tensor::full([1, 1], value, striate_tensor::DType::F32, &device()).unwrap()
}

fn values(module: &dyn Module) -> Vec<f32> {
    named_parameters(module).iter().map(|(_, x)| x.to_scalar::<f32>().unwrap()).collect()
}

fn gradients(module: &dyn Module) -> BTreeMap<ParameterId, Tensor> {
    let x = Tensor::ones([1, 1], named_parameters(module)[0].1.device()).unwrap();
    let y = module.forward(&x, &Context::inference()).unwrap();
    parameter_gradients(module, y.sum_all().unwrap().backward().unwrap())
}

fn ids<'a>(ids: impl Iterator<Item = &'a ParameterId>) -> Vec<u32> {
    ids.map(|id| id.0).collect()
}

/// The first and the last factor are one leaf, between them stands another.
fn tied() -> Products {
    let w = number(2.0).require_grad();
    let between = number(3.0).to(w.device()).unwrap().require_grad();
    Products { factors: [w.clone(), between, w] }
}

#[test]
fn clones_of_a_leaf_move_together_by_one_gradient() {
    let mut module = tied();
    let mut sgd = Sgd::new();
    let rates = Rates { rate: 0.01, momentum: 0.5, decay: 0.1 };
    let (mut w, mut between) = (2.0f64, 3.0f64);
    let (mut v_w, mut v_between) = (0.0f64, 0.0f64);
    for _ in 0..4 {
        let gradients = gradients(&module);
        assert_eq!(ids(gradients.keys()), [0, 1]);
        sgd.step(&mut module, &gradients, |_| rates.step(1.0)).unwrap();
        // Of w · between · w.
        let (d_w, d_between) = (2.0 * w * between, w * w);
        v_w = 0.5 * v_w - 0.1 * 0.01 * w - 0.01 * d_w;
        v_between = 0.5 * v_between - 0.1 * 0.01 * between - 0.01 * d_between;
        (w, between) = (w + v_w, between + v_between);
        let expected = [w, between, w].map(|x| x as f32);
        for (got, expected) in values(&module).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-5, "{:?} {expected:?}", values(&module));
        }
        assert_eq!(module.factors[0].leaf_id(), module.factors[2].leaf_id());
    }
    // One velocity, under the first.
    assert_eq!(ids(sgd.velocities().keys()), [0, 1]);
    assert_eq!(ids(leaf_parameters(&module).values()), [0, 1]);
}

#[test]
fn three_clones_and_nested_modules_stay_tied() {
    let device = device();
    let w = Tensor::from_vec(vec![0.5f32, -1.0, 2.0, 1.5], [2, 2], &device).unwrap().require_grad();
    let layer = || FullConnect::from_tensors(w.clone(), None, false);
    let mut module =
        Sequential::new().then(layer()).then(Sequential::new().then(layer())).then(layer());
    // Marking parameters that are marked already keeps them one leaf.
    require_grad(&mut module);
    let mut sgd = Sgd::new();
    sgd.prepare(&module).unwrap();
    assert_eq!(ids(sgd.velocities().keys()), [0]);
    for _ in 0..2 {
        let x = Tensor::ones([1, 2], &device).unwrap();
        let y = module.forward(&x, &Context::inference()).unwrap();
        let gradients = parameter_gradients(&module, y.sum_all().unwrap().backward().unwrap());
        let rates = Rates { rate: 0.1, momentum: 0.9, decay: 0.0 };
        sgd.step(&mut module, &gradients, |_| rates.step(1.0)).unwrap();
        let parameters = named_parameters(&module);
        assert_eq!(parameters.len(), 3);
        let first = parameters[0].1.to_vec::<f32>().unwrap();
        assert_ne!(first, w.to_vec::<f32>().unwrap());
        for (name, parameter) in &parameters {
            assert_eq!(parameter.to_vec::<f32>().unwrap(), first, "{name}");
            assert_eq!(parameter.leaf_id(), w.leaf_id(), "{name}");
        }
    }
}

#[test]
fn the_gradient_may_stand_under_any_of_them_but_not_under_two() {
    let mut module = tied();
    let mut sgd = Sgd::new();
    let step = |_: ParameterId| Rates { rate: 1.0, momentum: 0.0, decay: 0.0 }.step(1.0);
    let gradient = module.factors[0].detach();
    let under = |ids: &[u32]| -> BTreeMap<ParameterId, Tensor> {
        ids.iter().map(|&id| (ParameterId(id), gradient.clone())).collect()
    };
    sgd.step(&mut module, &under(&[2]), step).unwrap();
    assert_eq!(values(&module), [0.0, 3.0, 0.0]);
    assert_eq!(ids(sgd.velocities().keys()), [0]);
    let message = sgd.step(&mut module, &under(&[0, 2]), step).unwrap_err().to_string();
    assert!(message.contains("`a` and `c` are one parameter"), "{message}");
    assert_eq!(values(&module), [0.0, 3.0, 0.0]);
}

#[test]
fn clones_of_what_is_no_leaf_are_parameters_of_their_own() {
    let w = number(2.0);
    let mut module = Products { factors: [w.clone(), w.clone(), w] };
    require_grad(&mut module);
    let gradients = gradients(&module);
    assert_eq!(ids(gradients.keys()), [0, 1, 2]);
    let step = |id: ParameterId| {
        let rate = if id == ParameterId(0) { 0.1 } else { 0.0 };
        Rates { rate, momentum: 0.0, decay: 0.0 }.step(1.0)
    };
    Sgd::new().step(&mut module, &gradients, step).unwrap();
    assert_eq!(values(&module), [1.6, 2.0, 2.0]);
}
