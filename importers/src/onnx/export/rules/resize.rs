//! Images of another size.

use striate_tensor::ops::{self, Coordinates, Interpolation, Nearest};

use super::movement::picked;
use super::windows::{IMAGES_AND_CHANNELS, from_images, images};
use super::{Cx, Step};
use crate::onnx::elem::Elem;
use crate::onnx::export::emit::{Item, float, int, ints, refuse, text};

pub(super) fn resize(cx: &mut Cx<'_>, op: &ops::Resize) -> Step<Item> {
    let (name, x) = images(cx, 0)?;
    let [_, rows, cols, _] = x.layout.dims()[..] else { return refuse("expected images") };
    let input = [rows, cols];
    let name = match op.interpolation {
        Interpolation::Area => area(cx, op, name, input, x.elem)?,
        Interpolation::Nearest(_) => nearest(cx, op, name, input)?,
        Interpolation::Linear | Interpolation::Cubic { .. } => {
            interpolated(cx, op, name, input, x.elem)?
        }
    };
    Ok(from_images(cx, name, &x, &IMAGES_AND_CHANNELS))
}

fn area(
    cx: &mut Cx<'_>,
    op: &ops::Resize,
    name: String,
    input: [usize; 2],
    elem: Elem,
) -> Step<String> {
    if op.output == [1, 1] {
        return Ok(cx.emit.push("GlobalAveragePool", &[&name], vec![]));
    }
    if (0..2).any(|axis| !input[axis].is_multiple_of(op.output[axis])) {
        return products(cx, op, name, input, elem);
    }
    let window = [0, 1].map(|axis| (input[axis] / op.output[axis]) as i64);
    let attributes = vec![ints("kernel_shape", &window), ints("strides", &window)];
    Ok(cx.emit.push("AveragePool", &[&name], attributes))
}

fn nearest(cx: &mut Cx<'_>, op: &ops::Resize, name: String, input: [usize; 2]) -> Step<String> {
    let is_whole = (0..2).all(|axis| op.output[axis].is_multiple_of(input[axis]));
    let is_plain = op.interpolation == Interpolation::Nearest(Nearest::Floor)
        && op.coordinates == Coordinates::Asymmetric
        && op.scale.is_none();
    if is_whole && is_plain {
        let scales = [0, 1].map(|axis| (op.output[axis] / input[axis]) as f32);
        return node(cx, op, &name, scales);
    }
    // Programs compute places in single precision, and differ where one is halfway: a list of pixels does
    // not.
    let cells = [0, 1].map(|axis| op.taps(axis, input[axis]).cells().to_vec());
    Ok(picked(cx, name, &cells, input))
}

fn interpolated(
    cx: &mut Cx<'_>,
    op: &ops::Resize,
    name: String,
    input: [usize; 2],
    elem: Elem,
) -> Step<String> {
    let scales = [0, 1].map(|axis| scale(op, axis, input[axis]));
    match (op.interpolation, scales) {
        (Interpolation::Linear, _) if op.exclude_outside => products(cx, op, name, input, elem),
        (_, [Some(rows), Some(cols)]) => node(cx, op, &name, [rows, cols]),
        _ => products(cx, op, name, input, elem),
    }
}

/// A scale in single precision that gives this output. Extents themselves would fix that of the batch.
fn scale(op: &ops::Resize, axis: usize, input: usize) -> Option<f32> {
    let output = op.output[axis];
    let fits = |scale: f32| (input as f32 * scale).floor() == output as f32;
    match op.scale {
        Some(scales) => Some(scales[axis]).filter(|&scale| fits(scale)),
        None => {
            let scale = output as f32 / input as f32;
            [scale, scale.next_up()].into_iter().find(|&scale| fits(scale))
        }
    }
}

fn node(cx: &mut Cx<'_>, op: &ops::Resize, name: &str, [rows, cols]: [f32; 2]) -> Step<String> {
    let coordinates = match op.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let mut attributes = vec![text("coordinate_transformation_mode", coordinates)];
    match op.interpolation {
        Interpolation::Cubic { coefficient } => {
            attributes.push(float("cubic_coeff_a", coefficient));
            attributes.push(int("exclude_outside", i64::from(op.exclude_outside)));
            attributes.push(text("mode", "cubic"));
        }
        Interpolation::Linear => attributes.push(text("mode", "linear")),
        _ => {
            attributes.push(text("mode", "nearest"));
            attributes.push(text("nearest_mode", "floor"));
        }
    }
    let scales = cx.emit.floats(&[4], &[1.0, 1.0, rows, cols], Elem::F32, "scales")?;
    Ok(cx.emit.push("Resize", &[name, "", &scales], attributes))
}

/// What no node says exactly: sums with weights along each axis, as matrix products.
fn products(
    cx: &mut Cx<'_>,
    op: &ops::Resize,
    mut name: String,
    input: [usize; 2],
    elem: Elem,
) -> Step<String> {
    for axis in [1, 0] {
        let (outputs, inputs) = (op.output[axis], input[axis]);
        let taps = op.taps(axis, inputs);
        let mut matrix = vec![0.0f32; outputs * inputs];
        for output in 0..outputs {
            let (cells, weights) = taps.of(output);
            for (&cell, &weight) in cells.iter().zip(weights) {
                // Rows are multiplied from the left, cols from the right.
                let place = match axis {
                    0 => output * inputs + cell as usize,
                    _ => cell as usize * outputs + output,
                };
                matrix[place] += weight as f32;
            }
        }
        name = match axis {
            0 => {
                let rows = cx.emit.floats(&[outputs, inputs], &matrix, elem, "rows")?;
                cx.emit.push("MatMul", &[&rows, &name], vec![])
            }
            _ => {
                let cols = cx.emit.floats(&[inputs, outputs], &matrix, elem, "cols")?;
                cx.emit.push("MatMul", &[&name, &cols], vec![])
            }
        };
    }
    Ok(name)
}
