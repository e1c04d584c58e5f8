//! Gradients of what has been computed.
//!
//! [`Tensor::require_grad`] marks a tensor as a *leaf*: a variable whose gradient is wanted. Every op
//! on a tracked tensor (a leaf, or what came of one) then records a node: the op, where its operands
//! came from, and those values that its gradient rule will need, no others. [`Tensor::backward`]
//! walks the nodes from the last one back, hands each its gradient rule (which stands with the op, in
//! [`ops`](crate::ops), and is made of other ops), and gives the [`Gradients`] of all leaves.
//!
//! - **Memory.** A node's values go as soon as the pass has used them, whoever else holds tensors of
//!   the graph. So a graph serves one pass; a second one through it is an error. Add losses up
//!   before. [`checkpoint`] keeps less still, and computes it again. [`Tensor::backward_each`] hands
//!   out gradients as they come, and does not hold them all.
//! - **Order.** Gradients that meet are added up in the reverse order of the ops that used the value:
//!   same program, same bits.
//! - **Types.** A gradient has the shape and the element type of its tensor. Integers have none: what
//!   an op gives as u32 (comparisons, arg-reductions, casts) is not tracked.
//! - **Steps and kinks.** Where a function is flat ([`sign`](Tensor::sign), [`round`](Tensor::round))
//!   its gradient is 0 and the pass stops there. At the kink of ReLU it is 0, as in ccv; where several
//!   values are the maximum or minimum of a [reduction](Tensor::max) or of [two](Tensor::maximum) they
//!   share the gradient evenly; in [max pooling](Tensor::max_pool2d) each gets all of it, as in ccv.
//! - **Once.** The pass itself is not recorded: there are no gradients of gradients, and the gradient
//!   ops have no rule.
//! - **Threads.** Recording is on or off by thread ([`no_grad`]).

mod checkpoint;
mod leaves;
mod mode;
mod node;
mod pass;

pub use checkpoint::checkpoint;
pub use leaves::LeafId;
pub use mode::{is_recording, no_grad};
pub(crate) use node::Node;
pub use pass::Gradients;

use std::sync::Arc;

use crate::{Op, Tensor};
use node::{Derived, Step};

/// Records that `op` made `y` of `inputs`, where a gradient may be asked of it.
pub(crate) fn record_op(op: &Op, inputs: &[&Tensor], y: Tensor) -> Tensor {
    if !mode::records(inputs, &y) {
        return y;
    }
    let sources: Vec<Option<Arc<Node>>> = inputs.iter().map(|x| x.source()).collect();
    let wanted: Vec<bool> = sources.iter().map(Option::is_some).collect();
    let saved = op.saved(&wanted);
    let keep = |(i, x): (usize, &&Tensor)| saved.has_operand(i).then(|| x.detach());
    let step = Step::Op {
        op: op.clone(),
        types: inputs.iter().map(|x| *x.ty()).collect(),
        saved: inputs.iter().enumerate().map(keep).collect(),
        y: saved.has_output().then(|| y.detach()),
    };
    y.with_node(Node::derived(Derived { step, sources }))
}

/// Records that `y` is `x` in another shape.
pub(crate) fn record_reshape(x: &Tensor, y: Tensor) -> Tensor {
    record_single(x, y, |x| Step::Reshape { from: *x.shape() })
}

/// Records that `y` is `x` on another device.
pub(crate) fn record_move(x: &Tensor, y: Tensor) -> Tensor {
    record_single(x, y, |x| Step::Move { from: x.device().clone() })
}

fn record_single(x: &Tensor, y: Tensor, step: impl FnOnce(&Tensor) -> Step) -> Tensor {
    if !mode::records(&[x], &y) {
        return y;
    }
    y.with_node(Node::derived(Derived { step: step(x), sources: vec![x.source()] }))
}

impl Tensor {
    /// This tensor as a leaf: a variable, whose gradient [`backward`](Tensor::backward) gives. Its
    /// clones are the same variable. A leaf stays the one it is; of a tensor that came of others
    /// only the values are taken. (A leaf of integers never gets a gradient.)
    ///
    /// [`sgd_momentum`](Tensor::sgd_momentum) updates a leaf in place and leaves it the same one.
    #[must_use]
    pub fn require_grad(self) -> Tensor {
        match self.node() {
            Some(node) if node.is_leaf() => self,
            _ => self.with_node(Node::leaf()),
        }
    }

    /// Whether gradients go through this tensor: it is a leaf, or came of one while they were
    /// recorded.
    pub fn is_tracked(&self) -> bool {
        self.node().is_some()
    }

    /// The same values without their history: no gradient goes through.
    ///
    /// Of what outlives a training step (a loss to print), keep this: a tracked tensor keeps what
    /// it came of alive until a pass has walked it.
    #[must_use]
    pub fn detach(&self) -> Tensor {
        self.with_source(None)
    }

    /// Where a gradient of this tensor goes, if it is one that can have any.
    fn source(&self) -> Option<Arc<Node>> {
        self.node().filter(|_| self.dtype().is_float()).cloned()
    }

    fn with_node(&self, node: Node) -> Tensor {
        self.with_source(Some(Arc::new(node)))
    }
}
