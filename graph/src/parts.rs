//! Which nodes can write their output into a concatenation, so that nothing is copied together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use striate_tensor::{Device, Joined, Op, Result, Tensor, TensorType, ops};

use crate::Plan;
use crate::graph::{Graph, Node, NodeOp, Source, Value};

/// Where the output of a node belongs: into the output of that concatenation, from this channel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) first: usize,
}

/// For each node the concatenation along the last axis that its output is a part of, where nothing else
/// reads it. A concatenation that is itself such a part of another writes into that.
pub(crate) fn places(graph: &Graph, fixed: &[bool]) -> Vec<Option<Place>> {
    let uses = graph.uses();
    let mut places = vec![None; graph.nodes().len()];
    // From the last one back: the place of a concatenation is known before those of its parts.
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if fixed[index] || !joins(graph, node) {
            continue;
        }
        let Place { node: root, first } = places[index].unwrap_or(Place { node: index, first: 0 });
        let mut at = first;
        for &input in &node.inputs {
            if let Source::Node(maker) = *graph.source(input)
                && uses[input.index()] == 1
                && !fixed[maker]
                && matches!(graph.nodes()[maker].op, NodeOp::Op(_))
                && !graph.nodes()[maker].detached
            {
                places[maker] = Some(Place { node: root, first: at });
            }
            at += graph.ty(input).shape.dims().last().copied().unwrap_or(0);
        }
    }
    places
}

/// Whether a node is a concatenation along the last axis.
pub(crate) fn joins(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        NodeOp::Op(Op::Concatenate(op)) => {
            op.axis + 1 == graph.ty(node.output).shape.rank() && !node.detached
        }
        _ => false,
    }
}

/// What became of a node.
pub(crate) enum Made {
    /// It is still to be executed, as any node is.
    Alone,
    /// Its output is a part of a concatenation now.
    Part,
    /// It is a concatenation, and all of its parts are there.
    Joined(Tensor),
}

/// The concatenations of a run that are written in parts.
pub(crate) struct Joins<'a> {
    plan: &'a Plan,
    /// No node writes parts.
    alone: bool,
    /// Those of which some parts are there, by node.
    begun: BTreeMap<usize, Joined>,
    /// Whether the output of each node is there as a part.
    written: Vec<bool>,
}

impl<'a> Joins<'a> {
    pub(crate) fn new(plan: &'a Plan, alone: bool) -> Self {
        let alone = alone || !plan.has_parts();
        let nodes = if alone { 0 } else { plan.graph().nodes().len() };
        Joins { plan, alone, begun: BTreeMap::new(), written: vec![false; nodes] }
    }

    /// Executes a node that is a part of a concatenation or consists of parts, where the device does so.
    pub(crate) fn execute(&mut self, index: usize, values: &[Option<Tensor>]) -> Result<Made> {
        let graph = self.plan.graph();
        let node = &graph.nodes()[index];
        let place = self.plan.place(index);
        if self.alone {
            return Ok(Made::Alone);
        }
        if joins(graph, node) {
            let begun = self.begun.contains_key(&place.map_or(index, |place| place.node));
            return match begun {
                true => self.join(index, node, values),
                // Not one of its parts is there.
                false => Ok(Made::Alone),
            };
        }
        let (Some(place), NodeOp::Op(op)) = (place, &node.op) else { return Ok(Made::Alone) };
        let operand = |input: &Value| values.get(input.index()).and_then(Option::as_ref);
        let operands: Option<Vec<&Tensor>> = node.inputs.iter().map(operand).collect();
        // What is missing is an error of the node where it stands alone.
        let Some(operands) = operands else { return Ok(Made::Alone) };
        let Some(first) = operands.first() else { return Ok(Made::Alone) };
        let device = first.device();
        if !Joined::supports(device, op, &graph.input_types(node))? {
            return Ok(Made::Alone);
        }
        let Some(joined) = self.begin(place.node, device)? else { return Ok(Made::Alone) };
        joined.execute(op, &operands, place.first)?;
        self.written[index] = true;
        Ok(Made::Part)
    }

    /// A concatenation, of which some parts are there: the others are copied into it.
    fn join(&mut self, index: usize, node: &Node, values: &[Option<Tensor>]) -> Result<Made> {
        let graph = self.plan.graph();
        let place = self.plan.place(index);
        let root = place.map_or(index, |place| place.node);
        let mut at = place.map_or(0, |place| place.first);
        for &input in &node.inputs {
            let is_there = match graph.source(input) {
                Source::Node(maker) => self.written[*maker],
                _ => false,
            };
            let value = values.get(input.index()).and_then(Option::as_ref);
            if let (false, Some(value), Some(joined)) = (is_there, value, self.begun.get_mut(&root))
            {
                joined.copy(value, at)?;
            }
            at += graph.ty(input).shape.dims().last().copied().unwrap_or(0);
        }
        if root != index {
            self.written[index] = true;
            return Ok(Made::Part);
        }
        match self.begun.remove(&root) {
            Some(joined) => joined.finish().map(Made::Joined),
            None => Ok(Made::Alone),
        }
    }

