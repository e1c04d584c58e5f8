//! The transform of weights, `GgGᵀ`.

use std::ops::Range;
use std::sync::Arc;

use striate_tensor::ops::Conv2d;
use striate_tensor::{Operand, Result};

use super::{Form, IN, SMALL};
use crate::buffer::{Floats, PackKey, floats, own};
use crate::context::Context;
use crate::conv::Extents;
use crate::gemm::tile_shape;
use crate::memory::Memory;
use crate::simd::{BLOCK_FLOATS, Element, Kernel, LINE_BYTES, Level, Simd};
use crate::threads::SharedOutput;

/// Channels whose weights a task transforms where all are kept.
const TASK_CHANNELS: usize = 64;

/// The kernels of a convolution as they lie in memory.
pub(in crate::conv) struct Kernels<'a> {
    operand: Operand<'a>,
    values: Floats<'a>,
    form: Form,
    groups: usize,
    /// Of a group of this convolution.
    channels: usize,
    out: usize,
    /// They are those of the convolution whose gradient in the input this one computes: `[channels,
    /// taps, taps, out]`, the taps in opposite order.
    turned: bool,
}

impl<'a> Kernels<'a> {
    /// Of the convolution `op` of these extents by a form; `turned`, where the weights are another one's, whose
    /// gradient in the input it computes.
    pub(in crate::conv) fn new(
        form: Form,
        op: &Conv2d,
        e: &Extents,
        weights: &Operand<'a>,
        turned: bool,
    ) -> Result<Self> {
        Ok(Kernels {
            operand: *weights,
            values: floats(weights)?,
            form,
            groups: op.groups,
            channels: e.channels / op.groups,
            out: e.out / op.groups,
            turned,
        })
    }

    /// All transformed weights, `[groups][positions][panels][channels][panel width]`, kept with
    /// their buffer.
    pub(super) fn packed(&self, cx: &Context) -> Result<Arc<Memory>> {
        let Kernels { form, channels, out, groups, .. } = *self;
        let positions = form.positions();
        let panel = tile_shape(cx.level).cols;
        let key = PackKey {
            winograd: form.tile(),
            turned: self.turned,
            depthwise: false,
            depth: form.taps * form.taps * channels,
            outputs: groups * out,
            groups,
            panel,
        };
        own(self.operand.buffer)?.packed(key, || {
            let panels = out.div_ceil(panel);
            let position_pitch = panels * channels * panel;
            let mut packed = cx.pool.take(4 * groups * positions * position_pitch)?;
            // Panels may be wider than what is left of the outputs.
            packed.slice_mut::<f32>().fill(0.0);
            let target = SharedOutput::new(packed.slice_mut());
            let blocks = channels.div_ceil(TASK_CHANNELS);
            cx.threads.for_each(groups * panels * blocks, |task| {
                let (group, p, block) =
                    (task / blocks / panels, task / blocks % panels, task % blocks);
                let first = block * TASK_CHANNELS;
                let at = group * positions * position_pitch + (p * channels + first) * panel;
                // SAFETY: these rows of this panel are inside the packed weights, at all positions,
                // and this task's alone.
                unsafe {
                    let piece = Piece {
                        group,
                        outputs: p * panel..((p + 1) * panel).min(out),
                        channels: first..(first + TASK_CHANNELS).min(channels),
                        to: target.at(at),
                        position_pitch,
                        panel_pitch: channels * panel,
                        panel,
                    };
                    self.transform(cx.level, &piece);
                }
            });
            Ok(packed)
        })
    }

    /// Transforms a piece.
    ///
    /// # Safety
    /// It must fit where it goes, which must be the caller's alone.
    pub(super) unsafe fn transform(&self, level: Level, piece: &Piece) {
        match self.values {
            // SAFETY: the caller's.
            Floats::F32(values) => unsafe { self.transform_from(level, piece, values) },
            // SAFETY: the caller's.
            Floats::F16(values) => unsafe { self.transform_from(level, piece, values) },
        }
    }

