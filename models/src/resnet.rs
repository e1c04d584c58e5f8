//! Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016), as
//! torchvision has them, with the names of its state dicts.
//!
//! | stage | output | `resnet18` | `resnet34` |
//! | --- | --- | --- | --- |
//! | conv1 | 112x112 | 7x7, 64, stride 2 | the same |
//! | maxpool | 56x56 | 3x3, stride 2 | the same |
//! | layer1 | 56x56 | 2 blocks of 64 | 3 blocks of 64 |
//! | layer2 | 28x28 | 2 blocks of 128 | 4 blocks of 128 |
//! | layer3 | 14x14 | 2 blocks of 256 | 6 blocks of 256 |
//! | layer4 | 7x7 | 2 blocks of 512 | 3 blocks of 512 |
//! | avgpool, fc | 1000 | mean of all pixels, full connect | the same |
//!
//! Departures from the paper: none in what is computed. The paper tests with ten views, and draws
//! fresh weights from a normal distribution (He et al. 2015); here they are drawn as in every network
//! of this crate.

use striate_nn::{NetworkSpec, conv2d, pool};

/// What a residual network is made of: a block adds itself to a network.
#[derive(Clone, Copy)]
struct Blocks {
    /// How many in each of the four stages.
    counts: [usize; 4],
    /// The block.
    block: fn(NetworkSpec, Block) -> NetworkSpec,
}

/// A block in its place.
#[derive(Clone, Copy)]
struct Block {
    /// Channels of its convolutions.
    width: usize,
    /// The stride of the first block of a stage.
    stride: usize,
    /// Whether its shortcut must change the shape.
    downsamples: bool,
}

/// Channels of the blocks in each stage.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// 18 layers with weights.
pub fn resnet18() -> NetworkSpec {
    network("resnet18", Blocks { counts: [2, 2, 2, 2], block: basic })
}

/// 34 layers with weights.
pub fn resnet34() -> NetworkSpec {
    network("resnet34", Blocks { counts: [3, 4, 6, 3], block: basic })
}

fn network(name: &str, blocks: Blocks) -> NetworkSpec {
    let mut spec = NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("conv1", |x| x.conv(conv2d(64, 7).stride(2).padding(3).without_bias()))
        .named("bn1", NetworkSpec::batch_norm)
        .named("relu", NetworkSpec::relu)
        .named("maxpool", |x| x.max_pool(pool(3).stride(2).padding(1).first_maximum()));
    for (stage, (count, width)) in blocks.counts.into_iter().zip(WIDTHS).enumerate() {
        for place in 0..count {
            let stride = if stage > 0 && place == 0 { 2 } else { 1 };
            let block = Block { width, stride, downsamples: stride > 1 };
            let name = format!("layer{}.{place}", stage + 1);
            spec = spec.named(&name, |x| (blocks.block)(x, block));
        }
    }
    spec.named("avgpool", NetworkSpec::global_avg_pool).named("fc", |x| x.full_connect(1000))
}

/// Two convolutions of 3x3.
fn basic(x: NetworkSpec, block: Block) -> NetworkSpec {
    let Block { width, stride, .. } = block;
    let main = |x: NetworkSpec| {
        x.named("conv1", |x| x.conv(conv2d(width, 3).stride(stride).padding(1).without_bias()))
            .named("bn1", NetworkSpec::batch_norm)
            .relu()
            .named("conv2", |x| x.conv(conv2d(width, 3).padding(1).without_bias()))
            .named("bn2", NetworkSpec::batch_norm)
    };
    x.residual_with(main, |x| shortcut(x, width, block)).relu()
}

/// The block's input, or a 1x1 convolution of it where the block changes the shape.
fn shortcut(x: NetworkSpec, count: usize, block: Block) -> NetworkSpec {
    if !block.downsamples {
        return x;
    }
    let conv = conv2d(count, 1).stride(block.stride).without_bias();
    x.named("downsample", |x| x.conv(conv).batch_norm())
}
