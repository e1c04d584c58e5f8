//! Entries by an index each: taken along an axis, and put there.

use super::gradient::zero;
use super::{Backward, OpRule, Saved, float, of_dtype, operands, same_shape};
use crate::{Axis, DType, Error, Result, Tensor, TensorType};

/// For each index the entry along an axis that it names, in its own line: `y[i, j] = x[i, indices[i, j]]`.
/// Operands: `x` (any) and `indices` (u32), whose shapes differ at the axis only. Output: of the shape of
/// the indices. An index beyond the axis gives NaN (the largest for
/// integers, true for truth values). PyTorch's `gather`, ONNX's
/// `GatherElements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TakeAlong {
    /// The axis.
    pub axis: usize,
}

impl OpRule for TakeAlong {
    fn name(&self) -> &'static str {
        "take_along"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, indices] = operands(op, inputs)?;
        lines(op, self.axis, &x, &indices)?;
        Ok(TensorType::new(indices.shape, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(1)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let nothing = Tensor::full(cx.ty(0)?.shape, 0.0, DType::F32, cx.device())?;
        let op = Scatter { axis: self.axis, add: true }.into();
        let dx = cx.device().execute(&op, &[&nothing, cx.operand(1)?, &cx.wide_dy()?])?;
        Ok(vec![Some(dx), None])
    }
}

/// A copy of `x` in which entries along an axis are replaced, or added to, in their own lines:
/// `y[i, indices[i, j]] = source[i, j]`. Operands: `x` (any; floats to be added to), `indices` (u32) whose
/// shape differs at the axis only, and `source` of their shape and of the type of `x`. Output: as `x`. Of
/// several for one place the last one stays, and sums are made in the order of the indices. An index
/// beyond the axis puts nothing. PyTorch's `scatter` and `scatter_add`, ONNX's `ScatterElements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scatter {
    /// The axis.
    pub axis: usize,
    /// Entries are added to what is there.
    pub add: bool,
}

impl OpRule for Scatter {
    fn name(&self) -> &'static str {
        if self.add { "scatter_add" } else { "scatter" }
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, indices, source] = operands(op, inputs)?;
        lines(op, self.axis, &x, &indices)?;
        same_shape(op, "source", &indices.shape, &source.shape)?;
        of_dtype(op, "source", &source, x.dtype)?;
        if self.add {
            float(op, "x", &x)?;
        }
        Ok(x)
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        if self.add { inputs[1].count() as u64 } else { 0 }
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(1)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (indices, dy, axis) = (cx.operand(1)?, cx.wide_dy()?, self.axis);
        let dx = cx.wanted(0, || {
            if self.add {
                return Ok(dy.clone());
            }
            dy.scatter(axis, indices, &Tensor::zeros(indices.shape(), cx.device())?)
        })?;
        let dsource = cx.wanted(2, || {
            let stayed = match self.add {
                true => indices.lt(&word(dy.dims()[axis], cx)?)?,
                false => last_of_each(indices, &cx.ty(0)?.shape, axis)?,
            };
            stayed.select(&dy.take_along(indices, axis)?, &zero(&dy)?)
        })?;
        Ok(vec![dx, None, dsource])
    }
}

/// 1 for each index whose entry no later one replaced, and that was not beyond the axis.
fn last_of_each(indices: &Tensor, x: &crate::Shape, axis: usize) -> Result<Tensor> {
    let n = indices.dims()[axis];
    let mut dims = vec![1; indices.dims().len()];
    dims[axis] = n;
    let places = Tensor::from_vec((0..n as u32).collect::<Vec<_>>(), dims, indices.device())?;
    let places = places.expand(indices.shape())?;
    let nowhere = Tensor::full(x, 0.0, DType::U32, indices.device())?;
    nowhere.scatter(axis, indices, &places)?.take_along(indices, axis)?.eq(&places)
}

/// A number as a u32 tensor without axes.
fn word(number: usize, cx: &Backward<'_>) -> Result<Tensor> {
    Tensor::scalar(u32::try_from(number).unwrap_or(u32::MAX), cx.device())
}

/// Checks that shapes differ at the axis only.
fn lines(op: &'static str, axis: usize, x: &TensorType, indices: &TensorType) -> Result<()> {
    of_dtype(op, "indices", indices, DType::U32)?;
    let extent = x.shape.axis(axis, op)?;
    let fits = indices.shape.rank() == x.shape.rank()
        && indices.shape.with_axis(axis, extent, op)? == x.shape;
    if fits {
        return Ok(());
    }
    let expected = format!("indices of the shape of x but for axis {axis}");
    Err(Error::shape(op, expected, [x.shape, indices.shape]))
}

impl Tensor {
    /// For each index (u32) the entry along `axis` that it names, in its own line:
    /// `y[i, j] = x[i, indices[i, j]]`. Where the indices have fewer lines, the first ones are taken, as
    /// in PyTorch's `gather`.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], [2, 2], &device)?;
    /// let labels = Tensor::from_vec(vec![1u32, 0], [2, 1], &device)?;
    /// assert_eq!(x.take_along(&labels, 1)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis, the indices are of another type, or their shape is larger at another
    /// axis; or the device fails.
    pub fn take_along(&self, indices: &Tensor, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "take_along")?;
        let mut x = self.clone();
        if indices.dims().len() == self.dims().len() {
            for other in (0..self.dims().len()).filter(|&other| other != axis) {
                let (own, asked) = (self.dims()[other], indices.dims()[other]);
                if asked < own {
                    x = x.narrow(other, 0..asked)?;
                }
            }
        }
        x.device().execute(&TakeAlong { axis }.into(), &[&x, indices])
    }

    /// A copy in which the entries along `axis` that `indices` (u32) name in their own lines are those of
    /// `source`: `y[i, indices[i, j]] = source[i, j]`. Of several for one place the last one stays.
    ///
    /// # Errors
    /// Where there is no such axis, types or shapes do not fit, or the device fails.
    pub fn scatter(&self, axis: impl Axis, indices: &Tensor, source: &Tensor) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "scatter")?;
        self.device().execute(&Scatter { axis, add: false }.into(), &[self, indices, source])
    }

    /// A copy in which the entries of `source` are added along `axis` to those that `indices` (u32) name
    /// in their own lines: `y[i, indices[i, j]] += source[i, j]`.
    ///
    /// # Errors
    /// Where there is no such axis, types or shapes do not fit, or the device fails.
    pub fn scatter_add(
        &self,
        axis: impl Axis,
        indices: &Tensor,
        source: &Tensor,
    ) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), "scatter_add")?;
        self.device().execute(&Scatter { axis, add: true }.into(), &[self, indices, source])
    }
}
