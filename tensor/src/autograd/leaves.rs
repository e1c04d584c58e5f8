//! Which gradients are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::node::Node;
use crate::{Error, Result, Tensor};

/// Which [leaf](Tensor::require_grad) a tensor is: its clones have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(pub(super) u64);

/// The leaves that a pass comes to, with what has come to them so far.
///
/// A leaf's gradient is complete when something has come from everywhere that used it. Where that
/// cannot be known beforehand there are never too few uses counted: then the gradient is complete at
/// the end of the pass.
#[derive(Default)]
pub(super) struct Leaves {
    waiting: BTreeMap<u64, Leaf>,
    /// The nodes whose sources are counted.
    counted: BTreeSet<u64>,
}

#[derive(Default)]
struct Leaf {
    /// How often something will come.
    uses: usize,
    sum: Option<Tensor>,
    handed_out: bool,
}

impl Leaves {
    /// Counts the uses of leaves from this node on back, but for what has been counted.
    pub(super) fn count(&mut self, last: &Arc<Node>) {
        let mut ahead = vec![Arc::clone(last)];
        while let Some(node) = ahead.pop() {
            if node.is_leaf() {
                self.waiting.entry(node.id()).or_default().uses += 1;
            } else if self.counted.insert(node.id()) {
                ahead.extend(node.sources());
            }
        }
    }

    /// Something has come from a use of this leaf: a part of its gradient, or nothing. Gives the
    /// gradient if that was the last.
    pub(super) fn arrive(&mut self, leaf: &Node, part: Option<Tensor>) -> Result<Option<Tensor>> {
        let Leaf { uses, sum, handed_out } = self.waiting.entry(leaf.id()).or_default();
        if let Some(part) = part {
            if *handed_out {
                return Err(Error::gradient(
                    "checkpoint",
                    "its function used other variables when it was run again, and the gradient of \
                     one is handed out already",
                ));
            }
            *sum = Some(match sum.take() {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        *uses = uses.saturating_sub(1);
        let complete = if *uses == 0 { sum.take() } else { None };
        *handed_out |= complete.is_some();
        Ok(complete)
    }

    /// At the end of a pass: the gradients of leaves that something was still to come to, from what
    /// the pass did not reach.
    pub(super) fn rest(self) -> impl Iterator<Item = (LeafId, Tensor)> {
        let rest = self.waiting.into_iter().rev();
        rest.filter_map(|(id, leaf)| Some((LeafId(id), leaf.sum?)))
    }
}

/// The leaves that a tensor of this node came of, once each.
pub(super) fn leaves_of(node: &Arc<Node>) -> Vec<Arc<Node>> {
    let mut leaves = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ahead = vec![Arc::clone(node)];
    while let Some(node) = ahead.pop() {
        if !seen.insert(node.id()) {
            continue;
        }
        match node.is_leaf() {
            true => leaves.push(node),
            false => ahead.extend(node.sources()),
        }
    }
    leaves
}