    /// Asks for the part `part` of `parts` of the kernels of a piece to come, so that its transform need
    /// not wait for them: they lie in many short runs, which no processor fetches ahead by itself.
    pub(super) fn fetch(
        &self,
        level: Level,
        group: usize,
        outputs: Range<usize>,
        channels: Range<usize>,
        (part, parts): (usize, usize),
    ) {
        let (rows, run, line) = match self.turned {
            false => (outputs, channels, self.channels),
            true => (channels, outputs, self.out),
        };
        let taps = self.form.taps * self.form.taps;
        let count = rows.len() * taps;
        let first = group * self.out * taps * self.channels + rows.start * taps * line + run.start;
        for row in count * part / parts..count * (part + 1) / parts {
            let from = first + row * line;
            match self.values {
                Floats::F32(values) => level.run(Fetch(&values[from..from + run.len()])),
                Floats::F16(values) => level.run(Fetch(&values[from..from + run.len()])),
            }
        }
    }

    /// # Safety
    /// As of [`transform`](Kernels::transform).
    unsafe fn transform_from<T: Element>(&self, level: Level, piece: &Piece, values: &[T]) {
        let Kernels { form, channels, out, turned, .. } = *self;
        let all_taps = form.taps * form.taps;
        assert!(piece.outputs.end <= out && piece.channels.end <= channels);
        assert_eq!(values.len(), self.groups * out * all_taps * channels);
        let (first_out, first_channel) = (piece.outputs.start, piece.channels.start);
        // The group's own kernels; then the first output's and channel's.
        let group = &values[piece.group * out * all_taps * channels..][..out * all_taps * channels];
        let (row, col) = match turned {
            false => (first_out, first_channel),
            true => (first_channel, first_out),
        };
        let line = if turned { out } else { channels };
        let from = group[row * all_taps * line + col..].as_ptr();
        let part = Part {
            from,
            line,
            turned,
            outputs: piece.outputs.len(),
            channels: piece.channels.len(),
            to: piece.to,
            position_pitch: piece.position_pitch,
            panel_pitch: piece.panel_pitch,
            panel: piece.panel,
        };
        match (form.taps, form.tile()) {
            (3, SMALL) => level.run(Transform::<T, 3, 9, SMALL>(part)),
            (3, _) => level.run(Transform::<T, 3, 9, IN>(part)),
            _ => level.run(Transform::<T, 5, 25, IN>(part)),
        }
    }
}

/// Some transformed weights of a group and where they go: element `(position, output, channel)` to
/// `position · position_pitch + output / panel · panel_pitch + channel · panel + output % panel`.
pub(super) struct Piece {
    pub(super) group: usize,
    /// Multiples of the vector, as are the channels.
    pub(super) outputs: Range<usize>,
    pub(super) channels: Range<usize>,
    pub(super) to: *mut f32,
    pub(super) position_pitch: usize,
    pub(super) panel_pitch: usize,
    pub(super) panel: usize,
}

/// A piece as the kernel sees it: kernels `[outputs][taps][line]`, or `[channels][taps][line]`
/// where they are turned.
struct Part<T> {
    from: *const T,
    line: usize,
    turned: bool,
    outputs: usize,
    channels: usize,
    to: *mut f32,
    position_pitch: usize,
    panel_pitch: usize,
    panel: usize,
}

/// Asks for all of it.
struct Fetch<'a, T>(&'a [T]);

impl<T> Kernel for Fetch<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for line in self.0.chunks(LINE_BYTES / size_of::<T>()) {
            simd.prefetch(line.as_ptr().cast());
        }
    }
}

/// The transform of kernels of `TAPS × TAPS = ALL` taps to `TILE × TILE` positions. Only made by
/// [`Kernels::transform`], whose caller vouches for the pointers.
struct Transform<T, const TAPS: usize, const ALL: usize, const TILE: usize>(Part<T>);

