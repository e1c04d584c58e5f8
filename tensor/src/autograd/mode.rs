//! Whether ops are recorded, by thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Node;
use crate::Tensor;

/// What happens to an op on a tracked tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is recorded.
    Record,
    /// It is not.
    Ignore,
    /// It is not, but what it would go back to is noted: the forward pass of a checkpoint.
    Notice,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Record) };
    static NOTICED: RefCell<BTreeMap<u64, Arc<Node>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Puts the mode back, also when a panic unwinds.
struct Restore(Mode);

impl Drop for Restore {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

/// Runs a function in a mode.
pub(super) fn within<T>(mode: Mode, function: impl FnOnce() -> T) -> T {
    let _restore = Restore(MODE.replace(mode));
    function()
}

/// Runs a function without recording; also gives the nodes that it would have recorded as sources,
/// in the order in which they were made, each once.
pub(super) fn noticing<T>(function: impl FnOnce() -> T) -> (T, Vec<Arc<Node>>) {
    let before = NOTICED.take();
    let result = within(Mode::Notice, function);
    (result, NOTICED.replace(before).into_values().collect())
}

/// Whether this thread records what a gradient needs: not within [`no_grad`].
pub fn is_recording() -> bool {
    MODE.get() == Mode::Record
}

/// Whether an op that makes `y` of these is to be recorded.
pub(super) fn records(inputs: &[&Tensor], y: &Tensor) -> bool {
    if !y.dtype().is_float() || !inputs.iter().any(|x| x.source().is_some()) {
        return false;
    }
    match MODE.get() {
        Mode::Record => true,
        Mode::Ignore => false,
        Mode::Notice => {
            let sources = inputs.iter().filter_map(|x| x.source());
            NOTICED.with_borrow_mut(|noticed| noticed.extend(sources.map(|s| (s.id(), s))));
            false
        }
    }
}

/// Runs a function without recording on this thread: what it computes is not tracked and keeps
/// nothing alive. For evaluation, and for arithmetic on weights.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor, no_grad};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let w = Tensor::ones([3], &device)?.require_grad();
/// assert!(w.exp()?.is_tracked());
/// let y = no_grad(|| w.exp())?;
/// assert!(!y.is_tracked());
/// # Ok(())
/// # }
/// ```
pub fn no_grad<T>(function: impl FnOnce() -> T) -> T {
    within(Mode::Ignore, function)
}
