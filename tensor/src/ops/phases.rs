//! The input gradient of a convolution as convolutions of `dy`.

use super::Conv2d;

/// Pixels along an axis of the input that saw the same taps of the kernel: every `stride`-th from
/// `first` on. Their gradient is a convolution of `dy`, without strides, with those taps in opposite
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phase {
    /// The first pixel.
    pub first: usize,
    /// Pixels.
    pub count: usize,
    /// The first tap that they saw.
    pub tap: usize,
    /// So many taps.
    pub taps: usize,
    /// From one of these taps to the next.
    pub step: usize,
    /// Outputs between what two of these taps in a row see: the dilation of the convolution of `dy`.
    pub dilation: usize,
    /// Zeros before `dy`. Fewer than none, where it begins inside of `dy`, wrap below zero.
    pub padding: usize,
}

impl Conv2d {
    /// The phases of an axis (0: rows, 1: cols) of the input, of so many pixels, under a kernel of so
    /// many taps. Pixels that saw no tap are in none.
    ///
    /// ```
    /// # use striate_tensor::ops::Conv2d;
    /// // Even pixels saw the first and the last of three taps, odd ones that in the middle.
    /// let conv = Conv2d { stride: [2, 2], ..Conv2d::default() };
    /// let taps: Vec<_> = conv.phases(0, 9, 3).map(|phase| (phase.first, phase.taps)).collect();
    /// assert_eq!(taps, [(0, 2), (1, 1)]);
    /// ```
    pub fn phases(
        &self,
        axis: usize,
        extent: usize,
        kernel: usize,
    ) -> impl Iterator<Item = Phase> + use<> {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let padding = self.padding[axis][0];
        let common = greatest_common_divisor(stride, dilation);
        // So many taps further, the pixels have the same remainder again.
        let (step, outputs) = (stride / common, dilation / common);
        (0..step.min(kernel)).filter_map(move |tap| {
            let taps = (kernel - tap).div_ceil(step);
            // Pixel `r` of the phase has `r + padding = stride · t + tap · dilation`, and saw
            // `dy[t - j · outputs]` under its tap `j`. No extent has more than 32 bits.
            let beyond = tap as isize * dilation as isize - padding as isize;
            let first = beyond.rem_euclid(stride as isize) as usize;
            let t = (first as isize - beyond) / stride as isize;
            let count = extent.checked_sub(first)?.div_ceil(stride);
            let padding = ((taps - 1) * outputs).wrapping_sub(t as usize);
            let phase = Phase { first, count, tap, taps, step, dilation: outputs, padding };
            (count > 0).then_some(phase)
        })
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}
