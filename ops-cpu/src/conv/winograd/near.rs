//! Small weights: transformed once, kept, and near at all times.

use striate_tensor::Result;

use super::weights::Kernels;
use super::{POSITIONS, Results, Step, parts};
use crate::context::Context;
use crate::gemm::{Ahead, Block};
use crate::threads::SharedOutput;

/// Transformed tiles and results of a block, which goes through all steps at once.
const TILES_BYTES: usize = 768 << 10;

pub(super) fn conv2d(cx: &Context, step: &Step<'_>, kernels: &Kernels<'_>) -> Result<()> {
    let (channels, out, shape) = (step.channels, step.out, step.shape);
    let weights = kernels.packed(cx)?;
    let weights: &[f32] = weights.slice();
    let panels = out.div_ceil(shape.cols) * shape.cols * channels;
    let of_position =
        |group, position| &weights[(group * POSITIONS + position) * panels..][..panels];
    let all = step.tiles();
    // In whole rows of the micro-kernel where there is more than one.
    let block = TILES_BYTES / (4 * POSITIONS * (channels + out));
    let block = (block / shape.rows * shape.rows).max(shape.rows).min(all);
    let blocks = all.div_ceil(block).max(parts(cx, all, 1));
    let block = all.div_ceil(blocks);
    // Then as even as may be.
    let unit = if block > shape.rows { shape.rows } else { 1 };
    let units = all.div_ceil(unit);
    cx.threads.try_for_each(step.op.groups * blocks, |task| {
        let (group, index) = (task / blocks, task % blocks);
        let start = |index: usize| (units * index / blocks * unit).min(all);
        let first = start(index);
        let count = start(index + 1) - first;
        // One block's scratch a thread that runs at a time would do; one a task is simpler, and the
        // pool hands the same memory around.
        let mut scratch = cx.pool.take(4 * POSITIONS * count * (channels + out))?;
        let mut pointers = cx.pool.take(8 * count.next_multiple_of(shape.rows))?;
        let pointers = pointers.pointers_mut();
        let (from, to) = scratch.slice_mut::<f32>().split_at_mut(POSITIONS * count * channels);
        let (from, to) = (SharedOutput::new(from), SharedOutput::new(to));
        for tile in 0..count {
            let pixels = step.pixels(group, first + tile);
            // SAFETY: a tile's part of this task's scratch.
            unsafe {
                step.transform(pixels, 0..channels, from.at(tile * channels), count * channels);
            }
        }
        for position in 0..POSITIONS {
            // All weights together may not fit into the second-level cache.
            let ahead = match position + 1 < POSITIONS {
                true => Ahead { from: of_position(group, position + 1).as_ptr(), floats: panels },
                false => Ahead::NOTHING,
            };
            // SAFETY: rows are inside the scratch, panels are whole, and the output is the part of
            // the scratch that follows; the block is done before either is used again.
            unsafe {
                for (i, pointer) in pointers.iter_mut().enumerate() {
                    *pointer = from.at((position * count + i.min(count - 1)) * channels);
                }
                let panels = of_position(group, position).as_ptr();
                let output = to.at(position * count * out);
                let block = Block::matrix(pointers, [count, channels, out], panels, output, out);
                Block { ahead, ..block }.run(step.level);
            }
        }
        let results = Results { from: to, pitch: count * out, columns: out, first: 0, count: out };
        // SAFETY: the results are of these tiles, whose outputs are this task's.
        unsafe { step.restore(group, first, 0..count, results) };
        Ok(())
    })
}
