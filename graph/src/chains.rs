//! Convolutions one after the other, which a device may execute in one pass over rows: what is between them
//! need never be in memory as a whole.

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
    let mut followers = vec![None; nodes.len()];
    let mut before: Option<usize> = None;
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| !fixed[*index]) {
        if let Some(before) = before
            && is_link(&nodes[before])
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
        while let Some(place) = next.filter(|_| ops.len() < LONGEST) {
            let node = &graph.nodes()[place];
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
