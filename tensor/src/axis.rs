//! Axes as callers name them: from the front, or from the back by negative numbers.

use std::ops::RangeFull;

use crate::{Error, Result, Shape};

/// An axis of a tensor: `0` is the first, `-1` the last. Whole numbers of type `usize`, `isize` and `i32`
/// are axes, so that a plain number in the source text may be negative.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], [2, 2], &device)?;
/// assert_eq!(x.sum(-1)?.to_vec::<f32>()?, x.sum(1)?.to_vec::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub trait Axis: Copy + std::fmt::Debug {
    /// Its place from the front among `rank` axes; none where there is no such axis.
    fn place(self, rank: usize) -> Option<usize>;

    /// Its place in a shape.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shape has no such axis.
    fn place_in(self, shape: &Shape, op: &'static str) -> Result<usize> {
        self.place(shape.rank())
            .ok_or_else(|| Error::shape(op, format!("a shape with an axis {self:?}"), shape))
    }
}

impl Axis for usize {
    fn place(self, rank: usize) -> Option<usize> {
        (self < rank).then_some(self)
    }
}

impl Axis for isize {
    fn place(self, rank: usize) -> Option<usize> {
        let place =
            if self < 0 { rank.checked_add_signed(self) } else { usize::try_from(self).ok() };
        place.filter(|&place| place < rank)
    }
}

impl Axis for i32 {
    fn place(self, rank: usize) -> Option<usize> {
        isize::try_from(self).ok()?.place(rank)
    }
}

/// Several axes: one, a list of them, or all by `..`.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let x = Tensor::ones([2, 3, 4], &device)?;
/// assert_eq!(x.sum(1)?.dims(), [2, 4]);
/// assert_eq!(x.sum([0, -1])?.dims(), [3]);
/// assert_eq!(x.sum(..)?.to_scalar::<f32>()?, 24.0);
/// # Ok(())
/// # }
/// ```
pub trait AxisList {
    /// Their places in a shape, in the order in which they were named.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shape has no such axis.
    fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>>;
}

macro_rules! one_axis {
    ($($number:ty)*) => {$(
        impl AxisList for $number {
            fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>> {
                Ok(vec![self.place_in(shape, op)?])
            }
        }
    )*};
}

one_axis!(usize isize i32);

impl AxisList for RangeFull {
    fn places_in(&self, shape: &Shape, _: &'static str) -> Result<Vec<usize>> {
        Ok((0..shape.rank()).collect())
    }
}

impl<A: Axis> AxisList for [A] {
    fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>> {
        self.iter().map(|axis| axis.place_in(shape, op)).collect()
    }
}

impl<A: Axis, const N: usize> AxisList for [A; N] {
    fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>> {
        self[..].places_in(shape, op)
    }
}

impl<A: Axis> AxisList for Vec<A> {
    fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>> {
        self[..].places_in(shape, op)
    }
}

impl<A: AxisList + ?Sized> AxisList for &A {
    fn places_in(&self, shape: &Shape, op: &'static str) -> Result<Vec<usize>> {
        (**self).places_in(shape, op)
    }
}
