//! Pooling over images, and its gradients.

use super::conv2d::windows;
use super::{Backward, OpRule, Saved, float, operands, same_shape};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// Which cells of a window get its gradient, where several are its maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ties {
    /// Each of them gets all of it, as in ccv.
    #[default]
    All,
    /// The first of them gets it, row by row, as in PyTorch.
    First,
}

/// Max pooling. Operand: `x [n, rows, cols, channels]`. Output: `[n, out rows, out cols,
/// channels]`, where `out rows = (rows + top + bottom + extra - size) / stride + 1`, rounded down,
/// and cols alike. The window is clipped to the image, as in ccv: the padding takes no part. NaN
/// wins. Over an image without cells it gives -∞.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Rows and cols of the window.
    pub size: [usize; 2],
    /// Pixels from one window to the next, `[rows, cols]`.
    pub stride: [usize; 2],
    /// How far windows reach over the edge, `[[top, bottom], [left, right]]`; each less than the
    /// size.
    pub padding: [[usize; 2]; 2],
    /// Cells beyond the padding, `[bottom, right]`, that windows may reach and that never count.
    /// [`with_ceil`](Pool2d::with_ceil) sets them. With the padding before them, less than the size.
    pub extra: [usize; 2],
    /// An average divides by the cells of the window inside the image and its padding, not by those
    /// inside the image alone. Max pooling ignores it.
    pub count_padding: bool,
    /// Which cells get the gradient of a maximum. Pooling itself ignores it.
    pub ties: Ties,
}

impl Default for Pool2d {
    /// A window of one cell, stride 1, no padding: the identity.
    fn default() -> Self {
        Pool2d {
            size: [1; 2],
            stride: [1; 2],
            padding: [[0; 2]; 2],
            extra: [0; 2],
            count_padding: false,
            ties: Ties::All,
        }
    }
}

impl Pool2d {
    /// A square window, with the same padding on each side.
    pub fn square(size: usize, stride: usize, padding: usize) -> Self {
        Pool2d {
            size: [size; 2],
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            ..Pool2d::default()
        }
    }

    /// This with as much `extra` as rounds the number of windows over images of `rows` and `cols`
    /// up, by the rule of PyTorch's `ceil_mode`: each window begins inside the image or the padding
    /// before it.
    ///
    /// ```
    /// # use striate_tensor::ops::Pool2d;
    /// // The first pool of GoogLeNet: 112 cells give 56 windows, not 55.
    /// assert_eq!(Pool2d::square(3, 2, 0).with_ceil(112, 112).extra, [1, 1]);
    /// // A third window of 2 over 3 cells would begin in the padding after them.
    /// assert_eq!(Pool2d::square(2, 2, 1).with_ceil(3, 2).extra, [0, 0]);
    /// ```
    #[must_use]
    pub fn with_ceil(self, rows: usize, cols: usize) -> Self {
        let extra = |axis: usize, extent: usize| {
            let (size, stride) = (self.size[axis], self.stride[axis]);
            let [before, after] = self.padding[axis];
            let inside = extent.checked_add(before)?;
            let padded = inside.checked_add(after)?;
            let span = padded.checked_add(stride.checked_sub(1)?)?.checked_sub(size)?;
            let mut last = span / stride * stride;
            if last >= inside {
                last = last.checked_sub(stride)?;
            }
            Some((last + size).saturating_sub(padded))
        };
        // What does not fit gets none: the shape rule says why.
        Pool2d { extra: [extra(0, rows), extra(1, cols)].map(Option::unwrap_or_default), ..self }
    }

    fn check(&self, op: &'static str, x: &Shape) -> Result<Shape> {
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        let along = |axis: usize, extent: usize| {
            let (size, extra) = (self.size[axis], self.extra[axis]);
            let [before, after] = self.padding[axis];
            if before >= size || after >= size {
                let expected = format!("less than the window {:?} on each side", self.size);
                return Err(Error::parameter(op, "padding", expected, self.padding));
            }
            if extra >= size - after {
                let expected =
                    format!("less than the window {:?} without its padding after", self.size);
                return Err(Error::parameter(op, "extra", expected, self.extra));
            }
            windows(op, extent, size, self.stride[axis], [before, after + extra])
        };
        Shape::new(&[n, along(0, rows)?, along(1, cols)?, channels])
    }

    /// The cells `start..end` of the window at `out` along an axis (0 rows, 1 cols) of `extent`
    /// cells, clipped to the image.
    pub fn window(&self, axis: usize, out: usize, extent: usize) -> std::ops::Range<usize> {
        let start = (out * self.stride[axis]) as isize - self.padding[axis][0] as isize;
        let end = (start + self.size[axis] as isize).clamp(0, extent as isize);
        start.clamp(0, end) as usize..end as usize
    }

    /// How many cells along an axis (0 rows, 1 cols) of `extent` cells an average over the window at
    /// `out` divides by: those of [`window`](Pool2d::window), and with
    /// [`count_padding`](Pool2d::count_padding) those in the padding too.
    pub fn counted(&self, axis: usize, out: usize, extent: usize) -> usize {
        if !self.count_padding {
            return self.window(axis, out, extent).len();
        }
        let [before, after] = self.padding[axis];
        let padded = before + extent + after;
        let start = out * self.stride[axis];
        (start + self.size[axis]).min(padded).saturating_sub(start)
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
/// image without cells). With [`count_padding`](Pool2d::count_padding) the padding counts as zeros,
/// and `extra` does not, as in PyTorch.
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
/// `x` and the type of `dy`. Every cell equal to the maximum of its window gets the whole gradient of
/// it, or the first one does ([`Pool2d::ties`]); NaN is equal to nothing, so a window that has one
/// gets none.
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
