//! The register-tiled product that matmul and convolution share.
//!
//! An output block of `m` rows and `n` columns is `rows · panels`: the left side is read in place
//! through row pointers, the right side from panels packed for the tile. A convolution is such a
//! product whose rows are the pixels under each tap of the kernel (Dukhan, "The indirect
//! convolution algorithm", 2019), so no im2col matrix is ever written.

mod block;
pub(crate) mod matvec;
pub(crate) mod outer;
mod pack;
mod tile;

pub(crate) use block::{Ahead, Block};
pub(crate) use pack::{Packing, pack_panels, pack_rows, widen};

use crate::simd::{Instructions, Level};

/// Products summed in registers before a tile goes back to memory. A panel of so many rows, and
/// the rows of a tile beside it, fit in a first-level cache of 32 KiB at either tile width.
pub(crate) const DEPTH_BLOCK: usize = 256;

/// The register block of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileShape {
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Vectors in a row of a tile.
    pub(crate) vectors: usize,
    /// Columns of a tile: floats in its vectors.
    pub(crate) cols: usize,
}

/// The register block of a level: accumulators, the vectors of the panel and one broadcast just
/// fill the registers.
pub(crate) fn tile_shape(level: Level) -> TileShape {
    let (rows, vectors) = match level.instructions() {
        // 16 registers of 4 floats: 8 accumulators, 2 of the panel, 1 broadcast.
        Instructions::Portable => (4, 1),
        // 16 registers: 12 accumulators, 2 of the panel, 1 broadcast.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => (6, 2),
        // 32 registers: 28 accumulators, 2 of the panel, 1 broadcast.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => (14, 2),
        // 32 registers, a vector being two of them: 24 of accumulators, 4 of the panel, 1 broadcast.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => (6, 2),
    };
    TileShape { rows, vectors, cols: vectors * level.lanes() }
}
