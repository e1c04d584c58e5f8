//! The transform of weights.

use std::sync::Arc;

use striate_tensor::ops::Conv2d;
use striate_tensor::{Operand, Result};

use super::{IN, POSITIONS};
use crate::backend::Context;
use crate::buffer::{PackKey, floats, own};
use crate::conv::Extents;
use crate::gemm::TileShape;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedOutput;

/// Channels whose weights are transformed together.
const CHANNELS: usize = 16;

/// The transformed weights in panels, kept with their buffer.
pub(super) fn packed_weights(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    weights: &Operand<'_>,
    shape: TileShape,
) -> Result<Arc<Memory>> {
    let channels = e.channels / op.groups;
    let out = e.out / op.groups;
    let key = PackKey {
        winograd: true,
        depth: 9 * channels,
        outputs: e.out,
        groups: op.groups,
        panel: shape.cols,
    };
    own(weights.buffer)?.packed(key, || {
        let values = floats(weights)?;
        let panels = out.div_ceil(shape.cols);
        let panel = channels * shape.cols;
        let mut packed = cx.pool.take(4 * op.groups * POSITIONS * panels * panel)?;
        let target = SharedOutput::new(packed.slice_mut());
        let blocks = channels.div_ceil(CHANNELS);
        // A task has some channels of one panel, at all positions: what it scatters into stays in
        // the second-level cache, and goes out in whole rows.
        cx.threads.for_each(op.groups * panels * blocks, |task| {
            let (group, p, block) = (task / blocks / panels, task / blocks % panels, task % blocks);
            let first = block * CHANNELS;
            let count = CHANNELS.min(channels - first);
            let cols = (out - p * shape.cols).min(shape.cols);
            let rows = count * shape.cols;
            let mut block = vec![0.0; POSITIONS * rows];
            for j in 0..cols {
                let o = group * out + p * shape.cols + j;
                let mut kernels = [[0.0; CHANNELS]; 9];
                for (tap, kernel) in kernels.iter_mut().enumerate() {
                    let at = (o * 9 + tap) * channels + first;
                    values.range(at..at + count).copy_to(cx.level, &mut kernel[..count]);
                }
                cx.level.run(Weights {
                    kernels: &kernels,
                    to: &mut block[j..],
                    count,
                    rows,
                    cols: shape.cols,
                });
            }
            for (position, from) in block.chunks_exact(rows).enumerate() {
                let at = ((group * POSITIONS + position) * panels + p) * panel + first * shape.cols;
                // SAFETY: these rows of this panel are inside the packed weights and this task's.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), target.at(at), rows) };
            }
        });
        Ok(packed)
    })
}

/// `GgGᵀ` of some channels of an output, in f64 and rounded once, to `[positions][channels]` of a
/// column.
struct Weights<'a> {
    kernels: &'a [[f32; CHANNELS]; 9],
    to: &'a mut [f32],
    count: usize,
    /// Floats from one position to the next.
    rows: usize,
    /// Floats from one channel to the next.
    cols: usize,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut half = [[[0.0; CHANNELS]; 3]; IN];
        for j in 0..3 {
            let mut g = [[0.0; CHANNELS]; 3];
            for (i, g) in g.iter_mut().enumerate() {
                for (g, &x) in g.iter_mut().zip(&self.kernels[i * 3 + j]) {
                    *g = f64::from(x);
                }
            }
            for (half, line) in half.iter_mut().zip(weights_line(&g)) {
                half[j] = line;
            }
        }
        for (i, row) in half.iter().enumerate() {
            for (j, line) in weights_line(row).iter().enumerate() {
                let to = &mut self.to[(i * IN + j) * self.rows..];
                for (c, &x) in line.iter().enumerate().take(self.count) {
                    to[c * self.cols] = x as f32;
                }
            }
        }
    }
}

/// `Gg`
#[inline(always)]
fn weights_line(g: &[[f64; CHANNELS]; 3]) -> [[f64; CHANNELS]; IN] {
    let mut line = [[0.0; CHANNELS]; IN];
    for c in 0..CHANNELS {
        let (a, b, d) = (g[0][c], g[1][c], g[2][c]);
        line[0][c] = a / 4.0;
        line[1][c] = -(a + b + d) / 6.0;
        line[2][c] = (b - a - d) / 6.0;
        line[3][c] = (a + 2.0 * b + 4.0 * d) / 24.0;
        line[4][c] = (a - 2.0 * b + 4.0 * d) / 24.0;
        line[5][c] = d;
    }
    line
}
