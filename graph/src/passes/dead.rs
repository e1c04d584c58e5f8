//! What nobody reads.

use super::rewrite::Rewrite;
use crate::Result;
use crate::graph::{Graph, Source};

/// Leaves out nodes whose output nobody reads, outputs and records being reads, and parameters, buffers
/// and constants alike. Inputs stay. *Both*; *exact*.
pub(super) fn dead(graph: &Graph) -> Result<Option<Graph>> {
    let mut uses = graph.uses();
    for node in graph.nodes().iter().rev() {
        if uses[node.output.index()] == 0 {
            for input in &node.inputs {
                uses[input.index()] -= 1;
            }
        }
    }
    let is_input = |value| matches!(graph.source(value), Source::Input(_));
    if graph.values().all(|value| uses[value.index()] > 0 || is_input(value)) {
        return Ok(None);
    }
    let mut rewrite = Rewrite::new(graph);
    for node in graph.nodes().iter().filter(|node| uses[node.output.index()] > 0) {
        rewrite.keep(node)?;
    }
    rewrite.finish().map(Some)
}
