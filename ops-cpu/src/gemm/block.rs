//! A block of the output, tile by tile.

use striate_tensor::ops::Activation;

use super::DEPTH_BLOCK;
use super::tile::{Rows, Start, Tile};
use crate::activation::{InRegisters, activate_rows};
use crate::simd::{Instructions, Kernel, LINE_BYTES, Level, Simd};

/// A block of the output to compute: `rows · panels`, with bias, residual and activation.
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
    /// Rows as those of the output, which are added to them, or null.
    pub(crate) residual: *const f32,
    /// What is applied to the results.
    pub(crate) activation: Activation,
    /// The products are added to what is in the output; the biases are not.
    pub(crate) add: bool,
    /// What is asked for to come into the second-level cache meanwhile, and its floats: what the
    /// next block reads, where that lies further away.
    pub(crate) ahead: Ahead,
    /// The output is hardly in the caches: it is asked for before it is written.
    pub(crate) cold: bool,
}

/// Memory to ask for: floats in a row. It need not be readable.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) from: *const f32,
    pub(crate) floats: usize,
}

impl Ahead {
    pub(crate) const NOTHING: Self = Ahead { from: std::ptr::null(), floats: 0 };
}

impl Block {
    /// A matrix of `[m, run, n]`: nothing is added, nothing follows, nothing is asked for ahead.
    pub(crate) fn matrix(
        rows: &[*const f32],
        [m, run, n]: [usize; 3],
        panels: *const f32,
        output: *mut f32,
        pitch: usize,
    ) -> Self {
        Block {
            rows: rows.as_ptr(),
            m,
            taps: 1,
            run,
            panels,
            n,
            output,
            pitch,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            activation: Activation::None,
            add: false,
            ahead: Ahead::NOTHING,
            cold: false,
        }
    }

