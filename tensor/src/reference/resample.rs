//! Images of another size or with a border, and the gradients: weighted sums over rows and cols.

use super::values::{Floats, indices, offset};
use crate::Shape;
use crate::ops::Taps;

/// Each pixel of the output as the sum of those that it is made of.
pub(super) fn forward(taps: impl Fn(usize, usize) -> Taps, x: &Floats, output: &Shape) -> Vec<f64> {
    let [rows, cols] = [0, 1].map(|axis| taps(axis, x.shape.dims()[axis + 1]));
    let mut y = Vec::with_capacity(output.count());
    for at in indices(output) {
        let mut sum = 0.0;
        let ((own_rows, row_weights), (own_cols, col_weights)) = (rows.of(at[1]), cols.of(at[2]));
        for (&row, by_row) in own_rows.iter().zip(row_weights) {
            for (&col, by_col) in own_cols.iter().zip(col_weights) {
                sum += by_row * by_col * x.at(&[at[0], row as usize, col as usize, at[3]]);
            }
        }
        y.push(sum);
    }
    y
}

/// Each pixel of `dy` handed to those that its output was made of.
pub(super) fn gradient([rows, cols]: &[Taps; 2], dy: &Floats, input: &Shape) -> Vec<f64> {
    let mut dx = vec![0.0; input.count()];
    for at in indices(&dy.shape) {
        let ((own_rows, row_weights), (own_cols, col_weights)) = (rows.of(at[1]), cols.of(at[2]));
        for (&row, by_row) in own_rows.iter().zip(row_weights) {
            for (&col, by_col) in own_cols.iter().zip(col_weights) {
                let to = offset(input, &[at[0], row as usize, col as usize, at[3]]);
                dx[to] += by_row * by_col * dy.at(&at[..4]);
            }
        }
    }
    dx
}
