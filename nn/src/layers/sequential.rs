//! Modules one after another.

use std::fmt;

use striate_tensor::{Result, Tensor};

use super::{Context, Module, Visitor, VisitorMut};

/// Modules one after another, named `0`, `1`, … in the names of their parameters. Empty, it gives
/// its input.
///
/// ```
/// use striate_nn::{Context, Conv2d, FullConnect, MaxPool2d, Module, Sequential, conv2d, pool};
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let network = Sequential::new()
///     .then(Conv2d::new(conv2d(4, 3).relu(), 1, RandomKey::new(7, 0), &device)?)
///     .then(MaxPool2d(pool(2)))
///     .then(FullConnect::new(10, 3 * 3 * 4, RandomKey::new(7, 1), &device)?);
/// let x = Tensor::zeros([2, 8, 8, 1], &device)?;
/// assert_eq!(network.forward(&x, &Context::inference())?.dims(), [2, 10]);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Sequential {
    modules: Vec<Box<dyn Module>>,
}

impl fmt::Debug for Sequential {
    /// The number of modules: they need not be `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequential").field("modules", &self.modules.len()).finish_non_exhaustive()
    }
}

impl Sequential {
    /// No modules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And then this module.
    #[must_use]
    pub fn then(mut self, module: impl Module + 'static) -> Self {
        self.modules.push(Box::new(module));
        self
    }

    /// The number of modules.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        // Each assignment drops the activation before.
        let mut current: Option<Tensor> = None;
        for module in &self.modules {
            current = Some(module.forward(current.as_ref().unwrap_or(x), cx)?);
        }
        Ok(current.unwrap_or_else(|| x.clone()))
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        for (i, module) in self.modules.iter().enumerate() {
            visit.child(&i.to_string(), &**module);
        }
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        for (i, module) in self.modules.iter_mut().enumerate() {
            visit.child(&i.to_string(), &mut **module);
        }
    }
}
