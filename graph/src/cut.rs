//! Where a graph can be cut in two.

use crate::{Graph, NodeOp, Source, Value};

impl Graph {
    /// The cuts: node outputs after which that one value alone is read by what follows, in order. A
    /// graph may be split, recomputed or frozen there. Inputs count as alive as long as they are read;
    /// parameters, buffers and constants do not count, nor what depends on these alone, since they are
    /// there on both sides. Nor do [records](Graph::records): they are shown beside a run. An output
    /// counts as alive to the end; the graph's first output is the last cut where nothing else is alive
    /// beside it.
    pub fn cuts(&self) -> Vec<Value> {
        let fixed = self.fixed();
        let outputs = self.outputs().iter().map(|(_, value)| *value);
        let last_uses = self.last_reads(outputs);
        let mut alive: Vec<Value> = self.inputs().iter().map(|(_, value)| *value).collect();
        let mut cuts = Vec::new();
        for (place, node) in self.nodes().iter().enumerate() {
            if fixed[place] {
                continue;
            }
            alive.push(node.output);
            alive.retain(|value| last_uses[value.index()].is_some_and(|last| last > place));
            if alive == [node.output] {
                cuts.push(node.output);
            }
        }
        cuts
    }

    /// The last node that reads each value; one past the last node for outputs and records. None where
    /// nothing reads it.
    pub(crate) fn last_uses(&self) -> Vec<Option<usize>> {
        let outputs = self.outputs().iter().map(|(_, value)| *value);
        self.last_reads(outputs.chain(self.records().iter().map(|record| record.moments)))
    }

    /// The last node that reads each value; one past the last node for those that are `shown`.
    fn last_reads(&self, shown: impl Iterator<Item = Value>) -> Vec<Option<usize>> {
        let mut last = vec![None; self.value_count()];
        for (place, node) in self.nodes().iter().enumerate() {
            for input in &node.inputs {
                last[input.index()] = Some(place);
            }
        }
        for value in shown {
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
