//! Winograd's convolution F(4×4, 3×3): 36 multiplications in place of 144 (Lavin and Gray, "Fast
//! algorithms for convolutional neural networks", 2015).
//!
//! A tile of 6×6 pixels is transformed (`BᵀdB`), each of the 36 positions becomes a product over the
//! channels with the transformed weights (`GgGᵀ`, kept with their buffer), and the results are
//! transformed back (`AᵀmA`) to 4×4 outputs, with bias, residual and activation on the way out. The
//! matrices are those of the CPU's; sums of channels are in f32 as in the direct algorithm; the transforms cost
//! about two bits of it.

use std::sync::Arc;

use striate_tensor::ops::Activation;
use striate_tensor::{Result, Shape, TensorType};

use super::convolution::{Asked, Convolution, Extents};
use crate::buffer::{GpuBuffer, Source, View};
use crate::choice::{Class, Size};
use crate::kernels::activations::{Activated, activated, bounds};
use crate::kernels::constants::{BOTH, Constants, combinations, half, sets, word};
use crate::kernels::gemm::{Added, Gemm, RESIDUALS, Side, Windows};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static WEIGHTS: Shader = shader!("conv2d/winograd/weights.wgsl", 1, 1);
static INPUT: Shader = shader!("conv2d/winograd/input.wgsl", 1, 1, "conv2d/winograd/tiles.wgsl");
static OUTPUT: Activated =
    activated!("conv2d/winograd/output.wgsl", 1, 3, "conv2d/winograd/tiles.wgsl");

/// Positions of a transformed tile.
const POSITIONS: usize = 36;
/// Outputs of a tile along an axis.
const OUT: usize = 4;
/// Invocations of a workgroup.
const INVOCATIONS: usize = 64;

/// Transformed tiles and results that exist at a time.
const SCRATCH_BYTES: usize = 32 << 20;
/// Parts are multiples of so many tiles, which no tile of a product is left half empty by.
const WHOLE_TILES: usize = 128;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&WEIGHTS, &[("HALF_W", BOTH)]);
    all.extend(combinations(&INPUT, &[("HALF_X", BOTH)]));
    let names = ["HALF_BIAS", "BIAS"];
    let mut constants = names.map(|name| (name, BOTH)).to_vec();
    constants.push(("RESIDUAL", RESIDUALS));
    all.extend(OUTPUT.variants(&sets(&constants)));
    all
}

/// A convolution in tiles.
struct Tiles {
    /// Of an image.
    down: usize,
    across: usize,
    /// Of all images, and how many of them are transformed at a time.
    all: usize,
    part: usize,
    /// Elements of the transformed weights.
    weights: usize,
}

/// The tiles of a convolution, if it is of the kind that this algorithm is for and its parts can be
/// bound.
fn tiles(cx: &Context, asked: &Asked<'_>) -> Option<Tiles> {
    let e = asked.extents;
    if asked.direct
        || asked.strided
        || e.kernel != [3, 3]
        || e.stride != [1, 1]
        || e.dilation != [1, 1]
    {
        return None;
    }
    let (down, across) = (e.out_rows.div_ceil(OUT), e.out_cols.div_ceil(OUT));
    let chunk = cx.gpu.chunk_bytes() as usize;
    let weights = POSITIONS * e.out * (e.channels / e.groups);
    let (least, most) = (e.channels.min(e.out), e.channels.max(e.out));
    if least == 0 || 4 * weights > chunk {
        return None;
    }
    let position = 4 * POSITIONS;
    let bound = (chunk / (position * most))
        .min(SCRATCH_BYTES / (position * (e.channels + e.out)))
        // A workgroup has one tile.
        .min(cx.gpu.limits.max_compute_workgroups_per_dimension as usize);
    let part = if bound > WHOLE_TILES { bound / WHOLE_TILES * WHOLE_TILES } else { bound };
    let all = asked.images * down * across;
    (part > 0).then_some(Tiles { down, across, all, part, weights })
}

