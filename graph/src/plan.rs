//! A graph made ready to run.

use crate::graph::{Graph, Source, Value};

/// A graph with what is known before it runs: when each value is freed, how much memory that takes,
/// and which nodes depend on parameters alone, so that their outputs can be kept from run to run.
#[derive(Clone, Debug)]
pub struct Plan {
    graph: Graph,
    /// For each node the values that nothing reads after it.
    freed: Vec<Vec<Value>>,
    /// Whether each node depends on parameters, buffers and constants alone.
    fixed: Vec<bool>,
    peak_bytes: u64,
}

impl Plan {
    /// The plan of a graph.
    pub fn new(graph: Graph) -> Self {
        let nodes = graph.nodes();
        let mut freed = vec![Vec::new(); nodes.len()];
        for (value, last) in graph.values().zip(graph.last_uses()) {
            let last = match (last, graph.source(value)) {
                (Some(last), _) => last,
                // Nothing reads it: it goes as soon as it is made.
                (None, Source::Node(place)) => *place,
                (None, _) => continue,
            };
            if let Some(freed) = freed.get_mut(last) {
                freed.push(value);
            }
        }
        let fixed = graph.fixed();
        let peak_bytes = peak_bytes(&graph, &freed, &fixed);
        Plan { graph, freed, fixed, peak_bytes }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes of activations at the moment when they are most: what nodes make, inputs and outputs of
    /// the graph included. Parameters, buffers, constants, what depends on these alone (it is
    /// [prepared](Plan::prepare) once) and the devices' own working memory are not counted. A run takes
    /// no more than this, and less where dropout passes its input on.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The values that are freed after a node.
    pub fn freed_after(&self, node: usize) -> &[Value] {
        self.freed.get(node).map_or(&[], Vec::as_slice)
    }

    /// Whether a node depends on parameters, buffers and constants alone, so that its output stays as
    /// long as these do.
    pub fn is_fixed(&self, node: usize) -> bool {
        self.fixed.get(node).copied().unwrap_or(false)
    }
}

fn peak_bytes(graph: &Graph, freed: &[Vec<Value>], fixed: &[bool]) -> u64 {
    // A reshape has the memory of what it was made from: it adds nothing, and keeps that alive.
    let bytes = |value: Value| graph.ty(value).size_bytes() as u64;
    let is_counted = |value: &Value| match graph.source(*value) {
        Source::Input(_) => true,
        Source::Node(place) => {
            !fixed[*place] && !matches!(graph.nodes()[*place].op, crate::NodeOp::Reshape(_))
        }
        _ => false,
    };
    let held = roots(graph);
    let mut users = vec![0usize; graph.value_count()];
    for value in graph.values() {
        users[held[value.index()].index()] += 1;
    }
    let mut alive: u64 = graph.inputs().iter().map(|(_, value)| bytes(*value)).sum();
    let mut peak = alive;
    for (place, node) in graph.nodes().iter().enumerate() {
        if is_counted(&node.output) {
            alive = alive.saturating_add(bytes(node.output));
        }
        peak = peak.max(alive);
        for value in &freed[place] {
            let root = held[value.index()];
            users[root.index()] -= 1;
            if users[root.index()] == 0 && is_counted(&root) {
                alive = alive.saturating_sub(bytes(root));
            }
        }
    }
    peak
}

/// The value whose memory each value has: of a reshape that of its operand, else its own.
fn roots(graph: &Graph) -> Vec<Value> {
    let mut roots: Vec<Value> = graph.values().collect();
    for node in graph.nodes() {
        if let (crate::NodeOp::Reshape(_), [x]) = (&node.op, &node.inputs[..]) {
            roots[node.output.index()] = roots[x.index()];
        }
    }
    roots
}
