//! Products by tiles: what a convolution (as implicit GEMM: the rows are windows of the images) and
//! a product of matrices have in common.
//!
//! `tiled.wgsl` is for GPUs: tiles in workgroup memory, and in registers. `wide.wgsl` is for drivers
//! that run shaders on a processor. [`Size::tile`](crate::choice::Size::tile) says which and with what tiles.

mod parts;

use striate_tensor::Result;
use striate_tensor::ops::Activation;

use super::activations::{Activated, activated, bounds};
use super::constants::{BOTH, Constants, sets, word};
use crate::buffer::View;
use crate::choice::{TILES, Tile};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};
pub(super) use parts::{PARTS_BYTES, sum};

static TILED: Activated = activated!("gemm/tiled.wgsl", 1, 6, "gemm/product.wgsl");
static WIDE: Activated = activated!("gemm/wide.wgsl", 1, 4, "gemm/product.wgsl");

/// Rows and columns of an invocation of `wide.wgsl`, and invocations of its workgroups.
const WIDE_ROWS: usize = 16;
const WIDE_COLS: usize = 16;
const WIDE_INVOCATIONS: usize = 8;

/// What a product is added to, and what to it: never both. It is added to f32 alone.
const SUMS: [&[(&str, &[f64])]; 3] = [
    &[("ACCUMULATE", BOTH), ("RESIDUAL", &[0.0]), ("HALF_Y", &[0.0])],
    &[("ACCUMULATE", &[0.0]), ("RESIDUAL", &[1.0, 2.0]), ("HALF_Y", &[0.0])],
    &[("ACCUMULATE", &[0.0]), ("RESIDUAL", RESIDUALS), ("HALF_Y", &[1.0])],
];

/// Vectors along the depth: of convolutions, and of products with the second operand transposed.
const DEPTH: &[(&str, &[f64])] = &[("VECTOR_A", BOTH), ("VECTOR_B", BOTH), ("WINDOWS_B", &[0.0])];
/// Vectors across the depth of one of the operands, or both.
const ACROSS: [&[(&str, &[f64])]; 2] = [
    &[("VECTOR_A", &[2.0]), ("VECTOR_B", &[0.0, 1.0, 2.0]), ("WINDOWS_B", &[0.0])],
    &[("VECTOR_A", BOTH), ("VECTOR_B", &[2.0]), ("WINDOWS_B", &[0.0])],
];
/// The depth goes through pixels.
const PIXELS: &[(&str, &[f64])] = &[
    ("VECTOR_A", &[0.0, 2.0]),
    ("VECTOR_B", &[0.0, 2.0]),
    ("WINDOWS_B", &[1.0]),
    ("HALF_BIAS", &[0.0]),
    ("BIAS", &[0.0]),
    ("RESIDUAL", &[0.0]),
    ("ACCUMULATE", BOTH),
    ("HALF_Y", &[0.0]),
];

/// The values of the constant `RESIDUAL`.
pub(super) const RESIDUALS: &[f64] = &[0.0, 1.0, 2.0];

/// Axes that the parameters have room for.
pub(super) const MAX_AXES: usize = 6;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_A", "HALF_B", "HALF_BIAS", "BIAS"].map(|name| (name, BOTH));
    let mut all = parts::variants();
    let wide = SUMS.into_iter().flat_map(|sums| sets(&[&names[..], sums].concat()));
    all.extend(WIDE.variants(&wide.collect::<Vec<_>>()));
    for tile in TILES {
        let with_tile = |mut constants: Constants| {
            constants.extend(tile.constants());
            constants
        };
        let along = SUMS.map(|sums| [&names[..], DEPTH, sums].concat());
        let across = ACROSS.map(|vectors| [&names[..], vectors, SUMS[0]].concat());
        let own = along.iter().chain(&across).flat_map(|some| sets(some)).map(with_tile);
        all.extend(TILED.variants(&own.collect::<Vec<_>>()));
        let pixels = sets(&[&names[..2], PIXELS].concat()).into_iter().map(with_tile);
        let plain = TILED.of(Activation::None);
        all.extend(pixels.map(|constants| (plain, constants)));
    }
    all
}

/// An operand of a product.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) view: &'a View,
    pub(super) half: bool,
    /// Elements between pixels of a, or between columns of b.
    pub(super) line: usize,
    /// Elements between steps of the depth that are next to each other.
    pub(super) step: usize,
}