/// Flops a byte of memory that the direct algorithm reaches on a class of adapters: what a byte
/// that is moved for the transforms has to save.
fn balance(class: Class) -> usize {
    match class {
        // 60 % of 20 TFLOP/s beside 450 GB/s.
        Class::Discrete => 27,
        // 60 % of 2 TFLOP/s beside 80 GB/s.
        Class::Integrated => 15,
        // 60 % of 2.6 TFLOP/s beside 68 GB/s; of the larger ones, about the same.
        Class::Apple => 23,
        // Measured: transforms move about 2.5 GB/s where direct sums make 23 GFLOP/s.
        Class::Software => 10,
        Class::Tile(_) | Class::Simple => usize::MAX,
    }
}

/// Whether this algorithm is expected to win: what it saves in arithmetic against what it moves
/// more.
fn wins(class: Class, e: &Extents, images: usize, tiles: &Tiles) -> bool {
    let pairs = e.out * (e.channels / e.groups);
    let direct = images * e.out_rows * e.out_cols * 9;
    let saved = 2 * direct.saturating_sub(tiles.all * POSITIONS) * pairs;
    // Transformed pixels and results are written and read; weights are four times as large.
    let moved = 4 * (2 * POSITIONS * tiles.all * (e.channels + e.out) + (POSITIONS - 9) * pairs);
    saved > balance(class).saturating_mul(moved)
}

/// Whether this algorithm takes a convolution.
pub(super) fn takes(cx: &Context, asked: &Asked<'_>) -> bool {
    cx.options.winograd != Some(false) && tiles(cx, asked).is_some()
}

/// Whether this algorithm takes a convolution and is expected to win, or asked for.
pub(super) fn is_usual(cx: &Context, asked: &Asked<'_>) -> bool {
    let Some(tiles) = tiles(cx, asked) else { return false };
    cx.options.winograd.unwrap_or_else(|| wins(cx.class, asked.extents, asked.images, &tiles))
}

pub(super) fn launch(cx: &Context, convolution: &Convolution<'_>) -> Result<()> {
    let Some(tiles) = tiles(cx, &convolution.asked()) else {
        return Err(cx.gpu.unsupported("conv2d", "no convolution for Winograd's algorithm"));
    };
    let Convolution { extents: e, w, .. } = convolution;
    let weights = transformed(cx, *w, e, &tiles)?;
    let weights = view(cx, &weights, tiles.weights)?;
    let count = tiles.part.min(tiles.all);
    let scratch = |channels: usize| -> Result<_> {
        let elements = POSITIONS * count * channels;
        let buffer = cx.allocate(4 * elements)?;
        let view = view(cx, &buffer, elements)?;
        Ok((buffer, view))
    };
    let (_pixels, pixels) = scratch(e.channels)?;
    let (_sums, sums) = scratch(e.out)?;
    for first in (0..tiles.all).step_by(count) {
        let part = Part { convolution, tiles: &tiles, first, count: count.min(tiles.all - first) };
        part.input(cx, &pixels)?;
        part.products(cx, &pixels, &weights, &sums)?;
        part.output(cx, &sums)?;
    }
    Ok(())
}

/// A view of all of a buffer of f32.
fn view(cx: &Context, buffer: &GpuBuffer, elements: usize) -> Result<View> {
    cx.whole(Source { buffer, ty: TensorType::f32(Shape::new(&[elements])?) })
}

/// The transformed weights, `[positions][outputs][channels of a group]`, kept with their buffer.
fn transformed(
    cx: &Context,
    (w, weights): (Source<'_>, &View),
    e: &Extents,
    tiles: &Tiles,
) -> Result<Arc<GpuBuffer>> {
    let channels = e.channels / e.groups;
    let key = [word(e.out), word(channels), u32::from(w.half()), 0, 0, 0];
    w.buffer.derived(("winograd", key), || {
        let buffer = cx.allocate(4 * tiles.weights)?;
        let to = view(cx, &buffer, tiles.weights)?;
        let pairs = e.out * channels;
        cx.launch(Launch {
            op: "conv2d weights",
            shader: &WEIGHTS,
            constants: &[("HALF_W", half(w))],
            params: &[word(pairs), word(channels), weights.skip, to.skip],
            outputs: &[&to],
            inputs: &[weights],
            groups: Groups::Flat(pairs.div_ceil(INVOCATIONS)),
        })?;
        Ok(buffer)
    })
}

/// Some of the tiles of a convolution.
struct Part<'a> {
    convolution: &'a Convolution<'a>,
    tiles: &'a Tiles,
    first: usize,
    count: usize,
}

