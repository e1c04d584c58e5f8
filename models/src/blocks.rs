//! Pieces that several families share.

use striate_nn::{BatchNormSpec, ConvSpec, NetworkSpec, conv2d};

/// Pixels a side of the whole image in torchvision's newer training; the first weights of some networks come
/// from it already.
pub(crate) const NEWER_WHOLE: usize = 232;

/// A convolution without bias, and batch normalization.
pub(crate) fn normalized(x: NetworkSpec, conv: ConvSpec, norm: BatchNormSpec) -> NetworkSpec {
    x.conv(conv.without_bias()).batch_norm_with(norm)
}

/// A convolution of each channel by itself, padded by half its (odd) kernel.
pub(crate) fn depthwise(channels: usize, kernel: usize) -> ConvSpec {
    conv2d(channels, kernel).padding(kernel / 2).groups(channels)
}

/// The nearest multiple of 8, or the one above where that takes away more than a tenth: how the mobile
/// networks scale channels.
pub(crate) fn rounded(channels: f64) -> usize {
    const STEP: usize = 8;
    let nearest = (((channels + STEP as f64 / 2.0) as usize) / STEP * STEP).max(STEP);
    if (nearest as f64) < 0.9 * channels { nearest + STEP } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_to_eights() {
        for (channels, expected) in
            [(3.0, 8), (11.9, 16), (16.0, 16), (17.6, 16), (36.0, 40), (83.0, 80), (84.0, 88)]
        {
            assert_eq!(rounded(channels), expected, "{channels}");
        }
    }
}
