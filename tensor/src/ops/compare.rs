//! Element by element: two numbers to a truth value.

use super::kinds::kinds;
use super::{OpRule, number, of_dtype, operands};
use crate::{DType, Result, Tensor, TensorType};

kinds! {
    /// Which comparison. As in IEEE arithmetic, NaN is unequal to everything.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum CompareKind {
        /// `a == b`
        Eq => "eq",
        /// `a != b`
        Ne => "ne",
        /// `a < b`
        Lt => "lt",
        /// `a <= b`
        Le => "le",
        /// `a > b`
        Gt => "gt",
        /// `a >= b`
        Ge => "ge",
    }
}

/// Element by element comparison. Operands: two tensors of one type (f32, f16 or u32) whose shapes
/// broadcast.
/// Output: u32 of the broadcast shape, 1 for true and 0 for false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// Which comparison.
    pub kind: CompareKind,
}

impl OpRule for Compare {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [a, b] = operands(self.name(), inputs)?;
        number(self.name(), "a", &a)?;
        of_dtype(self.name(), "b", &b, a.dtype)?;
        Ok(TensorType::new(a.shape.broadcast(&b.shape, self.name())?, DType::U32))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident => $kind:ident;)*) => {
        impl Tensor {
            $($(#[$doc])*
            /// True is 1, false is 0, as u32.
            ///
            /// # Errors
            /// Where types differ or shapes do not broadcast, or the device fails.
            pub fn $method(&self, other: &Tensor) -> Result<Tensor> {
                self.device().execute(&Compare { kind: CompareKind::$kind }.into(), &[self, other])
            })*
        }
    };
}

methods! {
    /// Whether equal, element by element, with broadcasting.
    eq => Eq;
    /// Whether unequal, element by element, with broadcasting.
    ne => Ne;
    /// Whether less, element by element, with broadcasting.
    lt => Lt;
    /// Whether less or equal, element by element, with broadcasting.
    le => Le;
    /// Whether greater, element by element, with broadcasting.
    gt => Gt;
    /// Whether greater or equal, element by element, with broadcasting.
    ge => Ge;
}
