//! Convolution, and its gradients.
//!
//! Images are taken in parts that can be bound; a [`Convolution`] is such a part, which a kernel of
//! this folder computes. `simple` takes any.

mod depthwise;
mod input_grad;
mod simple;
mod tiled;
mod weight_grad;
mod winograd;

use striate_tensor::ops::{self, Activation, Conv2d};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::constants::{Constants, word};
use super::elementwise::computed;
use super::gemm::{Added, Strided};
use super::images::{Band, Rows, bands};
use crate::buffer::{GpuBuffer, Source, View, parts};
use crate::choice::{Algorithm, Case, Class, Size};
use crate::pipelines::Shader;
use crate::queue::Context;

pub(super) use input_grad::{input_grad, transposed};
pub(super) use weight_grad::weight_grad;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = simple::variants();
    all.extend(depthwise::variants());
    all.extend(input_grad::variants());
    all.extend(weight_grad::variants());
    all.extend(winograd::variants());
    all
}

/// The extents of a convolution. Of a band of rows of a very large image, `out_rows` and `padding`
/// are its own: there may be less padding below than above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Extents {
    rows: usize,
    cols: usize,
    channels: usize,
    out_rows: usize,
    out_cols: usize,
    out: usize,
    /// Rows and cols.
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Above and left. What there is below and right, the outputs say.
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Extents {
    /// Of images `x`, weights `w` and outputs `y`.
    fn new(conv: &Conv2d, x: &Shape, w: &Shape, y: &Shape) -> Result<Self> {
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
    fn words(&self) -> [u32; 8] {
        let groups = self.groups;
        let sizes = [self.rows, self.cols, self.channels, self.out_rows, self.out_cols, self.out];
        let [rows, cols, channels, out_rows, out_cols, out] = sizes.map(word);
        let per_group = [self.channels / groups, self.out / groups].map(word);
        [rows, cols, channels, out_rows, out_cols, out, per_group[0], per_group[1]]
    }

    /// As shaders take them: kernel, stride, padding and dilation.
    fn windows(&self) -> impl Iterator<Item = u32> {
        [self.kernel, self.stride, self.padding, self.dilation].into_iter().flatten().map(word)
    }

    /// Elements of an image of the input.
    fn image(&self) -> usize {
        self.rows * self.cols * self.channels
    }

    /// Elements of an image of the output.
    fn out_image(&self) -> usize {
        self.out_rows * self.out_cols * self.out
    }
}

/// A convolution of images that are bound.
struct Convolution<'a> {
    /// The op, for the profile.
    op: &'static str,
    extents: &'a Extents,
    images: usize,
    x: (&'a View, bool),
    /// The weights, and where they are bound. Winograd's algorithm keeps its form with them.
    w: (Source<'a>, &'a View),
    bias: Option<(&'a View, bool)>,
    /// Of the shape of `y`.
    residual: Option<Added<'a>>,
    activation: Activation,
    /// Each product of the definition is to be summed.
    direct: bool,
    y: &'a View,
    /// `y` is f16, which only products by tiles write; else f32.
    half_y: bool,
    /// Where the outputs go, if not one after another from the first of `y` on.
    strided: Option<Strided>,
}

impl Convolution<'_> {
    fn asked(&self) -> Asked<'_> {
        let Convolution { extents, images, x: (_, half), w: (w, _), direct, .. } = *self;
        let strided = self.strided.is_some();
        Asked { extents, images, half: [half, w.half()], direct, strided }
    }
}

/// What the choice of a kernel for a [`Convolution`] depends on.
#[derive(Clone, Copy)]
struct Asked<'a> {
    extents: &'a Extents,
    images: usize,
    /// The precision of images and weights.
    half: [bool; 2],
    direct: bool,
    strided: bool,
}

