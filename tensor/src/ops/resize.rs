//! Images of another size, and what interpolates them.

use super::taps::Taps;
use super::{Backward, OpRule, float, operands, same_shape};
use crate::{Error, Result, Shape, Tensor, TensorType};

/// How a number between pixels becomes that of one: ONNX's `nearest_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nearest {
    /// The pixel before, as in PyTorch.
    #[default]
    Floor,
    /// The pixel after.
    Ceil,
    /// The nearer one; of two as near the one before.
    PreferFloor,
    /// The nearer one; of two as near the one after.
    PreferCeil,
}

/// What an output pixel is made of, along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// One pixel.
    Nearest(Nearest),
    /// The pixels on either side.
    Linear,
    /// Two pixels on either side (Keys, "Cubic convolution interpolation for digital image processing",
    /// 1981).
    Cubic {
        /// Keys' `a`: -0.75 in PyTorch and ONNX, -0.5 in the paper.
        coefficient: f32,
    },
    /// The mean of the pixels from `floor(i · in / out)` to `ceil((i + 1) · in / out)`: adaptive average
    /// pooling. It knows no [`Coordinates`].
    Area,
}

/// Where in the input an output pixel lies: ONNX's `coordinate_transformation_mode`. `scale` is output by
/// input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(i + ½) / scale - ½`: the images cover each other.
    #[default]
    HalfPixel,
    /// As [`HalfPixel`](Coordinates::HalfPixel), but 0 for an output of one pixel.
    PytorchHalfPixel,
    /// `i · (in - 1) / (out - 1)`: the centres of the outermost pixels cover each other.
    AlignCorners,
    /// `i / scale`: the first pixels cover each other.
    Asymmetric,
}

/// Images of another size. Operand: `x [n, rows, cols, channels]`, at least one pixel. Output: `[n, out
/// rows, out cols, channels]`. Rows and cols are interpolated apart. What would lie beyond the edge is the
/// pixel at the edge.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor, ops::Resize};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![0.0f32, 4.0], [1, 1, 2, 1], &device)?;
/// let y = x.resize(Resize::linear([1, 4]))?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 3.0, 4.0]);
/// let y = x.resize(Resize::linear([1, 5]).align_corners())?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 2.0, 3.0, 4.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// Rows and cols of the output.
    pub output: [usize; 2],
    /// What an output pixel is made of.
    pub interpolation: Interpolation,
    /// Where it lies.
    pub coordinates: Coordinates,
    /// What lies beyond the edge takes no part, and the other weights add up to 1 without it.
    pub exclude_outside: bool,
    /// Output by input along each axis, where coordinates go by another number than the quotient of the
    /// extents.
    pub scale: Option<[f32; 2]>,
}

impl Resize {
    /// To `[rows, cols]`, with half-pixel coordinates.
    pub fn new(output: [usize; 2], interpolation: Interpolation) -> Self {
        let coordinates = Coordinates::default();
        Resize { output, interpolation, coordinates, exclude_outside: false, scale: None }
    }

    /// To `[rows, cols]` by the nearest pixel, as PyTorch's `nearest`: the pixel before, of asymmetric
    /// coordinates.
    pub fn nearest(output: [usize; 2]) -> Self {
        Resize::new(output, Interpolation::Nearest(Nearest::Floor))
            .coordinates(Coordinates::Asymmetric)
    }

    /// To `[rows, cols]` linearly, as PyTorch's `bilinear`.
    pub fn linear(output: [usize; 2]) -> Self {
        Resize::new(output, Interpolation::Linear)
    }

    /// To `[rows, cols]` cubically, as PyTorch's `bicubic`.
    pub fn cubic(output: [usize; 2]) -> Self {
        Resize::new(output, Interpolation::Cubic { coefficient: -0.75 })
    }

    /// To `[rows, cols]` by means, as PyTorch's `area` and its adaptive average pooling.
    pub fn area(output: [usize; 2]) -> Self {
        Resize::new(output, Interpolation::Area)
    }

    /// With other coordinates.
    #[must_use]
    pub fn coordinates(self, coordinates: Coordinates) -> Self {
        Resize { coordinates, ..self }
    }

    /// With the centres of the outermost pixels on each other.
    #[must_use]
    pub fn align_corners(self) -> Self {
        self.coordinates(Coordinates::AlignCorners)
    }

    /// What the outputs along an axis (0 rows, 1 cols) of `input` pixels are made of.
    pub fn taps(&self, axis: usize, input: usize) -> Taps {
        let output = self.output[axis];
        let mut taps = Taps::new(output);
        for i in 0..output {
            if self.interpolation == Interpolation::Area {
                let (i, input, output) = (i as u128, input as u128, output as u128);
                let cells =
                    (i * input / output) as usize..((i + 1) * input).div_ceil(output) as usize;
                let weight = 1.0 / cells.len() as f64;
                taps.push(cells.map(|cell| (cell, weight)));
                continue;
            }
            let at = self.place(axis, i, input);
            let weights = self.weights(at);
            let last = input.saturating_sub(1);
            let inside = |cell: f64| cell >= 0.0 && cell <= last as f64;
            let kept = weights
                .into_iter()
                .filter(|&(cell, weight)| weight != 0.0 && (inside(cell) || !self.exclude_outside));
            let kept: Vec<(f64, f64)> = kept.collect();
            let sum: f64 = match self.exclude_outside {
                true => kept.iter().map(|(_, weight)| weight).sum(),
                false => 1.0,
            };
            // Conversions from floats stay in range: what is below 0 becomes 0.
            taps.push(kept.into_iter().map(|(cell, w)| ((cell as usize).min(last), w / sum)));
        }
        taps
    }

