//! The gradient in the weights: a product over the pixels.
//!
//! Outputs by inputs, for each tap of the kernel: `Σ dyᵀ · x` over the pixels that the tap saw.
//! Pixels are packed some at a time. Where there are few weights and many pixels, the pixels fall
//! into parts, whose sums are added up in their order at the end.

use striate_tensor::ops::{Algorithm, Conv2d};
use striate_tensor::{Operand, Result, Shape, TensorType};

use super::winograd::weight_grad as by_winograd;
use super::{DIRECT, Extents, depthwise, groups_of_a_tile};
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::gemm::outer::{DEPTH, Outer, Pieces, even};
use crate::gemm::{TileShape, tile_shape};
use crate::memory::Memory;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::SharedOutput;

/// Outputs of a block: with some pixels of each, a quarter of a second-level cache.
const BLOCK_OUTPUTS: usize = 512;
/// Columns of a block, at most and at least.
const BLOCK_COLS: usize = 512;
const LEAST_COLS: usize = 128;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 32;
/// Pixels of a part, at least.
const PART_PIXELS: usize = 1024;
/// Sums of parts that exist at a time.
const PARTS_BYTES: usize = 32 << 20;

/// The gradient in the weights of a convolution of `x` to `dy`.
pub(super) fn weight_grad(
    cx: &Context,
    op: &Conv2d,
    e: &Extents,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let (x, dy) = (cx.widen(&inputs[0])?, cx.widen(&inputs[1])?);
    let shape = tile_shape(cx.level);
    let group_channels = e.channels / op.groups;
    let group_out = e.out / op.groups;
    let cols = e.kernel[0] * e.kernel[1] * group_channels;
    let pixels = e.n * e.out_rows * e.out_cols;
    let mut dw = cx.pool.take(4 * output.count())?;
    if output.count() == 0 || pixels == 0 {
        dw.slice_mut::<f32>().fill(0.0);
        return Ok(dw);
    }
    if depthwise::takes(cx.level, op, e) || depthwise::takes_groups(cx.level, op, e) {
        return depthwise::weight_grad(cx, op, e, x.slice(), dy.slice());
    }
    if takes_winograd(cx.level, op, e) {
        by_winograd::weight_grad(cx, op, e, x.slice(), dy.slice(), dw.slice_mut())?;
        return Ok(dw);
    }

    let merged = groups_of_a_tile(cx.level, op, e);
    if merged > 1 {
        // Several groups as one: more products than are asked for, but of whole tiles.
        let whole = Conv2d { groups: op.groups / merged, algorithm: Algorithm::Direct, ..*op };
        let [rows, cols] = e.kernel;
        let ty = TensorType::f32(Shape::new(&[e.out, rows, cols, merged * group_channels])?);
        let all = weight_grad(cx, &whole, e, inputs, &ty)?;
        let lines = all.slice::<f32>().chunks_exact(merged * group_channels);
        let to = dw.slice_mut::<f32>().chunks_exact_mut(group_channels);
        for (index, (from, to)) in lines.zip(to).enumerate() {
            let group = index / (rows * cols) / group_out % merged;
            to.copy_from_slice(&from[group * group_channels..][..group_channels]);
        }
        return Ok(dw);
    }

    // The partition: a function of the shape alone.
    let block_out = even(group_out, BLOCK_OUTPUTS, shape.rows);
    let out_blocks = group_out.div_ceil(block_out);
    let block_cols = |most| even(cols, most, shape.cols);
    let blocks_of = |most| op.groups * out_blocks * cols.div_ceil(block_cols(most));
    // Wide blocks, which pack least; narrow ones where there are too few pixels for parts.
    let mut most = BLOCK_COLS;
    while most > LEAST_COLS && blocks_of(most) * (pixels / PART_PIXELS).max(1) < BLOCKS {
        most /= 2;
    }
    let block_cols = block_cols(most);
    let col_blocks = cols.div_ceil(block_cols);
    let blocks = op.groups * out_blocks * col_blocks;
    let parts =
        (BLOCKS / blocks).min(pixels / PART_PIXELS).min(PARTS_BYTES / (4 * output.count())).max(1);
    let part_pixels = pixels.div_ceil(parts);
    let parts = pixels.div_ceil(part_pixels);

    let mut sums = match parts {
        1 => None,
        _ => Some(cx.pool.take(4 * parts * output.count())?),
    };
    let target = SharedOutput::new(match &mut sums {
        Some(sums) => sums.slice_mut(),
        None => dw.slice_mut(),
    });
    let images = Images { x: x.slice(), e, op, group_channels };
    let dy = dy.slice();
    cx.threads.try_for_each(parts * blocks, |task| {
        let (part, block) = (task / blocks, task % blocks);
        let (group, block) = (block / (out_blocks * col_blocks), block % (out_blocks * col_blocks));
        let (first_out, first_col) =
            (block / col_blocks * block_out, block % col_blocks * block_cols);
        let (m, n) = (block_out.min(group_out - first_out), block_cols.min(cols - first_col));
        let whole_m = m.next_multiple_of(shape.rows);
        let whole_n = n.next_multiple_of(shape.cols);
        let mut left = cx.pool.take(4 * DEPTH * whole_m)?;
        let mut right = cx.pool.take(4 * DEPTH * (whole_n + whole_n))?;
        let (left, right) = (left.slice_mut::<f32>(), right.slice_mut::<f32>());
        let end = pixels.min((part + 1) * part_pixels);
        let mut pixel = part * part_pixels;
        let mut add = false;
        while pixel < end {
            let depth = DEPTH.min(end - pixel);
            let from = pixel * e.out + group * group_out + first_out;
            let left = &mut left[..depth * whole_m];
            Pieces { from: &dy[from..], pitch: e.out, rows: depth, width: m, to: left }
                .tiles(cx.level);
            let (right, line) = right.split_at_mut(depth * whole_n);
            images.pack(cx, shape, group, pixel..pixel + depth, first_col, n, right, line);
            let at = ((part * op.groups + group) * group_out + first_out) * cols + first_col;
            // SAFETY: both sides are packed for this level's tiles; blocks of different tasks do
            // not overlap, and lie inside the gradient or the sums of their part.
            unsafe {
                let output = target.at(at);
                let (left, right) = (left.as_ptr(), right.as_ptr());
                Outer { left, right, depth, m, n, output, pitch: cols, add }.run(cx.level);
            }
            add = true;
            pixel += depth;
        }
        Ok(())
    })?;
    if let Some(sums) = sums {
        add_parts(cx, sums.slice(), dw.slice_mut());
    }
    Ok(dw)
}

