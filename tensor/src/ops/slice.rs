//! A range of each axis.

use std::ops::Range;

use super::{Backward, OpRule, operands};
use crate::{Axis, Error, Result, Shape, Tensor, TensorType};

/// A range of each axis. Operand: any. Output: the elements inside all ranges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// A range for each axis.
    pub ranges: Vec<Range<usize>>,
}

impl OpRule for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("slice", inputs)?;
        let dims = x.shape.dims();
        let inside = self.ranges.len() == dims.len()
            && self.ranges.iter().zip(dims).all(|(r, &extent)| r.start <= r.end && r.end <= extent);
        if !inside {
            let expected = format!("a range for each axis, inside {}", x.shape);
            return Err(Error::parameter("slice", "ranges", expected, &self.ranges));
        }
        let dims: Vec<usize> = self.ranges.iter().map(|r| r.end - r.start).collect();
        Ok(TensorType::new(Shape::new(&dims)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let dims = cx.ty(0)?.shape.dims();
        let widths: Vec<[usize; 2]> =
            self.ranges.iter().zip(dims).map(|(r, &d)| [r.start, d - r.end]).collect();
        Ok(vec![Some(cx.dy().pad(&widths, 0.0)?)])
    }
}

impl Tensor {
    /// The elements inside a range of each axis.
    ///
    /// # Errors
    /// Where the ranges are not one an axis and inside the shape, or the device fails.
    pub fn slice(&self, ranges: &[Range<usize>]) -> Result<Tensor> {
        self.device().execute(&Slice { ranges: ranges.to_vec() }.into(), &[self])
    }

    /// The elements inside a range of one axis.
    ///
    /// # Errors
    /// Where there is no such axis, the range reaches beyond it, or the device fails.
    pub fn narrow(&self, axis: impl Axis, range: Range<usize>) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "narrow")?;
        let mut ranges: Vec<Range<usize>> = self.shape().dims().iter().map(|&d| 0..d).collect();
        ranges[axis] = range;
        self.device().execute(&Slice { ranges }.into(), &[self])
    }
}
