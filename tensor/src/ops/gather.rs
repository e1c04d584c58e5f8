//! Entries of an axis by index.

use super::{Backward, OpRule, Saved, float, of_dtype, operands, same_shape};
use crate::{Axis, DType, Error, Result, Shape, Tensor, TensorType};

/// Entries of an axis by index. Operands: `x` (any) and `indices [n]` (u32). Output: as `x` with
/// extent `n` at that axis. An index beyond the axis gives NaN (the largest for
/// integers, true for truth values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The axis.
    pub axis: usize,
}

impl OpRule for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x, indices] = operands("gather", inputs)?;
        of_dtype("gather", "indices", &indices, DType::U32)?;
        let &[n] = indices.shape.dims() else {
            return Err(Error::shape("gather", "indices of 1 axis", indices.shape));
        };
        Ok(TensorType::new(x.shape.with_axis(self.axis, n, "gather")?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(1)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let extent = cx.ty(0)?.shape.axis(self.axis, "gather")?;
        let op = GatherGrad { axis: self.axis, extent }.into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.operand(1)?, cx.dy()])?), None])
    }
}

/// The gradient of taking entries by index. Operands: `indices [n]` (u32) and `dy` (floats, extent
/// `n` at the axis). Output: as `dy` with `extent` at the axis; each entry sums those of `dy` that
/// were taken from it, in the order of the indices. Indices beyond the axis took from nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherGrad {
    /// The axis.
    pub axis: usize,
    /// The extent there of what was gathered from.
    pub extent: usize,
}

impl OpRule for GatherGrad {
    fn name(&self) -> &'static str {
        "gather_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [indices, dy] = operands(op, inputs)?;
        of_dtype(op, "indices", &indices, DType::U32)?;
        float(op, "dy", &dy)?;
        let n = dy.shape.axis(self.axis, op)?;
        same_shape(op, "indices", &Shape::new(&[n])?, &indices.shape)?;
        Ok(TensorType::new(dy.shape.with_axis(self.axis, self.extent, op)?, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        inputs[1].count() as u64
    }
}

impl Tensor {
    /// The entries of `axis` that `indices` (u32, one axis) names, in its order.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![10.0f32, 20.0, 30.0], [3], &device)?;
    /// let indices = Tensor::from_vec(vec![2u32, 2, 0], [3], &device)?;
    /// assert_eq!(x.gather(&indices, 0)?.to_vec::<f32>()?, [30.0, 30.0, 10.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis, the indices are of another type or shape, or the device fails.
    pub fn gather(&self, indices: &Tensor, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "gather")?;
        self.device().execute(&Gather { axis }.into(), &[self, indices])
    }
}
