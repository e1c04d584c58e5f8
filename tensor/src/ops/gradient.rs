//! What gradient rules are made with.

use std::fmt;
use std::sync::Arc;

use super::{Activation, Axes, Reduce, ReduceKind};
use crate::autograd::Node;
use crate::{DType, Device, Error, Op, Result, Shape, Tensor, TensorType};

/// What is kept of an op for its gradient rule: some operands, and the output or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    operands: u32,
    output: bool,
}

impl Saved {
    /// Nothing.
    pub const NOTHING: Saved = Saved { operands: 0, output: false };
    /// The output.
    pub const OUTPUT: Saved = Saved { operands: 0, output: true };

    /// One operand, below 32.
    pub const fn operand(i: usize) -> Self {
        Saved { operands: 1 << i, output: false }
    }

    /// This and that.
    #[must_use]
    pub const fn and(self, other: Saved) -> Self {
        Saved { operands: self.operands | other.operands, output: self.output || other.output }
    }

    /// This, or nothing.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Saved::NOTHING }
    }

    pub(crate) fn has_operand(&self, i: usize) -> bool {
        i < 32 && self.operands & (1 << i) != 0
    }

    pub(crate) fn has_output(&self) -> bool {
        self.output
    }
}

/// What a gradient rule is given.
pub struct Backward<'a> {
    op: &'a Op,
    types: &'a [TensorType],
    saved: &'a [Option<Tensor>],
    y: Option<&'a Tensor>,
    dy: &'a Tensor,
    sources: &'a [Option<Arc<Node>>],
}

impl fmt::Debug for Backward<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backward")
            .field("op", &self.op)
            .field("types", &self.types)
            .finish_non_exhaustive()
    }
}

impl<'a> Backward<'a> {
    pub(crate) fn new(
        op: &'a Op,
        types: &'a [TensorType],
        saved: &'a [Option<Tensor>],
        y: Option<&'a Tensor>,
        dy: &'a Tensor,
        sources: &'a [Option<Arc<Node>>],
    ) -> Self {
        Backward { op, types, saved, y, dy, sources }
    }

    /// The types of the operands.
    pub fn types(&self) -> &'a [TensorType] {
        self.types
    }

    /// The type of operand `i`.
    ///
    /// # Errors
    /// [`Error::Operands`] where there is no such operand.
    pub fn ty(&self, i: usize) -> Result<&'a TensorType> {
        self.types.get(i).ok_or_else(|| Error::Operands {
            op: self.op.name(),
            expected: format!("more than {i}"),
            got: self.types.len(),
        })
    }

    /// Operand `i`, which [`OpRule::saved`](super::OpRule::saved) asked for.
    ///
    /// # Errors
    /// [`Error::Gradient`] where it did not.
    pub fn operand(&self, i: usize) -> Result<&'a Tensor> {
        self.saved.get(i).and_then(Option::as_ref).ok_or_else(|| self.not_saved(i))
    }

    /// The output, which [`OpRule::saved`](super::OpRule::saved) asked for.
    ///
    /// # Errors
    /// [`Error::Gradient`] where it did not.
    pub fn output(&self) -> Result<&'a Tensor> {
        self.y.ok_or_else(|| self.not_saved("the output"))
    }

    fn not_saved(&self, what: impl std::fmt::Display) -> Error {
        Error::gradient(self.op.name(), format!("its rule uses {what} but did not ask for it"))
    }

    /// The gradient of the output, of its shape and type.
    pub fn dy(&self) -> &'a Tensor {
        self.dy
    }

    /// Operand `i` in f32: rules that do arithmetic on f16 round once, at the end.
    ///
    /// # Errors
    /// As [`operand`](Backward::operand), and where the device fails.
    pub fn wide_operand(&self, i: usize) -> Result<Tensor> {
        self.operand(i)?.cast(DType::F32)
    }

    /// The output in f32.
    ///
    /// # Errors
    /// As [`output`](Backward::output), and where the device fails.
    pub fn wide_output(&self) -> Result<Tensor> {
        self.output()?.cast(DType::F32)
    }

    /// The gradient of the output in f32.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn wide_dy(&self) -> Result<Tensor> {
        self.dy.cast(DType::F32)
    }

    /// The device that everything is on.
    pub fn device(&self) -> &'a Device {
        self.dy.device()
    }

    /// Whether operand `i` wants a gradient.
    pub fn wants(&self, i: usize) -> bool {
        self.sources.get(i).is_some_and(Option::is_some)
    }

    /// A gradient, computed where operand `i` wants one.
    ///
    /// # Errors
    /// What the computation says.
    pub fn wanted(
        &self,
        i: usize,
        gradient: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        self.wants(i).then(gradient).transpose()
    }
}

/// The sum of `x` over the axes that an operand of this shape was broadcast along.
pub(super) fn sum_to(x: &Tensor, shape: &Shape) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    let added = x.shape().rank().saturating_sub(shape.rank());
    let repeated = |axis: &usize| *axis < added || shape.dims()[axis - added] == 1;
    let axes: Vec<usize> = (0..x.shape().rank()).filter(repeated).collect();
    let op = Reduce { kind: ReduceKind::Sum, axes: Axes::new(&axes)?, keep_axes: false };
    x.device().execute(&op.into(), &[x])?.reshape(shape)
}

/// `x` repeated along axes where it has extent 1.
pub(super) fn broadcast_to(x: &Tensor, shape: &Shape) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    // The product with one keeps every number, the sign of zero too.
    Tensor::full(shape, 1.0, x.dtype(), x.device())?.mul(x)
}

/// 0 of the type and device of `like`, without axes.
pub(super) fn zero(like: &Tensor) -> Result<Tensor> {
    Tensor::full([], 0.0, like.dtype(), like.device())
}

/// What a convolution or a product keeps, operands `x`, weights and what is added: each factor for the
/// gradient of the other, and the output where the slope of the activation is found in it. Elsewhere
/// that takes all operands.
pub(super) fn epilogue_saved(activation: Activation, wanted: &[bool]) -> Saved {
    let wants = |i| wanted.get(i).copied().unwrap_or(false);
    let factors = (Saved::operand(0).when(wants(1))).and(Saved::operand(1).when(wants(0)));
    match (activation.is_none(), activation.is_found_in_output()) {
        (true, _) => factors,
        (_, true) => factors.and(Saved::OUTPUT),
        _ => (0..wanted.len()).fold(factors, |saved, i| saved.and(Saved::operand(i))),
    }
}

/// The gradient before an activation that was fused into the op, which is `plain` without it. What the
/// activation was applied to is computed once more where its slope is not found in the output.
pub(super) fn before_activation(
    activation: Activation,
    plain: &Op,
    cx: &Backward<'_>,
) -> Result<Tensor> {
    let given = || {
        let operands = (0..cx.types.len()).map(|i| cx.operand(i)).collect::<Result<Vec<_>>>()?;
        cx.device().execute(plain, &operands)
    };
    activation.gradient(cx.dy(), || cx.output(), given)
}

/// The gradient of a bias along the last axis: the sum over all others, in f32.
pub(super) fn bias_gradient(dy: &Tensor) -> Result<Tensor> {
    let others: Vec<usize> = (0..dy.shape().rank().saturating_sub(1)).collect();
    dy.cast(DType::F32)?.sum(&others)
}
