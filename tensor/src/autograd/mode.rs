//! Whether ops are recorded, by thread.

use std::cell::Cell;

use crate::Tensor;

/// What happens to an op on a tracked tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is recorded.
    Record,
    /// It is not.
    Ignore,
    /// It is not, but that there was one is noted: the forward pass of a checkpoint.
    Notice,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Record) };
    static NOTICED: Cell<bool> = const { Cell::new(false) };
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

/// Runs a function without recording; also says whether it would have recorded anything.
pub(super) fn noticing<T>(function: impl FnOnce() -> T) -> (T, bool) {
    let before = NOTICED.replace(false);
    let result = within(Mode::Notice, function);
    (result, NOTICED.replace(before))
}

/// Whether this thread records.
pub(super) fn is_recording() -> bool {
    MODE.get() == Mode::Record
}

/// Whether an op that makes `y` of these is to be recorded.
pub(super) fn records(inputs: &[&Tensor], y: &Tensor) -> bool {
    let differentiable = |x: &Tensor| x.is_tracked() && x.dtype().is_float();
    if !y.dtype().is_float() || !inputs.iter().any(|x| differentiable(x)) {
        return false;
    }
    match MODE.get() {
        Mode::Record => true,
        Mode::Ignore => false,
        Mode::Notice => {
            NOTICED.set(true);
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
