//! Some of the channels.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::Slice;

use crate::lower::{Layer, Lowering};

/// Some of the channels, one after another: `[n, .., channels]` to `[n, .., count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ChannelsSpec {
    /// The first of them.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

impl Layer for ChannelsSpec {
    fn detail(&self) -> String {
        format!("{}..{}", self.first, self.first.saturating_add(self.count))
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        cx.at_least_one("a count", self.count)?;
        let shape = cx.shape(x);
        let dims = shape.dims();
        let channels = dims.last().copied().unwrap_or(0);
        let end = self.first.checked_add(self.count).filter(|end| *end <= channels);
        let Some(end) = end else {
            return Err(cx.error(format!("some of {channels} channels"), self.detail()));
        };
        let mut ranges: Vec<_> = dims.iter().map(|&extent| 0..extent).collect();
        if let Some(last) = ranges.last_mut() {
            *last = self.first..end;
        }
        cx.push(Slice { ranges }, &[x])
    }
}