impl<T: Element, const TAPS: usize, const ALL: usize, const TILE: usize> Kernel
    for Transform<T, TAPS, ALL, TILE>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let part = self.0;
        let lanes = S::LANES;
        // Of each tap, `[channels][outputs]` of a block.
        let mut block = [[0.0f32; BLOCK_FLOATS]; ALL];
        debug_assert!(lanes * lanes <= BLOCK_FLOATS && TAPS * TAPS == ALL);
        let row = ALL * part.line;
        for o in (0..part.outputs).step_by(lanes) {
            for c in (0..part.channels).step_by(lanes) {
                // SAFETY: outputs and channels are whole vectors of the kernels; blocks fit where
                // they go.
                unsafe {
                    if !part.turned {
                        for (tap, to) in block.iter_mut().enumerate() {
                            let from = part.from.add(o * row + tap * part.line + c);
                            // No processor sees so many streams: the next channels' lines.
                            for i in 0..lanes {
                                simd.prefetch(from.wrapping_add(i * row + lanes).cast());
                            }
                            T::transpose(simd, from, row, to.as_mut_ptr());
                        }
                    }
                    let to = part.to.add(o / part.panel * part.panel_pitch + o % part.panel);
                    for i in 0..lanes {
                        let mut g = [[simd.splat(0.0); TAPS]; TAPS];
                        for (tap, block) in block.iter().enumerate() {
                            g[tap % TAPS][tap / TAPS] = match part.turned {
                                false => simd.load(block.as_ptr().add(i * lanes)),
                                true => {
                                    let tap = ALL - 1 - tap;
                                    let from = (c + i) * row + tap * part.line + o;
                                    T::load(simd, part.from.add(from))
                                }
                            };
                        }
                        let to = to.add((c + i) * part.panel);
                        store_transformed::<S, TAPS, TILE>(simd, g, to, part.position_pitch);
                    }
                }
            }
        }
    }
}

/// `GgGᵀ` of a vector of kernels, given by columns, to positions `pitch` apart.
///
/// # Safety
/// All positions must be writable.
#[inline(always)]
unsafe fn store_transformed<S: Simd, const TAPS: usize, const TILE: usize>(
    simd: S,
    g: [[S::V; TAPS]; TAPS],
    to: *mut f32,
    pitch: usize,
) {
    let mut half = [[simd.splat(0.0); TAPS]; TILE];
    for (j, column) in g.into_iter().enumerate() {
        for (half, v) in half.iter_mut().zip(kernel_line::<S, TAPS, TILE>(simd, column)) {
            half[j] = v;
        }
    }
    for (i, row) in half.into_iter().enumerate() {
        for (j, v) in kernel_line::<S, TAPS, TILE>(simd, row).into_iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { simd.store(to.add((i * TILE + j) * pitch), v) };
        }
    }
}

