//! A border around a tensor.

use super::{Backward, OpRule, operands};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// A border of one value. Operand: any. Output: larger at each axis by what is put before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Elements put before and after, for each axis.
    pub widths: Vec<[usize; 2]>,
    /// The value of the border; as [`Cast`](super::Cast) converts it.
    pub value: f32,
}

impl OpRule for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("pad", inputs)?;
        if self.widths.len() != x.shape.rank() {
            let expected = format!("a pair for each axis of {}", x.shape);
            return Err(Error::parameter("pad", "widths", expected, &self.widths));
        }
        let dims: Vec<usize> = (x.shape.dims().iter().zip(&self.widths))
            .map(|(&extent, &[before, after])| extent.saturating_add(before).saturating_add(after))
            .collect();
        Ok(TensorType::new(Shape::new(&dims)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let dims = cx.ty(0)?.shape.dims();
        let inside: Vec<_> =
            self.widths.iter().zip(dims).map(|(&[before, _], &d)| before..before + d).collect();
        Ok(vec![Some(cx.dy().slice(&inside)?)])
    }
}

impl Tensor {
    /// A border of `value`, with so many elements before and after at each axis.
    ///
    /// # Errors
    /// Where there is not one pair an axis, or the device fails.
    pub fn pad(&self, widths: &[[usize; 2]], value: f32) -> Result<Tensor> {
        self.device().execute(&Pad { widths: widths.to_vec(), value }.into(), &[self])
    }
}