impl Asked<'_> {
    /// What the table says.
    fn usual(&self, cx: &Context) -> Algorithm {
        let Extents { out_rows, out_cols, out, groups, kernel, channels, .. } = *self.extents;
        match cx.class {
            Class::Simple => Algorithm::Simple,
            _ if winograd::is_usual(cx, self) => Algorithm::Winograd,
            // A channel by itself is no product of matrices.
            class if depthwise::takes(self.extents) && !matches!(class, Class::Tile(_)) => {
                Algorithm::Depthwise
            }
            class => {
                let size = Size {
                    m: self.images * out_rows * out_cols,
                    n: out / groups,
                    depth: kernel[0] * kernel[1] * (channels / groups),
                    batch: groups,
                };
                Algorithm::of_tile(size.tile(class))
            }
        }
    }

    /// The kernel for it.
    fn algorithm(&self, cx: &Context) -> Algorithm {
        let takes = |algorithm| match algorithm {
            Algorithm::MatVec => false,
            Algorithm::Winograd => winograd::takes(cx, self),
            Algorithm::Depthwise => depthwise::takes(self.extents),
            Algorithm::Simple | Algorithm::Wide | Algorithm::Tiled(_) => true,
        };
        cx.choices.choose(|| self.case(), self.usual(cx), takes)
    }

    fn case(&self) -> Case {
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

/// Chooses a kernel for a convolution and launches it.
fn launch(cx: &Context, convolution: &Convolution<'_>) -> Result<()> {
    let asked = convolution.asked();
    let algorithm = asked.algorithm(cx);
    cx.choices.record(|| asked.case(), algorithm);
    match algorithm {
        Algorithm::Simple | Algorithm::MatVec => simple::launch(cx, convolution),
        Algorithm::Wide => tiled::launch(cx, convolution, None),
        Algorithm::Tiled(tile) => tiled::launch(cx, convolution, Some(tile)),
        Algorithm::Winograd => winograd::launch(cx, convolution),
        Algorithm::Depthwise => depthwise::launch(cx, convolution),
    }
}

/// The bands of a convolution that are bound one after the other, and the extents of each.
fn banded(
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

/// The kernels that [`conv2d`] launches, each once.
pub(super) fn algorithms(
    cx: &Context,
    op: &Conv2d,
    inputs: &[TensorType],
    output: &TensorType,
) -> Result<Vec<Algorithm>> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let extents = Extents::new(op, &x.shape, &w.shape, &output.shape)?;
    let types = [*x, *w];
    let direct = writes_half(cx, op, &extents, types, output)?;
    let y = if direct { *output } else { TensorType::f32(output.shape) };
    of_bands(cx, op, &extents, types, &y)
}

/// The kernels of the bands that a convolution has where it writes a `y` of this type, each once.
fn of_bands(
    cx: &Context,
    op: &Conv2d,
    extents: &Extents,
    [x, w]: [TensorType; 2],
    y: &TensorType,
) -> Result<Vec<Algorithm>> {
    let mut all = Vec::new();
    for (band, extents) in banded(cx, extents, &x, y)? {
        let asked = Asked {
            extents: &extents,
            images: band.images,
            half: [x, w].map(|ty| ty.dtype == DType::F16),
            direct: op.algorithm == ops::Algorithm::Direct,
            strided: false,
        };
        let algorithm = asked.algorithm(cx);
        if !all.contains(&algorithm) {
            all.push(algorithm);
        }
    }
    Ok(all)
}

/// Whether the kernels of a convolution write its f16 themselves: two outputs are a word.
fn writes_half(
    cx: &Context,
    op: &Conv2d,
    extents: &Extents,
    types: [TensorType; 2],
    output: &TensorType,
) -> Result<bool> {
    if output.dtype != DType::F16 || !(extents.out / extents.groups).is_multiple_of(2) {
        return Ok(false);
    }
    let all = of_bands(cx, op, extents, types, output)?;
    Ok(all.iter().all(|kernel| matches!(kernel, Algorithm::Wide | Algorithm::Tiled(_))))
}

pub(super) fn conv2d(
    cx: &Context,
    op: &Conv2d,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let (x, w) = (inputs[0], inputs[1]);
    let extents = Extents::new(op, &x.ty.shape, &w.ty.shape, &output.shape)?;
    let weights = cx.whole(w)?;
    let bias = match (op.bias, inputs.get(2)) {
        (true, Some(&bias)) => Some((cx.whole(bias)?, bias.half())),
        _ => None,
    };
    let residual = inputs.last().filter(|_| op.residual);
    let half_y = writes_half(cx, op, &extents, [x.ty, w.ty], output)?;
    let compute = |y: Source<'_>| {
        for (band, extents) in banded(cx, &extents, &x.ty, &y.ty)? {
            let view = cx.view(x, band.x)?;
            let residual = match residual {
                Some(&from) => Some((cx.view(from, band.y.clone())?, from.half())),
                None => None,
            };
            let written = cx.written(y.buffer, y.ty.dtype, band.y)?;
            launch(
                cx,
                &Convolution {
                    op: "conv2d",
                    extents: &extents,
                    images: band.images,
                    x: (&view, x.half()),
                    w: (w, &weights),
                    bias: bias.as_ref().map(|(view, half)| (view, *half)),
                    residual: residual.as_ref().map(|(view, half)| Added { view, half: *half }),
                    activation: op.activation,
                    direct: op.algorithm == ops::Algorithm::Direct,
                    y: &written.view,
                    half_y,
                    strided: None,
                },
            )?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    };
    if half_y {
        let buffer = cx.allocate_for(output)?;
        compute(Source { buffer: &buffer, ty: *output })?;
        return Ok(buffer);
    }
    computed(cx, output, compute)
}

/// Parts of the images that can be bound in input (or its gradient) and output (or its).
fn image_parts(
    cx: &Context,
    extents: &Extents,
    x: Source<'_>,
    y: Source<'_>,
) -> Vec<std::ops::Range<usize>> {
    let n = x.ty.shape.dims()[0];
    parts(&[
        cx.cuts(n, extents.image() * x.ty.dtype.size_bytes()),
        cx.cuts(n, extents.out_image() * y.ty.dtype.size_bytes()),
    ])
}
