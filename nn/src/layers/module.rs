//! What a module is.

use std::cell::Cell;

use striate_tensor::{RandomKey, Result, Tensor};

/// Anything with a `forward`.
///
/// ```
/// use striate_nn::{Context, Conv2d, Module, Visitor, VisitorMut, conv, named_parameters};
/// use striate_tensor::{Device, RandomKey, Reference, Result, Tensor};
///
/// struct Block { a: Conv2d, b: Conv2d }
///
/// impl Module for Block {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         self.b.forward(&self.a.forward(x, cx)?, cx)?.add(x)?.relu()
///     }
///     fn parameters(&self, visit: &mut Visitor) {
///         visit.child("a", &self.a);
///         visit.child("b", &self.b);
///     }
///     // For training only: the same names, in the same order.
///     fn parameters_mut(&mut self, visit: &mut VisitorMut) {
///         visit.child("a", &mut self.a);
///         visit.child("b", &mut self.b);
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let device = Device::new(Reference::new());
/// let same = conv(8, 3).padding(1);
/// let block = Block {
///     a: Conv2d::new(same, 8, RandomKey::new(7, 0), &device)?,
///     b: Conv2d::new(same.linear(), 8, RandomKey::new(7, 1), &device)?,
/// };
/// let names: Vec<String> = named_parameters(&block).into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["a.weight", "a.bias", "b.weight", "b.bias"]);
///
/// let x = Tensor::ones([1, 5, 5, 8], &device)?;
/// assert_eq!(block.forward(&x, &Context::inference())?.shape(), x.shape());
/// # Ok(())
/// # }
/// ```
pub trait Module: Send + Sync {
    /// The output for `x`. What shapes it takes is the module's own.
    ///
    /// # Errors
    /// Where `x` does not fit, or the device fails. This is the tensor crate's result, so that a
    /// `forward` may end in a tensor op.
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor>;

    /// Shows its parameters and those of its children, each by a name, in a fixed order.
    fn parameters(&self, visit: &mut Visitor) {
        let _ = visit;
    }

    /// Hands out the same parameters under the same names in the same order, to be changed: what
    /// an optimizer works on. A module without it keeps what it has.
    fn parameters_mut(&mut self, visit: &mut VisitorMut) {
        let _ = visit;
    }
}

/// How modules are run: for inference, or for training with random numbers.
#[derive(Clone, Debug)]
pub struct Context {
    training: Option<RandomKey>,
    /// Keys handed out so far.
    drawn: Cell<u64>,
}

impl Context {
    /// For inference: nothing random happens.
    pub fn inference() -> Self {
        Context { training: None, drawn: Cell::new(0) }
    }

    /// For one forward pass of training. Give each pass a key of its own (a stream for the step):
    /// the same key gives the same dropout.
    pub fn training(key: RandomKey) -> Self {
        Context { training: Some(key), drawn: Cell::new(0) }
    }

    /// Whether this is training.
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// A random sequence that nobody else in this pass has; `None` in inference. Which one depends
    /// on how many were asked for before, so a module that always asks in the same order gets the
    /// same ones again.
    pub fn next_key(&self) -> Option<RandomKey> {
        let key = self.training?;
        let n = self.drawn.get();
        self.drawn.set(n.wrapping_add(1));
        // Streams next to the pass's own belong to other passes; a number drawn from it does not.
        let [low, high, ..] = key.block(n);
        Some(RandomKey::new(key.seed, u64::from(low) | u64::from(high) << 32))
    }
}

/// The name of where a visit is: `b.weight` is the parameter `weight` of the child `b`.
#[derive(Default)]
struct Path(String);

impl Path {
    /// Goes one name deeper, and gives the length to cut back to.
    fn at(&mut self, name: &str) -> usize {
        let start = self.0.len();
        if start > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        start
    }
}

/// Goes through the parameters of a module and its children, and gives each its full name:
/// `b.weight` is the parameter `weight` of the child `b`.
pub struct Visitor<'a> {
    path: Path,
    parameter: &'a mut dyn FnMut(&str, &Tensor),
}

impl<'a> Visitor<'a> {
    /// A visitor that shows every parameter and its name to this function.
    pub fn new(parameter: &'a mut dyn FnMut(&str, &Tensor)) -> Self {
        Visitor { path: Path::default(), parameter }
    }

    /// A parameter of the module that is visited.
    pub fn parameter(&mut self, name: &str, tensor: &Tensor) {
        let start = self.path.at(name);
        (self.parameter)(&self.path.0, tensor);
        self.path.0.truncate(start);
    }

    /// The parameters of a child.
    pub fn child(&mut self, name: &str, module: &dyn Module) {
        let start = self.path.at(name);
        module.parameters(self);
        self.path.0.truncate(start);
    }
}

/// As [`Visitor`], for parameters that are to be changed.
pub struct VisitorMut<'a> {
    path: Path,
    parameter: &'a mut dyn FnMut(&str, &mut Tensor),
}

impl<'a> VisitorMut<'a> {
    /// A visitor that hands every parameter and its name to this function.
    pub fn new(parameter: &'a mut dyn FnMut(&str, &mut Tensor)) -> Self {
        VisitorMut { path: Path::default(), parameter }
    }

    /// A parameter of the module that is visited.
    pub fn parameter(&mut self, name: &str, tensor: &mut Tensor) {
        let start = self.path.at(name);
        (self.parameter)(&self.path.0, tensor);
        self.path.0.truncate(start);
    }

    /// The parameters of a child.
    pub fn child(&mut self, name: &str, module: &mut dyn Module) {
        let start = self.path.at(name);
        module.parameters_mut(self);
        self.path.0.truncate(start);
    }
}

/// The parameters of a module and its children with their full names, in the module's order. The
/// tensors share their memory with the module's.
pub fn named_parameters(module: &dyn Module) -> Vec<(String, Tensor)> {
    let mut named = Vec::new();
    let mut collect = |name: &str, tensor: &Tensor| named.push((name.to_owned(), tensor.clone()));
    module.parameters(&mut Visitor::new(&mut collect));
    named
}

/// Marks every parameter of a module as requiring a gradient: each becomes a leaf of what is computed
/// from now on. The module must have [`parameters_mut`](Module::parameters_mut).
///
/// A parameter that is a leaf already stays the one it is, so parameters that are clones of one leaf
/// stay tied. Clones of a tensor that is no leaf are only equal, and become parameters of their own:
/// to tie parameters, make the leaf first ([`Tensor::require_grad`]) and clone that.
///
/// # Errors
/// Where a parameter cannot have a gradient.
pub fn require_grad(module: &mut dyn Module) {
    let mut track = |_: &str, tensor: &mut Tensor| *tensor = tensor.clone().require_grad();
    module.parameters_mut(&mut VisitorMut::new(&mut track));
}