/// `Gg`, for kernels of 3 or 5 taps.
#[inline(always)]
fn kernel_line<S: Simd, const TAPS: usize, const TILE: usize>(
    simd: S,
    g: [S::V; TAPS],
) -> [S::V; TILE] {
    let mut line = [g[TAPS - 1]; TILE];
    if TILE == SMALL {
        let half = simd.splat(0.5);
        let even = simd.add(g[0], g[2]);
        line[0] = simd.sub(simd.splat(0.0), g[0]);
        line[1] = simd.mul(half, simd.add(even, g[1]));
        line[2] = simd.mul(half, simd.sub(even, g[1]));
        return line;
    }
    let (two, four) = (simd.splat(2.0), simd.splat(4.0));
    let (sixth, far) = (simd.splat(1.0 / 6.0), simd.splat(1.0 / 24.0));
    // Sums of the even and of the odd taps at the points 1 and 2.
    let (mut even, mut far_even) = (simd.add(g[0], g[2]), simd.mul_add(four, g[2], g[0]));
    let (mut odd, mut far_odd) = (g[1], simd.mul(two, g[1]));
    if TAPS == 5 {
        even = simd.add(even, g[4]);
        far_even = simd.mul_add(simd.splat(16.0), g[4], far_even);
        odd = simd.add(odd, g[3]);
        far_odd = simd.mul_add(simd.splat(8.0), g[3], far_odd);
    }
    line[0] = simd.mul(simd.splat(0.25), g[0]);
    line[1] = simd.mul(simd.splat(-1.0 / 6.0), simd.add(even, odd));
    line[2] = simd.mul(sixth, simd.sub(odd, even));
    line[3] = simd.mul(far, simd.add(far_even, far_odd));
    line[4] = simd.mul(far, simd.sub(far_even, far_odd));
    line
}

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::*;

    /// `GgGᵀ` by its definition.
    fn expected(kernel: &[f64], taps: usize, tile: usize) -> Vec<f64> {
        let points = &[0.0, 1.0, -1.0, 2.0, -2.0f64][..tile - 1];
        let line = |g: &[f64]| -> Vec<f64> {
            let mut line = vec![0.0; tile];
            for (j, &p) in points.iter().enumerate() {
                let others = points.iter().filter(|&&q| q != p);
                let scale: f64 = others.map(|&q| p - q).product();
                line[j] = g.iter().enumerate().map(|(k, g)| g * p.powi(k as i32)).sum::<f64>();
                line[j] /= scale;
            }
            line[tile - 1] = g[taps - 1];
            line
        };
        let half: Vec<Vec<f64>> = (0..taps)
            .map(|j| line(&(0..taps).map(|i| kernel[i * taps + j]).collect::<Vec<_>>()))
            .collect();
        let mut all = vec![0.0; tile * tile];
        for i in 0..tile {
            let row: Vec<f64> = half.iter().map(|column| column[i]).collect();
            all[i * tile..][..tile].copy_from_slice(&line(&row));
        }
        all
    }

    #[test]
    fn weights_of_all_forms_either_way_round_are_the_definition() {
        for (step, taps, turned) in
            [(4, 3, false), (4, 3, true), (2, 5, false), (2, 5, true), (2, 3, false), (2, 3, true)]
        {
            let form = Form { out: step, taps, way: Way::Few };
            let positions = form.positions();
            let (groups, out, channels, panel) = (2, 32, 48, 16);
            let count = groups * out * channels * taps * taps;
            let values: Vec<f32> =
                (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            for level in Level::available() {
                let buffer = crate::buffer::CpuBuffer::wrap(crate::buffer::Storage::Values(
                    striate_tensor::HostValues::F32(values.clone()),
                ));
                let ty =
                    striate_tensor::TensorType::f32(striate_tensor::Shape::new(&[count]).unwrap());
                let operand = Operand { buffer: &buffer, ty: &ty };
                let kernels = Kernels {
                    operand,
                    values: floats(&operand).unwrap(),
                    form,
                    groups,
                    channels,
                    out,
                    turned,
                };
                let pitch = 2 * channels * panel;
                let mut to = vec![0.0f32; positions * pitch];
                let piece = Piece {
                    group: 1,
                    outputs: 0..out,
                    channels: 0..channels,
                    to: to.as_mut_ptr(),
                    position_pitch: pitch,
                    panel_pitch: channels * panel,
                    panel,
                };
                // SAFETY: `to` holds all of the group's.
                unsafe { kernels.transform(level, &piece) };
                for (o, c) in [(0, 0), (31, 47), (17, 5), (16, 16)] {
                    let kernel: Vec<f64> = (0..taps * taps)
                        .map(|tap| match turned {
                            false => ((out + o) * taps * taps + tap) * channels + c,
                            true => {
                                ((channels + c) * taps * taps + taps * taps - 1 - tap) * out + o
                            }
                        })
                        .map(|at| f64::from(values[at]))
                        .collect();
                    let expected = expected(&kernel, taps, form.tile());
                    for (position, expected) in expected.into_iter().enumerate() {
                        let at =
                            position * pitch + o / panel * channels * panel + c * panel + o % panel;
                        let error = (f64::from(to[at]) - expected).abs();
                        assert!(error <= 1e-6, "{level} {taps} {turned}: {} {expected}", to[at]);
                    }
                }
            }
        }
    }
}
