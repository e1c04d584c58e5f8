//! Order, and the largest or smallest few.

use super::{OpRule, number, operands};
use crate::{Axis, DType, Error, Result, Tensor, TensorType};

/// The indices of the first `count` entries along an axis, once they are in order. Operand: f32, f16 or u32.
/// Output: u32 of extent `count` there. Equal entries keep their order, and both zeros are equal; NaN counts as
/// larger than every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// The largest first.
    pub descending: bool,
    /// How many: at most the extent.
    pub count: usize,
}

impl OpRule for ArgSort {
    fn name(&self) -> &'static str {
        "arg_sort"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x] = operands(op, inputs)?;
        number(op, "x", &x)?;
        let extent = x.shape.axis(self.axis, op)?;
        if self.count > extent || u32::try_from(extent).is_err() {
            let expected =
                format!("an extent of {} to {} at axis {}", self.count, u32::MAX, self.axis);
            return Err(Error::shape(op, expected, x.shape));
        }
        Ok(TensorType::new(x.shape.with_axis(self.axis, self.count, op)?, DType::U32))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        // Comparisons of a sort.
        let extent = inputs[0].shape.dims().get(self.axis).copied().unwrap_or(1).max(1);
        inputs[0].count() as u64 * u64::from(extent.ilog2() + 1)
    }
}

impl Tensor {
    /// The indices that put `axis` in order, the smallest first, as u32: see [`ArgSort`].
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn arg_sort(&self, axis: impl Axis) -> Result<Tensor> {
        self.ordered(axis, false, None)
    }

    /// The indices that put `axis` in order, the largest first, as u32: see [`ArgSort`].
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn arg_sort_descending(&self, axis: impl Axis) -> Result<Tensor> {
        self.ordered(axis, true, None)
    }

    /// `axis` in order, the smallest first, and the indices that it had. NaN is last.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![3.0f32, 1.0, 2.0], [3], &device)?;
    /// let (values, indices) = x.sort(0)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(indices.to_vec::<u32>()?, [1, 2, 0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn sort(&self, axis: impl Axis) -> Result<(Tensor, Tensor)> {
        let indices = self.arg_sort(axis)?;
        Ok((self.take_along(&indices, axis)?, indices))
    }

    /// The `count` largest entries along `axis`, the largest first, and their indices. NaN counts as the
    /// largest.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let scores = Tensor::from_vec(vec![0.1f32, 0.6, 0.3], [1, 3], &device)?;
    /// let (values, classes) = scores.top_k(2, -1)?;
    /// assert_eq!(values.to_vec::<f32>()?, [0.6, 0.3]);
    /// assert_eq!(classes.to_vec::<u32>()?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis or it has fewer entries, or the device fails.
    pub fn top_k(&self, count: usize, axis: impl Axis) -> Result<(Tensor, Tensor)> {
        let indices = self.ordered(axis, true, Some(count))?;
        Ok((self.take_along(&indices, axis)?, indices))
    }

    fn ordered(&self, axis: impl Axis, descending: bool, count: Option<usize>) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "arg_sort")?;
        let count = count.unwrap_or(self.dims()[axis]);
        self.device().execute(&ArgSort { axis, descending, count }.into(), &[self])
    }
}
