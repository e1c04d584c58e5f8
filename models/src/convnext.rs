//! ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022): T, S, B and L, as torchvision has them, with the
//! names of its state dicts.
//!
//! | stage | output | T | S | B | L |
//! | --- | --- | --- | --- | --- | --- |
//! | stem | 56x56 | 4x4, stride 4 | | | |
//! | 1 | 56x56 | 3 blocks of 96 | 3 of 96 | 3 of 128 | 3 of 192 |
//! | 2 | 28x28 | 3 blocks of 192 | 3 of 192 | 3 of 256 | 3 of 384 |
//! | 3 | 14x14 | 9 blocks of 384 | 27 of 384 | 27 of 512 | 27 of 768 |
//! | 4 | 7x7 | 3 blocks of 768 | 3 of 768 | 3 of 1024 | 3 of 1536 |
//!
//! A block is a depthwise 7x7 convolution, layer normalization, 1x1 of four times the channels, GELU, 1x1,
//! a learnt factor for each channel, and the block's input. torchvision has the 1x1 convolutions as full
//! connects over the channels: the same products, and the same weights as a matrix. Departures from the
//! paper: none in what is computed.

use striate_nn::{LayerNormSpec, NetworkSpec, conv2d, layer_norm};

use crate::blocks::depthwise;

/// A column of the table.
struct Column {
    /// Blocks of each stage.
    blocks: [usize; 4],
    /// Channels of each stage.
    widths: [usize; 4],
    /// Pixels a side of the whole image.
    image: usize,
    /// Blocks are left out in training at a rate that grows to this.
    stochastic_depth: f64,
}

/// What a fresh block's factors are.
const LAYER_SCALE: f32 = 1e-6;

/// T.
pub fn convnext_tiny() -> NetworkSpec {
    let (blocks, widths) = ([3, 3, 9, 3], [96, 192, 384, 768]);
    network("convnext-tiny", &Column { blocks, widths, image: 236, stochastic_depth: 0.1 })
}

/// S.
pub fn convnext_small() -> NetworkSpec {
    let (blocks, widths) = ([3, 3, 27, 3], [96, 192, 384, 768]);
    network("convnext-small", &Column { blocks, widths, image: 230, stochastic_depth: 0.4 })
}

/// B.
pub fn convnext_base() -> NetworkSpec {
    let (blocks, widths) = ([3, 3, 27, 3], [128, 256, 512, 1024]);
    network("convnext-base", &Column { blocks, widths, image: 232, stochastic_depth: 0.5 })
}

/// L.
pub fn convnext_large() -> NetworkSpec {
    let (blocks, widths) = ([3, 3, 27, 3], [192, 384, 768, 1536]);
    network("convnext-large", &Column { blocks, widths, image: 232, stochastic_depth: 0.5 })
}

fn norm() -> LayerNormSpec {
    layer_norm().epsilon(1e-6)
}

fn network(name: &str, column: &Column) -> NetworkSpec {
    let Column { blocks, widths, image, stochastic_depth } = *column;
    let last = (blocks.iter().sum::<usize>() - 1) as f64;
    let features = |x: NetworkSpec| {
        let stem = conv2d(widths[0], 4).stride(4);
        let mut x = x.named("0", |x| x.conv(stem).layer_norm(norm()));
        let mut done = 0;
        for (stage, (count, width)) in blocks.into_iter().zip(widths).enumerate() {
            if stage > 0 {
                let halving = conv2d(width, 2).stride(2);
                let place = (2 * stage).to_string();
                x = x.named(&place, |x| x.layer_norm(norm()).conv(halving));
            }
            for place in 0..count {
                let drop = (stochastic_depth * f64::from(done) / last) as f32;
                x = x.named(&format!("{}.{place}", 2 * stage + 1), |x| block(x, width, drop));
                done += 1;
            }
        }
        x
    };
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([image, image])
        .named("features", features)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", |x| x.layer_norm(norm()).flatten().full_connect(1000))
}

/// The paper's block, left out in training at the rate `drop`.
fn block(x: NetworkSpec, width: usize, drop: f32) -> NetworkSpec {
    let main = |x: NetworkSpec| {
        x.named("0", |x| x.conv(depthwise(width, 7)))
            .named("2", |x| x.layer_norm(norm()))
            .named("3", |x| x.conv(conv2d(4 * width, 1)))
            .named("4", NetworkSpec::gelu_exact)
            .named("5", |x| x.conv(conv2d(width, 1)))
    };
    x.residual(|x| {
        let x = x.named("block", main).named("layer_scale", |x| x.layer_scale(LAYER_SCALE));
        if drop > 0.0 { x.stochastic_depth(drop) } else { x }
    })
}