/// Whether Winograd's algorithm computes the gradient.
fn takes_winograd(level: Level, op: &Conv2d, e: &Extents) -> bool {
    op.algorithm != Algorithm::Direct && by_winograd::wins(level, op, e)
}

/// What [`weight_grad`] runs, for people.
pub(super) fn name(level: Level, op: &Conv2d, e: &Extents) -> String {
    if depthwise::takes(level, op, e) {
        return depthwise::NAME.into();
    }
    if depthwise::takes_groups(level, op, e) {
        return depthwise::GROUPS_NAME.into();
    }
    match takes_winograd(level, op, e) {
        true => by_winograd::NAME.into(),
        false => DIRECT.into(),
    }
}

/// Adds up parts of the length of `total` in their order.
fn add_parts(cx: &Context, parts: &[f32], total: &mut [f32]) {
    let length = total.len();
    cx.threads.for_each_part(total, PART_ELEMS, |index, total| {
        let first = index * PART_ELEMS;
        cx.level.run(AddParts { parts: &parts[first..], length, total });
    });
}

struct AddParts<'a> {
    parts: &'a [f32],
    length: usize,
    total: &'a mut [f32],
}

impl Kernel for AddParts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AddParts { parts, length, total } = self;
        total.copy_from_slice(&parts[..total.len()]);
        for part in parts.chunks(length).skip(1) {
            for (total, x) in total.iter_mut().zip(part) {
                *total += x;
            }
        }
    }
}

/// The images, to be packed as the rows of a product: what a pixel of the output saw, tap by tap.
struct Images<'a> {
    x: &'a [f32],
    e: &'a Extents,
    op: &'a Conv2d,
    group_channels: usize,
}

impl Images<'_> {
    /// Packs columns `first .. first + n` of what some pixels of the output saw.
    #[allow(
        clippy::too_many_arguments,
        reason = "a range of each axis of the product's right side"
    )]
    fn pack(
        &self,
        cx: &Context,
        shape: TileShape,
        group: usize,
        pixels: std::ops::Range<usize>,
        first: usize,
        n: usize,
        to: &mut [f32],
        lines: &mut [f32],
    ) {
        let Images { x, e, op, .. } = *self;
        if e.kernel == [1, 1] && op.groups == 1 && (op.stride, op.padding) == ([1, 1], [[0, 0]; 2])
        {
            // A pixel sees itself: the image as it lies.
            let from = &x[pixels.start * e.channels + first..];
            Pieces { from, pitch: e.channels, rows: pixels.len(), width: n, to }.panels(cx.level);
            return;
        }
        let places = Places { images: self, group, first: pixels.start, depth: pixels.len() };
        if self.group_channels.is_multiple_of(cx.level.lanes()) {
            cx.level.run(PackVectors { places, shape, col: first, n, to });
            return;
        }
        // Lines as wide as the block, then pieces of them.
        let width = n.next_multiple_of(shape.cols);
        let depth = pixels.len();
        let lines = &mut lines[..depth * width];
        for (k, line) in lines.chunks_exact_mut(width).enumerate() {
            places.line(k, first, &mut line[..n]);
        }
        Pieces { from: lines, pitch: width, rows: depth, width: n, to }.panels(cx.level);
    }
}

