//! What reads each value, and what depends on parameters alone.

use crate::{Graph, NodeOp, Source, Value};

impl Graph {
    /// The last node that reads each value; one past the last node for outputs and records. None where
    /// nothing reads it.
    pub(crate) fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.value_count()];
        for (place, node) in self.nodes().iter().enumerate() {
            for input in &node.inputs {
                last[input.index()] = Some(place);
            }
        }
        let shown = self.outputs().iter().map(|(_, value)| *value);
        let recorded = self.records().iter().map(|record| record.moments);
        for value in shown.chain(recorded) {
            last[value.index()] = Some(self.nodes().len());
        }
        last
    }

    /// Which nodes depend on parameters, buffers and constants alone. Dropout never does: each run has
    /// its own.
    pub(crate) fn fixed(&self) -> Vec<bool> {
        let mut fixed: Vec<bool> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let is_fixed = |value: &Value| match self.source(*value) {
                Source::Parameter(_) | Source::Buffer(_) | Source::Constant(_) => true,
                Source::Input(_) => false,
                Source::Node(place) => fixed[*place],
            };
            let is_dropout = matches!(node.op, NodeOp::Dropout { .. });
            let own = !node.inputs.is_empty() && !is_dropout && node.inputs.iter().all(is_fixed);
            fixed.push(own);
        }
        fixed
    }
}