    /// The concatenation to write a part into, where the device writes such parts.
    fn begin(&mut self, root: usize, device: &Device) -> Result<Option<&mut Joined>> {
        let ty: TensorType = *self.plan.graph().ty(self.plan.graph().nodes()[root].output);
        match self.begun.entry(root) {
            Entry::Occupied(begun) => Ok(Some(begun.into_mut())),
            Entry::Vacant(place) => {
                let axis = ty.shape.rank().saturating_sub(1);
                let supports = Joined::supports(device, &ops::Concatenate { axis }.into(), &[ty])?;
                supports.then(|| Ok(place.insert(Joined::new(ty, device)?))).transpose()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

    use striate_tensor::{Reference, Shape};

    use super::*;
    use crate::{NoTensors, Run};

    const TANH: ops::Unary = ops::Unary { kind: ops::UnaryKind::Tanh };
    const JOIN: ops::Concatenate = ops::Concatenate { axis: 1 };

    /// `[x, tanh, [tanh, tanh], tanh that is read twice]`, along the last axis.
    fn plan() -> Plan {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32(Shape::new(&[3, 2]).unwrap()));
        let a = graph.push("a", TANH, &[x]).unwrap();
        let b = graph.push("b", TANH, &[a]).unwrap();
        let inner = graph.push("inner 1", TANH, &[b]).unwrap();
        let other = graph.push("inner 2", TANH, &[inner]).unwrap();
        let twice = graph.push("c", TANH, &[b]).unwrap();
        let again = graph.push("d", TANH, &[twice]).unwrap();
        let inner = graph.push("inner", JOIN, &[again, other]).unwrap();
        let y = graph.push("y", JOIN, &[x, inner, twice]).unwrap();
        graph.output("y", y);
        Plan::new(graph)
    }

    #[test]
    fn parts_are_what_one_concatenation_reads_alone() {
        let plan = plan();
        let of = |name: &str| {
            let index = plan.graph().nodes().iter().position(|node| node.name == name).unwrap();
            plan.place(index)
                .map(|place| (plan.graph().nodes()[place.node].name.as_str(), place.first))
        };
        assert_eq!(of("d"), Some(("y", 2)), "through the inner concatenation");
        assert_eq!(of("inner 2"), Some(("y", 4)));
        assert_eq!(of("inner"), Some(("y", 2)));
        for others in ["a", "b", "inner 1", "c", "y"] {
            assert_eq!(of(others), None, "{others}");
        }
    }

    #[test]
    fn parts_are_written_where_the_device_does_so_and_nobody_looks() {
        let device = Device::new(Reference::new());
        let plan = plan();
        let x = Tensor::from_vec(vec![0.1f32, 0.2, 0.3, -0.4, 0.5, 0.6], [3, 2], &device).unwrap();
        let joined = plan.run(&[&x], &NoTensors, &mut Run::default()).unwrap().values.remove(0);
        let mut seen = 0;
        let mut visit = |_: &Node, _: &Tensor| {
            seen += 1;
            Ok(())
        };
        let mut run = Run { visit: Some(&mut visit), ..Run::default() };
        let alone = plan.run(&[&x], &NoTensors, &mut run).unwrap().values.remove(0);
        assert_eq!(joined.to_vec::<f32>().unwrap(), alone.to_vec::<f32>().unwrap());
        assert_eq!(seen, plan.graph().nodes().len());

        let tracked = x.require_grad();
        let y = plan.run(&[&tracked], &NoTensors, &mut Run::default()).unwrap().values.remove(0);
        assert_eq!(y.to_vec::<f32>().unwrap(), alone.to_vec::<f32>().unwrap());
        assert!(y.is_tracked(), "gradients go through each node");
    }

    #[test]
    fn a_part_that_cannot_be_written_is_an_error() {
        let device = Device::new(Reference::new());
        let two = Tensor::from_vec(vec![1.0f32, 2.0], [1, 2], &device).unwrap();
        let ty = TensorType::f32(Shape::new(&[1, 4]).unwrap());
        let mut joined = Joined::new(ty, &device).unwrap();
        joined.copy(&two, 1).unwrap();
        let message = joined.copy(&two, 2).unwrap_err().to_string();
        assert!(message.contains("channels beside 1..3") && message.contains("2..4"), "{message}");
        let message = joined.copy(&two, 3).unwrap_err().to_string();
        assert!(message.contains("channels from 3 on of f32[1, 4]"), "{message}");
        let message = joined.finish().unwrap_err().to_string();
        assert!(message.contains("parts of all 4 channels, got 2"), "{message}");
    }
}
