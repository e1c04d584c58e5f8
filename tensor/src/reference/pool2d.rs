//! Pooling over images, and its gradients.

use super::values::{Floats, indices, maximum, offset};
use crate::Shape;
use crate::ops::{Pool2d, Ties};

/// Every channel of every window of `y [n, out rows, out cols, channels]`: its index, and the
/// indices of its cells in `x [n, rows, cols, channels]`.
fn windows(
    pool: &Pool2d,
    x: &Shape,
    y: &Shape,
    mut visit: impl FnMut([usize; 4], &mut dyn Iterator<Item = [usize; 4]>),
) {
    for at in indices(y) {
        let [n, row, col, channel] = [at[0], at[1], at[2], at[3]];
        let cols = pool.window(1, col, x.dims()[2]);
        let mut cells = pool
            .window(0, row, x.dims()[1])
            .flat_map(|row| cols.clone().map(move |col| [n, row, col, channel]));
        visit([n, row, col, channel], &mut cells);
    }
}

pub(super) fn max(pool: &Pool2d, x: &Floats, output: &Shape) -> Vec<f64> {
    let mut y = Vec::with_capacity(output.count());
    windows(pool, &x.shape, output, |_, cells| {
        y.push(cells.map(|cell| x.at(&cell)).fold(f64::NEG_INFINITY, maximum));
    });
    y
}

pub(super) fn average(pool: &Pool2d, x: &Floats, output: &Shape) -> Vec<f64> {
    let mut y = Vec::with_capacity(output.count());
    windows(pool, &x.shape, output, |window, cells| {
        let sum: f64 = cells.fold(0.0, |sum, cell| sum + x.at(&cell));
        y.push(sum / counted(pool, &x.shape, window));
    });
    y
}

/// What the average over a window divides by.
fn counted(pool: &Pool2d, x: &Shape, [_, row, col, _]: [usize; 4]) -> f64 {
    (pool.counted(0, row, x.dims()[1]) * pool.counted(1, col, x.dims()[2])) as f64
}

pub(super) fn max_grad(pool: &Pool2d, x: &Floats, y: &Floats, dy: &Floats) -> Vec<f64> {
    let mut dx = vec![0.0; x.values.len()];
    windows(pool, &x.shape, &y.shape, |window, cells| {
        for cell in cells {
            if x.at(&cell) == y.at(&window) {
                dx[offset(&x.shape, &cell)] += dy.at(&window);
                if pool.ties == Ties::First {
                    break;
                }
            }
        }
    });
    dx
}

pub(super) fn average_grad(pool: &Pool2d, dy: &Floats, input: &Shape) -> Vec<f64> {
    let mut dx = vec![0.0; input.count()];
    windows(pool, input, &dy.shape, |window, cells| {
        for cell in cells {
            dx[offset(input, &cell)] += dy.at(&window) / counted(pool, input, window);
        }
    });
    dx
}
