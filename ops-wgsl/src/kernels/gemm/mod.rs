//! Products by tiles: what a convolution (as implicit GEMM: the rows are windows of the images) and
//! a product of matrices have in common.
//!
//! `tiled.wgsl` is for GPUs: tiles in workgroup memory, and in registers. `wide.wgsl` is for drivers
//! that run shaders on a processor. [`Size::tile`](crate::choice::Size::tile) says which and with what tiles.

mod parts;
mod product;
mod tiles;

use striate_tensor::Result;

use super::constants::Constants;
use crate::choice::Tile;
use crate::pipelines::Shader;
use crate::queue::Context;
pub(super) use parts::{PARTS_BYTES, sum};
pub(super) use product::{Added, Gemm, MAX_AXES, Parts, RESIDUALS, Side, Strided, Windows};

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = parts::variants();
    all.extend(tiles::variants());
    all
}

impl Gemm<'_> {
    /// Launches the kernel of a tile, with the depth in parts where units would be idle otherwise; without
    /// a tile, the kernel of drivers on a processor.
    pub(super) fn launch(&self, cx: &Context, tile: Option<Tile>) -> Result<()> {
        let split = tile.filter(|_| self.parts.is_none());
        match split.and_then(|tile| Some((tile, self.split(cx, tile)?))) {
            Some((tile, parts)) => self.launch_parts(cx, tile, parts),
            None => self.launch_tiles(cx, tile),
        }
    }
}
