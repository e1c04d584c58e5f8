//! Operators on arrays in host memory: what is known before a network runs (shapes, axes, indices), and
//! what devices have no ops for. Integers are computed in i64 and made to fit their type, floats in f64.

mod along;
mod arithmetic;
mod index;
mod reduce;
mod shape;
mod walk;
mod windows;

use super::array::Array;
use super::attributes::Attributes;
use super::compile::item::{Step, invalid};

/// A node on the host: its operands, all of them known.
pub(crate) struct Host<'a> {
    pub(crate) attributes: Attributes<'a>,
    pub(crate) inputs: &'a [Option<Array>],
}

/// How an operator is computed: an array for each of its outputs.
pub(crate) type Rule = fn(&Host<'_>) -> Step<Vec<Array>>;

impl Host<'_> {
    fn optional(&self, place: usize) -> Option<&Array> {
        self.inputs.get(place)?.as_ref()
    }

    fn input(&self, place: usize) -> Step<&Array> {
        match self.optional(place) {
            Some(array) => Ok(array),
            None => invalid(format!("expected an input {place}, got none")),
        }
    }

    fn ints(&self, place: usize) -> Step<Vec<i64>> {
        Ok(self.input(place)?.ints().to_vec())
    }

    /// A list of integers: an attribute in old files, an operand in new ones.
    fn list(&self, name: &str, place: usize) -> Option<Vec<i64>> {
        match self.optional(place) {
            Some(array) => Some(array.ints().to_vec()),
            None => self.attributes.ints(name).map(<[i64]>::to_vec),
        }
    }

    /// One number.
    fn number(&self, place: usize) -> Step<i64> {
        match self.input(place)?.ints()[..] {
            [number] => Ok(number),
            ref more => {
                invalid(format!("expected one number as input {place}, got {}", more.len()))
            }
        }
    }
}

/// The most elements that an operator may make on the host, where a few numbers say how many.
const MAX_MADE: usize = 1 << 25;

/// Refuses extents of more elements than there should be on the host.
pub(super) fn made(dims: &[usize]) -> Step<usize> {
    let count = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
    match count.filter(|&count| count <= MAX_MADE) {
        Some(count) => Ok(count),
        None => invalid(format!("expected at most {MAX_MADE} elements, got {dims:?}")),
    }
}

/// The rule of an operator.
pub(crate) fn rule(op: &str) -> Option<Rule> {
    arithmetic::rule(op)
        .or_else(|| along::rule(op))
        .or_else(|| index::rule(op))
        .or_else(|| reduce::rule(op))
        .or_else(|| shape::rule(op))
        .or_else(|| windows::rule(op))
}
