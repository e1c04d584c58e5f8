//! EfficientNet-Lite (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020): EfficientNet
//! for small processors, as its authors' program has it, with the names of timm's state dicts
//! (`tf_efficientnet_lite0` to `4`).
//!
//! It departs from EfficientNet so: no squeeze and excitation, ReLU up to 6 in place of SiLU, and the
//! first convolution, the last one and the depth of the first and last rows do not grow. Convolutions are
//! padded as TensorFlow does it, by one pixel less at the top and left where the extent is even: a network
//! for another size of pictures than its own is another network.

use striate_nn::{BatchNormSpec, ConvSpec, NetworkSpec, batch_norm, conv2d};

use crate::blocks::rounded;

/// A row of the EfficientNet paper's table 1: expansion, kernel, stride of the first, output channels,
/// layers.
type Row = (usize, usize, usize, f64, usize);

const ROWS: [Row; 7] = [
    (1, 3, 1, 16.0, 1),
    (6, 3, 2, 24.0, 2),
    (6, 5, 2, 40.0, 2),
    (6, 3, 2, 80.0, 3),
    (6, 5, 1, 112.0, 3),
    (6, 5, 2, 192.0, 4),
    (6, 3, 1, 320.0, 1),
];

/// Channels of the first convolution, and of the last.
const ENDS: [usize; 2] = [32, 1280];

/// The whole image has so many pixels a side more than what the network sees.
const MARGIN: usize = 32;

/// Blocks are left out in training at a rate that grows to this, from the first to the last.
const STOCHASTIC_DEPTH: f64 = 0.2;

/// Lite0, at 224 pixels.
pub fn efficientnet_lite0() -> NetworkSpec {
    network("efficientnet-lite0", 224, 1.0, 1.0, 0.2)
}

/// Lite1, at 240 pixels.
pub fn efficientnet_lite1() -> NetworkSpec {
    network("efficientnet-lite1", 240, 1.0, 1.1, 0.2)
}

/// Lite2, at 260 pixels.
pub fn efficientnet_lite2() -> NetworkSpec {
    network("efficientnet-lite2", 260, 1.1, 1.2, 0.3)
}

/// Lite3, at 280 pixels.
pub fn efficientnet_lite3() -> NetworkSpec {
    network("efficientnet-lite3", 280, 1.2, 1.4, 0.3)
}

/// Lite4, at 300 pixels.
pub fn efficientnet_lite4() -> NetworkSpec {
    network("efficientnet-lite4", 300, 1.4, 1.8, 0.3)
}

fn norm() -> BatchNormSpec {
    batch_norm().epsilon(0.001).momentum(0.01)
}

/// `width` is times the channels, `depth` times the layers of all rows but the first and the last.
fn network(name: &str, side: usize, width: f64, depth: f64, dropout: f32) -> NetworkSpec {
    let mut layers = ROWS.map(|row| row.4);
    let inner = 1..ROWS.len() - 1;
    layers[inner].iter_mut().for_each(|count| *count = (*count as f64 * depth).ceil() as usize);
    let total: usize = layers.iter().sum();
    let image = side + MARGIN;
    let mut extent = side;
    let mut spec = NetworkSpec::new([side, side, 3])
        .with_name(name)
        .with_image([image, image])
        .named("conv_stem", |x| x.conv(padded(conv2d(ENDS[0], 3), 2, &mut extent)))
        .named("bn1", |x| x.batch_norm_with(norm()))
        .named("act1", NetworkSpec::relu6);
    let (mut channels, mut done) = (ENDS[0], 0);
    for (stage, ((expansion, kernel, stride, count, _), layers)) in
        ROWS.into_iter().zip(layers).enumerate()
    {
        let count = rounded(count * width);
        for layer in 0..layers {
            let stride = if layer == 0 { stride } else { 1 };
            let expanded = channels * expansion;
            let depthwise = conv2d(expanded, kernel).groups(expanded);
            let depthwise = padded(depthwise, stride, &mut extent);
            let drop = (STOCHASTIC_DEPTH * f64::from(done) / total as f64) as f32;
            let main = |x: NetworkSpec| {
                let mut norms = (1..).map(|place: usize| format!("bn{place}"));
                let mut part = |x: NetworkSpec, name: &str, conv: ConvSpec| {
                    x.named(name, |x| x.conv(conv.without_bias()))
                        .named(&norms.next().unwrap_or_default(), |x| x.batch_norm_with(norm()))
                };
                if expansion == 1 {
                    let x = part(x, "conv_dw", depthwise).relu6();
                    return part(x, "conv_pw", conv2d(count, 1));
                }
                let x = part(x, "conv_pw", conv2d(expanded, 1)).relu6();
                let x = part(x, "conv_dw", depthwise).relu6();
                part(x, "conv_pwl", conv2d(count, 1))
            };
            let name = format!("blocks.{stage}.{layer}");
            spec = spec.named(&name, |x| match stride == 1 && channels == count {
                true => x.residual(|x| main(x).stochastic_depth(drop)),
                false => main(x),
            });
            (channels, done) = (count, done + 1);
        }
    }
    spec.named("conv_head", |x| x.conv(conv2d(ENDS[1], 1).without_bias()))
        .named("bn2", |x| x.batch_norm_with(norm()))
        .named("act2", NetworkSpec::relu6)
        .named("global_pool", NetworkSpec::global_avg_pool)
        .named("dropout", |x| x.dropout(dropout))
        .named("classifier", |x| x.full_connect(1000))
}

/// With this stride, padded so that every pixel of the extent is seen; the extent becomes the output's.
fn padded(conv: ConvSpec, stride: usize, extent: &mut usize) -> ConvSpec {
    let outputs = extent.div_ceil(stride);
    let all = ((outputs - 1) * stride + conv.kernel[0]).saturating_sub(*extent);
    *extent = outputs;
    let sides = [all / 2, all - all / 2];
    conv.stride(stride).padding([sides, sides]).without_bias()
}
