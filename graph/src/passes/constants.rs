//! What does not depend on anything.

use striate_tensor::Tensor;

use super::rewrite::{Rewrite, is_identity};
use crate::Result;
use crate::graph::{Graph, NodeOp, Source};
use crate::run::compute;

/// Computes nodes that read constants alone, on the constants' device, and leaves out casts, reshapes
/// and permutes that change nothing. *Inference*; *exact*.
///
/// Nodes on parameters and buffers stay, since those may change: [`Plan::prepare`](crate::Plan::prepare)
/// computes these once. So do nodes on a constant that a gradient is wanted of, and dropout.
pub(super) fn constants(graph: &Graph) -> Result<Option<Graph>> {
    let mut rewrite = Rewrite::new(graph);
    let mut changed = false;
    for node in graph.nodes() {
        let inputs = rewrite.values(&node.inputs)?;
        if let [x] = inputs[..]
            && is_identity(graph, node)
        {
            rewrite.set(node.output, x);
            changed = true;
            continue;
        }
        let constant = |&value| match rewrite.graph().source(value) {
            Source::Constant(tensor) if !tensor.is_tracked() => Some(tensor),
            _ => None,
        };
        let operands: Option<Vec<&Tensor>> = inputs.iter().map(constant).collect();
        match operands {
            Some(operands) if !operands.is_empty() && is_pure(&node.op) => {
                let value = compute(node, &operands, None)?;
                let value = rewrite.graph_mut().constant(value);
                rewrite.set(node.output, value);
                changed = true;
            }
            _ => rewrite.keep(node)?,
        }
    }
    // Constants that only those nodes read are left behind by the next pass that rebuilds.
    if changed { rewrite.finish().map(Some) } else { Ok(None) }
}

fn is_pure(op: &NodeOp) -> bool {
    !matches!(op, NodeOp::Dropout { .. })
}
