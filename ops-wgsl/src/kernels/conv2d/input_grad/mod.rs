//! The gradient in the input: a convolution of `dy` with the kernels turned round, by any of the
//! algorithms. With strides, the pixels fall into phases by their remainder: a convolution a phase.
//!
//! Where `dy` ends, such a convolution multiplies weights by zeros that no output stands for. That
//! adds nothing, unless a weight is NaN or infinite: then `exact.wgsl` computes all of it once more.
//! It is launched every time, and finds on the GPU whether there is such a weight.

use striate_tensor::ops::{self, Activation, Conv2d, Conv2dInputGrad, ConvTranspose2d, Phase};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::convolution::{Convolution, Extents, banded, image_parts};
use super::launch::launch;
use super::simple::INVOCATIONS;
use crate::buffer::{GpuBuffer, Source, View};
use crate::choice::Class;
use crate::kernels::constants::{BOTH, Constants, combinations, half, word};
use crate::kernels::elementwise::computed;
use crate::kernels::gemm::Strided;
use crate::kernels::images::Band;
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static EXACT: Shader = shader!("conv2d/input_grad/exact.wgsl", 1, 4);
static TURNED: Shader = shader!("conv2d/input_grad/turned.wgsl", 2, 1);

/// Workgroups of the launch that most often has nothing to do.
const MOST_GROUPS: usize = 256;
/// Workgroups that turn weights: each leaves a word, and every workgroup of the launch above reads all.
const TURNING_GROUPS: usize = 512;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_DY", "HALF_W", "HALF_BIAS", "BIAS", "NON_FINITE"];
    let mut all = combinations(&EXACT, &names.map(|name| (name, BOTH)));
    all.extend(combinations(&TURNED, &[("HALF_W", BOTH)]));
    all
}

pub(in crate::kernels) fn input_grad(
    cx: &Context,
    op: &Conv2dInputGrad,
    [dy, w]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    gradient(cx, &op.conv, [dy, w], None, output, "conv2d_input_grad")
}

/// A transposed convolution: the gradient in the input, and a bias where asked.
pub(in crate::kernels) fn transposed(
    cx: &Context,
    op: &ConvTranspose2d,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let operands = [inputs[0], inputs[1]];
    gradient(cx, &op.conv(), operands, inputs.get(2).copied(), output, "conv_transpose2d")
}

