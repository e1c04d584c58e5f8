//! Products whose common axis is the rows of both sides: `leftᵀ · right`.
//!
//! The gradient of weights is such a product: outputs by inputs, summed over the pixels (or the
//! samples of a batch). Both sides are packed for some rows at a time, as they lie in memory, so
//! nothing is transposed; each step of the micro-kernel is an outer product in registers.

use striate_tensor::Result;

use super::{TileShape, tile_shape};
use crate::context::Context;
use crate::simd::{Instructions, Kernel, Level, Simd};
use crate::threads::SharedOutput;

/// The most floats in a tile, over all levels.
const TILE_FLOATS: usize = 14 * 32;

/// Rows of a block of the output.
const BLOCK_ROWS: usize = 512;
/// Columns of a block of the output, at most and at least.
const BLOCK_COLS: usize = 512;
const LEAST_COLS: usize = 128;
/// Both sides of a block under so many products fit in a second-level cache, a panel and some tiles beside it in
/// one of the first level.
pub(crate) const DEPTH: usize = 128;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 16;

/// `extent` cut into even blocks of at most `most`, in whole pieces.
pub(crate) fn even(extent: usize, most: usize, piece: usize) -> usize {
    extent.div_ceil(extent.div_ceil(most).max(1)).next_multiple_of(piece)
}

/// `leftᵀ · right`, of `[k, m]` and `[k, n]`, into `output [m, n]`.
pub(crate) fn product(
    cx: &Context,
    left: &[f32],
    right: &[f32],
    [m, n, k]: [usize; 3],
    output: &mut [f32],
) -> Result<()> {
    if k == 0 {
        output.fill(0.0);
        return Ok(());
    }
    let shape = tile_shape(cx.level);
    let block_rows = even(m, BLOCK_ROWS, shape.rows);
    let row_blocks = m.div_ceil(block_rows);
    let mut most = BLOCK_COLS;
    while most > LEAST_COLS && row_blocks * n.div_ceil(even(n, most, shape.cols)) < BLOCKS {
        most /= 2;
    }
    let block_cols = even(n, most, shape.cols);
    let col_blocks = n.div_ceil(block_cols);
    let target = SharedOutput::new(output);
    cx.threads.try_for_each(row_blocks * col_blocks, |task| {
        let (row, col) = (task / col_blocks * block_rows, task % col_blocks * block_cols);
        let (rows, cols) = (block_rows.min(m - row), block_cols.min(n - col));
        let depths = DEPTH.min(k);
        let mut packed_left = cx.pool.take(4 * depths * rows.next_multiple_of(shape.rows))?;
        let mut packed_right = cx.pool.take(4 * depths * cols.next_multiple_of(shape.cols))?;
        for first in (0..k).step_by(depths) {
            let depth = depths.min(k - first);
            let (from, to) = (&left[first * m + row..], packed_left.slice_mut());
            Pieces { from, pitch: m, rows: depth, width: rows, to }.tiles(cx.level);
            let (from, to) = (&right[first * n + col..], packed_right.slice_mut());
            Pieces { from, pitch: n, rows: depth, width: cols, to }.panels(cx.level);
            let block = Outer {
                left: packed_left.slice::<f32>().as_ptr(),
                right: packed_right.slice::<f32>().as_ptr(),
                depth,
                m: rows,
                n: cols,
                // SAFETY: row `row` and column `col` are inside the output.
                output: unsafe { target.at(row * n + col) },
                pitch: n,
                add: first > 0,
            };
            // SAFETY: both sides are packed for this level's tiles; blocks of different tasks do
            // not overlap, and lie inside the output.
            unsafe { block.run(cx.level) };
        }
        Ok(())
    })
}

/// A block of the output: `output[i][j] = Σ_k left[k][i] · right[k][j]`, or that much more.
///
/// All pointers must stay valid, and the output block must be ours alone, while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// `[tiles][depth][tile rows]`, filled up to whole tiles.
    pub(crate) left: *const f32,
    /// `[panels][depth][tile cols]`, filled up to whole panels.
    pub(crate) right: *const f32,
    /// Products in a sum.
    pub(crate) depth: usize,
    /// Rows of the block.
    pub(crate) m: usize,
    /// Columns of the block.
    pub(crate) n: usize,
    /// The first element of the block.
    pub(crate) output: *mut f32,
    /// Floats from one row of the output to the next.
    pub(crate) pitch: usize,
    /// The sums are added to what is in the output.
    pub(crate) add: bool,
}

