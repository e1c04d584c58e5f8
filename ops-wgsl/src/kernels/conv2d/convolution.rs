//! Convolutions as kernels compute them: their extents, parts of the images that can be bound, and what
//! the choice of a kernel depends on.

use std::ops::Range;

use striate_tensor::ops::{Activation, Conv2d};
use striate_tensor::{Result, Shape, TensorType};

use crate::buffer::{Source, View, parts};
use crate::choice::Case;
use crate::kernels::constants::word;
use crate::kernels::gemm::{Added, Strided};
use crate::kernels::images::{Band, Rows, bands};
use crate::queue::Context;

/// The extents of a convolution. Of a band of rows of a very large image, `out_rows` and `padding`
/// are its own: there may be less padding below than above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extents {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) channels: usize,
    pub(super) out_rows: usize,
    pub(super) out_cols: usize,
    pub(super) out: usize,
    /// Rows and cols.
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Above and left. What there is below and right, the outputs say.
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
}

impl Extents {
    /// Of images `x`, weights `w` and outputs `y`.
    pub(super) fn new(conv: &Conv2d, x: &Shape, w: &Shape, y: &Shape) -> Result<Self> {
        let [_, rows, cols, channels] = x.nhwc("conv2d", "x")?;
        let [out, kernel_rows, kernel_cols, _] = w.nhwc("conv2d", "weights")?;
        let [_, out_rows, out_cols, _] = y.nhwc("conv2d", "y")?;
        Ok(Extents {
            rows,
            cols,
            channels,
            out_rows,
            out_cols,
            out,
            kernel: [kernel_rows, kernel_cols],
            stride: conv.stride,
            padding: [conv.padding[0][0], conv.padding[1][0]],
            dilation: conv.dilation,
            groups: conv.groups,
        })
    }

    /// As shaders take them: sizes of images, then of groups.
    pub(super) fn words(&self) -> [u32; 8] {
        let groups = self.groups;
        let sizes = [self.rows, self.cols, self.channels, self.out_rows, self.out_cols, self.out];
        let [rows, cols, channels, out_rows, out_cols, out] = sizes.map(word);
        let per_group = [self.channels / groups, self.out / groups].map(word);
        [rows, cols, channels, out_rows, out_cols, out, per_group[0], per_group[1]]
    }

    /// As shaders take them: kernel, stride, padding and dilation.
    pub(super) fn windows(&self) -> impl Iterator<Item = u32> {
        [self.kernel, self.stride, self.padding, self.dilation].into_iter().flatten().map(word)
    }

    /// Elements of an image of the input.
    pub(super) fn image(&self) -> usize {
        self.rows * self.cols * self.channels
    }

    /// Elements of an image of the output.
    pub(super) fn out_image(&self) -> usize {
        self.out_rows * self.out_cols * self.out
    }
}

/// A convolution of images that are bound.
pub(super) struct Convolution<'a> {
    /// The op, for the profile.
    pub(super) op: &'static str,
    pub(super) extents: &'a Extents,
    pub(super) images: usize,
    pub(super) x: (&'a View, bool),
    /// The weights, and where they are bound. Winograd's algorithm keeps its form with them.
    pub(super) w: (Source<'a>, &'a View),
    pub(super) bias: Option<(&'a View, bool)>,
    /// Of the shape of `y`.
    pub(super) residual: Option<Added<'a>>,
    pub(super) activation: Activation,
    /// Each product of the definition is to be summed.
    pub(super) direct: bool,
    pub(super) y: &'a View,
    /// `y` is f16, which only products by tiles write; else f32.
    pub(super) half_y: bool,
    /// Where the outputs go, if not one after another from the first of `y` on.
    pub(super) strided: Option<Strided>,
}

impl Convolution<'_> {
    pub(super) fn asked(&self) -> Asked<'_> {
        let Convolution { extents, images, x: (_, half), w: (w, _), direct, .. } = *self;
        let strided = self.strided.is_some();
        Asked { extents, images, half: [half, w.half()], direct, strided }
    }
}

/// What the choice of a kernel for a [`Convolution`] depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) extents: &'a Extents,
    pub(super) images: usize,
    /// The precision of images and weights.
    pub(super) half: [bool; 2],
    pub(super) direct: bool,
    pub(super) strided: bool,
}

impl Asked<'_> {
    pub(super) fn case(&self) -> Case {
        let Extents { rows, cols, channels, out_rows, out_cols, out, groups, .. } = *self.extents;
        let Extents { kernel, stride, padding, dilation, .. } = *self.extents;
        let extents = [
            self.images,
            rows,
            cols,
            channels,
            out_rows,
            out_cols,
            out,
            kernel[0],
            kernel[1],
            stride[0],
            stride[1],
            padding[0],
            padding[1],
            dilation[0],
            dilation[1],
            groups,
        ];
        Case::conv2d(extents, self.half)
    }
}

/// The bands of a convolution that are bound one after the other, and the extents of each.
pub(super) fn banded(
    cx: &Context,
    extents: &Extents,
    x: &TensorType,
    y: &TensorType,
) -> Result<Vec<(Band, Extents)>> {
    let size = extents.kernel[0].saturating_sub(1) * extents.dilation[0] + 1;
    let down = Rows { size, stride: extents.stride[0], padding: extents.padding[0] };
    let of_band = |band: Band| {
        let extents = Extents {
            rows: band.rows,
            out_rows: band.out_rows,
            padding: [band.padding, extents.padding[1]],
            ..*extents
        };
        (band, extents)
    };
    Ok(bands(cx, "conv2d", x, y, down)?.into_iter().map(of_band).collect())
}

/// Parts of the images that can be bound in input (or its gradient) and output (or its).
pub(super) fn image_parts(
    cx: &Context,
    extents: &Extents,
    x: Source<'_>,
    y: Source<'_>,
) -> Vec<Range<usize>> {
    let n = x.ty.shape.dims()[0];
    parts(&[
        cx.cuts(n, extents.image() * x.ty.dtype.size_bytes()),
        cx.cuts(n, extents.out_image() * y.ty.dtype.size_bytes()),
    ])
}
