//! Element by element: two numbers to one.

use super::gradient::{sum_to, zero};
use super::kinds::kinds;
use super::{Backward, OpRule, Saved, operands};
use crate::{Result, Tensor, TensorType};

kinds! {
    /// Which function.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum BinaryKind {
        /// `a + b`
        Add => "add",
        /// `a - b`
        Sub => "sub",
        /// `a · b`
        Mul => "mul",
        /// `a / b`; floats only
        Div => "div",
        /// The larger one; NaN where either is.
        Maximum => "maximum",
        /// The smaller one; NaN where either is.
        Minimum => "minimum",
        /// `a` to the power `b`, as [`f32::powf`]: a negative `a` has whole powers only; floats only
        Pow => "pow",
        /// `a` where positive, `b · a` elsewhere; floats only
        Prelu => "prelu",
    }
}

/// Element by element, two numbers to one. Operands: two tensors of one type (f32, f16 or u32)
/// whose shapes broadcast. Output: of that type and the broadcast shape. Unsigned integers wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binary {
    /// Which function.
    pub kind: BinaryKind,
}

impl OpRule for Binary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [a, b] = operands(op, inputs)?;
        super::of_dtype(op, "b", &b, a.dtype)?;
        match self.kind {
            BinaryKind::Div | BinaryKind::Pow | BinaryKind::Prelu => super::float(op, "a", &a)?,
            _ => super::number(op, "a", &a)?,
        }
        Ok(TensorType::new(a.shape.broadcast(&b.shape, op)?, a.dtype))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        let (a, b) = (Saved::operand(0), Saved::operand(1));
        let wants = |i| wanted.get(i).copied().unwrap_or(false);
        match self.kind {
            BinaryKind::Add | BinaryKind::Sub => Saved::NOTHING,
            BinaryKind::Mul => a.when(wants(1)).and(b.when(wants(0))),
            BinaryKind::Div => b.and(Saved::OUTPUT.when(wants(1))),
            BinaryKind::Maximum | BinaryKind::Minimum => a.and(b),
            BinaryKind::Prelu => a.and(b.when(wants(0))),
            BinaryKind::Pow => a.and(b).and(Saved::OUTPUT.when(wants(1))),
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let da = cx.wanted(0, || sum_to(&self.left(cx)?, &cx.ty(0)?.shape))?;
        let db = cx.wanted(1, || sum_to(&self.right(cx)?, &cx.ty(1)?.shape))?;
        Ok(vec![da, db])
    }
}

impl Binary {
    /// The gradient in `a`, before the sum over what was broadcast.
    fn left(&self, cx: &Backward<'_>) -> Result<Tensor> {
        let dy = cx.wide_dy()?;
        let b = || cx.wide_operand(1);
        match self.kind {
            BinaryKind::Add | BinaryKind::Sub => Ok(dy),
            BinaryKind::Mul => dy.mul(&b()?),
            BinaryKind::Div => dy.div(&b()?),
            BinaryKind::Maximum => chosen(&dy, &cx.wide_operand(0)?, &b()?),
            BinaryKind::Minimum => chosen(&dy, &b()?, &cx.wide_operand(0)?),
            BinaryKind::Prelu => {
                let a = cx.wide_operand(0)?;
                a.gt(&zero(&a)?)?.select(&dy, &dy.mul(&b()?)?)
            }
            BinaryKind::Pow => {
                // b · a^(b - 1); where b is 0 it is 0, of any a.
                let b = b()?;
                let power = cx.wide_operand(0)?.pow(&b.affine(1.0, -1.0)?)?;
                let slope = b.mul(&power)?;
                let zero = zero(&b)?;
                dy.mul(&b.eq(&zero)?.select(&zero, &slope)?)
            }
        }
    }

    /// The gradient in `b`, before the sum over what was broadcast.
    fn right(&self, cx: &Backward<'_>) -> Result<Tensor> {
        let dy = cx.wide_dy()?;
        let a = || cx.wide_operand(0);
        match self.kind {
            BinaryKind::Add => Ok(dy),
            BinaryKind::Sub => dy.neg(),
            BinaryKind::Mul => dy.mul(&a()?),
            BinaryKind::Div => dy.mul(&cx.wide_output()?)?.div(&cx.wide_operand(1)?)?.neg(),
            BinaryKind::Maximum => chosen(&dy, &cx.wide_operand(1)?, &a()?),
            BinaryKind::Minimum => chosen(&dy, &a()?, &cx.wide_operand(1)?),
            BinaryKind::Prelu => {
                let a = a()?;
                let zero = zero(&a)?;
                a.gt(&zero)?.select(&zero, &dy.mul(&a)?)
            }
            BinaryKind::Pow => {
                // a^b · ln a; where a is 0 it is 0, of any b.
                let a = a()?;
                let slope = cx.wide_output()?.mul(&a.log()?)?;
                let zero = zero(&a)?;
                dy.mul(&a.eq(&zero)?.select(&zero, &slope)?)
            }
        }
    }
}

/// `dy` where `larger` is the larger one, half of it where they are equal, else 0.
fn chosen(dy: &Tensor, larger: &Tensor, smaller: &Tensor) -> Result<Tensor> {
    let shared = larger.eq(smaller)?.select(&dy.affine(0.5, 0.0)?, &zero(dy)?)?;
    larger.gt(smaller)?.select(dy, &shared)
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
    /// ReLU with a slope below zero, `x` where positive and `other · x` elsewhere, element by element, with
    /// broadcasting: `other` is the slope, for each channel where its shape is `[channels]`.
    prelu => Prelu;
}