fn gradient(
    cx: &Context,
    conv: &Conv2d,
    [dy, w]: [Source<'_>; 2],
    bias: Option<Source<'_>>,
    output: &TensorType,
    op: &'static str,
) -> Result<GpuBuffer> {
    let extents = Extents::new(conv, &output.shape, &w.ty.shape, &dy.ty.shape)?;
    let bias = match bias {
        Some(bias) => Some((cx.whole(bias)?, bias.half())),
        None => None,
    };
    let gradient = Gradient { cx, op, conv, extents, dy, w: (w, cx.whole(w)?), bias };
    computed(cx, output, |dx| {
        // Weights that could not be bound once they are turned are f16, and very large.
        let too_large = (4 * w.ty.count()) as u64 > cx.gpu.chunk_bytes();
        if cx.class == Class::Simple || too_large {
            return gradient.exact(dx, None);
        }
        let [rows, cols] = [(0, extents.rows), (1, extents.cols)].map(|(axis, extent)| {
            conv.phases(axis, extent, extents.kernel[axis]).collect::<Vec<Phase>>()
        });
        let pixels = |phases: &[Phase]| phases.iter().map(|phase| phase.count).sum::<usize>();
        // Without channels of `dy` each sum is of nothing.
        let all = extents.out > 0 && pixels(&rows) == extents.rows && pixels(&cols) == extents.cols;
        if !all {
            gradient.begin(dx)?;
        }
        let phases = rows.iter().flat_map(|row| cols.iter().map(move |col| [*row, *col]));
        let flags: usize = phases.clone().map(|phase| gradient.turning_groups(phase)).sum();
        if extents.out == 0 || flags == 0 {
            return Ok(());
        }
        let ty = TensorType::new(Shape::new(&[flags])?, DType::U32);
        let non_finite = cx.allocate_for(&ty)?;
        let non_finite = Source { buffer: &non_finite, ty };
        let mut first_flag = 0;
        for phase in phases {
            gradient.phase(dx, phase, (non_finite, first_flag))?;
            first_flag += gradient.turning_groups(phase);
        }
        gradient.exact(dx, Some(non_finite))
    })
}

/// A gradient in the input, or a transposed convolution.
struct Gradient<'a> {
    cx: &'a Context,
    op: &'static str,
    conv: &'a Conv2d,
    extents: Extents,
    dy: Source<'a>,
    w: (Source<'a>, View),
    bias: Option<(View, bool)>,
}

impl Gradient<'_> {
    fn bias(&self) -> Option<(&View, bool)> {
        self.bias.as_ref().map(|(view, half)| (view, *half))
    }

    /// What pixels that saw nothing are: 0, or the bias. As a convolution without taps.
    fn begin(&self, dx: Source<'_>) -> Result<()> {
        let Extents { rows, cols, channels, .. } = self.extents;
        let extents = Extents {
            out_rows: rows,
            out_cols: cols,
            out: channels,
            kernel: [0, 0],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            ..self.of_dy()
        };
        self.convolve(dx, &extents, None, (self.w.0, &self.w.1))
    }

    /// The shape of the weights that saw a phase, turned.
    fn turned(&self, [row, col]: [Phase; 2]) -> [usize; 4] {
        let Extents { channels, out, groups, .. } = self.extents;
        [channels, row.taps, col.taps, out / groups]
    }

    /// The workgroups that turn them.
    fn turning_groups(&self, phase: [Phase; 2]) -> usize {
        let count: usize = self.turned(phase).iter().product();
        count.div_ceil(INVOCATIONS).clamp(1, TURNING_GROUPS)
    }

    /// The pixels of a phase. Whether a weight is not finite, is left in the words from the given one on.
    fn phase(
        &self,
        dx: Source<'_>,
        [row, col]: [Phase; 2],
        (non_finite, first_flag): (Source<'_>, usize),
    ) -> Result<()> {
        let Gradient { cx, ref extents, w: (w, ref weights), .. } = *self;
        let Extents { channels, out, kernel, groups, .. } = *extents;
        let (group_channels, group_out) = (channels / groups, out / groups);
        let ty = TensorType::f32(Shape::new(&self.turned([row, col]))?);
        let buffer = cx.allocate_for(&ty)?;
        let turned = Source { buffer: &buffer, ty };
        let view = cx.whole(turned)?;
        let count = ty.count();
        let sizes = [count, first_flag, kernel[0], kernel[1], group_channels, group_out].map(word);
        let mut params = sizes.to_vec();
        params.extend([weights.skip, 0]);
        let taps = [row.tap, col.tap, row.taps, col.taps, row.step, col.step];
        params.extend(taps.map(word));
        cx.launch(Launch {
            op: self.op,
            shader: &TURNED,
            constants: &[("HALF_W", half(w))],
            params: &params,
            outputs: &[&view, &cx.whole(non_finite)?],
            inputs: &[weights],
            groups: Groups::Flat(self.turning_groups([row, col])),
        })?;
        let extents = Extents {
            out_rows: row.count,
            out_cols: col.count,
            out: channels,
            kernel: [row.taps, col.taps],
            stride: [1, 1],
            padding: [row.padding, col.padding],
            dilation: [row.dilation, col.dilation],
            ..self.of_dy()
        };
        let whole = [row.count, col.count] == [self.extents.rows, self.extents.cols];
        self.convolve(dx, &extents, (!whole).then_some([row.first, col.first]), (turned, &view))
    }

    /// The extents with `dy` in place of the images.
    fn of_dy(&self) -> Extents {
        let Extents { out_rows, out_cols, out, .. } = self.extents;
        Extents { rows: out_rows, cols: out_cols, channels: out, ..self.extents }
    }

    /// Convolves `dy` with turned weights. With the first row and column of a phase: to every so many
    /// rows and columns of `dx`, as far apart as the strides.
    fn convolve(
        &self,
        dx: Source<'_>,
        of_dy: &Extents,
        phase: Option<[usize; 2]>,
        w: (Source<'_>, &View),
    ) -> Result<()> {
        let Gradient { cx, dy, ref extents, .. } = *self;
        let line = extents.cols * extents.channels;
        let strided = |stride: [usize; 2]| Strided {
            image: extents.image(),
            row: stride[0] * line,
            pixel: stride[1] * extents.channels,
        };
        let [first_row, first_col] = phase.unwrap_or_default();
        let (strided, bands) = match phase {
            Some(_) => (Some(strided(extents.stride)), self.images(dx, of_dy)),
            // Bands of rows count with the padding, which may be less than none.
            None if of_dy.padding[0] > isize::MAX as usize => {
                (Some(strided([1, 1])), self.images(dx, of_dy))
            }
            None => (None, banded(cx, of_dy, &dy.ty, &dx.ty)?),
        };
        for (band, extents) in bands {
            let from = cx.view(dy, band.x)?;
            let mut written = cx.written(dx.buffer, DType::F32, band.y)?;
            written.view.skip += word(first_row * line + first_col * self.extents.channels);
            launch(
                cx,
                &Convolution {
                    op: self.op,
                    extents: &extents,
                    images: band.images,
                    x: (&from, dy.half()),
                    w,
                    bias: self.bias(),
                    residual: None,
                    activation: Activation::None,
                    direct: self.conv.algorithm == ops::Algorithm::Direct,
                    y: &written.view,
                    half_y: false,
                    strided,
                },
            )?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    }

    /// Whole images that can be bound together.
    fn images(&self, dx: Source<'_>, of_phase: &Extents) -> Vec<(Band, Extents)> {
        let Gradient { cx, dy, ref extents, .. } = *self;
        let (image, out_image) = (extents.image(), extents.out_image());
        let band = |images: std::ops::Range<usize>| Band {
            images: images.len(),
            x: images.start * out_image..images.end * out_image,
            y: images.start * image..images.end * image,
            rows: of_phase.rows,
            out_rows: of_phase.out_rows,
            padding: of_phase.padding[0],
        };
        let parts = image_parts(cx, extents, dx, dy);
        parts.into_iter().map(|images| (band(images), *of_phase)).collect()
    }

    /// The gradient as it is defined; only where it says that a weight is NaN or infinite, if that is
    /// known on the GPU.
    fn exact(&self, dx: Source<'_>, non_finite: Option<Source<'_>>) -> Result<()> {
        let Gradient { cx, dy, ref extents, w: (w, ref weights), .. } = *self;
        let bias = self.bias();
        let flags = non_finite.map_or(0, |non_finite| non_finite.ty.count());
        let non_finite = non_finite.map(|non_finite| cx.whole(non_finite)).transpose()?;
        for images in image_parts(cx, extents, dx, dy) {
            let range = images.start * extents.out_image()..images.end * extents.out_image();
            let view = cx.view(dy, range)?;
            let range = images.start * extents.image()..images.end * extents.image();
            let written = cx.written(dx.buffer, DType::F32, range.clone())?;
            let mut params = vec![word(range.len())];
            params.extend(extents.words());
            params.extend([view.skip, weights.skip, bias.map_or(0, |(view, _)| view.skip)]);
            params.extend(extents.windows());
            params.extend([written.view.skip, word(flags)]);
            let groups = range.len().div_ceil(INVOCATIONS);
            let groups = if non_finite.is_some() { groups.min(MOST_GROUPS) } else { groups };
            cx.launch(Launch {
                op: self.op,
                shader: &EXACT,
                constants: &[
                    ("HALF_DY", half(dy)),
                    ("HALF_W", half(w)),
                    ("HALF_BIAS", flag(bias.is_some_and(|(_, half)| half))),
                    ("BIAS", flag(bias.is_some())),
                    ("NON_FINITE", flag(non_finite.is_some())),
                ],
                params: &params,
                outputs: &[&written.view],
                inputs: &[
                    &view,
                    weights,
                    bias.map_or(weights, |(view, _)| view),
                    non_finite.as_ref().unwrap_or(weights),
                ],
                groups: Groups::Flat(groups),
            })?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    }
}
