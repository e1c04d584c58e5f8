//! Methods of the builder for layers that move pixels: to other places, other sizes, channels.

use striate_tensor::ops::BlockOrder;

use super::{
    AdaptivePoolSpec, BlockSpec, ChannelShuffleSpec, ChannelsSpec, LayerSpec, NetworkSpec, PadSpec,
    PerAxis, ResizeSpec, upsample,
};

/// Layers that move pixels.
impl NetworkSpec {
    /// And then the means of windows that cover the image, as many as `size` says: one number, or `[rows,
    /// cols]`.
    #[must_use]
    pub fn adaptive_avg_pool(self, size: impl PerAxis) -> Self {
        self.layer(LayerSpec::AdaptiveAvgPool(AdaptivePoolSpec { size: size.per_axis() }))
    }

    /// And then the maxima of windows that cover the image, as many as `size` says: one number, or `[rows,
    /// cols]`.
    #[must_use]
    pub fn adaptive_max_pool(self, size: impl PerAxis) -> Self {
        self.layer(LayerSpec::AdaptiveMaxPool(AdaptivePoolSpec { size: size.per_axis() }))
    }

    /// And then images a whole number of times as large (one number, or `[rows, cols]`), by the nearest
    /// pixel.
    ///
    /// ```
    /// use striate_nn::{NetworkSpec, upsample};
    ///
    /// let spec = NetworkSpec::new([4, 6, 8]).upsample(2).resize(upsample(2).linear());
    /// assert_eq!(spec.shapes()?.last().map(|shape| shape.output), Some([16, 24, 8]));
    /// # Ok::<(), striate_nn::Error>(())
    /// ```
    #[must_use]
    pub fn upsample(self, factor: impl PerAxis) -> Self {
        self.resize(upsample(factor))
    }

    /// And then images of another size.
    #[must_use]
    pub fn resize(self, resize: ResizeSpec) -> Self {
        self.layer(LayerSpec::Resize(resize))
    }

    /// And then a border around images.
    #[must_use]
    pub fn pad(self, pad: PadSpec) -> Self {
        self.layer(LayerSpec::Pad(pad))
    }

    /// And then a shuffle of channels: those of so many groups in turn.
    #[must_use]
    pub fn channel_shuffle(self, groups: usize) -> Self {
        self.layer(LayerSpec::ChannelShuffle(ChannelShuffleSpec { groups }))
    }

    /// And then these channels alone.
    #[must_use]
    pub fn channels(self, channels: std::ops::Range<usize>) -> Self {
        let (first, count) = (channels.start, channels.len());
        self.layer(LayerSpec::Channels(ChannelsSpec { first, count }))
    }

    /// And then channels as blocks of `block` rows and cols of pixels, in the order of ONNX and
    /// TensorFlow.
    #[must_use]
    pub fn depth_to_space(self, block: usize) -> Self {
        self.layer(LayerSpec::DepthToSpace(BlockSpec { block, order: BlockOrder::Dcr }))
    }

    /// And then blocks of `block` rows and cols of pixels as channels, in the order of ONNX and
    /// TensorFlow.
    #[must_use]
    pub fn space_to_depth(self, block: usize) -> Self {
        self.layer(LayerSpec::SpaceToDepth(BlockSpec { block, order: BlockOrder::Dcr }))
    }

    /// And then channels as blocks of pixels, in PyTorch's order: its `PixelShuffle`.
    #[must_use]
    pub fn pixel_shuffle(self, block: usize) -> Self {
        self.layer(LayerSpec::DepthToSpace(BlockSpec { block, order: BlockOrder::Crd }))
    }

    /// And then blocks of pixels as channels, in PyTorch's order: its `PixelUnshuffle`.
    #[must_use]
    pub fn pixel_unshuffle(self, block: usize) -> Self {
        self.layer(LayerSpec::SpaceToDepth(BlockSpec { block, order: BlockOrder::Crd }))
    }
}
