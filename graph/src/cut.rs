//! Where a graph can be cut in two.

use crate::{Graph, Value};

impl Graph {
    /// The cuts: node outputs after which that one value alone is read by what follows, in order. A
    /// graph may be split, recomputed or frozen there. Inputs count as alive as long as they are read;
    /// parameters, buffers and constants do not count, since they are there on both sides. The graph's
    /// first output is the last cut where nothing else is alive beside it.
    pub fn cuts(&self) -> Vec<Value> {
        let last_uses = self.last_uses();
        let mut alive: Vec<Value> = self.inputs().iter().map(|(_, value)| *value).collect();
        let mut cuts = Vec::new();
        for (place, node) in self.nodes().iter().enumerate() {
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
        let mut last = vec![None; self.value_count()];
        for (place, node) in self.nodes().iter().enumerate() {
            for input in &node.inputs {
                last[input.index()] = Some(place);
            }
        }
        let shown = self.outputs().iter().map(|(_, value)| *value);
        for value in shown.chain(self.records().iter().map(|record| record.moments)) {
            last[value.index()] = Some(self.nodes().len());
        }
        last
    }
}
