//! Axes that are reordered and reordered back.

use striate_tensor::{Op, Shape, ops};

use super::rewrite::{Rewrite, sole_readers};
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, Source, Value};

/// Permutes, or reshapes, one after the other.
#[derive(Clone)]
struct Chain {
    /// What the first one reads.
    root: Value,
    /// What they do together.
    op: Movement,
    /// Whether any of them ends gradients.
    detached: bool,
    /// No node makes it: it has to be taken up by the next of the chain.
    is_deferred: bool,
}

#[derive(Clone)]
enum Movement {
    Permute(Vec<usize>),
    Reshape(Shape),
}

impl Movement {
    fn of(node: &Node) -> Option<Self> {
        match &node.op {
            NodeOp::Op(Op::Permute(permute)) => Some(Movement::Permute(permute.order.clone())),
            NodeOp::Reshape(shape) => Some(Movement::Reshape(*shape)),
            _ => None,
        }
    }

    /// This one after that one, where they are of one kind.
    fn after(&self, first: &Movement) -> Option<Movement> {
        match (first, self) {
            (Movement::Permute(first), Movement::Permute(second)) => {
                let order = second.iter().map(|&axis| first.get(axis).copied());
                order.collect::<Option<_>>().map(Movement::Permute)
            }
            (Movement::Reshape(_), Movement::Reshape(shape)) => Some(Movement::Reshape(*shape)),
            _ => None,
        }
    }
}

/// Makes permutes after permutes and reshapes after reshapes one, or none where they cancel; a permute
/// that moves axes of extent 1 only becomes a reshape, which costs nothing. *Both*; *exact*.
///
/// A permute that others read too stays as it is where its operand would otherwise have to live longer.
pub(super) fn permutes(graph: &Graph) -> Result<Option<Graph>> {
    let readers = sole_readers(graph);
    let last_uses = graph.last_uses();
    let mut chains: Vec<Option<Chain>> = vec![None; graph.value_count()];
    let mut rewrite = Rewrite::new(graph);
    let mut changed = false;
    for (place, node) in graph.nodes().iter().enumerate() {
        let (Some(op), &[x]) = (Movement::of(node), &node.inputs[..]) else {
            rewrite.keep(node)?;
            continue;
        };
        let mut chain = Chain { root: x, op, detached: node.detached, is_deferred: false };
        if let Some(before) = &chains[x.index()]
            && let Some(op) = chain.op.after(&before.op)
            && (before.is_deferred
                || matches!(op, Movement::Reshape(_))
                || is_there(graph, &last_uses, before.root, place))
        {
            let detached = before.detached || node.detached;
            chain = Chain { root: before.root, op, detached, is_deferred: false };
            changed = true;
        }
        let next = readers[node.output.index()].map(|reader| &graph.nodes()[reader]);
        chain.is_deferred =
            next.and_then(Movement::of).is_some_and(|next| next.after(&chain.op).is_some());
        if !chain.is_deferred {
            let output = emit(graph, &mut rewrite, node, &chain, &mut changed)?;
            rewrite.set(node.output, output);
        }
        chains[node.output.index()] = Some(chain);
    }
    if changed { rewrite.finish().map(Some) } else { Ok(None) }
}

/// Whether a value is there at this place whoever reads it.
fn is_there(graph: &Graph, last_uses: &[Option<usize>], value: Value, place: usize) -> bool {
    match graph.source(value) {
        Source::Input(_) | Source::Node(_) => {
            last_uses[value.index()].is_some_and(|last| last >= place)
        }
        Source::Parameter(_) | Source::Buffer(_) | Source::Constant(_) => true,
    }
}

fn emit(
    graph: &Graph,
    rewrite: &mut Rewrite<'_>,
    node: &Node,
    chain: &Chain,
    changed: &mut bool,
) -> Result<Value> {
    let root = rewrite.value(chain.root)?;
    let (from, to) = (graph.ty(chain.root).shape, graph.ty(node.output).shape);
    let op = match &chain.op {
        Movement::Reshape(shape) => NodeOp::Reshape(*shape),
        Movement::Permute(order) if keeps_elements(&from, order) => {
            *changed = true;
            NodeOp::Reshape(to)
        }
        Movement::Permute(order) => Op::from(ops::Permute { order: order.clone() }).into(),
    };
    if matches!(op, NodeOp::Reshape(_)) && from == to && !chain.detached {
        *changed = true;
        return Ok(root);
    }
    rewrite.push(node, op, &[root], chain.detached)
}

/// Whether a permute leaves the elements in their order: it moves axes of extent 1 past others, no more.
fn keeps_elements(from: &Shape, order: &[usize]) -> bool {
    let moved = order.iter().filter(|&&axis| from.dims().get(axis) != Some(&1));
    moved.is_sorted()
}
