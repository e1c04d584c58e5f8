//! Pooling over images, and its gradients.

use super::conv2d::windows;
use super::{Backward, OpRule, Saved, float, operands, same_shape};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// Max pooling. Operand: `x [n, rows, cols, channels]`. Output: `[n, out rows, out cols,
/// channels]`, counted as for a convolution. The window is clipped to the image, as in ccv: the
/// padding takes no part. NaN wins. Over an image without cells it gives -∞.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Rows and cols of the window.
    pub size: [usize; 2],
    /// Pixels from one window to the next, `[rows, cols]`.
    pub stride: [usize; 2],
    /// How far windows reach over the edge, `[rows, cols]`; less than the size.
    pub padding: [usize; 2],
}

impl Pool2d {
    /// A square window.
    pub fn square(size: usize, stride: usize, padding: usize) -> Self {
        Pool2d { size: [size; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    fn check(&self, op: &'static str, x: &Shape) -> Result<Shape> {
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        if self.padding[0] >= self.size[0] || self.padding[1] >= self.size[1] {
            let expected = format!("less than the window {:?}", self.size);
            return Err(Error::parameter(op, "padding", expected, self.padding));
        }
        let out_rows = windows(op, rows, self.size[0], self.stride[0], self.padding[0])?;
        let out_cols = windows(op, cols, self.size[1], self.stride[1], self.padding[1])?;
        Shape::new(&[n, out_rows, out_cols, channels])
    }

    /// The cells `start..end` of the window at `out` along an axis (0 rows, 1 cols) of `extent`
    /// cells, clipped to the image.
    pub fn window(&self, axis: usize, out: usize, extent: usize) -> std::ops::Range<usize> {
        let start = (out * self.stride[axis]) as isize - self.padding[axis] as isize;
        let end = (start + self.size[axis] as isize).clamp(0, extent as isize);
        start.clamp(0, end) as usize..end as usize
    }

    fn cells(&self, windows: &Shape) -> u64 {
        let cells = (self.size[0] as u64).saturating_mul(self.size[1] as u64);
        (windows.count() as u64).saturating_mul(cells)
    }
}

impl OpRule for Pool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("max_pool2d", inputs)?;
        float("max_pool2d", "x", &x)?;
        Ok(TensorType::new(self.check("max_pool2d", &x.shape)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        self.cells(&output.shape)
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0).and(Saved::OUTPUT)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let op = MaxPool2dGrad(*self).into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.operand(0)?, cx.output()?, cx.dy()])?)])
    }
}

/// Average pooling. As [`Pool2d`], with the mean of the cells that are inside the image (NaN over an
/// image without cells).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool2d(pub Pool2d);

impl OpRule for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("avg_pool2d", inputs)?;
        float("avg_pool2d", "x", &x)?;
        Ok(TensorType::new(self.0.check("avg_pool2d", &x.shape)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        self.0.cells(&output.shape)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [_, rows, cols, _] = cx.ty(0)?.shape.nhwc("avg_pool2d", "x")?;
        let op = AvgPool2dGrad { pool: self.0, input: [rows, cols] }.into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.dy()])?)])
    }
}

/// The gradient of max pooling. Operands: `x`, `y` (the output) and `dy`. Output: of the shape of
/// `x` and the type of `dy`. As in ccv, every cell equal to the maximum of its window gets the whole
/// gradient of it; NaN is equal to nothing, so a window that has one gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool2dGrad(pub Pool2d);

impl OpRule for MaxPool2dGrad {
    fn name(&self) -> &'static str {
        "max_pool2d_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, y, dy] = operands(op, inputs)?;
        float(op, "x", &x)?;
        float(op, "dy", &dy)?;
        super::of_dtype(op, "y", &y, x.dtype)?;
        let expected = self.0.check(op, &x.shape)?;
        same_shape(op, "y", &expected, &y.shape)?;
        same_shape(op, "dy", &expected, &dy.shape)?;
        Ok(TensorType::new(x.shape, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        self.0.cells(&inputs[1].shape)
    }
}

/// The gradient of average pooling. Operand: `dy`. Output: `[n, rows, cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool2dGrad {
    /// The pooling.
    pub pool: Pool2d,
    /// Rows and cols of its input.
    pub input: [usize; 2],
}

impl OpRule for AvgPool2dGrad {
    fn name(&self) -> &'static str {
        "avg_pool2d_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [dy] = operands(op, inputs)?;
        float(op, "dy", &dy)?;
        let [n, _, _, channels] = dy.shape.nhwc(op, "dy")?;
        let x = Shape::new(&[n, self.input[0], self.input[1], channels])?;
        same_shape(op, "dy", &self.pool.check(op, &x)?, &dy.shape)?;
        Ok(TensorType::new(x, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        self.pool.cells(&inputs[0].shape)
    }
}

impl Tensor {
    /// The maximum of each window of these images `[n, rows, cols, channels]`.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor, ops::Pool2d};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], [1, 2, 2, 1], &device)?;
    /// assert_eq!(x.max_pool2d(Pool2d::square(2, 2, 0))?.to_scalar::<f32>()?, 4.0);
    /// // Windows that reach over the edge see the cells inside only.
    /// let y = x.avg_pool2d(Pool2d::square(2, 2, 1))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the window does not fit, or the device fails.
    pub fn max_pool2d(&self, pool: Pool2d) -> Result<Tensor> {
        self.device().execute(&pool.into(), &[self])
    }

    /// The mean of each window of these images `[n, rows, cols, channels]`.
    ///
    /// # Errors
    /// Where the window does not fit, or the device fails.
    pub fn avg_pool2d(&self, pool: Pool2d) -> Result<Tensor> {
        self.device().execute(&AvgPool2d(pool).into(), &[self])
    }
}
