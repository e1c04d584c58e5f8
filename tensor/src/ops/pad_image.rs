//! A border of an image's own pixels around it.

use super::taps::Taps;
use super::{Backward, OpRule, float, operands, same_shape};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// Which pixels a border is made of. An image of pixels `a b c d` goes on to its right so:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// `c b a b …`: mirrored at the outermost pixel.
    Reflect,
    /// `d d d …`: the outermost pixel again and again.
    Edge,
    /// `a b c d …`: from the other side.
    Wrap,
}

/// Images with a border of their own pixels. Operand: `x [n, rows, cols, channels]`, at least one pixel.
/// Output: `[n, top + rows + bottom, left + cols + right, channels]`. A border of one value is
/// [`Pad`](super::Pad).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PadImage {
    /// `[[top, bottom], [left, right]]`
    pub widths: [[usize; 2]; 2],
    /// What it is made of.
    pub border: Border,
}

impl PadImage {
    /// The pixel that each output along an axis (0 rows, 1 cols) of `input` pixels is.
    pub fn taps(&self, axis: usize, input: usize) -> Taps {
        let [before, after] = self.widths[axis];
        let outputs = before + input + after;
        let mut taps = Taps::new(outputs);
        let extent = input as i128;
        for output in 0..outputs {
            let at = output as i128 - before as i128;
            let cell = match self.border {
                Border::Edge => at.clamp(0, (extent - 1).max(0)),
                Border::Wrap => at.rem_euclid(extent.max(1)),
                Border::Reflect => {
                    // There and back again, without the pixels at the turns twice.
                    let period = (2 * (extent - 1)).max(1);
                    let at = at.rem_euclid(period);
                    at.min(period - at).min((extent - 1).max(0))
                }
            };
            taps.push([(cell as usize, 1.0)]);
        }
        taps
    }

    fn check(&self, op: &'static str, x: &Shape) -> Result<Shape> {
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        if rows == 0 || cols == 0 {
            return Err(Error::shape(op, "images of at least one pixel", x));
        }
        let along = |axis: usize, extent: usize| {
            let [before, after] = self.widths[axis];
            before.checked_add(extent).and_then(|sum| sum.checked_add(after))
        };
        match (along(0, rows), along(1, cols)) {
            (Some(rows), Some(cols)) => Shape::new(&[n, rows, cols, channels]),
            _ => Err(Error::parameter(op, "widths", "numbers of pixels that add up", self.widths)),
        }
    }
}

impl OpRule for PadImage {
    fn name(&self) -> &'static str {
        "pad_image"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("pad_image", inputs)?;
        float("pad_image", "x", &x)?;
        Ok(TensorType::new(self.check("pad_image", &x.shape)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [_, rows, cols, _] = cx.ty(0)?.shape.nhwc("pad_image", "x")?;
        let op = PadImageGrad { pad: *self, input: [rows, cols] }.into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.dy()])?)])
    }
}

/// The gradient of [`PadImage`]. Operand: `dy`. Output: `[n, rows, cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PadImageGrad {
    /// The border.
    pub pad: PadImage,
    /// Rows and cols of its input.
    pub input: [usize; 2],
}

impl OpRule for PadImageGrad {
    fn name(&self) -> &'static str {
        "pad_image_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [dy] = operands(op, inputs)?;
        float(op, "dy", &dy)?;
        let [n, _, _, channels] = dy.shape.nhwc(op, "dy")?;
        let x = Shape::new(&[n, self.input[0], self.input[1], channels])?;
        same_shape(op, "dy", &self.pad.check(op, &x)?, &dy.shape)?;
        Ok(TensorType::new(x, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        inputs[0].count() as u64
    }
}

impl Tensor {
    /// These images `[n, rows, cols, channels]` with a border of their own pixels, `[[top, bottom], [left,
    /// right]]` wide.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor, ops::Border};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [1, 1, 3, 1], &device)?;
    /// let y = x.pad_image([[0, 0], [2, 1]], Border::Reflect)?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there are no pixels, or the device fails.
    pub fn pad_image(&self, widths: [[usize; 2]; 2], border: Border) -> Result<Tensor> {
        self.device().execute(&PadImage { widths, border }.into(), &[self])
    }
}
