//! Another element type.

use super::{Backward, OpRule, operands};
use crate::{DType, Result, Tensor, TensorType};

/// Another element type, from each to each.
/// - To floats: numbers round to the nearest, ties to even; those beyond the range become infinite.
/// - From floats to integers: they are cut toward zero and kept in range, NaN becoming 0.
/// - From integers to integers: what is out of range becomes the nearest that is in it. (PyTorch and numpy
///   drop upper bits instead.)
/// - To bool: false for 0, true for all else, NaN too. From bool: 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The type of the output.
    pub dtype: DType,
}

impl OpRule for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("cast", inputs)?;
        Ok(TensorType::new(x.shape, self.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cx.dy().cast(cx.ty(0)?.dtype)?)])
    }
}

impl Tensor {
    /// The same numbers as another element type.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        self.device().execute(&Cast { dtype }.into(), &[self])
    }
}
