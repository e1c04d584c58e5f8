//! A graph made ready to run.

use crate::chains;
use crate::graph::{Graph, Node, NodeOp, Source, Value};
use crate::parts::{self, Place};

/// A graph with what is known before it runs: when each value is freed, how much memory that takes,
/// and which nodes depend on parameters alone, so that their outputs can be kept from run to run.
#[derive(Clone, Debug)]
pub struct Plan {
    graph: Graph,
    /// For each node the values that nothing reads after it.
    freed: Vec<Vec<Value>>,
    /// Whether each node depends on parameters, buffers and constants alone.
    fixed: Vec<bool>,
    /// Whether anything but fixed nodes reads each value.
    read: Vec<bool>,
    /// For each node the concatenation that its output is a part of: see [`parts`](mod@parts).
    places: Vec<Option<Place>>,
    /// For each node the one that follows it in a chain: see [`chains`](mod@chains).
    followers: Vec<Option<usize>>,
    /// For each node the operand that its output may be written over: see [`spares`].
    spares: Vec<Option<usize>>,
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
        let peak_bytes = peak_bytes(&graph, &freed, &fixed, &vec![None; graph.nodes().len()]);
        let places = accepted(&graph, &freed, &fixed, peak_bytes);
        let followers = chains::followers(&graph, &fixed, &places);
        let spares = spares(&graph, &freed);
        let mut read = vec![false; graph.value_count()];
        let nodes = graph.nodes().iter().zip(&fixed).filter(|(_, fixed)| !**fixed);
        let inputs = nodes.flat_map(|(node, _)| node.inputs.iter().copied());
        let outputs = graph.outputs().iter().map(|(_, value)| *value);
        let records = graph.records().iter().map(|record| record.moments);
        for value in inputs.chain(outputs).chain(records) {
            read[value.index()] = true;
        }
        Plan { graph, freed, fixed, read, places, followers, spares, peak_bytes }
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

    /// The concatenation that the output of a node is a part of, where devices that can write it there may.
    pub(crate) fn place(&self, node: usize) -> Option<Place> {
        self.places.get(node).copied().flatten()
    }

    /// Whether anything but nodes that are [fixed](Plan::is_fixed) reads a value.
    pub(crate) fn is_read(&self, value: Value) -> bool {
        self.read.get(value.index()).copied().unwrap_or(false)
    }

    /// The node that follows in a chain, which devices that do so may execute together.
    pub(crate) fn follower(&self, node: usize) -> Option<usize> {
        self.followers.get(node).copied().flatten()
    }

    /// The operand of a node that its output may be written over, where the device does so.
    pub(crate) fn spare(&self, node: usize) -> Option<usize> {
        self.spares.get(node).copied().flatten()
    }

    /// Whether the parts of any concatenation may be written into it.
    pub(crate) fn has_parts(&self) -> bool {
        self.places.iter().any(Option::is_some)
    }

    /// Whether a node depends on parameters, buffers and constants alone, so that its output stays as
    /// long as these do.
    pub fn is_fixed(&self, node: usize) -> bool {
        self.fixed.get(node).copied().unwrap_or(false)
    }
}

/// The last operand of each node that another node makes, that is of the output's type, that the node reads
/// once, and that nothing reads after it.
fn spares(graph: &Graph, freed: &[Vec<Value>]) -> Vec<Option<usize>> {
    let of_node = |(node, freed): (&Node, &Vec<Value>)| {
        let is_spare = |input: &Value| {
            matches!(graph.source(*input), Source::Node(_))
                && freed.contains(input)
                && graph.ty(*input) == graph.ty(node.output)
                && node.inputs.iter().filter(|other| *other == input).count() == 1
        };
        match node.op {
            NodeOp::Op(_) => node.inputs.iter().rposition(is_spare),
            NodeOp::Reshape(_) | NodeOp::Dropout { .. } => None,
        }
    };
    graph.nodes().iter().zip(freed).map(of_node).collect()
}

