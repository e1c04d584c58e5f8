//! How a pass makes a graph of another.

use crate::error::missing;
use crate::graph::{Graph, Node, NodeOp, Source, Value};
use crate::{Record, Result};

/// A new graph in the making, and where the old one's values are in it.
pub(super) struct Rewrite<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<Value>>,
}

impl<'a> Rewrite<'a> {
    /// A new graph with the inputs of the old one.
    pub(super) fn new(old: &'a Graph) -> Self {
        let mut new = Graph::new();
        let mut map = vec![None; old.value_count()];
        for (name, value) in old.inputs() {
            map[value.index()] = Some(new.input(name, *old.ty(*value)));
        }
        Rewrite { old, new, map }
    }

    /// The graph so far.
    pub(super) fn graph(&self) -> &Graph {
        &self.new
    }

    /// The new graph, for nodes of the pass's own.
    pub(super) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.new
    }

    /// Where an old value is now. Parameters, buffers and constants come over when they are first
    /// asked for, so that those that nobody reads any more stay behind.
    pub(super) fn value(&mut self, old: Value) -> Result<Value> {
        if let Some(new) = self.map[old.index()] {
            return Ok(new);
        }
        let ty = *self.old.ty(old);
        let new = match self.old.source(old) {
            Source::Parameter(id) => self.new.parameter(*id, ty),
            Source::Buffer(id) => self.new.buffer(*id, ty),
            Source::Constant(tensor) => self.new.constant(tensor.clone()),
            Source::Input(_) | Source::Node(_) => return Err(missing("a node that was left out")),
        };
        self.map[old.index()] = Some(new);
        Ok(new)
    }

    /// Where old values are now.
    pub(super) fn values(&mut self, old: &[Value]) -> Result<Vec<Value>> {
        old.iter().map(|&value| self.value(value)).collect()
    }

    /// Reads of the old value are reads of the new one from here on.
    pub(super) fn set(&mut self, old: Value, new: Value) {
        self.map[old.index()] = Some(new);
    }

    /// A node with the name and origin of an old one, on new values.
    pub(super) fn push(
        &mut self,
        like: &Node,
        op: NodeOp,
        inputs: &[Value],
        detached: bool,
    ) -> Result<Value> {
        self.new.set_origin(like.origin);
        self.new.push_node(&like.name, op, inputs, detached)
    }

    /// The old node as it was.
    pub(super) fn keep(&mut self, node: &Node) -> Result<()> {
        let inputs = self.values(&node.inputs)?;
        let output = self.push(node, node.op.clone(), &inputs, node.detached)?;
        self.set(node.output, output);
        Ok(())
    }

    /// The new graph, with the outputs and records of the old one.
    pub(super) fn finish(mut self) -> Result<Graph> {
        for (name, value) in self.old.outputs() {
            let value = self.value(*value)?;
            self.new.output(name, value);
        }
        for record in self.old.records() {
            let moments = self.value(record.moments)?;
            self.new.record(Record { moments, ..*record });
        }
        self.new.set_origin(None);
        Ok(self.new)
    }
}

/// The place of the node that alone reads each value, once; none where there are more reads, or where
/// it is an output or a record.
pub(super) fn sole_readers(graph: &Graph) -> Vec<Option<usize>> {
    let uses = graph.uses();
    let mut readers = vec![None; graph.value_count()];
    for (place, node) in graph.nodes().iter().enumerate() {
        for input in node.inputs.iter().filter(|input| uses[input.index()] == 1) {
            readers[input.index()] = Some(place);
        }
    }
    readers
}

/// Whether a value is there when the node at this place runs.
pub(super) fn is_before(graph: &Graph, value: Value, place: usize) -> bool {
    match graph.source(value) {
        Source::Node(maker) => *maker < place,
        Source::Input(_) | Source::Parameter(_) | Source::Buffer(_) | Source::Constant(_) => true,
    }
}

/// Whether a node passes on what it reads. One that is detached does more: it ends gradients.
pub(super) fn is_identity(graph: &Graph, node: &Node) -> bool {
    use striate_tensor::Op;
    let [x] = node.inputs[..] else { return false };
    let same = graph.ty(x) == graph.ty(node.output);
    !node.detached
        && match &node.op {
            NodeOp::Op(Op::Cast(_)) | NodeOp::Reshape(_) => same,
            NodeOp::Op(Op::Permute(permute)) => {
                permute.order.iter().copied().eq(0..permute.order.len())
            }
            _ => false,
        }
}
