//! The kernels of tiles: `tiled.wgsl` and `wide.wgsl`.

use striate_tensor::Result;
use striate_tensor::ops::Activation;

use super::product::{Added, Gemm, SUMS, Side};
use crate::choice::{TILES, Tile};
use crate::kernels::activations::{Activated, activated};
use crate::kernels::constants::{BOTH, Constants, sets};
use crate::pipelines::{Shader, flag};
use crate::queue::{Context, Groups, Launch};

static TILED: Activated = activated!("gemm/tiled.wgsl", 1, 6, "gemm/product.wgsl");
static WIDE: Activated = activated!("gemm/wide.wgsl", 1, 4, "gemm/product.wgsl");

/// Rows and columns of an invocation of `wide.wgsl`, and invocations of its workgroups.
const WIDE_ROWS: usize = 16;
const WIDE_COLS: usize = 16;
const WIDE_INVOCATIONS: usize = 8;

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

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let names = ["HALF_A", "HALF_B", "HALF_BIAS", "BIAS"].map(|name| (name, BOTH));
    let wide = SUMS.into_iter().flat_map(|sums| sets(&[&names[..], sums].concat()));
    let mut all = WIDE.variants(&wide.collect::<Vec<_>>());
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

impl Gemm<'_> {
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

    /// Launches the kernel of a tile, or of drivers on a processor, with all of the depth or a part of it
    /// at a time: see [`Gemm::parts`].
    pub(super) fn launch_tiles(&self, cx: &Context, tile: Option<Tile>) -> Result<()> {
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
