//! Spread, size, and truth of many.

use crate::{AxisList, DType, Error, Result, Tensor};

impl Tensor {
    /// The variance over axes, which go: the sum of squared distances from the mean, over the number of
    /// elements less `correction`. 1 gives the unbiased variance, PyTorch's default; 0 numpy's.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 6.0], [4], &device)?;
    /// assert_eq!(x.var(.., 0)?.to_scalar::<f32>()?, 3.5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such axis, the tensor is not of floats, or the device fails.
    pub fn var(&self, axes: impl AxisList, correction: usize) -> Result<Tensor> {
        let places = axes.places_in(self.shape(), "var")?;
        let count: usize = places.iter().map(|&axis| self.dims()[axis]).product();
        let squares = self.sub(&self.mean_keepdims(&places)?)?.square()?.sum(&places)?;
        // Of too few elements there is no variance: 0 / 0.
        let divisor = count.saturating_sub(correction) as f32;
        squares.div(&Tensor::full([], divisor, self.dtype(), self.device())?)
    }

    /// The standard deviation over axes, which go: the square root of [`var`](Tensor::var).
    ///
    /// # Errors
    /// As [`var`](Tensor::var).
    pub fn std(&self, axes: impl AxisList, correction: usize) -> Result<Tensor> {
        root(&self.var(axes, correction)?)
    }

    /// The `p`-norm over axes, which go: `(Σ |x|ᵖ)^(1/p)`. 2 is the Euclidean length, 1 the sum of
    /// magnitudes, infinity the largest magnitude. Its gradient where all are 0 is 0.
    ///
    /// # Errors
    /// Where `p` is not above 0, there is no such axis, the tensor is not of floats, or the device fails.
    pub fn norm(&self, p: f32, axes: impl AxisList) -> Result<Tensor> {
        if p.is_nan() || p <= 0.0 {
            return Err(Error::parameter("norm", "p", "above 0", p));
        }
        let places = axes.places_in(self.shape(), "norm")?;
        if p == 1.0 {
            self.abs()?.sum(&places)
        } else if p == 2.0 {
            root(&self.square()?.sum(&places)?)
        } else if p == f32::INFINITY {
            self.abs()?.max(&places)
        } else {
            positive(&self.abs()?.powf(p)?.sum(&places)?, |sum| sum.powf(1.0 / p))
        }
    }

    /// Whether any element over axes is not 0, as u32: 1 or 0. Of nothing 0.
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn any(&self, axes: impl AxisList) -> Result<Tensor> {
        let places = axes.places_in(self.shape(), "any")?;
        let most = self.truth()?.max(&places)?;
        most.gt(&Tensor::full([], 0.0, DType::F32, self.device())?)
    }

    /// Whether all elements over axes are not 0, as u32: 1 or 0. Of nothing 1.
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn all(&self, axes: impl AxisList) -> Result<Tensor> {
        let places = axes.places_in(self.shape(), "all")?;
        let least = self.truth()?.min(&places)?;
        least.gt(&Tensor::full([], 0.0, DType::F32, self.device())?)
    }

    /// 1 where an element is not 0, else 0, as f32. NaN is not 0.
    fn truth(&self) -> Result<Tensor> {
        self.ne(&Tensor::full([], 0.0, self.dtype(), self.device())?)?.cast(DType::F32)
    }
}

/// The square root, whose gradient at 0 is 0: the slope there has no bound, and an optimizer no use of it.
fn root(x: &Tensor) -> Result<Tensor> {
    positive(x, Tensor::sqrt)
}

/// `function` of what is above 0, and the others as they are.
fn positive(x: &Tensor, function: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let one = Tensor::full([], 1.0, x.dtype(), x.device())?;
    let above = x.gt(&Tensor::full([], 0.0, x.dtype(), x.device())?)?;
    // NaN and 0 pass by the function; it sees 1 in their place, where its slope is finite.
    above.select(&function(&above.select(x, &one)?)?, x)
}
