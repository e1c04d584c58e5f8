//! What a module is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use striate_tensor::{RandomKey, Result, Tensor};

/// Anything with a `forward`. [`#[derive(Module)]`](derive@crate::Module) writes the rest; by hand it is:
///
/// ```
/// use striate_nn::{Context, Conv2d, Module, Visitor, VisitorMut, conv2d, named_parameters};
/// use striate_tensor::{Device, RandomKey, Reference, Result, Tensor};
///
/// struct Block { a: Conv2d, b: Conv2d }
///
/// impl Module for Block {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         self.b.forward(&self.a.forward(x, cx)?, cx)?.add(x)?.relu()
///     }
///     fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
///         visit.child("a", &self.a);
///         visit.child("b", &self.b);
///     }
///     // For training only: the same names, in the same order.
///     fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
///         visit.child("a", &mut self.a);
///         visit.child("b", &mut self.b);
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let device = Device::new(Reference::new());
/// let same = conv2d(8, 3).padding(1);
/// let block = Block {
///     a: Conv2d::new(same.relu(), 8, RandomKey::new(7, 0), &device)?,
///     b: Conv2d::new(same, 8, RandomKey::new(7, 1), &device)?,
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
    /// The output for `x`. What shapes it takes is the module's own. It changes nothing: in training,
    /// statistics of the batch are [recorded](Context::record).
    ///
    /// # Errors
    /// Where `x` does not fit, or the device fails. This is the tensor crate's result, so that a
    /// `forward` may end in a tensor op.
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor>;

    /// Shows its parameters and buffers and those of its children, each by a name, in a fixed order.
    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        let _ = visit;
    }

    /// Hands out the same parameters and buffers under the same names in the same order, to be
    /// changed: what an optimizer works on. A module without it keeps what it has.
    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        let _ = visit;
    }
}

/// A function of a tensor is a module without parameters.
///
/// ```
/// use striate_nn::{Context, Sequential};
/// use striate_tensor::Tensor;
///
/// let double = Sequential::new().then(|x: &Tensor, _: &Context| x.add(x));
/// # let _ = double;
/// ```
impl<F> Module for F
where
    F: Fn(&Tensor, &Context) -> Result<Tensor> + Send + Sync,
{
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self(x, cx)
    }
}

/// Which buffer it is: its clones have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferKey(u64);

static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// State of a module that is no parameter, such as running statistics: saved and loaded, never learnt.
#[derive(Clone, Debug)]
pub struct Buffer {
    key: BufferKey,
    value: Tensor,
}

impl Buffer {
    /// A new buffer.
    pub fn new(value: Tensor) -> Self {
        Buffer { key: BufferKey(NEXT_KEY.fetch_add(1, Ordering::Relaxed)), value }
    }

    /// Which buffer it is.
    pub fn key(&self) -> BufferKey {
        self.key
    }

    /// Its value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Gives it another value.
    pub fn set(&mut self, value: Tensor) {
        self.value = value;
    }
}

/// The statistics of a mini-batch, or of a shard of it, for a buffer.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    /// The buffer with the running statistics.
    pub buffer: BufferKey,
    /// Over how many elements they are, for each channel.
    pub count: u64,
    /// How much of them goes into the running statistics.
    pub momentum: f32,
    /// Mean and biased variance, f32 `[2, channels]`.
    pub moments: Tensor,
}

/// How modules are run: for inference, or for training with random numbers.
///
/// ```
/// use striate_nn::{Context, Dropout, Module};
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// let device = Device::new(Reference::new());
/// let (dropout, x) = (Dropout::new(0.5)?, Tensor::from_vec(vec![1.0f32; 64], [1, 64], &device)?);
/// let same = dropout.forward(&x, &Context::inference())?;
/// assert_eq!(same.to_vec::<f32>()?, x.to_vec::<f32>()?);
/// // Each step of a training has a key of its own.
/// let step = 3;
/// let muted = dropout.forward(&x, &Context::training(RandomKey::new(7, step)))?;
/// assert!(muted.to_vec::<f32>()?.contains(&0.0));
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    training: Option<RandomKey>,
    /// Keys handed out so far.
    drawn: Cell<u64>,
    records: RefCell<Vec<BatchMoments>>,
}

impl Context {
    /// For inference: nothing random happens.
    pub fn inference() -> Self {
        Context { training: None, drawn: Cell::new(0), records: RefCell::default() }
    }

