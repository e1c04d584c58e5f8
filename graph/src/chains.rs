//! Convolutions one after the other, or after a scale, which a device may execute in one pass over rows: what
//! is between them need never be in memory as a whole.

use striate_tensor::ops::{Binary, BinaryKind};
use striate_tensor::{Op, Result, Tensor};

use crate::Plan;
use crate::graph::{Graph, Node, NodeOp, Source, Value};
use crate::parts::Place;

/// As many as are handed to a device together: expansion, depthwise convolution and projection.
const LONGEST: usize = 3;

/// For each node the one that follows it in a chain, if any: the next to run, which alone reads its output.
pub(crate) fn followers(
    graph: &Graph,
    fixed: &[bool],
    places: &[Option<Place>],
) -> Vec<Option<usize>> {
    let nodes = graph.nodes();
    let uses = graph.uses();
    let is_link = |node: &Node| matches!(node.op, NodeOp::Op(Op::Conv2d(_))) && !node.detached;
    let scales = |node: &Node| {
        let op = Binary { kind: BinaryKind::Mul };
        matches!(&node.op, NodeOp::Op(Op::Binary(of)) if *of == op) && !node.detached
    };
    let mut followers = vec![None; nodes.len()];
    let mut before: Option<usize> = None;
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| !fixed[*index]) {
        if let Some(before) = before
            && (is_link(&nodes[before]) || scales(&nodes[before]))
            && is_link(node)
            && places[index].is_none()
            && node.inputs.first() == Some(&nodes[before].output)
            && uses[nodes[before].output.index()] == 1
        {
            followers[before] = Some(index);
        }
        before = Some(index);
    }
    followers
}

/// The chains of a run.
pub(crate) struct Chains<'a> {
    plan: &'a Plan,
    /// Nodes are executed one by one.
    alone: bool,
    /// The nodes of the chain that was executed last.
    done: Vec<usize>,
}

impl<'a> Chains<'a> {
    pub(crate) fn new(plan: &'a Plan, alone: bool) -> Self {
        Chains { plan, alone, done: Vec::new() }
    }

    /// Whether a node was executed as part of a chain, whose first node gave its output.
    pub(crate) fn is_done(&self, index: usize) -> bool {
        self.done.contains(&index)
    }

    /// Executes the chain that begins at a node, where there is one that the device would rather execute as
    /// such: the value that is made then, and its tensor.
    pub(crate) fn execute(
        &mut self,
        index: usize,
        values: &[Option<Tensor>],
        prepared: Option<&[Option<Tensor>]>,
    ) -> Result<Option<(Value, Tensor)>> {
        let graph = self.plan.graph();
        if self.alone || self.plan.follower(index).is_none() {
            return Ok(None);
        }
        let there = |value: Value| match (values.get(value.index()), graph.source(value)) {
            (Some(Some(tensor)), _) => Some(tensor),
            // A fixed node that stands between those of the chain.
            (_, Source::Node(maker)) => prepared?.get(*maker)?.as_ref(),
            _ => None,
        };
        let mut ops = Vec::with_capacity(LONGEST);
        let mut places = Vec::with_capacity(LONGEST);
        let mut next = Some(index);
        let most = graph.ty(graph.nodes()[index].output).size_bytes();
        while let Some(place) = next.filter(|_| ops.len() < LONGEST) {
            let node = &graph.nodes()[place];
            // What comes out is there beside what goes in, in place of what would be between: where it is
            // no larger, the run takes no more memory than its plan says.
            if graph.ty(node.output).size_bytes() > most {
                break;
            }
            let others: Option<Vec<&Tensor>> =
                node.inputs.iter().skip(1).map(|&input| there(input)).collect();
            // What is missing is an error of the node where it stands alone.
            let (NodeOp::Op(op), Some(others)) = (&node.op, others) else { break };
            ops.push((op, others));
            places.push(place);
            next = self.plan.follower(place);
        }
        let Some(x) = graph.nodes()[index].inputs.first().and_then(|&x| there(x)) else {
            return Ok(None);
        };
        let Some((length, output)) = x.device().execute_chain(x, &ops)? else { return Ok(None) };
        let Some(&last) = places.get(length - 1) else { return Ok(None) };
        places.truncate(length);
        self.done = places;
        Ok(Some((graph.nodes()[last].output, output)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

    use striate_tensor::{Device, Reference, Shape, TensorType, ops::Conv2d};

    use super::*;
    use crate::{NoTensors, Run};

    #[test]
    fn a_chain_is_convolutions_that_nothing_else_reads() {
        let device = Device::new(Reference::new());
        let numbers = |dims: &[usize], seed: u32| {
            let shape = Shape::new(dims).unwrap();
            let number = |i| ((i as u32 * 37 + seed) % 19) as f32 / 19.0 - 0.5;
            Tensor::from_vec((0..shape.count()).map(number).collect(), shape, &device).unwrap()
        };
        let mut graph = Graph::new();
        let input = graph.input("x", TensorType::f32(Shape::new(&[1, 5, 5, 2]).unwrap()));
        let mut block = |x: Value| {
            let mut push = |name: &str, op: Conv2d, x, weights: Tensor, residual: Option<Value>| {
                let weights = graph.constant(weights);
                let op = Conv2d { residual: residual.is_some(), ..op };
                let inputs = [Some(x), Some(weights), residual].into_iter().flatten();
                graph.push(name, op, &inputs.collect::<Vec<Value>>()).unwrap()
            };
            let expand = push("expand", Conv2d::default(), x, numbers(&[6, 1, 1, 2], 1), None);
            let op = Conv2d { padding: [[1, 1]; 2], groups: 6, ..Conv2d::default() };
            let filtered = push("depthwise", op, expand, numbers(&[6, 3, 3, 1], 2), None);
            push("project", Conv2d::default(), filtered, numbers(&[2, 1, 1, 6], 3), Some(x))
        };
        let first = block(input);
        // It is read as a residual too, so that it does not go on.
        let second = block(first);
        graph.output("y", second);
        let plan = Plan::new(graph);
        let followers: Vec<Option<usize>> = (0..6).map(|index| plan.follower(index)).collect();
        assert_eq!(followers, [Some(1), Some(2), None, Some(4), Some(5), None]);

        let x = numbers(&[1, 5, 5, 2], 4);
        let chained = plan.run(&[&x], &NoTensors, &mut Run::default()).unwrap().values.remove(0);
        let mut seen = 0;
        let mut visit = |_: &Node, _: &Tensor| {
            seen += 1;
            Ok(())
        };
        let mut run = Run { visit: Some(&mut visit), ..Run::default() };
        let alone = plan.run(&[&x], &NoTensors, &mut run).unwrap().values.remove(0);
        assert_eq!(chained.to_vec::<f32>().unwrap(), alone.to_vec::<f32>().unwrap());
        assert_eq!(seen, 6);
    }
}