/// The places of parts in those concatenations whose memory may be there from the first part on without
/// raising the peak: without parts they are there at the same time as the concatenation, which is more as a
/// rule.
fn accepted(graph: &Graph, freed: &[Vec<Value>], fixed: &[bool], limit: u64) -> Vec<Option<Place>> {
    let all = parts::places(graph, fixed);
    let mut accepted = vec![None; all.len()];
    let mut roots: Vec<usize> = all.iter().flatten().map(|place| place.node).collect();
    roots.sort_unstable();
    roots.dedup();
    for root in roots {
        let before = accepted.clone();
        for (to, place) in accepted.iter_mut().zip(&all) {
            *to = place.filter(|place| place.node == root).or(*to);
        }
        if peak_bytes(graph, freed, fixed, &accepted) > limit {
            accepted = before;
        }
    }
    accepted
}

fn peak_bytes(
    graph: &Graph,
    freed: &[Vec<Value>],
    fixed: &[bool],
    places: &[Option<Place>],
) -> u64 {
    // A reshape has the memory of what it was made from: it adds nothing, and keeps that alive.
    let bytes = |value: Value| graph.ty(value).size_bytes() as u64;
    let is_counted = |value: &Value| match graph.source(*value) {
        Source::Input(_) => true,
        Source::Node(place) => {
            !fixed[*place]
                && places[*place].is_none()
                && !matches!(graph.nodes()[*place].op, NodeOp::Reshape(_))
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
    // A concatenation is there from its first part on.
    let mut begun = vec![false; graph.nodes().len()];
    for place in 0..graph.nodes().len() {
        let made = places[place].map_or(place, |part| part.node);
        let output = graph.nodes()[made].output;
        if is_counted(&output) && !begun[made] {
            begun[made] = true;
            alive = alive.saturating_add(bytes(output));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

    use striate_tensor::{Device, Reference, Shape, Tensor, TensorType, ops};

    use super::*;
    use crate::{NoTensors, Run};

    const TANH: ops::Unary = ops::Unary { kind: ops::UnaryKind::Tanh };
    const ADD: ops::Binary = ops::Binary { kind: ops::BinaryKind::Add };

    #[test]
    fn what_an_output_may_be_written_over() {
        let axes = ops::Axes::new(&[1]).unwrap();
        let sum_of_rows = ops::Reduce { kind: ops::ReduceKind::Sum, axes, keep_axes: false };
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32(Shape::new(&[3, 2]).unwrap()));
        let a = graph.push("a", TANH, &[x]).unwrap();
        let b = graph.push("b", TANH, &[a]).unwrap();
        let sum = graph.push("sum", ADD, &[a, b]).unwrap();
        let twice = graph.push("twice", ADD, &[sum, sum]).unwrap();
        let y = graph.push("y", ADD, &[twice, x]).unwrap();
        let narrow = graph.push("narrow", sum_of_rows, &[y]);
        graph.output("narrow", narrow.unwrap());
        graph.output("y", y);
        let plan = Plan::new(graph);
        let spares: Vec<_> = (0..6).map(|node| plan.spare(node)).collect();
        assert_eq!(spares, [None, None, Some(1), None, Some(0), None]);

        let device = Device::new(Reference::new());
        let x = Tensor::from_vec(vec![0.1f32, 0.2, 0.3, -0.4, 0.5, 0.6], [3, 2], &device).unwrap();
        let before = x.to_vec::<f32>().unwrap();
        let over = plan.run(&[&x], &NoTensors, &mut Run::default()).unwrap().values;
        let mut visit = |_: &Node, _: &Tensor| Ok(());
        let mut run = Run { visit: Some(&mut visit), ..Run::default() };
        let alone = plan.run(&[&x], &NoTensors, &mut run).unwrap().values;
        for (over, alone) in over.iter().zip(&alone) {
            assert_eq!(over.to_vec::<f32>().unwrap(), alone.to_vec::<f32>().unwrap());
        }
        assert_eq!(x.to_vec::<f32>().unwrap(), before);
    }
}
