//! Normalization within an image: layer, group and instance normalization.
//!
//! All three are one op. The channels (the last axis) fall into groups of equal size; a group is
//! normalized by its own mean and variance, over all pixels of an image or for each pixel by itself.

use super::batch_norm::{check_epsilon, per_channel};
use super::gradient::bias_gradient;
use super::{Backward, Op, OpRule, Saved, float, operands, same_shape};
use crate::{DType, Error, Result, Shape, Tensor, TensorType};

/// Normalization of groups of channels: `y = (x - mean) · scale / √(variance + epsilon) + shift`,
/// where mean and (biased) variance are those of the element's group, and scale and shift those of its
/// channel. Operands: `x [.., channels]`; `scale [channels]`; `shift [channels]`. Output: as `x`.
///
/// - Layer normalization over the last axis (Ba, Kiros and Hinton 2016) has one group and takes each
///   pixel by itself: [`GroupNorm::layer`].
/// - Group normalization (Wu and He 2018) takes all pixels of an image together, the image being
///   the first axis: [`GroupNorm::group`].
/// - Instance normalization (Ulyanov, Vedaldi and Lempitsky 2016) is group normalization with as many
///   groups as channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Groups of channels next to each other; they divide the channels evenly.
    pub groups: usize,
    /// Each pixel is normalized by itself. Otherwise all pixels of an image together: the first axis
    /// counts the images, and `x` has 2 or more axes.
    pub pixelwise: bool,
    /// Added to the variance; finite and not negative.
    pub epsilon: f32,
}

/// How a tensor falls into groups: `[images, pixels, groups, channels of a group]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupExtents {
    /// Parts that are normalized by themselves: images, or pixels.
    pub images: usize,
    /// Pixels of each, which are taken together.
    pub pixels: usize,
    /// All channels.
    pub channels: usize,
    /// Groups of channels.
    pub groups: usize,
}

impl GroupExtents {
    /// Channels of a group.
    pub fn per_group(&self) -> usize {
        self.channels / self.groups.max(1)
    }

    /// Elements that share a mean and a variance.
    pub fn together(&self) -> usize {
        self.pixels * self.per_group()
    }
}

impl GroupNorm {
    /// Layer normalization over the last axis.
    pub const fn layer(epsilon: f32) -> Self {
        GroupNorm { groups: 1, pixelwise: true, epsilon }
    }

    /// Group normalization of images.
    pub const fn group(groups: usize, epsilon: f32) -> Self {
        GroupNorm { groups, pixelwise: false, epsilon }
    }

    /// How a tensor of this shape falls into groups.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Parameter`] where it does not.
    pub fn extents(&self, x: &Shape) -> Result<GroupExtents> {
        self.extents_for("group_norm", x)
    }

    fn extents_for(&self, op: &'static str, x: &Shape) -> Result<GroupExtents> {
        let GroupNorm { groups, pixelwise, epsilon } = *self;
        check_epsilon(op, epsilon)?;
        let (images, pixels, channels) = match x.dims() {
            [pixels @ .., channels] if pixelwise => (pixels.iter().product(), 1, *channels),
            [images, pixels @ .., channels] => (*images, pixels.iter().product(), *channels),
            _ if pixelwise => return Err(Error::shape(op, "x with a channel axis, the last", *x)),
            _ => return Err(Error::shape(op, "x of 2 or more axes, channels last", *x)),
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Error::parameter(op, "groups", expected, groups));
        }
        Ok(GroupExtents { images, pixels, channels, groups })
    }
}

impl OpRule for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, scale, shift] = operands(op, inputs)?;
        float(op, "x", &x)?;
        let extents = self.extents_for(op, &x.shape)?;
        per_channel(op, "scale", &scale, extents.channels)?;
        per_channel(op, "shift", &shift, extents.channels)?;
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        // A sum, a sum of squared differences, and the normalization.
        7 * output.count() as u64
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        let wants = |i| wanted.get(i).copied().unwrap_or(false);
        (Saved::operand(0).when(wants(0) || wants(1))).and(Saved::operand(1).when(wants(0)))
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let dy = cx.dy();
        let execute = |op: Op, inputs: &[&Tensor]| dy.device().execute(&op, inputs);
        let dx = cx.wanted(0, || {
            execute(GroupNormGrad(*self).into(), &[cx.operand(0)?, dy, cx.operand(1)?])
        })?;
        let sums = cx.wanted(1, || execute(GroupNormSums(*self).into(), &[cx.operand(0)?, dy]))?;
        let row = |i: usize| {
            let sums = sums.as_ref().ok_or_else(|| Error::gradient(self.name(), "no sums"))?;
            let channels = sums.dims()[1];
            sums.slice(&[i..i + 1, 0..channels])?.reshape([channels])
        };
        let dscale = cx.wanted(1, || row(1))?;
        let dshift = cx.wanted(2, || if sums.is_some() { row(0) } else { bias_gradient(dy) })?;
        Ok(vec![dx, dscale, dshift])
    }
}

