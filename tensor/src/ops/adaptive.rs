//! Pooling to a number of windows.

use std::ops::Range;

use super::{Pool2d, Ties};
use crate::{Error, Result, Tensor};

/// The windows of adaptive pooling along an axis: window `i` goes from `floor(i · input / outputs)` to
/// `ceil((i + 1) · input / outputs)`, so each has a cell where there is one, and all together have each.
pub fn adaptive_windows(input: usize, outputs: usize) -> impl Iterator<Item = Range<usize>> {
    let at = move |i: usize| i as u128 * input as u128;
    let outputs = outputs as u128;
    (0..outputs as usize)
        .map(move |i| (at(i) / outputs) as usize..at(i + 1).div_ceil(outputs) as usize)
}

impl Pool2d {
    /// The maximum over one window that has all of an image's `[rows, cols]`; the first of equal maxima
    /// gets the gradient.
    pub fn whole(size: [usize; 2]) -> Self {
        Pool2d { size, stride: size, ties: Ties::First, ..Pool2d::default() }
    }
}

impl Tensor {
    /// The maxima of windows that cover these images `[n, rows, cols, channels]`, as many as `output` says:
    /// see [`adaptive_windows`]. Of equal maxima the first gets the gradient.
    ///
    /// # Errors
    /// Where there are no pixels or no windows, or the device fails.
    pub fn adaptive_max_pool2d(&self, output: [usize; 2]) -> Result<Tensor> {
        let [n, rows, cols, channels] = self.shape().nhwc("adaptive_max_pool2d", "x")?;
        if rows == 0 || cols == 0 {
            let expected = "images of at least one pixel";
            return Err(Error::shape("adaptive_max_pool2d", expected, self.shape()));
        }
        if output.contains(&0) {
            let expected = "at least one row and col";
            return Err(Error::parameter("adaptive_max_pool2d", "output", expected, output));
        }
        let [out_rows, out_cols] = output;
        if rows.is_multiple_of(out_rows) && cols.is_multiple_of(out_cols) {
            return self.max_pool2d(Pool2d::whole([rows / out_rows, cols / out_cols]));
        }
        // Windows of several sizes: those of rows, one after another, then those of cols.
        let of_rows = adaptive_windows(rows, out_rows).map(|window| {
            let size = [window.len(), 1];
            self.slice(&[0..n, window, 0..cols, 0..channels])?.max_pool2d(Pool2d::whole(size))
        });
        let of_rows = of_rows.collect::<Result<Vec<_>>>()?;
        let lines = Tensor::concatenate(&of_rows.iter().collect::<Vec<_>>(), 1)?;
        let of_cols = adaptive_windows(cols, out_cols).map(|window| {
            let size = [1, window.len()];
            lines.slice(&[0..n, 0..out_rows, window, 0..channels])?.max_pool2d(Pool2d::whole(size))
        });
        let of_cols = of_cols.collect::<Result<Vec<_>>>()?;
        Tensor::concatenate(&of_cols.iter().collect::<Vec<_>>(), 2)
    }
}
