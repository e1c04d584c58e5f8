//! The pixels under the taps of a kernel, as addresses.

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use super::Extents;
use crate::context::Context;
use crate::elementwise::PART_ELEMS;
use crate::memory::Memory;

/// The images as the kernel sees them.
pub(super) struct Images<'a> {
    pub(super) pixels: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) channels: usize,
    /// Before them, `[rows, cols]`.
    pub(super) padding: [usize; 2],
    /// Taps that have their own row pointer, `[rows, cols]`.
    pub(super) taps: [usize; 2],
    /// Neighbours along a row that one of them sees, and their floats.
    pub(super) width: usize,
    pub(super) run: usize,
}

impl Images<'_> {
    /// Whether what a tap sees from this column on lies inside the images.
    fn is_inside(&self, col: usize) -> bool {
        col < self.cols && self.width <= self.cols - col
    }
}

/// What taps that see several neighbours see where those are not all on the image: copied once, with zeros
/// for the others, rather than all images into a frame of zeros.
pub(super) struct Edges {
    /// For each column of the output its number among those at an edge.
    numbers: Vec<Option<u32>>,
    /// How many these are.
    count: usize,
    /// `[images, rows, columns at an edge, run]`
    values: Memory,
}

impl Edges {
    /// Of the images under a kernel that stands on them as `op` says.
    pub(super) fn new(cx: &Context, images: &Images<'_>, op: &Conv2d, e: &Extents) -> Result<Self> {
        // One less than zero wraps to a huge number, which no image reaches.
        let col = |out: usize| (out * op.stride[1]).wrapping_sub(images.padding[1]);
        let at_edge = |out: &usize| images.width > 1 && !images.is_inside(col(*out));
        let outs: Vec<usize> = (0..e.out_cols).filter(at_edge).collect();
        let mut numbers = vec![None; e.out_cols];
        for (number, &out) in (0..).zip(&outs) {
            numbers[out] = Some(number);
        }
        let (channels, run) = (images.channels, images.run);
        let line = outs.len() * run;
        let mut values = cx.pool.take(4 * e.n * images.rows * line)?;
        if line > 0 {
            let rows = PART_ELEMS.div_ceil(line);
            cx.threads.for_each_part(values.slice_mut::<f32>(), rows * line, |part, to| {
                for (row, to) in (part * rows..).zip(to.chunks_exact_mut(line)) {
                    let row = &images.pixels[row * images.cols * channels..];
                    for (&out, to) in outs.iter().zip(to.chunks_exact_mut(run)) {
                        for (c, to) in to.chunks_exact_mut(channels).enumerate() {
                            let col = col(out).wrapping_add(c);
                            match col < images.cols {
                                true => to.copy_from_slice(&row[col * channels..][..channels]),
                                false => to.fill(0.0),
                            }
                        }
                    }
                }
            });
        }
        Ok(Edges { numbers, count: outs.len(), values })
    }
}

/// Where the kernel stands on the images for each output.
pub(super) struct Windows<'a> {
    images: &'a Images<'a>,
    edges: &'a Edges,
    op: &'a Conv2d,
    /// Rows and cols of the output.
    out: [usize; 2],
    /// What lies off the image: as many floats as a tap sees.
    zeros: &'a [f32],
    /// Outputs whose addresses stand together.
    tile_rows: usize,
    /// How far each tap is from the first, in floats.
    offsets: Vec<usize>,
    /// Pixels from the first tap to the last along each axis.
    span: [usize; 2],
}

impl<'a> Windows<'a> {
    pub(super) fn new(
        images: &'a Images<'a>,
        edges: &'a Edges,
        op: &'a Conv2d,
        e: &Extents,
        zeros: &'a [f32],
        tile_rows: usize,
    ) -> Self {
        let [tap_rows, tap_cols] = images.taps;
        let line = images.cols * images.channels;
        let offset = |tap: usize| {
            let (row, col) = (tap / tap_cols, tap % tap_cols);
            row * op.dilation[0] * line + col * op.dilation[1] * images.channels
        };
        let offsets = (0..tap_rows * tap_cols).map(offset).collect();
        let span = [0, 1].map(|axis| images.taps[axis].saturating_sub(1) * op.dilation[axis]);
        Windows {
            images,
            edges,
            op,
            out: [e.out_rows, e.out_cols],
            zeros,
            tile_rows,
            offsets,
            span,
        }
    }

