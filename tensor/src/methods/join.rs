//! Tensors put together and taken apart.

use crate::{Axis, Error, Result, Tensor};

impl Tensor {
    /// Tensors of one shape beside each other along a new axis, at this place among the axes of the
    /// result.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::zeros([4, 5], &device)?;
    /// assert_eq!(Tensor::stack(&[&x, &x, &x], 0)?.dims(), [3, 4, 5]);
    /// assert_eq!(Tensor::stack(&[&x, &x, &x], -1)?.dims(), [4, 5, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there are none, their types or shapes differ, there is no such place, or the device fails.
    pub fn stack(tensors: &[&Tensor], axis: impl Axis) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::Operands { op: "stack", expected: "1 or more".into(), got: 0 });
        };
        let Some(place) = axis.place(first.dims().len() + 1) else {
            let expected = format!("a shape with a place {axis:?} for another axis");
            return Err(Error::shape("stack", expected, first.shape()));
        };
        if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != first.shape()) {
            let got = [*first.shape(), *other.shape()];
            return Err(Error::shape("stack", "tensors of one shape", got));
        }
        let widened: Result<Vec<Tensor>> = tensors.iter().map(|x| x.unsqueeze(place)).collect();
        let widened = widened?;
        Tensor::concatenate(&widened.iter().collect::<Vec<_>>(), place)
    }

    /// Parts of these extents along `axis`, one behind the other.
    ///
    /// # Errors
    /// Where the extents do not add up to that of the axis, there is no such axis, or the device fails.
    pub fn split(&self, extents: &[usize], axis: impl Axis) -> Result<Vec<Tensor>> {
        let axis = axis.place_in(self.shape(), "split")?;
        let whole = self.dims()[axis];
        let sum = extents.iter().try_fold(0usize, |sum, &extent| sum.checked_add(extent));
        if sum != Some(whole) {
            let expected = format!("a list that adds up to {whole}");
            return Err(Error::parameter("split", "extents", expected, extents));
        }
        let mut end = 0;
        let part = |&extent: &usize| {
            let start = end;
            end += extent;
            self.narrow(axis, start..end)
        };
        extents.iter().map(part).collect()
    }

    /// At most `count` parts of equal extent along `axis`, of which the last may have less, as in
    /// PyTorch: 7 in 3 parts are 3, 3 and 1.
    ///
    /// # Errors
    /// Where `count` is 0, there is no such axis, or the device fails.
    pub fn chunk(&self, count: usize, axis: impl Axis) -> Result<Vec<Tensor>> {
        let axis = axis.place_in(self.shape(), "chunk")?;
        if count == 0 {
            return Err(Error::parameter("chunk", "count", "1 or more", count));
        }
        let whole = self.dims()[axis];
        let each = whole.div_ceil(count).max(1);
        let mut extents = vec![each; whole / each];
        if !whole.is_multiple_of(each) || whole == 0 {
            extents.push(whole % each);
        }
        self.split(&extents, axis)
    }
}
