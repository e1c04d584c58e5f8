//! The same elements in other axes, and elements repeated.

use crate::{Axis, AxisList, DType, Error, Result, Shape, Tensor};

impl Tensor {
    /// Without these axes, which have extent 1; with `..` without all such.
    ///
    /// # Errors
    /// Where there is no such axis, or one that is named has another extent.
    pub fn squeeze(&self, axes: impl AxisList) -> Result<Tensor> {
        let named = axes.places_in(self.shape(), "squeeze")?;
        let dims = self.dims();
        // `..` names every axis, and means those of one element.
        let all = named.len() == dims.len() && named.iter().enumerate().all(|(i, &axis)| i == axis);
        if let Some(&axis) = named.iter().find(|&&axis| dims[axis] != 1 && !all) {
            let expected = format!("an extent of 1 at axis {axis}");
            return Err(Error::shape("squeeze", expected, self.shape()));
        }
        let goes = |axis: usize| named.contains(&axis) && dims[axis] == 1;
        let kept: Vec<usize> = (0..dims.len()).filter(|&axis| !goes(axis)).collect();
        self.reshape(kept.iter().map(|&axis| dims[axis]).collect::<Vec<_>>())
    }

    /// With one more axis, of extent 1, at this place among the axes of the result: `-1` is behind the
    /// last one.
    ///
    /// # Errors
    /// Where there is no such place, or no room for another axis.
    pub fn unsqueeze(&self, axis: impl Axis) -> Result<Tensor> {
        let mut dims = self.dims().to_vec();
        let Some(place) = axis.place(dims.len() + 1) else {
            let expected = format!("a shape with a place {axis:?} for another axis");
            return Err(Error::shape("unsqueeze", expected, self.shape()));
        };
        dims.insert(place, 1);
        self.reshape(dims)
    }

    /// The axes from `first` to `last`, both among them, as one.
    ///
    /// # Errors
    /// Where there is no such axis, or the last is before the first.
    pub fn flatten_axes(&self, first: impl Axis, last: impl Axis) -> Result<Tensor> {
        let op = "flatten_axes";
        let (first, last) = (first.place_in(self.shape(), op)?, last.place_in(self.shape(), op)?);
        if last < first {
            let expected = format!("axis {first} or one behind it");
            return Err(Error::parameter(op, "last", expected, last));
        }
        let dims = self.dims();
        let joined = dims[first..=last].iter().product();
        self.reshape([&dims[..first], &[joined], &dims[last + 1..]].concat())
    }

    /// Repeated to a shape to which its own broadcasts: along new leading axes, and along axes of extent
    /// 1. The result is a copy.
    ///
    /// # Errors
    /// Where it does not broadcast to that shape, or the device fails.
    pub fn expand<S>(&self, shape: S) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        self.expand_to(shape.try_into()?)
    }

    fn expand_to(&self, shape: Shape) -> Result<Tensor> {
        if self.shape().broadcast(&shape, "expand")? != shape {
            let expected = format!("a shape that broadcasts to {shape}");
            return Err(Error::shape("expand", expected, self.shape()));
        }
        if *self.shape() == shape {
            return Ok(self.clone());
        }
        if self.dtype().is_float() {
            // The product with one keeps every number, the sign of zero too.
            return Tensor::full(shape, 1.0, self.dtype(), self.device())?.mul(self);
        }
        // Products are of floats alone; what always holds chooses every other element.
        Tensor::full(shape, 1.0, DType::U32, self.device())?.select(self, self)
    }

    /// The whole tensor, as many times along each axis as `counts` says. Where there are more counts than
    /// axes, the tensor has leading axes of extent 1 first, as in numpy's `tile`.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0], [2], &device)?;
    /// assert_eq!(x.repeat(&[2, 2])?.to_string(), "[[1. 2. 1. 2.]\n [1. 2. 1. 2.]]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there are fewer counts than axes, the result is too large, or the device fails.
    pub fn repeat(&self, counts: &[usize]) -> Result<Tensor> {
        let Some(added) = counts.len().checked_sub(self.dims().len()) else {
            let expected = format!("a count for each axis of {}", self.shape());
            return Err(Error::parameter("repeat", "counts", expected, counts));
        };
        let mut y = self.reshape([&vec![1; added], self.dims()].concat())?;
        for (axis, &count) in counts.iter().enumerate() {
            if count == 1 {
                continue;
            }
            // The axis behind one of its own that is repeated, and then both as one.
            let dims = y.dims().to_vec();
            let [outer, extent, inner] = y.shape().around(axis, "repeat")?;
            let mut result = dims;
            result[axis] = extent.saturating_mul(count);
            let result = Shape::new(&result)?;
            y = y.reshape([outer, 1, extent * inner])?;
            y = y.expand([outer, count, extent * inner])?.reshape(result)?;
        }
        Ok(y)
    }

    /// The elements where the row and the column are equal, of square matrices `[.., n, n]`: `[.., n]`.
    ///
    /// # Errors
    /// Where the last two axes differ in extent, or the device fails.
    pub fn diagonal(&self) -> Result<Tensor> {
        let &[ref outer @ .., n, columns] = self.dims() else {
            return Err(Error::shape("diagonal", "2 or more axes", self.shape()));
        };
        if n != columns || u32::try_from(n.saturating_mul(n)).is_err() {
            return Err(Error::shape("diagonal", "square matrices", self.shape()));
        }
        let places: Vec<u32> = (0..n as u32).map(|i| i * (n as u32 + 1)).collect();
        let places = Tensor::from_vec(places, [n], self.device())?;
        self.reshape([outer, &[n * n]].concat())?.gather(&places, -1)
    }
}
