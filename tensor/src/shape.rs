//! Shapes and tensor types.

use crate::{DType, Error, Result};

/// The largest number of axes that a tensor can have.
pub const MAX_RANK: usize = 8;

/// The extents of a tensor's axes, outermost first; the last axis is contiguous.
///
/// ```
/// use striate_tensor::Shape;
///
/// let images = Shape::new(&[8, 28, 28, 3])?;
/// assert_eq!((images.rank(), images.count()), (4, 18_816));
/// assert_eq!(images.to_string(), "[8, 28, 28, 3]");
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// A shape of at most [`MAX_RANK`] axes whose number of bytes can be counted.
    ///
    /// # Errors
    /// [`Error::Shape`] where there are more axes, or the element count overflows.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape("shape", format!("at most {MAX_RANK} axes"), dims));
        }
        // Extents of zero must not hide an overflow of the others, or strides would overflow.
        let product = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        if product.and_then(|n| n.checked_mul(4)).is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(Error::shape("shape", "a size that memory can hold", dims));
        }
        Ok(Self::of(dims))
    }

    /// The unchecked form, for dims that came from a valid shape or are few and small.
    fn of(dims: &[usize]) -> Self {
        let mut all = [1; MAX_RANK];
        all[..dims.len()].copy_from_slice(dims);
        Shape { dims: all, rank: dims.len() }
    }

    /// The shape of a single number: no axes, one element.
    pub fn scalar() -> Self {
        Self::of(&[])
    }

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.dims().iter().product()
    }

    /// Elements between neighbours along each axis (row major).
    pub fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank).rev() {
            strides[axis] = step;
            step *= self.dims[axis];
        }
        strides
    }

    /// The four extents of an image batch `[n, rows, cols, channels]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the rank is not 4; `op` and `what` say of which operand.
    pub fn nhwc(&self, op: &'static str, what: &str) -> Result<[usize; 4]> {
        <[usize; 4]>::try_from(self.dims())
            .map_err(|_| Error::shape(op, format!("{what} of 4 axes"), self))
    }

    /// The two extents of a matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] where the rank is not 2; `op` and `what` say of which operand.
    pub fn matrix(&self, op: &'static str, what: &str) -> Result<[usize; 2]> {
        <[usize; 2]>::try_from(self.dims())
            .map_err(|_| Error::shape(op, format!("{what} of 2 axes"), self))
    }

    /// The shape that two shapes broadcast to: aligned at the last axis, extents equal or 1.
    ///
    /// # Errors
    /// [`Error::Shape`] where two extents differ and neither is 1.
    pub fn broadcast(&self, other: &Shape, op: &'static str) -> Result<Shape> {
        let rank = self.rank.max(other.rank);
        let mut dims = [1; MAX_RANK];
        for back in 1..=rank {
            let a = if back <= self.rank { self.dims[self.rank - back] } else { 1 };
            let b = if back <= other.rank { other.dims[other.rank - back] } else { 1 };
            dims[rank - back] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => {
                    let expected = "shapes that broadcast (extents equal or 1)";
                    return Err(Error::shape(op, expected, [*self, *other]));
                }
            };
        }
        Shape::new(&dims[..rank])
    }

    /// The extent of `axis`, checked.
    ///
    /// # Errors
    /// [`Error::Shape`] where there is no such axis.
    pub fn axis(&self, axis: usize, op: &'static str) -> Result<usize> {
        self.dims()
            .get(axis)
            .copied()
            .ok_or_else(|| Error::shape(op, format!("a shape with an axis {axis}"), self))
    }

    /// `(outer, extent, inner)`: the element counts before, of, and after `axis`.
    ///
    /// # Errors
    /// [`Error::Shape`] where there is no such axis.
    pub fn around(&self, axis: usize, op: &'static str) -> Result<[usize; 3]> {
        let extent = self.axis(axis, op)?;
        let outer = self.dims()[..axis].iter().product();
        let inner = self.dims()[axis + 1..].iter().product();
        Ok([outer, extent, inner])
    }

    /// The same shape with another extent at `axis`.
    ///
    /// # Errors
    /// [`Error::Shape`] where there is no such axis or the result is too large.
    pub fn with_axis(&self, axis: usize, extent: usize, op: &'static str) -> Result<Shape> {
        self.axis(axis, op)?;
        let mut dims = self.dims;
        dims[axis] = extent;
        Shape::new(&dims[..self.rank])
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:?}", self.dims()))
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl TryFrom<&[usize]> for Shape {
    type Error = Error;
    fn try_from(dims: &[usize]) -> Result<Self> {
        Shape::new(dims)
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = Error;
    fn try_from(dims: Vec<usize>) -> Result<Self> {
        Shape::new(&dims)
    }
}

impl<const N: usize> TryFrom<[usize; N]> for Shape {
    type Error = Error;
    fn try_from(dims: [usize; N]) -> Result<Self> {
        Shape::new(&dims)
    }
}

impl TryFrom<&Shape> for Shape {
    type Error = Error;
    fn try_from(shape: &Shape) -> Result<Self> {
        Ok(*shape)
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// A shape and an element type: all that a shape rule needs to know of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The extents.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

impl TensorType {
    /// A tensor type.
    pub fn new(shape: Shape, dtype: DType) -> Self {
        TensorType { shape, dtype }
    }

    /// An f32 tensor type.
    pub fn f32(shape: Shape) -> Self {
        Self::new(shape, DType::F32)
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// The number of bytes.
    pub fn size_bytes(&self) -> usize {
        self.count() * self.dtype.size_bytes()
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl std::fmt::Debug for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_strides_are_row_major() {
        let shape = Shape::new(&[2, 3, 4]).unwrap();
        assert_eq!(shape.count(), 24);
        assert_eq!(&shape.strides()[..3], &[12, 4, 1]);
        assert_eq!(Shape::scalar().count(), 1);
        assert_eq!(Shape::new(&[3, 0, 2]).unwrap().count(), 0);
    }

    #[test]
    fn refuses_too_many_axes_and_sizes_beyond_memory() {
        assert!(Shape::new(&[1; MAX_RANK + 1]).is_err());
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        // A zero extent must not let the others overflow a stride.
        assert!(Shape::new(&[0, usize::MAX, 2]).is_err());
    }

    #[test]
    fn broadcasts_from_the_last_axis() {
        let a = Shape::new(&[4, 1, 3]).unwrap();
        let b = Shape::new(&[5, 1]).unwrap();
        assert_eq!(a.broadcast(&b, "add").unwrap().dims(), [4, 5, 3]);
        let c = Shape::new(&[2]).unwrap();
        let message = a.broadcast(&c, "add").unwrap_err().to_string();
        assert!(message.contains("add") && message.contains("[4, 1, 3] and [2]"), "{message}");
        let empty = Shape::new(&[0]).unwrap();
        assert_eq!(empty.broadcast(&Shape::new(&[1]).unwrap(), "add").unwrap().dims(), [0]);
    }
}
