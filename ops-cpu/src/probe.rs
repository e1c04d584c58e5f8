//! The micro-kernel by itself, for the benchmarks of this crate to time: no part of its interface.

use std::fmt;

use striate_tensor::ops::Activation;

use crate::gemm::{Ahead, Block, tile_shape};
use crate::simd::{LINE_BYTES, Level};

/// Floats between rows of the left side beyond what they hold, as kernels leave them.
const ROW_PAD: usize = 16;

/// Panels begin at cache lines, as the memory of kernels does: floats of one.
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// Products `[rows, depth] · [depth, cols]` over operands that are packed and near.
pub struct Products {
    level: Level,
    rows: usize,
    depth: usize,
    cols: usize,
    /// `[products][rows][depth]`, rows apart.
    left: Vec<f32>,
    /// Of each product.
    panels: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl fmt::Debug for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Products")
            .field("level", &self.level)
            .field("rows", &self.rows)
            .field("depth", &self.depth)
            .field("cols", &self.cols)
            .finish_non_exhaustive()
    }
}

impl Products {
    /// So many products of these extents; none of an extent of 0.
    pub fn new(level: Level, count: usize, [rows, depth, cols]: [usize; 3]) -> Option<Self> {
        if count * rows * depth * cols == 0 {
            return None;
        }
        let tile = tile_shape(level);
        let pitch = depth + ROW_PAD;
        let value = |i: usize| (i % 7) as f32 - 3.0;
        let left: Vec<f32> = (0..count * rows * pitch).map(value).collect();
        let panel = || (0..cols.next_multiple_of(tile.cols) * depth + LINE).map(value).collect();
        let panels = (0..count).map(|_| panel()).collect();
        let outputs = vec![vec![0.0; rows * cols]; count];
        Some(Products { level, rows, depth, cols, left, panels, outputs })
    }

    /// Computes them once.
    pub fn run(&mut self) {
        let Products { level, rows, depth, cols, .. } = *self;
        let pitch = depth + ROW_PAD;
        let mut pointers = vec![std::ptr::null(); rows.next_multiple_of(tile_shape(level).rows)];
        let lefts = self.left.chunks_exact(rows * pitch);
        for ((left, panels), output) in lefts.zip(&self.panels).zip(&mut self.outputs) {
            // The last row is repeated to fill its tile.
            for (i, pointer) in pointers.iter_mut().enumerate() {
                *pointer = left[i.min(rows - 1) * pitch..].as_ptr();
            }
            let block = Block {
                rows: pointers.as_ptr(),
                m: rows,
                taps: 1,
                run: depth,
                panels: panels[line_start(panels)..].as_ptr(),
                n: cols,
                output: output.as_mut_ptr(),
                pitch: cols,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
                add: false,
                ahead: Ahead::NOTHING,
                cold: false,
            };
            // SAFETY: rows are `depth` floats each and fill whole tiles, panels are whole, and the
            // output has `rows` rows of `cols`; the level is one of this processor.
            unsafe { block.run(level) };
        }
    }

    /// Operations of a run, a multiply-add being two.
    pub fn flops(&self) -> f64 {
        2.0 * (self.outputs.len() * self.rows * self.depth * self.cols) as f64
    }
}

/// The first float of a cache line.
fn line_start(floats: &[f32]) -> usize {
    floats.as_ptr().align_offset(LINE_BYTES).min(LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        for level in Level::available() {
            let [rows, depth, cols] = [17, 40, 35];
            let mut products = Products::new(level, 2, [rows, depth, cols]).unwrap();
            products.run();
            let tile = tile_shape(level).cols;
            let left = |product: usize, i: usize, k: usize| {
                products.left[(product * rows + i) * (depth + ROW_PAD) + k]
            };
            let right = |product: usize, k: usize, j: usize| {
                let panels = &products.panels[product];
                panels[line_start(panels) + (j / tile * depth + k) * tile + j % tile]
            };
            for product in 0..2 {
                for (at, &y) in products.outputs[product].iter().enumerate() {
                    let (i, j) = (at / cols, at % cols);
                    let sum: f32 =
                        (0..depth).map(|k| left(product, i, k) * right(product, k, j)).sum();
                    assert_eq!(y, sum, "{level}: {i}, {j} of {product}");
                }
            }
            assert_eq!(products.flops(), 2.0 * 2.0 * (rows * depth * cols) as f64);
            assert!(Products::new(level, 1, [1, 0, 1]).is_none());
        }
    }
}
