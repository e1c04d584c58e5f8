//! What is done to pictures before a network sees them, where that becomes part of its first weights.

use striate_tensor::{Device, Tensor};

/// Pixels here run to this, those of PyTorch's models to 1.
pub(crate) const PIXEL_MAX: f64 = 255.0;

/// What is done to a picture before the network: `(pixel / 255 - mean) / deviation`, by channel.
#[derive(Clone, Copy)]
pub(crate) struct Normalisation {
    pub(crate) mean: [f64; 3],
    pub(crate) deviation: [f64; 3],
}

/// torchvision's, for everything that it trained on ImageNet.
pub(crate) const IMAGENET: Normalisation =
    Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// That of networks that see pixels of -1 to 1.
pub(crate) const HALVES: Normalisation = Normalisation { mean: [0.5; 3], deviation: [0.5; 3] };

/// That of TensorFlow's own EfficientNet-Lite: `(pixel - 127) / 128`.
pub(crate) const LITE: Normalisation =
    Normalisation { mean: [127.0 / PIXEL_MAX; 3], deviation: [128.0 / PIXEL_MAX; 3] };

/// That of networks that see pixels of 0 to 1.
pub(crate) const UNIT: Normalisation = Normalisation { mean: [0.0; 3], deviation: [1.0; 3] };

impl Normalisation {
    /// What a weight that sees a channel is multiplied by.
    pub(crate) fn scale(&self, channel: usize) -> f64 {
        1.0 / (PIXEL_MAX * self.deviation[channel % 3])
    }

    /// `255 · mean` everywhere, `[rows, cols, channels]`.
    pub(crate) fn mean_image(
        &self,
        [rows, cols]: [usize; 2],
        channels: usize,
        device: &Device,
    ) -> striate_tensor::Result<Tensor> {
        let pixel = (0..channels).map(|channel| (PIXEL_MAX * self.mean[channel % 3]) as f32);
        let pixel: Vec<f32> = pixel.collect();
        Tensor::from_vec(pixel.repeat(rows * cols), [rows, cols, channels], device)
    }
}