    /// Computes it.
    ///
    /// # Safety
    /// The pointers must be as their descriptions say, for `tile_shape(level)`.
    pub(crate) unsafe fn run(self, level: Level) {
        match level.instructions() {
            Instructions::Portable => level.run(Tiles::<4, 1>(self)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => level.run(Tiles::<6, 2>(self)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => level.run(Tiles::<14, 2>(self)),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => level.run(Tiles::<6, 2>(self)),
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
        let cols = VECTORS * S::LANES;
        let depth = block.taps * block.run;
        let panels = block.n.div_ceil(cols);
        let tiles = block.m.div_ceil(ROWS);
        // What is asked for meanwhile: what the block is to ask for, or else the weights that come next.
        let steps = (tiles * panels * depth).max(1);
        let ahead_step = block.ahead.floats.div_ceil(steps).min(LINE_BYTES / size_of::<f32>());
        let mut ahead = block.ahead.from;
        let weights_step = cols.div_ceil(tiles.max(1)).min(LINE_BYTES / size_of::<f32>());
        // Depth outermost: the rows under a few taps stay in the second-level cache while all
        // panels pass over them.
        let taps_at_once = (DEPTH_BLOCK / block.run.max(1)).max(1);
        let run_at_once = if taps_at_once > 1 { block.run } else { even_part(block.run) };
        let (in_registers, after) = InRegisters::split_frugally(block.activation);
        let mut first = true;
        let mut tap = 0;
        while tap < block.taps || first {
            let taps = taps_at_once.min(block.taps - tap);
            let mut offset = 0;
            while offset < block.run || first {
                let run = run_at_once.min(block.run - offset);
                let last = tap + taps >= block.taps && offset + run >= block.run;
                // The first panel's part that follows. An address that no memory has would cost a walk through
                // the page tables in each step.
                let next_part = match last {
                    true => block.panels,
                    false => {
                        block.panels.wrapping_add((tap * block.run + offset + taps * run) * cols)
                    }
                };
                for p in 0..panels {
                    let mut row = 0;
                    let depth_here = p * depth + tap * block.run + offset;
                    // SAFETY: part of panel `p`.
                    let panel = unsafe { block.panels.add(depth_here * cols) };
                    let mut weights = match p + 1 < panels {
                        true => panel.wrapping_add(depth * cols),
                        false => next_part,
                    };
                    for t in 0..tiles {
                        let m = match block.taps {
                            1 => rows_of_tile::<ROWS>(block.m - row),
                            _ => ROWS.min(block.m - row),
                        };
                        // SAFETY: tile `t` and panel `p` are inside the block, and partial ones
                        // say how much of them is.
                        unsafe {
                            let pointers = match block.taps {
                                1 => block.rows.add(row),
                                _ => block.rows.add((t * block.taps + tap) * ROWS),
                            };
                            let at = row * block.pitch + p * cols;
                            let tile = Tile {
                                rows: Rows { pointers, rows: ROWS, taps, offset, run },
                                panel,
                                panel_pitch: cols,
                                output: block.output.add(at),
                                pitch: block.pitch,
                                start: match (first && !block.add, block.bias.is_null()) {
                                    (true, true) => Start::Zero,
                                    (true, false) => Start::Bias(block.bias.add(p * cols)),
                                    (false, _) => Start::Output,
                                },
                                residual: match last && !block.residual.is_null() {
                                    true => block.residual.add(at),
                                    false => std::ptr::null(),
                                },
                                activation: if last { in_registers } else { InRegisters::None },
                                ahead: match ahead_step {
                                    0 => (weights, weights_step),
                                    _ => (ahead, ahead_step),
                                },
                                next: match block.cold && first && t + 1 < tiles {
                                    true => {
                                        let next = row + m;
                                        let output =
                                            block.output.add(next * block.pitch + p * cols);
                                        (output, ROWS.min(block.m - next))
                                    }
                                    false => (std::ptr::null_mut(), 0),
                                },
                            };
                            ahead = ahead.wrapping_add(taps * run * ahead_step);
                            weights = weights.wrapping_add(taps * run * weights_step);
                            let n = (block.n - p * cols).min(cols);
                            // Lanes of the last vector of each row.
                            let tail = (n - 1) % S::LANES + 1;
                            match (n > cols - S::LANES, m) {
                                (true, ..=2) => tile.compute::<S, 2, VECTORS>(simd, m, tail),
                                (true, ..=4) => tile.compute::<S, 4, VECTORS>(simd, m, tail),
                                (true, ..=6) if ROWS > 6 => {
                                    tile.compute::<S, 6, VECTORS>(simd, m, tail);
                                }
                                (true, ..=8) if ROWS > 8 => {
                                    tile.compute::<S, 8, VECTORS>(simd, m, tail);
                                }
                                (true, ..=10) if ROWS > 10 => {
                                    tile.compute::<S, 10, VECTORS>(simd, m, tail);
                                }
                                (true, ..=12) if ROWS > 12 => {
                                    tile.compute::<S, 12, VECTORS>(simd, m, tail);
                                }
                                (true, _) => tile.compute::<S, ROWS, VECTORS>(simd, m, tail),
                                (_, ..=4) => tile.compute::<S, 4, 1>(simd, m, tail),
                                _ => tile.compute::<S, ROWS, 1>(simd, m, tail),
                            }
                            if last {
                                activate_rows(simd, after, tile.output, m, n, block.pitch);
                            }
                            row += m;
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

/// The rows of the next tile of a matrix, whose rows may be taken as one likes. The last two tiles
/// share what they have, since one of few rows waits for its own sums: 16 rows in tiles of 14 are 8
/// and 8.
fn rows_of_tile<const ROWS: usize>(left: usize) -> usize {
    match left > ROWS && left < 2 * ROWS {
        true => left.div_ceil(2).next_multiple_of(2).min(ROWS),
        false => left.min(ROWS),
    }
}

/// A run longer than a depth block, cut into even parts of at most that.
fn even_part(run: usize) -> usize {
    run.div_ceil(run.div_ceil(DEPTH_BLOCK).max(1))
}