/// What is added to a product element by element: it lies as `y` does.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    pub(super) view: &'a View,
    pub(super) half: bool,
}

impl Added<'_> {
    /// The value of the constant `RESIDUAL`: 0 for nothing, 1 for f32, 2 for f16.
    pub(super) fn flag(added: Option<&Self>) -> f64 {
        added.map_or(0.0, |added| 1.0 + flag(added.half))
    }

    /// Elements before the first one.
    pub(super) fn skip(added: Option<&Self>) -> u32 {
        added.map_or(0, |added| added.view.skip)
    }
}

/// The rows of a product as windows of images; a matrix is an image of one row with a kernel of one
/// cell.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) out_rows: usize,
    pub(super) out_cols: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
}

impl Windows {
    /// Of a matrix of so many rows.
    pub(super) fn matrix(rows: usize) -> Self {
        Windows {
            rows: 1,
            cols: rows,
            out_rows: 1,
            out_cols: rows,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        }
    }
}

/// Where pixels of y are that have others between them: those of every second row and column, say.
#[derive(Clone, Copy)]
pub(super) struct Strided {
    /// Elements between images of y.
    pub(super) image: usize,
    /// Between rows of the pixels, and between the pixels of a row.
    pub(super) row: usize,
    pub(super) pixel: usize,
}

impl Strided {
    /// The parameters of images and rows.
    pub(super) fn words(strided: Option<&Self>) -> [u32; 2] {
        strided.map_or([0; 2], |Strided { image, row, .. }| [*image, *row].map(word))
    }
}

/// Parts of the depth, the sum of each of which is written for itself.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) count: usize,
    /// Steps of the depth of each but the last.
    pub(super) steps: usize,
    /// Elements of y from one to the next.
    pub(super) y: usize,
}

/// `y [m, n] = a b`, or `y + a b`, with bias, residual and activation at the end; for each of the groups or
/// matrices of `axes`.
pub(super) struct Gemm<'a> {
    pub(super) op: &'static str,
    pub(super) m: usize,
    pub(super) n: usize,
    /// Depth of a cell of the kernel.
    pub(super) channels: usize,
    pub(super) windows: Windows,
    pub(super) a: Side<'a>,
    pub(super) b: Side<'a>,
    pub(super) y: &'a View,
    /// y is f16, of even columns and rows, and nothing is added to what it holds: it is f32 else.
    pub(super) half_y: bool,
    /// Elements between rows of y: its pixels.
    pub(super) row_y: usize,
    /// With others between them, `row_y` elements apart in their rows.
    pub(super) strided: Option<Strided>,
    pub(super) bias: Option<(&'a View, bool)>,
    /// Elements of the bias from one index of the first axis to the next.
    pub(super) step_bias: usize,
    pub(super) residual: Option<Added<'a>>,
    pub(super) activation: Activation,
    pub(super) accumulate: bool,
    /// The windows are those of b: its columns are the cells and channels of a kernel, and the depth
    /// goes through so many pixels. For `tiled.wgsl` alone.
    pub(super) pixels: Option<usize>,
    /// For `tiled.wgsl` alone. None: as [`launch`](Gemm::launch) finds it best.
    pub(super) parts: Option<Parts>,
    /// At most [`MAX_AXES`], the last one first: extent, strides in a, b and y.
    pub(super) axes: &'a [(usize, [u32; 3])],
}