    /// Whether outputs are pixels as they lie in memory.
    fn are_pixels(&self) -> bool {
        let Images { rows, cols, padding, taps, width, .. } = *self.images;
        taps == [1, 1]
            && width == 1
            && self.op.stride == [1, 1]
            && padding == [0, 0]
            && self.out == [rows, cols]
    }

    /// Fills in the addresses of the pixels from `channel` on under each tap, `[tiles][taps][tile rows]`,
    /// of outputs `first .. first + m`; of the zeros where a tap is off the image. The last output is
    /// repeated to fill its tile.
    pub(super) fn point(
        &self,
        channel: usize,
        first: usize,
        m: usize,
        pointers: &mut [*const f32],
    ) {
        let (images, op, tile_rows, taps) =
            (self.images, self.op, self.tile_rows, self.offsets.len());
        if self.are_pixels() {
            let from = images.pixels[first * images.channels + channel..].as_ptr();
            for (i, pointer) in pointers.iter_mut().enumerate() {
                *pointer = from.wrapping_add(i.min(m - 1) * images.channels);
            }
            return;
        }
        let line = images.cols * images.channels;
        // Where the output is: counted on rather than divided, which would take as long as a small
        // product.
        let [out_rows, out_cols] = self.out;
        let mut n = first / (out_rows * out_cols);
        let (mut out_row, mut out_col) = (first / out_cols % out_rows, first % out_cols);
        // The address of its first tap, and its place in its tile; alike.
        let (mut base, mut place) = (0, 0);
        let mut left = m;
        while left > 0 {
            // One less than zero wraps to a huge number, which no image reaches.
            let row = (out_row * op.stride[0]).wrapping_sub(images.padding[0]);
            let col = (out_col * op.stride[1]).wrapping_sub(images.padding[1]);
            let image = n * images.rows * line;
            // Those of a row of the output that stand together in a tile.
            let count = left.min(tile_rows - place).min(out_cols - out_col);
            let are_inside = |count: usize| {
                row < images.rows
                    && col < images.cols
                    && row + self.span[0] < images.rows
                    && images.is_inside(col)
                    && images.is_inside(col + (count - 1) * op.stride[1] + self.span[1])
            };
            // Where not all of them see the image alone, one at a time.
            let count = if are_inside(count) { count } else { 1 };
            let to = pointers[base..].chunks_mut(tile_rows).take(taps);
            if are_inside(count) {
                let first = &images.pixels[image + row * line + col * images.channels + channel..];
                let step = op.stride[1] * images.channels;
                for (to, &offset) in to.zip(&self.offsets) {
                    let first = first.as_ptr().wrapping_add(offset);
                    for (i, to) in to[..count].iter_mut().enumerate() {
                        *to = first.wrapping_add(i * step);
                    }
                }
            } else {
                for (tap, to) in to.enumerate() {
                    let row = row.wrapping_add(tap / images.taps[1] * op.dilation[0]);
                    let col = col.wrapping_add(tap % images.taps[1] * op.dilation[1]);
                    to[0] = if row >= images.rows {
                        self.zeros.as_ptr()
                    } else if images.is_inside(col) {
                        let at = image + row * line + col * images.channels + channel;
                        images.pixels[at..].as_ptr()
                    } else if let Some(number) = self.edges.numbers[out_col] {
                        let line = (n * images.rows + row) * self.edges.count + number as usize;
                        self.edges.values.slice::<f32>()[line * images.run..].as_ptr()
                    } else {
                        self.zeros.as_ptr()
                    };
                }
            }
            left -= count;
            place += count;
            base += count;
            if place == tile_rows {
                place = 0;
                base += (taps - 1) * tile_rows;
            }
            out_col += count;
            if out_col == out_cols {
                (out_row, out_col) = (out_row + 1, 0);
                if out_row == out_rows {
                    out_row = 0;
                    n += 1;
                }
            }
        }
        if place > 0 {
            for of_tap in pointers[base - place..][..taps * tile_rows].chunks_exact_mut(tile_rows) {
                let (there, rest) = of_tap.split_at_mut(place);
                rest.fill(there[place - 1]);
            }
        }
    }
}
