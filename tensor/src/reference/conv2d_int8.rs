//! Convolution with integers.

use super::conv2d::conv2d;
use super::unary::activate;
use super::values::Floats;
use crate::ops::{Activation, Conv2d, Conv2dInt8};
use crate::{HostTensor, Shape};

/// The convolution of integers, which f64 holds exactly, and what becomes of its sums.
pub(super) fn conv2d_int8(op: &Conv2dInt8, inputs: &[&HostTensor], output: &Shape) -> Vec<f64> {
    let [x, weights, scales] = [0, 1, 2].map(|place| Floats::of(inputs[place]));
    let added: Vec<Floats> = inputs.iter().skip(3).map(|x| Floats::of(x)).collect();
    let (bias, residual) = added.split_at(usize::from(op.conv.bias));
    // Of f32, so that nothing is lost.
    let level = |&x: &f64| f64::from(op.levels.level(x as f32)) - f64::from(op.levels.zero);
    let levels = Floats { values: x.values.iter().map(level).collect(), ..x };
    let none = Activation::None;
    let sums = Conv2d { bias: false, residual: false, activation: none, ..op.conv };
    let mut y = conv2d(&sums, &levels, &weights, [None, None], output);
    let outs = scales.values.len().max(1);
    for (i, y) in y.iter_mut().enumerate() {
        *y *= f64::from(op.levels.scale) * scales.values[i % outs];
        *y += bias.first().map_or(0.0, |bias| bias.values[i % outs]);
        *y += residual.first().map_or(0.0, |residual| residual.values[i]);
        *y = activate(op.conv.activation, *y);
    }
    y
}
