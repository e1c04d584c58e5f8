//! Large weights: transformed where they are used.
//!
//! Tiles are transformed first, as many as a third-level cache holds. A task then has some outputs
//! of some of these tiles. It transforms the weights of its outputs for a piece of the channels at a
//! time, adds that piece's products to its results, which never leave the second-level cache, and
//! transforms them back at the end. What comes next, weights and tiles, is asked for during products.

use striate_tensor::Result;

use super::weights::{Kernels, Piece};
use super::{PAD, POSITIONS, Results, Step};
use crate::context::Context;
use crate::gemm::{Ahead, Block};
use crate::threads::SharedOutput;

/// Transformed tiles that exist at a time: part of a third-level cache.
const TILES_BYTES: usize = 10 << 20;
/// Tiles of a task at most. Transforming its weights takes a thirtieth of the time that these take
/// to multiply, and their results (4.5 KiB each) still share a second-level cache with the weights.
const TASK_TILES: usize = 140;
/// Outputs of a task: one panel of the widest micro-kernel.
const TASK_OUTPUTS: usize = 32;
/// Channels of a piece at most, whose transformed weights take 4.5 KiB each.
const PIECE_CHANNELS: usize = 128;
/// Tiles that a task transforms.
const TRANSFORMED: usize = 4;

pub(super) fn conv2d(cx: &Context, step: &Step<'_>, kernels: &Kernels<'_>) -> Result<()> {
    let (channels, out, shape) = (step.channels, step.out, step.shape);
    let all = step.tiles();
    let block = (TILES_BYTES / (4 * POSITIONS * channels)).clamp(1, all);
    let block = all.div_ceil(all.div_ceil(block));
    let parts = block.div_ceil(TASK_TILES);
    let part = block.div_ceil(parts);
    let pieces = channels.div_ceil(PIECE_CHANNELS);
    let piece = channels.div_ceil(pieces).next_multiple_of(step.level.lanes());
    let of_piece = |index: usize| index * piece..((index + 1) * piece).min(channels);
    // `[pieces][positions][tiles][channels of a piece]`
    let tiles_pitch = block * piece + PAD;
    let mut tiles = cx.pool.take(4 * pieces * POSITIONS * tiles_pitch)?;
    let tiles = SharedOutput::new(tiles.slice_mut());
    let task_panels = TASK_OUTPUTS.div_ceil(shape.cols);
    let columns = task_panels * shape.cols;
    let tasks = out.div_ceil(columns);

    for group in 0..step.op.groups {
        for first in (0..all).step_by(block) {
            let count = block.min(all - first);
            cx.threads.for_each(count.div_ceil(TRANSFORMED), |task| {
                for tile in task * TRANSFORMED..((task + 1) * TRANSFORMED).min(count) {
                    let pixels = step.pixels(group, first + tile);
                    for index in 0..pieces {
                        let at = index * POSITIONS * tiles_pitch + tile * piece;
                        // SAFETY: the tile's part of the piece, which is this task's alone.
                        unsafe {
                            step.transform(pixels, of_piece(index), tiles.at(at), tiles_pitch);
                        }
                    }
                }
            });
            cx.threads.try_for_each(count.div_ceil(part) * tasks, |task| {
                let (task, from) = (task % tasks, task / tasks * part);
                let count = part.min(count - from);
                let outputs_of = |task: usize| task * columns..((task + 1) * columns).min(out);
                let outputs = outputs_of(task);
                let weights_pitch = piece * columns + PAD;
                let results_pitch = count * columns + PAD;
                let mut weights = cx.pool.take(4 * POSITIONS * weights_pitch)?;
                let mut results = cx.pool.take(4 * POSITIONS * results_pitch)?;
                let mut pointers = cx.pool.take(8 * count.next_multiple_of(shape.rows))?;
                let pointers = pointers.pointers_mut();
                let weights = SharedOutput::new(weights.slice_mut());
                let results = SharedOutput::new(results.slice_mut());
                for index in 0..pieces {
                    let channels = of_piece(index);
                    let run = channels.len();
                    let transformed = Piece {
                        group,
                        outputs: outputs.clone(),
                        channels,
                        // SAFETY: its start.
                        to: unsafe { weights.at(0) },
                        position_pitch: weights_pitch,
                        panel_pitch: run * shape.cols,
                        panel: shape.cols,
                    };
                    // SAFETY: the piece fits into the weights, which are this task's.
                    unsafe { kernels.transform(step.level, &transformed) };
                    // The next piece, or the first one of the task that most likely follows.
                    let next = match index + 1 < pieces {
                        true => (outputs.clone(), of_piece(index + 1)),
                        false => (outputs_of((task + 1) % tasks), of_piece(0)),
                    };
                    for position in 0..POSITIONS {
                        let (outputs_next, channels_next) = next.clone();
                        let part = (position, POSITIONS);
                        kernels.fetch(step.level, group, outputs_next, channels_next, part);
                        // SAFETY: rows are inside the transformed tiles, which nobody writes now;
                        // panels are whole; the output is this task's part of the results.
                        unsafe {
                            let at = (index * POSITIONS + position) * tiles_pitch + from * piece;
                            for (i, pointer) in pointers.iter_mut().enumerate() {
                                *pointer = tiles.at(at + i.min(count - 1) * piece);
                            }
                            // The tiles of the next position lie in the third-level cache.
                            let ahead = Ahead {
                                from: tiles.at(at).wrapping_add(tiles_pitch),
                                floats: count * piece,
                            };
                            let panels = weights.at(position * weights_pitch);
                            let output = results.at(position * results_pitch);
                            let sizes = [count, run, outputs.len()];
                            let block = Block::matrix(pointers, sizes, panels, output, columns);
                            Block { add: index > 0, ahead, ..block }.run(step.level);
                        }
                    }
                }
                let results = Results {
                    from: results,
                    pitch: results_pitch,
                    columns,
                    first: outputs.start,
                    count: outputs.len(),
                };
                // SAFETY: the results are of these tiles and outputs, which are this task's.
                unsafe { step.restore(group, first + from, 0..count, results) };
                Ok(())
            })?;
        }
    }
    Ok(())
}