    /// Where output pixel `i` lies along an axis of the input.
    fn place(&self, axis: usize, i: usize, input: usize) -> f64 {
        let output = self.output[axis];
        let (at, from, to) = (i as f64, input as f64, output as f64);
        // Of whole numbers, so that what is a whole or a half number is so exactly.
        let half_pixel = || match self.scale {
            None => (2.0 * at + 1.0) * from / (2.0 * to) - 0.5,
            Some(scale) => (at + 0.5) / f64::from(scale[axis]) - 0.5,
        };
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if output <= 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => half_pixel(),
            Coordinates::AlignCorners => at * (from - 1.0) / (to - 1.0),
            Coordinates::Asymmetric => match self.scale {
                None => at * from / to,
                Some(scale) => at / f64::from(scale[axis]),
            },
        }
    }

    /// The pixels around a place, some of them beyond the edge, and what each counts.
    fn weights(&self, at: f64) -> Vec<(f64, f64)> {
        let floor = at.floor();
        let t = at - floor;
        match self.interpolation {
            Interpolation::Nearest(nearest) => {
                let cell = match nearest {
                    Nearest::Floor => floor,
                    Nearest::Ceil => at.ceil(),
                    Nearest::PreferFloor => (at - 0.5).ceil(),
                    Nearest::PreferCeil => (at + 0.5).floor(),
                };
                vec![(cell, 1.0)]
            }
            Interpolation::Cubic { coefficient } => {
                let a = f64::from(coefficient);
                let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
                let far = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
                let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
                (-1..=2).map(|step| floor + f64::from(step)).zip(weights).collect()
            }
            Interpolation::Linear | Interpolation::Area => vec![(floor, 1.0 - t), (floor + 1.0, t)],
        }
    }

    fn check(&self, op: &'static str, x: &Shape) -> Result<Shape> {
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        if rows == 0 || cols == 0 {
            return Err(Error::shape(op, "images of at least one pixel", x));
        }
        if self.output.contains(&0) {
            return Err(Error::parameter(op, "output", "at least one row and col", self.output));
        }
        if let Some(scale) = self.scale.filter(|s| s.iter().any(|s| !(s.is_finite() && *s > 0.0))) {
            return Err(Error::parameter(op, "scale", "finite numbers above 0", scale));
        }
        if let Interpolation::Cubic { coefficient } = self.interpolation
            && !coefficient.is_finite()
        {
            return Err(Error::parameter(op, "coefficient", "a finite number", coefficient));
        }
        Shape::new(&[n, self.output[0], self.output[1], channels])
    }

    fn work(&self, [rows, cols]: [usize; 2], pixels: u64, channels: u64) -> u64 {
        let across = |axis: usize, input: usize| match self.interpolation {
            Interpolation::Nearest(_) => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic { .. } => 4,
            Interpolation::Area => input.div_ceil(self.output[axis].max(1)) as u64,
        };
        let taps = across(0, rows).saturating_mul(across(1, cols));
        pixels.saturating_mul(channels).saturating_mul(taps).saturating_mul(2)
    }
}

impl OpRule for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("resize", inputs)?;
        float("resize", "x", &x)?;
        Ok(TensorType::new(self.check("resize", &x.shape)?, x.dtype))
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        match *inputs[0].shape.dims() {
            [_, rows, cols, _] => self.work([rows, cols], output.count() as u64, 1),
            _ => 0,
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [_, rows, cols, _] = cx.ty(0)?.shape.nhwc("resize", "x")?;
        let op = ResizeGrad { resize: *self, input: [rows, cols] }.into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.dy()])?)])
    }
}

/// The gradient of [`Resize`]. Operand: `dy`. Output: `[n, rows, cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizeGrad {
    /// The change of size.
    pub resize: Resize,
    /// Rows and cols of its input.
    pub input: [usize; 2],
}

impl OpRule for ResizeGrad {
    fn name(&self) -> &'static str {
        "resize_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [dy] = operands(op, inputs)?;
        float(op, "dy", &dy)?;
        let [n, _, _, channels] = dy.shape.nhwc(op, "dy")?;
        let x = Shape::new(&[n, self.input[0], self.input[1], channels])?;
        same_shape(op, "dy", &self.resize.check(op, &x)?, &dy.shape)?;
        Ok(TensorType::new(x, dy.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        self.resize.work(self.input, inputs[0].count() as u64, 1)
    }
}

impl Tensor {
    /// These images `[n, rows, cols, channels]` in another size.
    ///
    /// # Errors
    /// Where there are no pixels, or the device fails.
    pub fn resize(&self, resize: Resize) -> Result<Tensor> {
        self.device().execute(&resize.into(), &[self])
    }

    /// The means of windows that cover these images `[n, rows, cols, channels]`, as many as `output` says:
    /// window `i` along an axis goes from `floor(i · in / out)` to `ceil((i + 1) · in / out)`.
    ///
    /// # Errors
    /// Where there are no pixels, or the device fails.
    pub fn adaptive_avg_pool2d(&self, output: [usize; 2]) -> Result<Tensor> {
        self.resize(Resize::area(output))
    }
}
