//! Images in parts that can be bound: some whole ones, or bands of rows of a very large one.

use std::ops::Range;

use striate_tensor::{Result, TensorType};

use crate::buffer::parts;
use crate::queue::Context;

/// What a convolution or a pool does to the rows of its images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

/// A part of the images: elements of the input, and of the output that they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) images: usize,
    /// Elements of the input and of the output.
    pub(super) x: Range<usize>,
    pub(super) y: Range<usize>,
    /// Rows of each of the images.
    pub(super) rows: usize,
    pub(super) out_rows: usize,
    /// Rows of padding before the first one.
    pub(super) padding: usize,
}

/// The parts of images `x [n, rows, ..]` and of what is made of them, `y [n, out rows, ..]`.
pub(super) fn bands(
    cx: &Context,
    op: &'static str,
    x: &TensorType,
    y: &TensorType,
    how: Rows,
) -> Result<Vec<Band>> {
    let [n, rows, cols, channels] = x.shape.nhwc(op, "x")?;
    let [_, out_rows, out_cols, out] = y.shape.nhwc(op, "y")?;
    let (row, out_row) = (cols * channels, out_cols * out);
    let (row_bytes, out_row_bytes) = (row * x.dtype.size_bytes(), out_row * y.dtype.size_bytes());
    let chunk = cx.gpu.chunk_bytes() as usize;
    if rows * row_bytes <= chunk && out_rows * out_row_bytes <= chunk {
        let cuts = [cx.cuts(n, rows * row_bytes), cx.cuts(n, out_rows * out_row_bytes)];
        let whole = |images: Range<usize>| Band {
            images: images.len(),
            x: images.start * rows * row..images.end * rows * row,
            y: images.start * out_rows * out_row..images.end * out_rows * out_row,
            rows,
            out_rows,
            padding: how.padding,
        };
        return Ok(parts(&cuts).into_iter().map(whole).collect());
    }
    let by_output = chunk / out_row_bytes.max(1);
    let by_input = (chunk / row_bytes.max(1)).saturating_sub(how.size) / how.stride + 1;
    let height = by_output.min(by_input);
    if height == 0 || how.size.min(rows) * row_bytes > chunk {
        let shapes = format!("{} to {}", x.shape, y.shape);
        let reason = format!("{shapes}: the rows of one window take more than {chunk} bytes");
        return Err(cx.gpu.unsupported(op, reason));
    }
    let starts = (0..out_rows).step_by(height);
    let band = |image: usize, start: usize| {
        let end = (start + height).min(out_rows);
        let first = (start * how.stride).saturating_sub(how.padding).min(rows);
        let past = ((end - 1) * how.stride + how.size).saturating_sub(how.padding).min(rows);
        Band {
            images: 1,
            x: (image * rows + first) * row..(image * rows + past.max(first)) * row,
            y: (image * out_rows + start) * out_row..(image * out_rows + end) * out_row,
            rows: past.max(first) - first,
            out_rows: end - start,
            padding: (how.padding + first).saturating_sub(start * how.stride),
        }
    };
    Ok((0..n).flat_map(|image| starts.clone().map(move |start| band(image, start))).collect())
}
