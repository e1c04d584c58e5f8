//! Operators as ops of a graph, by what they do.

mod elementwise;
mod matmul;
mod movement;
mod normalize;
mod pad;
mod quantize;
mod reduce;
mod reshape;
mod resize;
mod select;
mod taps;
mod windows;

pub(crate) use movement::{is_kept, slice_steps, split_parts, split_sizes};
pub(crate) use pad::widths as pad_widths;
pub(crate) use reshape::{flat_dims, order, squeezed, unsqueezed, wanted_dims};
pub(crate) use windows::{Windows, transposed, window};

use super::compile::cx::Cx;
use super::compile::item::{Item, Step};

/// How an operator becomes ops: a value for each of its outputs.
pub(crate) type Rule = fn(&mut Cx<'_>) -> Step<Vec<Item>>;

/// The rule of an operator.
pub(crate) fn rule(op: &str) -> Option<Rule> {
    elementwise::rule(op)
        .or_else(|| matmul::rule(op))
        .or_else(|| movement::rule(op))
        .or_else(|| normalize::rule(op))
        .or_else(|| pad::rule(op))
        .or_else(|| quantize::rule(op))
        .or_else(|| reduce::rule(op))
        .or_else(|| reshape::rule(op))
        .or_else(|| resize::rule(op))
        .or_else(|| select::rule(op))
        .or_else(|| windows::rule(op))
}
