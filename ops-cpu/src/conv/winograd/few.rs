//! Few tiles: the weights, kept as transformed, are read once and are most of what is moved.
//!
//! Tiles are transformed first. A task then has some outputs of them: its weights stream by, each
//! used for its tiles while it is in the first-level cache, and what comes next is asked for meanwhile.

use striate_tensor::Result;

use super::weights::Kernels;
use super::{PAD, Results, Step, parts};
use crate::context::Context;
use crate::gemm::{Ahead, Block};
use crate::threads::SharedOutput;

/// Tiles that a task transforms, at most.
const TRANSFORMED: usize = 2;

pub(super) fn conv2d(cx: &Context, step: &Step<'_>, kernels: &Kernels<'_>) -> Result<()> {
    let (channels, out, shape) = (step.channels, step.out, step.shape);
    let positions = step.form.positions();
    let weights = kernels.packed(cx)?;
    let weights: &[f32] = weights.slice();
    let panels = out.div_ceil(shape.cols);
    let panel = channels * shape.cols;
    let of_panel = |group, position, index| {
        &weights[((group * positions + position) * panels + index) * panel..][..panel]
    };
    let all = step.tiles();
    let tiles_pitch = all * channels + PAD;
    let parts = parts(cx, all, panels);
    let mut tiles = cx.pool.take(4 * positions * tiles_pitch)?;
    let tiles = SharedOutput::new(tiles.slice_mut());
    let transformed = (all / cx.threads.shares()).clamp(1, TRANSFORMED);
    for group in 0..step.op.groups {
        cx.threads.for_each(all.div_ceil(transformed), |task| {
            for tile in task * transformed..((task + 1) * transformed).min(all) {
                let pixels = step.pixels(group, tile);
                // SAFETY: the tile's part of each position, which is this task's alone.
                unsafe {
                    step.transform(pixels, 0..channels, tiles.at(tile * channels), tiles_pitch);
                }
            }
        });
        cx.threads.try_for_each(panels * parts, |task| {
            let (index, part) = (task / parts, task % parts);
            let tile = all * part / parts;
            let m = all * (part + 1) / parts - tile;
            let first = index * shape.cols;
            let count = (out - first).min(shape.cols);
            let results_pitch = m * shape.cols + PAD;
            let mut results = cx.pool.take(4 * positions * results_pitch)?;
            let mut pointers = cx.pool.take(8 * m.next_multiple_of(shape.rows))?;
            let pointers = pointers.pointers_mut();
            let results = SharedOutput::new(results.slice_mut());
            for position in 0..positions {
                let next = match (position + 1 < positions, index + 1 < panels) {
                    (true, _) => Some((position + 1, index)),
                    // The task that most likely follows.
                    (false, true) => Some((0, index + 1)),
                    (false, false) => None,
                };
                let ahead = next.map_or(Ahead::NOTHING, |(position, index)| Ahead {
                    from: of_panel(group, position, index).as_ptr(),
                    floats: panel,
                });
                // SAFETY: rows are inside the transformed tiles, which nobody writes now; the panel is
                // whole; the output is this task's part of the results.
                unsafe {
                    for (i, pointer) in pointers.iter_mut().enumerate() {
                        let tile = tile + i.min(m - 1);
                        *pointer = tiles.at(position * tiles_pitch + tile * channels);
                    }
                    let panel = of_panel(group, position, index).as_ptr();
                    let output = results.at(position * results_pitch);
                    let sizes = [m, channels, count];
                    let block = Block::matrix(pointers, sizes, panel, output, shape.cols);
                    Block { ahead, ..block }.run(step.level);
                }
            }
            let pitch = results_pitch;
            let results = Results { from: results, pitch, columns: shape.cols, first, count };
            // SAFETY: the results are of these outputs of these tiles, which are this task's.
            unsafe { step.restore(group, tile, 0..m, results) };
            Ok(())
        })?;
    }
    Ok(())
}
