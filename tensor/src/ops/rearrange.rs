//! Elements that move between channels and pixels: channel shuffle, depth to space and back. Each is a
//! permutation of the axes of a tensor that is seen in another shape.

use crate::{Error, Result, Shape, Tensor};

/// How the channels of a block of pixels lie among those of one: see
/// [`depth_to_space`](Tensor::depth_to_space).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BlockOrder {
    /// ONNX's `DCR`, TensorFlow's: channel `(row · block + col) · channels + channel`.
    #[default]
    Dcr,
    /// ONNX's `CRD`, PyTorch's pixel shuffle: channel `(channel · block + row) · block + col`.
    Crd,
}

/// A permutation of the axes of a tensor that is seen in another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rearrangement {
    /// The shape in which the tensor is seen.
    pub split: Shape,
    /// Where each axis of the result lies in that: see [`Permute`](super::Permute).
    pub order: Vec<usize>,
    /// The shape of the result.
    pub output: Shape,
}

impl Rearrangement {
    /// Channel `group · size + place` of `groups` becomes channel `place · groups + group` (Zhang, Zhou,
    /// Lin and Sun, "ShuffleNet", 2018). The last axis is that of channels.
    ///
    /// # Errors
    /// Where the groups do not divide the channels.
    pub fn channel_shuffle(x: &Shape, groups: usize) -> Result<Self> {
        let op = "channel_shuffle";
        let [dims @ .., channels] = x.dims() else {
            return Err(Error::shape(op, "an axis of channels", x));
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("a number that divides the {channels} channels");
            return Err(Error::parameter(op, "groups", expected, groups));
        }
        let rank = dims.len();
        let split = Shape::new(&[dims, &[groups, channels / groups]].concat())?;
        let order = (0..rank).chain([rank + 1, rank]).collect();
        Ok(Rearrangement { split, order, output: *x })
    }

    /// `[n, rows, cols, block² · channels]` to `[n, rows · block, cols · block, channels]`.
    ///
    /// # Errors
    /// Where these are no images, or the block's pixels do not divide the channels.
    pub fn depth_to_space(x: &Shape, block: usize, order: BlockOrder) -> Result<Self> {
        let op = "depth_to_space";
        let [n, rows, cols, depth] = x.nhwc(op, "x")?;
        let pixels = block.checked_mul(block).filter(|&pixels| pixels > 0);
        let Some(channels) = pixels.filter(|p| depth.is_multiple_of(*p)).map(|p| depth / p) else {
            let expected = format!("a number whose square divides the {depth} channels");
            return Err(Error::parameter(op, "block", expected, block));
        };
        let (split, order) = match order {
            BlockOrder::Dcr => ([n, rows, cols, block, block, channels], [0, 1, 3, 2, 4, 5]),
            BlockOrder::Crd => ([n, rows, cols, channels, block, block], [0, 1, 4, 2, 5, 3]),
        };
        let output =
            Shape::new(&[n, rows.saturating_mul(block), cols.saturating_mul(block), channels])?;
        Ok(Rearrangement { split: Shape::new(&split)?, order: order.to_vec(), output })
    }

    /// `[n, rows · block, cols · block, channels]` to `[n, rows, cols, block² · channels]`: what undoes
    /// [`depth_to_space`](Rearrangement::depth_to_space).
    ///
    /// # Errors
    /// Where these are no images, or the block does not divide their rows and cols.
    pub fn space_to_depth(x: &Shape, block: usize, order: BlockOrder) -> Result<Self> {
        let op = "space_to_depth";
        let [n, rows, cols, channels] = x.nhwc(op, "x")?;
        if block == 0 || !rows.is_multiple_of(block) || !cols.is_multiple_of(block) {
            let expected = format!("a number that divides {rows} rows and {cols} cols");
            return Err(Error::parameter(op, "block", expected, block));
        }
        let (rows, cols) = (rows / block, cols / block);
        let split = Shape::new(&[n, rows, block, cols, block, channels])?;
        let order = match order {
            BlockOrder::Dcr => [0, 1, 3, 2, 4, 5],
            BlockOrder::Crd => [0, 1, 3, 5, 2, 4],
        };
        let depth = block.checked_mul(block).and_then(|pixels| pixels.checked_mul(channels));
        let Some(depth) = depth else {
            return Err(Error::parameter(op, "block", "one of fewer pixels", block));
        };
        let output = Shape::new(&[n, rows, cols, depth])?;
        Ok(Rearrangement { split, order: order.to_vec(), output })
    }
}

impl Tensor {
    /// Elements in another order: see [`Rearrangement`].
    fn rearrange(&self, to: &Rearrangement) -> Result<Tensor> {
        self.reshape(to.split)?.permute(&to.order)?.reshape(to.output)
    }

    /// Channels of `groups` in turn: channel `group · size + place` becomes channel
    /// `place · groups + group`. The last axis is that of channels; the shape stays.
    ///
    /// # Errors
    /// Where the groups do not divide the channels, or the device fails.
    pub fn channel_shuffle(&self, groups: usize) -> Result<Tensor> {
        self.rearrange(&Rearrangement::channel_shuffle(self.shape(), groups)?)
    }

    /// Channels become blocks of pixels: `[n, rows, cols, block² · channels]` to
    /// `[n, rows · block, cols · block, channels]`.
    ///
    /// # Errors
    /// Where these are no images, the block's pixels do not divide the channels, or the device fails.
    pub fn depth_to_space(&self, block: usize, order: BlockOrder) -> Result<Tensor> {
        self.rearrange(&Rearrangement::depth_to_space(self.shape(), block, order)?)
    }

    /// Blocks of pixels become channels: `[n, rows · block, cols · block, channels]` to
    /// `[n, rows, cols, block² · channels]`.
    ///
    /// # Errors
    /// Where these are no images, the block does not divide their rows and cols, or the device fails.
    pub fn space_to_depth(&self, block: usize, order: BlockOrder) -> Result<Tensor> {
        self.rearrange(&Rearrangement::space_to_depth(self.shape(), block, order)?)
    }
}
