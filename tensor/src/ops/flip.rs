//! Axes reversed.

use super::{Axes, Backward, OpRule, operands};
use crate::{AxisList, Result, Tensor, TensorType};

/// Axes reversed. Operand: any. Output: as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flip {
    /// The axes to reverse.
    pub axes: Axes,
}

impl OpRule for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("flip", inputs)?;
        self.axes.check(&x.shape, "flip")?;
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cx.device().execute(&(*self).into(), &[cx.dy()])?)])
    }
}

impl Tensor {
    /// The axes reversed: `flip(&[2])` mirrors images `[n, rows, cols, channels]` left to right.
    ///
    /// # Errors
    /// Where there is no such axis or it stands twice, or the device fails.
    pub fn flip(&self, axes: impl AxisList) -> Result<Tensor> {
        let axes = Axes::new(&axes.places_in(self.shape(), "flip")?)?;
        self.device().execute(&Flip { axes }.into(), &[self])
    }
}
