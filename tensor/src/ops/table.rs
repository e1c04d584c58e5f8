//! What is known of an op without its parameters.

use super::Op;

/// An entry of [`Op::TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpFacts {
    /// The variant of [`Op`].
    pub variant: &'static str,
    /// The names that ops of this variant have: one, or one for each kind. No other op has them.
    pub names: &'static [&'static str],
    /// Which operands have a gradient.
    pub gradient: Differentiable,
}

/// The operands in which an op has a gradient rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differentiable {
    /// These, of those that are there. The gradient of a function that is flat everywhere is 0.
    Of(&'static [usize]),
    /// All of them, however many there are.
    All,
    /// None, and why.
    Without(&'static str),
}

impl Differentiable {
    /// Whether this operand has a gradient.
    pub fn contains(&self, operand: usize) -> bool {
        match self {
            Differentiable::Of(operands) => operands.contains(&operand),
            Differentiable::All => true,
            Differentiable::Without(_) => false,
        }
    }
}

/// Why gradients have none.
pub(super) const SECOND: &str = "a gradient itself: there are no second derivatives";
/// Why what is made from nothing has none.
pub(super) const CONSTANT: &str = "it has no operands";

impl Op {
    /// The names of all ops, in the order of [`TABLE`](Op::TABLE).
    pub fn names() -> impl Iterator<Item = &'static str> {
        Op::TABLE.iter().flat_map(|facts| facts.names.iter().copied())
    }
}
