//! Blocks of outputs, in register blocks.

use std::mem::MaybeUninit;

use striate_tensor::ops::Activation;

use super::{BLOCK_PIXELS, COLUMN_BYTES};
use crate::activation::{InRegisters, activate};
use crate::simd::Simd;
use crate::simd::int8::{Int8, Int8Kernel};

/// Rows of the largest register block.
const MOST_ROWS: usize = 14;
/// Outputs of the widest panel.
const MOST_COLS: usize = 32;

/// Some pixels and outputs of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// The rounded images, of the instructions' own integers.
    pub(super) image: *const u8,
    /// The first number of each pixel's window.
    pub(super) windows: &'a [usize],
    /// From there to the first numbers of its lines.
    pub(super) offsets: &'a [usize],
    /// Groups of a line.
    pub(super) groups: usize,
    /// The weights of the outputs, in panels.
    pub(super) panels: *const u8,
    /// What else is known of the outputs: see `columns`.
    pub(super) columns: *const u8,
    /// Outputs.
    pub(super) n: usize,
    /// The first of them, of the first pixel.
    pub(super) output: *mut f32,
    /// As the output, or null.
    pub(super) residual: *const f32,
    /// Floats from one pixel of the output to the next.
    pub(super) pitch: usize,
    /// What is done before results are written, and after.
    pub(super) activation: InRegisters,
    pub(super) after: Activation,
}

/// A block whose pointers were vouched for.
pub(super) struct Vouched<'a>(Block<'a>);

impl<'a> Block<'a> {
    /// Says that the pointers are as they have to be.
    ///
    /// # Safety
    /// All must be for the instructions that the block is run with: of the image, whole groups of each line of
    /// each window readable; panels and columns padded to whole panels; `n` outputs of each pixel writable
    /// (of the residual, readable), the caller's alone. There must be at most [`BLOCK_PIXELS`] windows.
    pub(super) unsafe fn vouched(self) -> Vouched<'a> {
        Vouched(self)
    }
}

impl Int8Kernel for Vouched<'_> {
    #[inline(always)]
    fn run<I: Int8>(self, int8: I) {
        let block = self.0;
        let cols = I::VECTORS * I::Floats::LANES;
        debug_assert!(
            block.windows.len() <= BLOCK_PIXELS && I::ROWS <= MOST_ROWS && cols <= MOST_COLS
        );
        let panel = block.offsets.len() * block.groups * I::GROUP * cols;
        // Rows as even as they come out: none of a few rows alone.
        let tiles = block.windows.len().div_ceil(I::ROWS);
        for (index, first_out) in (0..block.n).step_by(cols).enumerate() {
            let mut first = 0;
            for tile in 0..tiles {
                let rows = (block.windows.len() - first).div_ceil(tiles - tile);
                // SAFETY: the pointers stay inside what was vouched for.
                unsafe {
                    let tile = Tile::<I> {
                        image: block.image.cast(),
                        windows: &block.windows[first..first + rows],
                        offsets: block.offsets,
                        groups: block.groups,
                        panel: block.panels.cast::<I::Right>().add(index * panel),
                        columns: block.columns.add(index * COLUMN_BYTES * cols),
                        n: cols.min(block.n - first_out),
                        output: block.output.add(first * block.pitch + first_out),
                        residual: match block.residual.is_null() {
                            true => block.residual,
                            false => block.residual.add(first * block.pitch + first_out),
                        },
                        block: &block,
                    };
                    tile.compute(int8, rows);
                }
                first += rows;
            }
        }
    }
}

/// A register block: the outputs of a panel, for some pixels.
struct Tile<'a, I: Int8> {
    image: *const I::Left,
    windows: &'a [usize],
    offsets: &'a [usize],
    groups: usize,
    panel: *const I::Right,
    columns: *const u8,
    n: usize,
    output: *mut f32,
    residual: *const f32,
    block: &'a Block<'a>,
}

impl<I: Int8> Tile<'_, I> {
    /// Computes it; of a panel that is half empty, half.
    ///
    /// # Safety
    /// As for [`Block::vouched`].
    #[inline(always)]
    unsafe fn compute(&self, int8: I, rows: usize) {
        let mut sums = [const { MaybeUninit::<i32>::uninit() }; MOST_ROWS * MOST_COLS];
        let to = sums.as_mut_ptr().cast::<i32>();
        // Loops of known length keep the sums in registers: an instance for each number of rows that these
        // instructions have.
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match rows {
                    $($rows if I::ROWS >= $rows => {
                        if I::VECTORS == 2 && self.n > I::Floats::LANES {
                            self.sums::<$rows, 2>(int8, to)
                        } else {
                            self.sums::<$rows, 1>(int8, to)
                        }
                    })*
                    _ => return,
                }
            };
        }
        // SAFETY: the caller's; as many sums are written as rows and outputs are read below.
        unsafe {
            by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            self.finish(int8, to, rows);
        }
    }

    /// Writes the sums of `R` rows and `V` vectors, rows [`MOST_COLS`] apart.
    ///
    /// # Safety
    /// As for [`Block::vouched`]; the sums must be writable.
    #[inline(always)]
    unsafe fn sums<const R: usize, const V: usize>(&self, int8: I, to: *mut i32) {
        let lanes = I::Floats::LANES;
        // SAFETY: the caller's.
        unsafe {
            let start = |j: usize| int8.load(self.columns.cast::<i32>().add(j * lanes));
            let mut sums = [std::array::from_fn::<_, V, _>(start); R];
            let mut panel = self.panel;
            for &offset in self.offsets {
                let mut left = [self.image; R];
                for (left, window) in left.iter_mut().zip(self.windows) {
                    *left = left.add(window + offset);
                }
                for group in 0..self.groups {
                    int8.step(&mut sums, &left, group * I::GROUP, panel);
                    panel = panel.add(I::GROUP * I::VECTORS * lanes);
                }
            }
            for (i, row) in sums.iter().enumerate() {
                for (j, &sums) in row.iter().enumerate() {
                    int8.store(to.add(i * MOST_COLS + j * lanes), sums);
                }
            }
        }
    }

    /// Makes outputs of the sums.
    ///
    /// # Safety
    /// As for [`Block::vouched`]; the sums must be there.
    #[inline(always)]
    unsafe fn finish(&self, int8: I, sums: *const i32, rows: usize) {
        let (simd, lanes) = (int8.floats(), I::Floats::LANES);
        let cols = I::VECTORS * lanes;
        for j in (0..self.n).step_by(lanes) {
            let count = lanes.min(self.n - j);
            // SAFETY: the caller's.
            unsafe {
                let columns = self.columns.cast::<f32>();
                let factor = simd.load(columns.add(cols + j));
                let bias = simd.load(columns.add(2 * cols + j));
                for i in 0..rows {
                    let at = i * self.block.pitch + j;
                    let sum = int8.to_floats(int8.load(sums.add(i * MOST_COLS + j)));
                    // Not joined to one instruction: not all instruction sets have it.
                    let mut y = simd.add(simd.mul(sum, factor), bias);
                    if !self.residual.is_null() {
                        y = simd.add(y, simd.load_part(self.residual.add(at), count));
                    }
                    y = self.block.activation.apply(simd, y);
                    simd.store_part(self.output.add(at), y, count);
                }
            }
        }
        if self.block.after.is_some() {
            for i in 0..rows {
                // SAFETY: the caller's.
                let row = unsafe {
                    std::slice::from_raw_parts_mut(self.output.add(i * self.block.pitch), self.n)
                };
                activate(simd, self.block.after, row);
            }
        }
    }
}
