//! A product and its operands, as `product.wgsl` takes them.

use striate_tensor::ops::Activation;

use crate::buffer::View;
use crate::kernels::activations::bounds;
use crate::kernels::constants::{BOTH, word};
use crate::pipelines::flag;

/// What a product is added to, and what to it: never both. It is added to f32 alone.
pub(super) const SUMS: [&[(&str, &[f64])]; 3] = [
    &[("ACCUMULATE", BOTH), ("RESIDUAL", &[0.0]), ("HALF_Y", &[0.0])],
    &[("ACCUMULATE", &[0.0]), ("RESIDUAL", &[1.0, 2.0]), ("HALF_Y", &[0.0])],
    &[("ACCUMULATE", &[0.0]), ("RESIDUAL", RESIDUALS), ("HALF_Y", &[1.0])],
];

/// The values of the constant `RESIDUAL`.
pub(in crate::kernels) const RESIDUALS: &[f64] = &[0.0, 1.0, 2.0];

/// Axes that the parameters have room for.
pub(in crate::kernels) const MAX_AXES: usize = 6;

/// An operand of a product.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Side<'a> {
    pub(in crate::kernels) view: &'a View,
    pub(in crate::kernels) half: bool,
    /// Elements between pixels of a, or between columns of b.
    pub(in crate::kernels) line: usize,
    /// Elements between steps of the depth that are next to each other.
    pub(in crate::kernels) step: usize,
}

/// What is added to a product element by element: it lies as `y` does.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Added<'a> {
    pub(in crate::kernels) view: &'a View,
    pub(in crate::kernels) half: bool,
}

impl Added<'_> {
    /// The value of the constant `RESIDUAL`: 0 for nothing, 1 for f32, 2 for f16.
    pub(in crate::kernels) fn flag(added: Option<&Self>) -> f64 {
        added.map_or(0.0, |added| 1.0 + flag(added.half))
    }

    /// Elements before the first one.
    pub(in crate::kernels) fn skip(added: Option<&Self>) -> u32 {
        added.map_or(0, |added| added.view.skip)
    }
}

/// The rows of a product as windows of images; a matrix is an image of one row with a kernel of one
/// cell.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Windows {
    pub(in crate::kernels) rows: usize,
    pub(in crate::kernels) cols: usize,
    pub(in crate::kernels) out_rows: usize,
    pub(in crate::kernels) out_cols: usize,
    pub(in crate::kernels) kernel: [usize; 2],
    pub(in crate::kernels) stride: [usize; 2],
    pub(in crate::kernels) padding: [usize; 2],
    pub(in crate::kernels) dilation: [usize; 2],
}

impl Windows {
    /// Of a matrix of so many rows.
    pub(in crate::kernels) fn matrix(rows: usize) -> Self {
        Windows {
            rows: 1,
            cols: rows,
            out_rows: 1,
            out_cols: rows,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        }
    }
}

/// Where pixels of y are that have others between them: those of every second row and column, say.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Strided {
    /// Elements between images of y.
    pub(in crate::kernels) image: usize,
    /// Between rows of the pixels, and between the pixels of a row.
    pub(in crate::kernels) row: usize,
    pub(in crate::kernels) pixel: usize,
}

impl Strided {
    /// The parameters of images and rows.
    pub(in crate::kernels) fn words(strided: Option<&Self>) -> [u32; 2] {
        strided.map_or([0; 2], |Strided { image, row, .. }| [*image, *row].map(word))
    }
}

/// Parts of the depth, the sum of each of which is written for itself.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Parts {
    pub(in crate::kernels) count: usize,
    /// Steps of the depth of each but the last.
    pub(in crate::kernels) steps: usize,
    /// Elements of y from one to the next.
    pub(in crate::kernels) y: usize,
}

/// `y [m, n] = a b`, or `y + a b`, with bias, residual and activation at the end; for each of the groups or
/// matrices of `axes`.
pub(in crate::kernels) struct Gemm<'a> {
    pub(in crate::kernels) op: &'static str,
    pub(in crate::kernels) m: usize,
    pub(in crate::kernels) n: usize,
    /// Depth of a cell of the kernel.
    pub(in crate::kernels) channels: usize,
    pub(in crate::kernels) windows: Windows,
    pub(in crate::kernels) a: Side<'a>,
    pub(in crate::kernels) b: Side<'a>,
    pub(in crate::kernels) y: &'a View,
    /// y is f16, of even columns and rows, and nothing is added to what it holds: it is f32 else.
    pub(in crate::kernels) half_y: bool,
    /// Elements between rows of y: its pixels.
    pub(in crate::kernels) row_y: usize,
    /// With others between them, `row_y` elements apart in their rows.
    pub(in crate::kernels) strided: Option<Strided>,
    pub(in crate::kernels) bias: Option<(&'a View, bool)>,
    /// Elements of the bias from one index of the first axis to the next.
    pub(in crate::kernels) step_bias: usize,
    pub(in crate::kernels) residual: Option<Added<'a>>,
    pub(in crate::kernels) activation: Activation,
    pub(in crate::kernels) accumulate: bool,
    /// The windows are those of b: its columns are the cells and channels of a kernel, and the depth
    /// goes through so many pixels. For `tiled.wgsl` alone.
    pub(in crate::kernels) pixels: Option<usize>,
    /// For `tiled.wgsl` alone. None: as [`launch`](Gemm::launch) finds it best.
    pub(in crate::kernels) parts: Option<Parts>,
    /// At most [`MAX_AXES`], the last one first: extent, strides in a, b and y.
    pub(in crate::kernels) axes: &'a [(usize, [u32; 3])],
}

impl Gemm<'_> {
    pub(super) fn params(&self) -> Vec<u32> {
        let Windows { rows, cols, out_rows, out_cols, .. } = self.windows;
        let Windows { kernel, stride, padding, dilation, .. } = self.windows;
        let bias = self.bias.map_or(0, |(view, _)| view.skip);
        let mut params: Vec<u32> =
            [self.m, self.n, rows, cols, out_rows, out_cols].map(word).into();
        params.extend([kernel, stride, padding, dilation].into_iter().flatten().map(word));
        let (a, b) = (&self.a, &self.b);
        params.extend([self.channels, a.line, a.step, b.line, b.step, self.row_y].map(word));
        params.extend([a.view.skip, b.view.skip, bias, self.y.skip]);
        params.extend([self.step_bias, self.axes.len()].map(word));
        params.push(Added::skip(self.residual.as_ref()));
        params.extend(Strided::words(self.strided.as_ref()));
        let depth = self.depth();
        let Parts { steps, y, .. } = self.parts.unwrap_or(Parts { count: 1, steps: depth, y: 0 });
        params.extend([depth, steps.max(1), y].map(word));
        params.extend(bounds(self.activation));
        // Vectors begin at multiples of 16 bytes.
        params.resize(params.len().next_multiple_of(4), 0);
        for &(extent, [a, b, y]) in self.axes {
            params.extend([word(extent), a, b, y]);
        }
        params
    }

    /// Matrices, and parts of them.
    pub(super) fn batch(&self) -> usize {
        let matrices: usize = self.axes.iter().map(|(extent, _)| extent).product();
        matrices * self.parts.map_or(1, |parts| parts.count)
    }

    /// The steps of the depth.
    pub(super) fn depth(&self) -> usize {
        let Windows { kernel, .. } = self.windows;
        self.pixels.unwrap_or(kernel[0] * kernel[1] * self.channels)
    }
}
