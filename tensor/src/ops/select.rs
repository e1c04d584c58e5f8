//! One of two values by a truth value.

use super::gradient::{sum_to, zero};
use super::{Backward, OpRule, Saved, of_dtype, operands};
use crate::{DType, Result, Tensor, TensorType};

/// One of two values by a truth value. Operands: `condition` (u32, true unless 0), `a`, `b` (of one
/// type); their shapes broadcast. Output: `a` where true, `b` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select;

impl OpRule for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [condition, a, b] = operands("select", inputs)?;
        of_dtype("select", "condition", &condition, DType::U32)?;
        of_dtype("select", "b", &b, a.dtype)?;
        let shape = a.shape.broadcast(&b.shape, "select")?.broadcast(&condition.shape, "select")?;
        Ok(TensorType::new(shape, a.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let condition = cx.operand(0)?;
        let dy = cx.wide_dy()?;
        let zero = zero(&dy)?;
        let da = cx.wanted(1, || sum_to(&condition.select(&dy, &zero)?, &cx.ty(1)?.shape))?;
        let db = cx.wanted(2, || sum_to(&condition.select(&zero, &dy)?, &cx.ty(2)?.shape))?;
        Ok(vec![None, da, db])
    }
}

impl Tensor {
    /// `a` where this condition (u32) is not 0, `b` elsewhere, with broadcasting.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![-1.0f32, 2.0, f32::NAN], [3], &device)?;
    /// let zero = Tensor::scalar(0.0f32, &device)?;
    /// assert_eq!(x.gt(&zero)?.select(&x, &zero)?.to_vec::<f32>()?, [0.0, 2.0, 0.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the condition is not u32, the types of `a` and `b` differ, shapes do not broadcast, or
    /// the device fails.
    pub fn select(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.device().execute(&Select.into(), &[self, a, b])
    }
}