/// What some pixels of the output saw of a group.
#[derive(Clone, Copy)]
struct Places<'a> {
    images: &'a Images<'a>,
    group: usize,
    first: usize,
    depth: usize,
}

impl Places<'_> {
    /// Where the window of pixel `k` begins: the image, and its first row and col, which wrap
    /// below zero to huge numbers that no image reaches.
    #[inline(always)]
    fn window(&self, k: usize) -> (usize, usize, usize) {
        let Images { e, op, .. } = self.images;
        let pixel = self.first + k;
        let (n, at) = (pixel / (e.out_rows * e.out_cols), pixel % (e.out_rows * e.out_cols));
        let row = (at / e.out_cols * op.stride[0]).wrapping_sub(op.padding[0][0]);
        let col = (at % e.out_cols * op.stride[1]).wrapping_sub(op.padding[1][0]);
        (n, row, col)
    }

    /// Columns `first ..` of what pixel `k` saw.
    fn line(&self, k: usize, first: usize, line: &mut [f32]) {
        let Images { x, e, op, group_channels } = *self.images;
        let (n, row, col) = self.window(k);
        let (tap, mut channel) = (first / group_channels, first % group_channels);
        let (mut tap_row, mut tap_col) = (tap / e.kernel[1], tap % e.kernel[1]);
        let mut line = line;
        while !line.is_empty() {
            let row = row.wrapping_add(tap_row * op.dilation[0]);
            let col = col.wrapping_add(tap_col * op.dilation[1]);
            let inside = row < e.rows && col < e.cols;
            // Without groups and dilation, the columns under a row of the kernel lie side by side.
            let taps = match (op.groups, op.dilation[1], inside) {
                (1, 1, true) => (e.kernel[1] - tap_col).min(e.cols - col),
                _ => 1,
            };
            let run = (taps * group_channels - channel).min(line.len());
            let (here, rest) = line.split_at_mut(run);
            if inside {
                let pixel = (n * e.rows + row) * e.cols + col;
                let from = pixel * e.channels + self.group * group_channels + channel;
                here.copy_from_slice(&x[from..from + run]);
            } else {
                here.fill(0.0);
            }
            (line, channel) = (rest, 0);
            tap_col += taps;
            if tap_col == e.kernel[1] {
                (tap_row, tap_col) = (tap_row + 1, 0);
            }
        }
    }
}

/// Packs panels whose vectors each lie under one tap.
struct PackVectors<'a> {
    places: Places<'a>,
    shape: TileShape,
    col: usize,
    n: usize,
    to: &'a mut [f32],
}

impl Kernel for PackVectors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackVectors { places, shape, col, n, to } = self;
        let Images { x, e, op, group_channels } = *places.images;
        let mut windows = [(0, 0, 0); DEPTH];
        for (k, window) in windows[..places.depth].iter_mut().enumerate() {
            *window = places.window(k);
        }
        let panel = places.depth * shape.cols;
        for (p, to) in to.chunks_exact_mut(panel).enumerate() {
            for v in 0..shape.vectors {
                let at = p * shape.cols + v * S::LANES;
                let (tap, channel) = ((col + at) / group_channels, (col + at) % group_channels);
                let tap_row = tap / e.kernel[1] * op.dilation[0];
                let tap_col = tap % e.kernel[1] * op.dilation[1];
                let channel = places.group * group_channels + channel;
                let rows = to.chunks_exact_mut(shape.cols);
                for (&(n_, row, col), to) in windows.iter().zip(rows) {
                    let (row, col) = (row.wrapping_add(tap_row), col.wrapping_add(tap_col));
                    let vector = if at < n && row < e.rows && col < e.cols {
                        let from = ((n_ * e.rows + row) * e.cols + col) * e.channels + channel;
                        // SAFETY: a slice of `LANES` floats.
                        unsafe { simd.load(x[from..from + S::LANES].as_ptr()) }
                    } else {
                        simd.splat(0.0)
                    };
                    // SAFETY: as above.
                    unsafe {
                        simd.store(to[v * S::LANES..(v + 1) * S::LANES].as_mut_ptr(), vector)
                    };
                }
            }
        }
    }
}
