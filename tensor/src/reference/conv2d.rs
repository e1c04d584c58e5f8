//! Convolution over images, and its gradients.

use super::unary::activate;
use super::values::{Floats, offset};
use crate::Shape;
use crate::ops::Conv2d;

/// What lies under one kernel tap at one output: an output, a tap, and the pixel, or none where the
/// tap lies in the padding.
struct Tap {
    /// `[n, row, col]` of the output.
    output: [usize; 3],
    /// `[row, col]` of the kernel.
    kernel: [usize; 2],
    /// `[n, row, col]` of the input.
    pixel: Option<[usize; 3]>,
}

/// Every tap of every output of a convolution of `x [n, rows, cols, _]` to `y`.
fn taps(conv: &Conv2d, x: &Shape, y: &Shape, kernel: [usize; 2], mut visit: impl FnMut(Tap)) {
    let place = |axis: usize, out: usize, tap: usize| {
        (out * conv.stride[axis] + tap * conv.dilation[axis])
            .checked_sub(conv.padding[axis][0])
            .filter(|&i| i < x.dims()[axis + 1])
    };
    for n in 0..y.dims()[0] {
        for row in 0..y.dims()[1] {
            for col in 0..y.dims()[2] {
                for kernel_row in 0..kernel[0] {
                    for kernel_col in 0..kernel[1] {
                        let pixel = place(0, row, kernel_row).zip(place(1, col, kernel_col));
                        visit(Tap {
                            output: [n, row, col],
                            kernel: [kernel_row, kernel_col],
                            pixel: pixel.map(|(row, col)| [n, row, col]),
                        });
                    }
                }
            }
        }
    }
}

/// Where the channels of a pixel start.
fn pixel_offset(shape: &Shape, [n, row, col]: [usize; 3]) -> usize {
    offset(shape, &[n, row, col, 0])
}

/// Where the weights of an output channel at a tap start.
fn weight_offset(shape: &Shape, out: usize, [row, col]: [usize; 2]) -> usize {
    offset(shape, &[out, row, col, 0])
}

pub(super) fn conv2d(
    conv: &Conv2d,
    x: &Floats,
    weights: &Floats,
    [bias, residual]: [Option<Floats>; 2],
    output: &Shape,
) -> Vec<f64> {
    let &[outs, kernel_rows, kernel_cols, per_group] = weights.shape.dims() else { unreachable!() };
    let zeros = vec![0.0; x.shape.dims()[3]];
    let mut y = vec![0.0; output.count()];
    taps(conv, &x.shape, output, [kernel_rows, kernel_cols], |tap| {
        let pixel = match tap.pixel {
            Some(pixel) => &x.values[pixel_offset(&x.shape, pixel)..][..zeros.len()],
            None => &zeros,
        };
        let y = &mut y[pixel_offset(output, tap.output)..][..outs];
        for (out, y) in y.iter_mut().enumerate() {
            let group = out / (outs / conv.groups);
            let pixel = &pixel[group * per_group..][..per_group];
            let weights = &weights.values[weight_offset(&weights.shape, out, tap.kernel)..];
            *y += pixel.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
        }
    });
    for (i, y) in y.iter_mut().enumerate() {
        *y += bias.as_ref().map_or(0.0, |bias| bias.values[i % outs]);
        *y += residual.as_ref().map_or(0.0, |residual| residual.values[i]);
        *y = activate(conv.activation, *y);
    }
    y
}

/// Each output hands its gradient, times the weight, to the pixels that it saw.
pub(super) fn input_grad(conv: &Conv2d, dy: &Floats, weights: &Floats, input: &Shape) -> Vec<f64> {
    let &[outs, kernel_rows, kernel_cols, per_group] = weights.shape.dims() else { unreachable!() };
    let mut dx = vec![0.0; input.count()];
    taps(conv, input, &dy.shape, [kernel_rows, kernel_cols], |tap| {
        let Some(pixel) = tap.pixel else { return };
        let dy = &dy.values[pixel_offset(&dy.shape, tap.output)..][..outs];
        for (out, dy) in dy.iter().enumerate() {
            let group = out / (outs / conv.groups);
            let dx = &mut dx[pixel_offset(input, pixel) + group * per_group..][..per_group];
            let weights = &weights.values[weight_offset(&weights.shape, out, tap.kernel)..];
            for (dx, w) in dx.iter_mut().zip(weights) {
                *dx += dy * w;
            }
        }
    });
    dx
}

/// Adds a bias to the channels of each pixel, where there is one.
pub(super) fn with_bias(mut y: Vec<f64>, bias: Option<Floats>) -> Vec<f64> {
    if let Some(bias) = bias {
        y.iter_mut().zip(bias.values.iter().cycle()).for_each(|(y, bias)| *y += bias);
    }
    y
}

/// Each weight sums the gradients of the outputs that it helped to make, times the pixel it saw.
pub(super) fn weight_grad(conv: &Conv2d, x: &Floats, dy: &Floats, weights: &Shape) -> Vec<f64> {
    let &[outs, kernel_rows, kernel_cols, per_group] = weights.dims() else { unreachable!() };
    let zeros = vec![0.0; x.shape.dims()[3]];
    let mut dw = vec![0.0; weights.count()];
    taps(conv, &x.shape, &dy.shape, [kernel_rows, kernel_cols], |tap| {
        let pixel = match tap.pixel {
            Some(pixel) => &x.values[pixel_offset(&x.shape, pixel)..][..zeros.len()],
            None => &zeros,
        };
        let dy = &dy.values[pixel_offset(&dy.shape, tap.output)..][..outs];
        for (out, dy) in dy.iter().enumerate() {
            let group = out / (outs / conv.groups);
            let pixel = &pixel[group * per_group..][..per_group];
            let dw = &mut dw[weight_offset(weights, out, tap.kernel)..][..per_group];
            for (dw, x) in dw.iter_mut().zip(pixel) {
                *dw += dy * x;
            }
        }
    });
    dw
}
