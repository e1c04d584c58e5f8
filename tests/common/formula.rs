//! Networks whose weights follow a formula, so that any program can make the same ones.
//!
//! Weight `k` of layer `l` is a hash of both, scaled by `√(6 / fan_in)` and a gain for the last
//! layer; biases alike, by a constant for convolutions and one for full-connect layers. The mean
//! image is a plane. It is what the recorded outputs of ccv were made with.

use striate::nn::{LayerKind, LayerParameters, Network, NetworkSpec};
use striate::prelude::*;

const SEED: u32 = 1;

/// The constants of a network's formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formula {
    /// The factor of the last layer's weights.
    pub(crate) last_gain: f64,
    /// The factor of a convolution's biases.
    pub(crate) conv_bias: f64,
    /// The factor of a full-connect layer's biases.
    pub(crate) full_bias: f64,
}

/// A number in `[-1, 1)` by hashing.
pub(crate) fn unit(k: u32, l: u32, seed: u32) -> f64 {
    let mut x =
        k.wrapping_mul(2_654_435_761).wrapping_add(l.wrapping_mul(40_503)).wrapping_add(seed);
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^= x >> 16;
    f64::from(x) / 4_294_967_296.0 * 2.0 - 1.0
}

/// The formula's weights for a network, with its mean image where it is larger than the network.
pub(crate) fn network(
    spec: NetworkSpec,
    formula: Formula,
    device: &Device,
) -> striate::Result<Network> {
    let shapes = spec.shapes()?;
    let last = shapes.len() - 1;
    let mut parameters = Vec::new();
    for (layer, shape) in shapes.iter().enumerate() {
        let (Some(weight), Some(bias)) = (shape.weight(), shape.bias()) else {
            parameters.push(None);
            continue;
        };
        let fan_in: usize = weight.dims()[1..].iter().product();
        let gain = if layer == last { formula.last_gain } else { 1.0 };
        let scale = (6.0 / fan_in as f64).sqrt() * gain;
        let bias_scale = match shape.kind {
            LayerKind::Conv => formula.conv_bias,
            _ => formula.full_bias,
        };
        let l = layer as u32;
        let weights =
            (0..weight.count() as u32).map(|k| (unit(k, l, SEED) * scale) as f32).collect();
        let biases = (0..bias.count() as u32)
            .map(|k| (unit(k, l, SEED ^ 0x5bd1_e995) * bias_scale) as f32)
            .collect();
        parameters.push(Some(LayerParameters {
            weight: Tensor::from_vec::<f32, _>(weights, weight, device)?,
            bias: Tensor::from_vec::<f32, _>(biases, bias, device)?,
        }));
    }
    let [rows, cols] = spec.image;
    let mean = (0..rows * cols * 3).map(|i| {
        let (y, x, channel) = (i / 3 / cols, i / 3 % cols, i % 3);
        (120.0 + 10.0 * channel as f64 - 0.05 * x as f64 + 0.03 * y as f64) as f32
    });
    let mean = Tensor::from_vec::<f32, _>(mean.collect(), [rows, cols, 3], device)?;
    Ok(Network::new(spec, parameters, device)?.with_mean(mean)?)
}

/// The formula's input of a network, `[1, rows, cols, channels]`.
#[allow(dead_code, reason = "not every user of this file needs it")]
pub(crate) fn input(spec: &NetworkSpec, device: &Device) -> striate::Result<Tensor> {
    let [rows, cols, channels] = spec.input;
    let values = (0..(rows * cols * channels) as u32).map(|i| (unit(i, 2000, SEED) * 128.0) as f32);
    Ok(Tensor::from_vec::<f32, _>(values.collect(), [1, rows, cols, channels], device)?)
}

/// The networks that ccv's outputs were recorded for, by our names.
pub(crate) const RECORDED: [(&str, &str, Formula); 3] = [
    ("alexnet", "alex", Formula { last_gain: 0.03125, conv_bias: 8.0, full_bias: 0.5 }),
    ("mattnet", "matt_c", Formula { last_gain: 0.03125, conv_bias: 8.0, full_bias: 0.5 }),
    ("vgg-d", "vgg_d", Formula { last_gain: 0.0078125, conv_bias: 8.0, full_bias: 0.5 }),
];