impl Gemm<'_> {
    fn params(&self) -> Vec<u32> {
        let Windows { rows, cols, out_rows, out_cols, .. } = self.windows;
        let Windows { kernel, stride, padding, dilation, .. } = self.windows;
        let bias = self.bias.map_or(0, |(view, _)| view.skip);
        let mut params: Vec<u32> =
            [self.m, self.n, rows, cols, out_rows, out_cols].map(word).into();
        params.extend([kernel, stride, padding, dilation].into_iter().flatten().map(word));
        let (a, b) = (&self.a, &self.b);
        params.extend([self.channels, a.line, a.step, b.line, b.step, self.row_y].map(word));
        params.extend([a.view.skip, b.view.skip, bias, self.y.skip]);
        params.extend([self.step_bias, self.axes.len()].map(word));
        params.push(Added::skip(self.residual.as_ref()));
        params.extend(Strided::words(self.strided.as_ref()));
        let depth = self.depth();
        let Parts { steps, y, .. } = self.parts.unwrap_or(Parts { count: 1, steps: depth, y: 0 });
        params.extend([depth, steps.max(1), y].map(word));
        params.extend(bounds(self.activation));
        // Vectors begin at multiples of 16 bytes.
        params.resize(params.len().next_multiple_of(4), 0);
        for &(extent, [a, b, y]) in self.axes {
            params.extend([word(extent), a, b, y]);
        }
        params
    }

    /// Matrices, and parts of them.
    fn batch(&self) -> usize {
        let matrices: usize = self.axes.iter().map(|(extent, _)| extent).product();
        matrices * self.parts.map_or(1, |parts| parts.count)
    }

    /// The steps of the depth.
    fn depth(&self) -> usize {
        let Windows { kernel, .. } = self.windows;
        self.pixels.unwrap_or(kernel[0] * kernel[1] * self.channels)
    }

    /// How four elements of an operand can be loaded at once, as the constants say it: 0, not at all;
    /// 1, four steps of the depth; 2, four rows of a, or columns of b.
    fn vectors(&self, side: &Side<'_>, operand: usize) -> f64 {
        let four = |n: usize| n.is_multiple_of(4);
        let begins = four(side.view.skip as usize)
            && self.axes.iter().all(|(_, strides)| four(strides[operand] as usize));
        // Columns that are channels of cells.
        let cells = self.pixels.is_some() && operand == 1;
        if begins && cells && four(self.channels) && four(side.line) {
            2.0
        } else if cells {
            0.0
        } else if begins && side.line == 1 && four(side.step) {
            2.0
        } else if begins
            && self.pixels.is_none()
            && side.step == 1
            && four(self.channels)
            && four(side.line)
        {
            1.0
        } else {
            0.0
        }
    }

    /// Launches the kernel of a tile, with the depth in parts where units would be idle otherwise; without
    /// a tile, the kernel of drivers on a processor.
    pub(super) fn launch(&self, cx: &Context, tile: Option<Tile>) -> Result<()> {
        let split = tile.filter(|_| self.parts.is_none());
        if let Some((tile, parts)) = split.and_then(|tile| Some((tile, self.split(cx, tile)?))) {
            return self.launch_parts(cx, tile, parts);
        }
        let (bias, half_bias) = self.bias.unwrap_or((self.a.view, false));
        let mut constants: Constants = vec![
            ("HALF_A", flag(self.a.half)),
            ("HALF_B", flag(self.b.half)),
            ("HALF_BIAS", flag(half_bias)),
            ("BIAS", flag(self.bias.is_some())),
            ("RESIDUAL", Added::flag(self.residual.as_ref())),
            ("ACCUMULATE", flag(self.accumulate)),
            ("HALF_Y", flag(self.half_y)),
        ];
        let (a, b) = (self.a.view, self.b.view);
        let mut inputs = vec![a, b, bias, self.residual.map_or(a, |residual| residual.view)];
        let shader = match tile {
            None => {
                let tiles = self.m.div_ceil(WIDE_ROWS) * self.n.div_ceil(WIDE_COLS) * self.batch();
                (WIDE.of(self.activation), tiles.div_ceil(WIDE_INVOCATIONS))
            }
            Some(tile) => {
                constants.push(("VECTOR_A", self.vectors(&self.a, 0)));
                constants.push(("VECTOR_B", self.vectors(&self.b, 1)));
                constants.push(("WINDOWS_B", flag(self.pixels.is_some())));
                constants.extend(tile.constants());
                inputs.extend([a, b]);
                let tiles = self.m.div_ceil(tile.rows()) * self.n.div_ceil(tile.cols());
                (TILED.of(self.activation), tiles * self.batch())
            }
        };
        cx.launch(Launch {
            op: self.op,
            shader: shader.0,
            constants: &constants,
            params: &self.params(),
            outputs: &[self.y],
            inputs: &inputs,
            groups: Groups::Flat(shader.1),
        })
    }
}

impl Tile {
    fn constants(&self) -> Constants {
        let number = |n: usize| n as f64;
        vec![
            ("ACROSS", number(self.across)),
            ("DOWN", number(self.down)),
            ("TALL", flag(self.tall)),
            ("WIDE", flag(self.wide)),
            ("ROWS", number(self.rows() / 4)),
            ("COLS", number(self.cols() / 4)),
        ]
    }
}