    /// For one forward pass of training. Give each pass a key of its own (a stream for the step):
    /// the same key gives the same dropout.
    pub fn training(key: RandomKey) -> Self {
        Context { training: Some(key), ..Context::inference() }
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

    /// Keeps the statistics of a batch, for whoever trains: a `forward` changes no buffer itself.
    pub fn record(&self, moments: BatchMoments) {
        self.records.borrow_mut().push(moments);
    }

    /// The statistics recorded so far, taken out: see
    /// [`update_statistics`](crate::update_statistics).
    pub fn take_records(&self) -> Vec<BatchMoments> {
        self.records.take()
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

    /// The full name of what is here.
    fn of(&mut self, name: &str) -> String {
        let start = self.at(name);
        let full = self.0.clone();
        self.0.truncate(start);
        full
    }
}

/// Collects the parameters and buffers of a module and its children, each by its full name:
/// `b.weight` is the parameter `weight` of the child `b`.
///
/// ```
/// use striate_nn::{Context, Module, Visitor, VisitorMut, named_parameters};
/// use striate_tensor::{Device, Reference, Result, Tensor};
///
/// // What `#[derive(Module)]` writes.
/// struct Scale {
///     factor: Tensor,
/// }
///
/// impl Module for Scale {
///     fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
///         x.mul(&self.factor)
///     }
///
///     fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
///         visit.parameter("factor", &self.factor);
///     }
///
///     fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
///         visit.parameter("factor", &mut self.factor);
///     }
/// }
///
/// let scale = Scale { factor: Tensor::zeros([3], &Device::new(Reference::new()))? };
/// assert_eq!(named_parameters(&scale)[0].0, "factor");
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Default)]
pub struct Visitor<'a> {
    path: Path,
    parameters: Vec<(String, &'a Tensor)>,
    buffers: Vec<(String, &'a Buffer)>,
}

impl fmt::Debug for Visitor<'_> {
    /// The names that were collected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        let buffers: Vec<&str> = self.buffers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Visitor")
            .field("parameters", &parameters)
            .field("buffers", &buffers)
            .finish_non_exhaustive()
    }
}

impl<'a> Visitor<'a> {
    /// A parameter of the module that is visited.
    pub fn parameter(&mut self, name: &str, tensor: &'a Tensor) {
        self.parameters.push((self.path.of(name), tensor));
    }

    /// A buffer of the module that is visited.
    pub fn buffer(&mut self, name: &str, buffer: &'a Buffer) {
        self.buffers.push((self.path.of(name), buffer));
    }

    /// The parameters and buffers of a child.
    pub fn child(&mut self, name: &str, module: &'a (impl Module + ?Sized)) {
        let start = self.path.at(name);
        module.parameters(self);
        self.path.0.truncate(start);
    }
}

/// As [`Visitor`], for what is to be changed.
#[derive(Default)]
pub struct VisitorMut<'a> {
    path: Path,
    parameters: Vec<(String, &'a mut Tensor)>,
    buffers: Vec<(String, &'a mut Buffer)>,
}

impl fmt::Debug for VisitorMut<'_> {
    /// The names that were collected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        let buffers: Vec<&str> = self.buffers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("VisitorMut")
            .field("parameters", &parameters)
            .field("buffers", &buffers)
            .finish_non_exhaustive()
    }
}

impl<'a> VisitorMut<'a> {
    /// A parameter of the module that is visited.
    pub fn parameter(&mut self, name: &str, tensor: &'a mut Tensor) {
        self.parameters.push((self.path.of(name), tensor));
    }

    /// A buffer of the module that is visited.
    pub fn buffer(&mut self, name: &str, buffer: &'a mut Buffer) {
        self.buffers.push((self.path.of(name), buffer));
    }

    /// The parameters and buffers of a child.
    pub fn child(&mut self, name: &str, module: &'a mut (impl Module + ?Sized)) {
        let start = self.path.at(name);
        module.parameters_mut(self);
        self.path.0.truncate(start);
    }
}

/// The parameters of a module and its children with their full names, in the module's order: the
/// place of a parameter in it is its [`ParameterId`](crate::ParameterId). The tensors share their
/// memory with the module's.
pub fn named_parameters(module: &dyn Module) -> Vec<(String, Tensor)> {
    let mut visit = Visitor::default();
    module.parameters(&mut visit);
    visit.parameters.into_iter().map(|(name, tensor)| (name, tensor.clone())).collect()
}

/// The buffers of a module and its children with their full names, in the module's order.
pub fn named_buffers(module: &dyn Module) -> Vec<(String, Buffer)> {
    let mut visit = Visitor::default();
    module.parameters(&mut visit);
    visit.buffers.into_iter().map(|(name, buffer)| (name, buffer.clone())).collect()
}

/// The parameters of a module in its order, to be changed.
pub fn parameters_mut(module: &mut dyn Module) -> Vec<(String, &mut Tensor)> {
    let mut visit = VisitorMut::default();
    module.parameters_mut(&mut visit);
    visit.parameters
}

/// The buffers of a module in its order, to be changed.
pub(crate) fn buffers_mut(module: &mut dyn Module) -> Vec<(String, &mut Buffer)> {
    let mut visit = VisitorMut::default();
    module.parameters_mut(&mut visit);
    visit.buffers
}

/// Marks every parameter of a module as requiring a gradient: each becomes a leaf of what is computed
/// from now on. The module must have [`parameters_mut`](Module::parameters_mut).
///
/// A parameter that is a leaf already stays the one it is, so parameters that are clones of one leaf
/// stay tied. Clones of a tensor that is no leaf are only equal, and become parameters of their own:
/// to tie parameters, make the leaf first ([`Tensor::require_grad`]) and clone that.
pub fn require_grad(module: &mut dyn Module) {
    for (_, tensor) in parameters_mut(module) {
        *tensor = tensor.clone().require_grad();
    }
}
