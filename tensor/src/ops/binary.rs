//! Element by element: two numbers to one.

use super::{OpRule, operands};
use crate::{DType, Error, Result, Tensor, TensorType};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryKind {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`; floats only
    Div,
    /// The larger one; NaN where either is.
    Maximum,
    /// The smaller one; NaN where either is.
    Minimum,
    /// `a` to the power `b`, as [`f32::powf`]: a negative `a` has whole powers only; floats only
    Pow,
}

/// Element by element, two numbers to one. Operands: two tensors of one type whose shapes
/// broadcast. Output: of that type and the broadcast shape. Unsigned integers wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binary {
    /// Which function.
    pub kind: BinaryKind,
}

impl OpRule for Binary {
    fn name(&self) -> &'static str {
        match self.kind {
            BinaryKind::Add => "add",
            BinaryKind::Sub => "sub",
            BinaryKind::Mul => "mul",
            BinaryKind::Div => "div",
            BinaryKind::Maximum => "maximum",
            BinaryKind::Minimum => "minimum",
            BinaryKind::Pow => "pow",
        }
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [a, b] = operands(op, inputs)?;
        super::of_dtype(op, "b", &b, a.dtype)?;
        if matches!(self.kind, BinaryKind::Div | BinaryKind::Pow) && a.dtype == DType::U32 {
            return Err(Error::DType { op, what: "a", expected: "f32 or f16", got: a.dtype });
        }
        Ok(TensorType::new(a.shape.broadcast(&b.shape, op)?, a.dtype))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident => $kind:ident;)*) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// Where types differ or shapes do not broadcast, or the device fails.
            pub fn $method(&self, other: &Tensor) -> Result<Tensor> {
                self.device().execute(&Binary { kind: BinaryKind::$kind }.into(), &[self, other])
            })*
        }
    };
}

methods! {
    /// The sum, element by element, with broadcasting.
    add => Add;
    /// The difference, element by element, with broadcasting.
    sub => Sub;
    /// The product, element by element, with broadcasting.
    mul => Mul;
    /// The quotient, element by element, with broadcasting.
    div => Div;
    /// The larger one, element by element, with broadcasting; NaN where either is.
    maximum => Maximum;
    /// The smaller one, element by element, with broadcasting; NaN where either is.
    minimum => Minimum;
    /// The power, element by element, with broadcasting.
    pow => Pow;
}