impl Outer {
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

/// A block computed in tiles of `ROWS` rows and `VECTORS` vectors. Only made by [`Outer::run`],
/// whose caller vouches for the pointers.
struct Tiles<const ROWS: usize, const VECTORS: usize>(Outer);

impl<const ROWS: usize, const VECTORS: usize> Kernel for Tiles<ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let block = self.0;
        let cols = VECTORS * S::LANES;
        // A panel stays in the first-level cache while all tiles pass over it.
        for p in 0..block.n.div_ceil(cols) {
            for t in 0..block.m.div_ceil(ROWS) {
                // SAFETY: tile `t` and panel `p` are inside the block, and partial ones say how
                // much of them is.
                unsafe {
                    let tile = Tile {
                        left: block.left.add(t * block.depth * ROWS),
                        left_pitch: ROWS,
                        right: block.right.add(p * block.depth * cols),
                        right_pitch: cols,
                        depth: block.depth,
                        output: block.output.add(t * ROWS * block.pitch + p * cols),
                        pitch: block.pitch,
                        add: block.add,
                    };
                    let m = (block.m - t * ROWS).min(ROWS);
                    let n = (block.n - p * cols).min(cols);
                    match (m == ROWS && n == cols, m) {
                        (true, _) => tile.whole::<S, ROWS, VECTORS>(simd),
                        _ if m == ROWS && n == S::LANES => tile.whole::<S, ROWS, 1>(simd),
                        (false, ..=2) => tile.part::<S, 2, VECTORS>(simd, m, n),
                        (false, ..=4) => tile.part::<S, 4, VECTORS>(simd, m, n),
                        (false, ..=8) if ROWS > 8 => tile.part::<S, 8, VECTORS>(simd, m, n),
                        (false, _) => tile.part::<S, ROWS, VECTORS>(simd, m, n),
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Tile {
    left: *const f32,
    left_pitch: usize,
    right: *const f32,
    right_pitch: usize,
    depth: usize,
    output: *mut f32,
    pitch: usize,
    add: bool,
}

impl Tile {
    /// Computes a tile of `ROWS` rows of `VECTORS` vectors.
    ///
    /// # Safety
    /// The pointers must be as described for [`Outer`]; the whole tile must be writable.
    #[inline(always)]
    unsafe fn whole<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let Tile { mut left, left_pitch, mut right, right_pitch, depth, output, pitch, add } = self;
        // SAFETY: all accesses are inside what the caller vouches for.
        unsafe {
            let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
            if add {
                for (i, row) in sums.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = simd.load(output.add(i * pitch + j * S::LANES));
                    }
                }
            }
            for _ in 0..depth {
                let mut vectors = [simd.splat(0.0); VECTORS];
                for (j, vector) in vectors.iter_mut().enumerate() {
                    *vector = simd.load(right.add(j * S::LANES));
                }
                for (i, row) in sums.iter_mut().enumerate() {
                    let x = simd.splat(*left.add(i));
                    for (sum, &vector) in row.iter_mut().zip(&vectors) {
                        *sum = simd.mul_add(x, vector, *sum);
                    }
                }
                left = left.add(left_pitch);
                right = right.add(right_pitch);
            }
            for (i, row) in sums.iter().enumerate() {
                for (j, &sum) in row.iter().enumerate() {
                    simd.store(output.add(i * pitch + j * S::LANES), sum);
                }
            }
        }
    }

    /// Computes a tile of which only `m` rows and `n` columns are inside the output: beside it.
    ///
    /// # Safety
    /// As for [`whole`](Tile::whole), with only that part of the output writable.
    #[inline(always)]
    unsafe fn part<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        m: usize,
        n: usize,
    ) {
        let cols = VECTORS * S::LANES;
        let mut aside = [0.0f32; TILE_FLOATS];
        debug_assert!(ROWS * cols <= TILE_FLOATS && m <= ROWS && n <= cols);
        let Tile { output, pitch, .. } = self;
        // SAFETY: `aside` holds a whole tile; the output is touched in its inside part only.
        unsafe {
            if self.add {
                for i in 0..m {
                    let to = aside.as_mut_ptr().add(i * cols);
                    std::ptr::copy_nonoverlapping(output.add(i * pitch), to, n);
                }
            }
            let tile = Tile { output: aside.as_mut_ptr(), pitch: cols, ..self };
            tile.whole::<S, ROWS, VECTORS>(simd);
            for i in 0..m {
                let from = aside.as_ptr().add(i * cols);
                std::ptr::copy_nonoverlapping(from, output.add(i * pitch), n);
            }
        }
    }
}

/// Packs `width` columns of some rows, `pitch` apart, into pieces of `piece` columns:
/// `[pieces][rows][piece]`. Columns beyond the last become zeros.
pub(crate) struct Pieces<'a> {
    /// From the first column of the first row on.
    pub(crate) from: &'a [f32],
    pub(crate) pitch: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) to: &'a mut [f32],
}

impl Pieces<'_> {
    /// Packs into tiles of rows: the left side.
    pub(crate) fn tiles(self, level: Level) {
        self.pack(level, tile_shape(level).rows);
    }

    /// Packs into panels: the right side.
    pub(crate) fn panels(self, level: Level) {
        self.pack(level, tile_shape(level).cols);
    }

    fn pack(self, level: Level, piece: usize) {
        let TileShape { rows, cols, .. } = tile_shape(level);
        debug_assert!(piece == rows || piece == cols);
        // Lengths that the compiler knows: a copy is a few moves, not a call.
        match piece {
            4 => level.run(Pack::<4>(self)),
            6 => level.run(Pack::<6>(self)),
            8 => level.run(Pack::<8>(self)),
            14 => level.run(Pack::<14>(self)),
            16 => level.run(Pack::<16>(self)),
            _ => level.run(Pack::<32>(self)),
        }
    }
}

/// Rows ahead that are asked for: no processor fetches by itself what lies on another page.
const ROWS_AHEAD: usize = 4;
/// Floats in a cache line.
const LINE: usize = 16;

struct Pack<'a, const PIECE: usize>(Pieces<'a>);

impl<const PIECE: usize> Kernel for Pack<'_, PIECE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pieces { from, pitch, rows, width, to } = self.0;
        let whole = width / PIECE;
        for row in 0..rows {
            for at in (0..width).step_by(LINE) {
                simd.prefetch(from.as_ptr().wrapping_add((row + ROWS_AHEAD) * pitch + at));
            }
            let from = &from[row * pitch..row * pitch + width];
            let (pieces, rest) = from.as_chunks::<PIECE>();
            for (p, piece) in pieces.iter().enumerate() {
                let at = (p * rows + row) * PIECE;
                to[at..at + PIECE].copy_from_slice(piece);
            }
            if !rest.is_empty() {
                let at = (whole * rows + row) * PIECE;
                let (inside, beyond) = to[at..at + PIECE].split_at_mut(rest.len());
                inside.copy_from_slice(rest);
                beyond.fill(0.0);
            }
        }
    }
}