/// The gradient of [`GroupNorm`] in `x`. Operands: `x [.., channels]`; `dy` of its shape; `scale
/// [channels]`. Output: of the shape of `x` and the type of `dy`. With `inverse = 1 / √(variance +
/// epsilon)` and the means those of the element's group, `dx = inverse · (scale · dy - mean(scale ·
/// dy) - (x - mean) · inverse² · mean(scale · dy · (x - mean)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormGrad(pub GroupNorm);

impl OpRule for GroupNormGrad {
    fn name(&self) -> &'static str {
        "group_norm_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, dy, scale] = operands(op, inputs)?;
        float(op, "x", &x)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &x.shape, &dy.shape)?;
        let extents = self.0.extents_for(op, &x.shape)?;
        per_channel(op, "scale", &scale, extents.channels)?;
        Ok(dy)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        // The moments, two sums, and what is made of them.
        14 * output.count() as u64
    }
}

/// The gradients of [`GroupNorm`] in scale and shift. Operands: `x [.., channels]`, and `dy` of its
/// shape. Output: f32 `[2, channels]`; row 0 is `Σ dy`, the gradient in the shift, row 1 `Σ dy · (x -
/// mean) / √(variance + epsilon)`, that in the scale. Of no elements both are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormSums(pub GroupNorm);

impl OpRule for GroupNormSums {
    fn name(&self) -> &'static str {
        "group_norm_sums"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, dy] = operands(op, inputs)?;
        float(op, "x", &x)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &x.shape, &dy.shape)?;
        let extents = self.0.extents_for(op, &x.shape)?;
        Ok(TensorType::new(Shape::new(&[2, extents.channels])?, DType::F32))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        // The moments, and two sums.
        9 * inputs[0].count() as u64
    }
}

impl Tensor {
    /// Normalization of groups of channels of this tensor `[.., channels]`, with `scale [channels]` and
    /// `shift [channels]`: see [`GroupNorm`].
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor, ops::GroupNorm};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // An image of two pixels, with two groups of two channels.
    /// let x = Tensor::from_vec(vec![1.0f32, 3.0, 5.0, 5.0, 1.0, 3.0, 7.0, 7.0], [1, 2, 4], &device)?;
    /// let (scale, shift) = (Tensor::ones([4], &device)?, Tensor::ones([4], &device)?);
    /// let y = x.group_norm(&scale, &shift, GroupNorm::group(2, 0.0))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where types or shapes do not fit or a parameter is out of its range, or the device fails.
    pub fn group_norm(&self, scale: &Tensor, shift: &Tensor, norm: GroupNorm) -> Result<Tensor> {
        self.device().execute(&norm.into(), &[self, scale, shift])
    }

    /// Layer normalization over the last axis of this tensor `[.., channels]`, with `scale [channels]`
    /// and `shift [channels]`.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 3.0, 10.0, 20.0], [2, 2], &device)?;
    /// let (scale, shift) = (Tensor::ones([2], &device)?, Tensor::zeros([2], &device)?);
    /// let y = x.layer_norm(&scale, &shift, 0.0)?;
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where types or shapes do not fit or `epsilon` is out of its range, or the device fails.
    pub fn layer_norm(&self, scale: &Tensor, shift: &Tensor, epsilon: f32) -> Result<Tensor> {
        self.group_norm(scale, shift, GroupNorm::layer(epsilon))
    }

    /// Instance normalization of this tensor `[images, .., channels]`, each channel of an image by
    /// itself, with `scale [channels]` and `shift [channels]`.
    ///
    /// # Errors
    /// Where types or shapes do not fit or `epsilon` is out of its range, or the device fails.
    pub fn instance_norm(&self, scale: &Tensor, shift: &Tensor, epsilon: f32) -> Result<Tensor> {
        // Without channels there is nothing to divide.
        let groups = self.dims().last().copied().unwrap_or(1).max(1);
        self.group_norm(scale, shift, GroupNorm::group(groups, epsilon))
    }
}
