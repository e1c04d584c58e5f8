//! A block of the output, tile by tile.

use super::tile::{Rows, Start, tile};
use super::{DEPTH_BLOCK, TileShape};
use crate::simd::{Kernel, Level, Simd};

/// The most floats in a tile, over all levels.
const TILE_FLOATS: usize = 14 * 32;

/// A block of the output to compute: `rows · panels`, with bias and ReLU.
///
/// All pointers must stay valid, and the output block must be ours alone, while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// `[tiles][taps][tile rows]` pointers to rows of `run` floats. Rows beyond `m` must be
    /// readable too (repeat the last).
    pub(crate) rows: *const *const f32,
    /// Rows of the block.
    pub(crate) m: usize,
    /// Taps of the kernel; 1 for a matrix.
    pub(crate) taps: usize,
    /// Products under each tap.
    pub(crate) run: usize,
    /// Panels of `taps · run` rows, each as wide as a tile.
    pub(crate) panels: *const f32,
    /// Columns of the block.
    pub(crate) n: usize,
    /// The first element of the block.
    pub(crate) output: *mut f32,
    /// Floats from one row of the output to the next.
    pub(crate) pitch: usize,
    /// Biases for whole panels, or null.
    pub(crate) bias: *const f32,
    /// Negative results become 0.
    pub(crate) relu: bool,
    /// Sums are added to what is in the output (`bias` plays no part).
    pub(crate) accumulate: bool,
}

impl Block {
    /// Computes it.
    ///
    /// # Safety
    /// The pointers must be as their descriptions say, for `tile_shape(level)`.
    pub(crate) unsafe fn run(self, level: Level) {
        match level {
            Level::Portable => level.run(Tiles::<4, 1>(self)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => level.run(Tiles::<6, 2>(self)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => level.run(Tiles::<14, 2>(self)),
        }
    }
}

/// A block computed in tiles of `ROWS` rows and `VECTORS` vectors. Only made by [`Block::run`],
/// whose caller vouches for the pointers.
struct Tiles<const ROWS: usize, const VECTORS: usize>(Block);

impl<const ROWS: usize, const VECTORS: usize> Kernel for Tiles<ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let block = self.0;
        let shape = TileShape { rows: ROWS, vectors: VECTORS, cols: VECTORS * S::LANES };
        let depth = block.taps * block.run;
        let panels = block.n.div_ceil(shape.cols);
        let tiles = block.m.div_ceil(ROWS);
        // Depth outermost: the rows under a few taps stay in the second-level cache while all
        // panels pass over them.
        let taps_at_once = (DEPTH_BLOCK / block.run.max(1)).max(1);
        let run_at_once = if taps_at_once > 1 { block.run } else { even_part(block.run) };
        let mut first = true;
        let mut tap = 0;
        while tap < block.taps || first {
            let taps = taps_at_once.min(block.taps - tap);
            let mut offset = 0;
            while offset < block.run || first {
                let run = run_at_once.min(block.run - offset);
                let last = tap + taps >= block.taps && offset + run >= block.run;
                for p in 0..panels {
                    for t in 0..tiles {
                        // SAFETY: tile `t` and panel `p` are inside the block; partial ones go
                        // through `edge`.
                        unsafe {
                            let rows = Rows {
                                pointers: block.rows.add((t * block.taps + tap) * ROWS),
                                taps,
                                offset,
                                run,
                            };
                            let panel = block
                                .panels
                                .add((p * depth + tap * block.run + offset) * shape.cols);
                            let start = match (first && !block.accumulate, block.bias.is_null()) {
                                (true, true) => Start::Zero,
                                (true, false) => Start::Bias(block.bias.add(p * shape.cols)),
                                (false, _) => Start::Output,
                            };
                            let relu = last && block.relu;
                            let output = block.output.add(t * ROWS * block.pitch + p * shape.cols);
                            let m = (block.m - t * ROWS).min(ROWS);
                            let n = (block.n - p * shape.cols).min(shape.cols);
                            if m == ROWS && n == shape.cols {
                                tile::<S, ROWS, VECTORS>(
                                    simd,
                                    rows,
                                    panel,
                                    output,
                                    block.pitch,
                                    start,
                                    relu,
                                );
                            } else {
                                edge::<S, ROWS, VECTORS>(
                                    simd,
                                    rows,
                                    panel,
                                    output,
                                    block.pitch,
                                    start,
                                    relu,
                                    m,
                                    n,
                                );
                            }
                        }
                    }
                }
                first = false;
                offset += run.max(1);
            }
            tap += taps.max(1);
        }
    }
}

/// A run longer than a depth block, cut into even parts of at most that.
fn even_part(run: usize) -> usize {
    run.div_ceil(run.div_ceil(DEPTH_BLOCK).max(1))
}

/// A tile of which only `m` rows and `n` columns are inside the output: computed beside it.
///
/// # Safety
/// As for [`tile`], with only that part of the output writable.
#[allow(clippy::too_many_arguments, reason = "the micro-kernel's own, and the part that is inside")]
#[inline(always)]
unsafe fn edge<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    rows: Rows,
    panel: *const f32,
    output: *mut f32,
    pitch: usize,
    start: Start,
    relu: bool,
    m: usize,
    n: usize,
) {
    let cols = VECTORS * S::LANES;
    let mut aside = [0.0f32; TILE_FLOATS];
    debug_assert!(ROWS * cols <= TILE_FLOATS);
    // SAFETY: `aside` holds a whole tile; the output is touched in its inside part only.
    unsafe {
        if matches!(start, Start::Output) {
            for i in 0..m {
                std::ptr::copy_nonoverlapping(
                    output.add(i * pitch),
                    aside.as_mut_ptr().add(i * cols),
                    n,
                );
            }
        }
        tile::<S, ROWS, VECTORS>(simd, rows, panel, aside.as_mut_ptr(), cols, start, relu);
        for i in 0..m {
            std::ptr::copy_nonoverlapping(aside.as_ptr().add(i * cols), output.add(i * pitch), n);
        }
    }
}
