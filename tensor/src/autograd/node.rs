//! What is recorded.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::checkpoint::Function;
use crate::{Device, Op, Shape, Tensor, TensorType};

/// A leaf, or a step that made a tensor of others.
pub(crate) struct Node {
    /// Nodes made later have larger ids; so descending ids are an order in which every node comes
    /// before those that it came of.
    id: u64,
    is_leaf: bool,
    /// What is needed to go back through it; taken by the pass that does. None of a leaf.
    derived: Mutex<Option<Derived>>,
}

/// A step, and where its operands came from.
pub(super) struct Derived {
    pub(super) step: Step,
    /// For each operand its node, where it wants a gradient.
    pub(super) sources: Vec<Option<Arc<Node>>>,
}

/// How a tensor was made. The tensors in here are detached: history is in the sources alone.
pub(super) enum Step {
    /// By an op.
    Op {
        op: Op,
        /// Of the operands.
        types: Vec<TensorType>,
        /// The operands that the gradient rule asked for.
        saved: Vec<Option<Tensor>>,
        /// The output, where the rule asked for it.
        y: Option<Tensor>,
    },
    /// From another shape.
    Reshape { from: Shape },
    /// From another device.
    Move { from: Device },
    /// By a function, to be run again.
    Checkpoint {
        inputs: Vec<Tensor>,
        function: Arc<Function>,
        output: TensorType,
        /// What the function goes back to, of what it was given and what it captures: it is a
        /// source of its own for each, until it is run again and shows all of them.
        uses: Vec<Arc<Node>>,
    },
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Node {
    fn new(is_leaf: bool, derived: Option<Derived>) -> Self {
        // Only the order of ids made on one thread matters, and that holds for any ordering.
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Node { id, is_leaf, derived: Mutex::new(derived) }
    }

    pub(super) fn leaf() -> Self {
        Self::new(true, None)
    }

    pub(super) fn derived(derived: Derived) -> Self {
        Self::new(false, Some(derived))
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    /// The nodes that gradients go to from here, as often as they do. (Of a checkpoint that has not
    /// been run again: at least those.)
    pub(super) fn sources(&self) -> Vec<Arc<Node>> {
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        derived.as_ref().map(|derived| derived.sources().cloned().collect()).unwrap_or_default()
    }

    /// Takes what a pass needs: none where a pass has been here before, or of a leaf.
    pub(super) fn take(&self) -> Option<Derived> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Derived {
    fn sources(&self) -> impl Iterator<Item = &Arc<Node>> {
        let used: &[Arc<Node>] = match &self.step {
            Step::Checkpoint { uses, .. } => uses,
            Step::Op { .. } | Step::Reshape { .. } | Step::Move { .. } => &[],
        };
        self.sources.iter().flatten().chain(used)
    }
}

thread_local! {
    /// What dropped nodes held, while one is being dropped on this thread.
    static DROPPED: RefCell<Option<Vec<Derived>>> = const { RefCell::new(None) };
}

/// A chain of a hundred thousand nodes must not need as many stack frames: what a node holds is
/// dropped by the outermost drop, in a loop.
impl Drop for Node {
    fn drop(&mut self) {
        let Some(derived) = self.take() else { return };
        // `None` where the thread is ending, or another drop on it is at work and takes it over.
        let outermost = DROPPED.try_with(|dropped| match dropped.try_borrow_mut() {
            Ok(mut dropped) => match &mut *dropped {
                Some(waiting) => {
                    waiting.push(derived);
                    false
                }
                None => {
                    *dropped = Some(vec![derived]);
                    true
                }
            },
            Err(_) => false,
        });
        if outermost != Ok(true) {
            return;
        }
        let next = || DROPPED.with_borrow_mut(|dropped| dropped.as_mut().and_then(Vec::pop));
        while let Some(derived) = next() {
            drop(derived);
        }
        DROPPED.set(None);
    }
}
