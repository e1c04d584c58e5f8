//! Sums of all entries so far.

use super::{Backward, OpRule, number, operands};
use crate::{Axis, Result, Tensor, TensorType};

/// For each entry along an axis the sum of those up to it. Operand: f32, f16 or u32. Output: as it. Floats are summed
/// in f32 or better; integers modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CumulativeSum {
    /// The axis.
    pub axis: usize,
    /// The sums are of those before an entry, without itself.
    pub exclusive: bool,
    /// From the last entry to the first.
    pub reverse: bool,
}

impl OpRule for CumulativeSum {
    fn name(&self) -> &'static str {
        "cumulative_sum"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands(self.name(), inputs)?;
        number(self.name(), "x", &x)?;
        x.shape.axis(self.axis, self.name())?;
        Ok(x)
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        inputs[0].count() as u64
    }

    /// Each entry is in the sums that come behind it.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let op = CumulativeSum { reverse: !self.reverse, ..*self };
        Ok(vec![Some(cx.device().execute(&op.into(), &[&cx.wide_dy()?])?)])
    }
}

impl Tensor {
    /// For each entry along `axis` the sum of all entries up to it.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [3], &device)?;
    /// assert_eq!(x.cumulative_sum(0)?.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn cumulative_sum(&self, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "cumulative_sum")?;
        let op = CumulativeSum { axis, exclusive: false, reverse: false };
        self.device().execute(&op.into(), &[self])
    }
}
