//! Tensors end to end.

use super::{Backward, OpRule};
use crate::{Axis, Error, Result, Tensor, TensorType};

/// Tensors end to end along an axis. Operands: one or more of one type, whose shapes differ at that
/// axis only. Output: of their summed extent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concatenate {
    /// The axis.
    pub axis: usize,
}

impl OpRule for Concatenate {
    fn name(&self) -> &'static str {
        "concatenate"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = "concatenate";
        let [first, rest @ ..] = inputs else {
            return Err(Error::Operands { op, expected: "1 or more".into(), got: 0 });
        };
        let mut extent = first.shape.axis(self.axis, op)?;
        for other in rest {
            super::of_dtype(op, "every operand", other, first.dtype)?;
            let here = other.shape.axis(self.axis, op)?;
            if other.shape.with_axis(self.axis, first.shape.dims()[self.axis], op)? != first.shape {
                let expected = format!("shapes that differ at axis {} only", self.axis);
                return Err(Error::shape(op, expected, [first.shape, other.shape]));
            }
            extent = extent.saturating_add(here);
        }
        Ok(TensorType::new(first.shape.with_axis(self.axis, extent, op)?, first.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let mut end = 0;
        let part = |(i, ty): (usize, &TensorType)| {
            let start = end;
            end += ty.shape.axis(self.axis, "concatenate")?;
            cx.wanted(i, || cx.dy().narrow(self.axis, start..end))
        };
        cx.types().iter().enumerate().map(part).collect()
    }
}

impl Tensor {
    /// Tensors end to end along `axis`.
    ///
    /// # Errors
    /// Where there are none, their types differ or their shapes differ elsewhere, or the device
    /// fails.
    pub fn concatenate(tensors: &[&Tensor], axis: impl Axis) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::Operands {
                op: "concatenate",
                expected: "1 or more".into(),
                got: 0,
            });
        };
        let axis = axis.place_in(first.shape(), "concatenate")?;
        first.device().execute(&Concatenate { axis }.into(), tensors)
    }
}