impl Part<'_> {
    /// The parameters of a transform of images `[rows, cols, channels]`, with what is added to them.
    fn params(
        &self,
        sizes: [usize; 3],
        padding: [usize; 2],
        skips: [u32; 3],
        residual: Option<&Added<'_>>,
    ) -> Vec<u32> {
        let Tiles { down, across, .. } = *self.tiles;
        let mut params: Vec<u32> = [self.first, self.count, down, across].map(word).into();
        params.extend(sizes.into_iter().chain(padding).map(word));
        params.extend(skips);
        params.push(Added::skip(residual));
        params
    }

    fn groups(&self, channels: usize) -> Groups {
        Groups::Grid([word(channels.div_ceil(INVOCATIONS)), word(self.count), 1])
    }

    fn input(&self, cx: &Context, to: &View) -> Result<()> {
        let Convolution { extents: e, x: (x, half), .. } = self.convolution;
        let sizes = [e.rows, e.cols, e.channels];
        cx.launch(Launch {
            op: "conv2d input",
            shader: &INPUT,
            constants: &[("HALF_X", flag(*half))],
            params: &self.params(sizes, e.padding, [x.skip, 0, to.skip], None),
            outputs: &[to],
            inputs: &[x],
            groups: self.groups(e.channels),
        })
    }

    fn products(&self, cx: &Context, pixels: &View, weights: &View, sums: &View) -> Result<()> {
        let e = self.convolution.extents;
        let (channels, out) = (e.channels / e.groups, e.out / e.groups);
        let groups = (e.groups, [channels, out * channels, out].map(word));
        let position = [self.count * e.channels, e.out * channels, self.count * e.out].map(word);
        let gemm = Gemm {
            op: "conv2d",
            m: self.count,
            n: out,
            channels,
            windows: Windows::matrix(self.count),
            a: Side { view: pixels, half: false, line: e.channels, step: 1 },
            b: Side { view: weights, half: false, line: channels, step: 1 },
            y: sums,
            half_y: false,
            row_y: e.out,
            strided: None,
            bias: None,
            step_bias: 0,
            residual: None,
            activation: Activation::None,
            accumulate: false,
            pixels: None,
            parts: None,
            axes: &[groups, (POSITIONS, position)],
        };
        let batch = POSITIONS * e.groups;
        let size = Size { m: self.count, n: out, depth: channels, batch };
        gemm.launch(cx, size.tile(cx.class))
    }

    fn output(&self, cx: &Context, sums: &View) -> Result<()> {
        let Convolution { extents: e, y, bias, residual, activation, .. } = self.convolution;
        let (bias_view, bias_half) = bias.unwrap_or((sums, false));
        let sizes = [e.out_rows, e.out_cols, e.out];
        let skips = [sums.skip, bias_view.skip, y.skip];
        let mut params = self.params(sizes, [0, 0], skips, residual.as_ref());
        params.extend(bounds(*activation));
        cx.launch(Launch {
            op: "conv2d output",
            shader: OUTPUT.of(*activation),
            constants: &[
                ("HALF_BIAS", flag(bias_half)),
                ("BIAS", flag(bias.is_some())),
                ("RESIDUAL", Added::flag(residual.as_ref())),
            ],
            params: &params,
            outputs: &[y],
            inputs: &[sums, bias_view, residual.map_or(sums, |residual| residual.view)],
            groups: self.groups(e.out),
        })
    }
}
