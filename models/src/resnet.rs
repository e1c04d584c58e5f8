//! Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016), and
//! the same networks in groups (Xie et al., "Aggregated residual transformations for deep neural
//! networks", 2017: ResNeXt) and wider (Zagoruyko and Komodakis, "Wide residual networks", 2016), as
//! torchvision has them, with the names of its state dicts.
//!
//! | stage | output | 18 | 34 | 50 | 101 | 152 |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | conv1 | 112x112 | 7x7, 64, stride 2 | | | | |
//! | maxpool | 56x56 | 3x3, stride 2 | | | | |
//! | layer1 | 56x56 | 2 of 64 | 3 of 64 | 3 of 64 | 3 of 64 | 3 of 64 |
//! | layer2 | 28x28 | 2 of 128 | 4 of 128 | 4 of 128 | 4 of 128 | 8 of 128 |
//! | layer3 | 14x14 | 2 of 256 | 6 of 256 | 6 of 256 | 23 of 256 | 36 of 256 |
//! | layer4 | 7x7 | 2 of 512 | 3 of 512 | 3 of 512 | 3 of 512 | 3 of 512 |
//! | fc | 1000 | mean of all pixels, full connect | | | | |
//! | block | | 3x3, 3x3 | 3x3, 3x3 | 1x1, 3x3, 1x1 (4 times the channels) | | |
//!
//! Departures from the papers: where a bottleneck block halves rows and cols, its 3x3 convolution does, as
//! in torchvision and in ResNeXt's paper, and not its first 1x1 convolution, as in ResNet's. The papers
//! draw fresh weights from a normal distribution (He et al. 2015); here they are drawn as in every
//! network of this crate. Wide networks are torchvision's: bottlenecks of twice the width, without
//! dropout; the paper's own are of two 3x3 convolutions.

use striate_nn::{NetworkSpec, conv2d, pool};

use crate::blocks::NEWER_WHOLE;

/// The blocks that a residual network is made of.
#[derive(Clone, Copy)]
enum Kind {
    /// Two convolutions of 3x3.
    Basic,
    /// 1x1, 3x3 in `groups`, 1x1: the 3x3 has `base` channels a group for each 64 of the stage.
    Bottleneck { groups: usize, base: usize },
}

use Kind::{Basic, Bottleneck};

/// A block in its place.
#[derive(Clone, Copy)]
struct Block {
    kind: Kind,
    /// The stage's channels, by the paper's table.
    width: usize,
    /// The stride of the first block of a stage.
    stride: usize,
    /// Whether its shortcut must change the shape.
    downsamples: bool,
}

/// Channels of each stage.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// What a bottleneck's output has more of than its stage's channels.
const EXPANSION: usize = 4;

const PLAIN: Kind = Bottleneck { groups: 1, base: 64 };
const WIDE: Kind = Bottleneck { groups: 1, base: 128 };

/// 18 layers with weights.
pub fn resnet18() -> NetworkSpec {
    network("resnet18", Basic, [2, 2, 2, 2])
}

/// 34 layers with weights.
pub fn resnet34() -> NetworkSpec {
    network("resnet34", Basic, [3, 4, 6, 3])
}

/// 50 layers with weights.
pub fn resnet50() -> NetworkSpec {
    network("resnet50", PLAIN, [3, 4, 6, 3])
}

/// 101 layers with weights.
pub fn resnet101() -> NetworkSpec {
    network("resnet101", PLAIN, [3, 4, 23, 3])
}

/// 152 layers with weights.
pub fn resnet152() -> NetworkSpec {
    network("resnet152", PLAIN, [3, 8, 36, 3])
}

/// ResNeXt of 50 layers, 32 groups of 4 channels.
pub fn resnext50_32x4d() -> NetworkSpec {
    network("resnext50-32x4d", Bottleneck { groups: 32, base: 4 }, [3, 4, 6, 3])
}

/// ResNeXt of 101 layers, 32 groups of 8 channels.
pub fn resnext101_32x8d() -> NetworkSpec {
    network("resnext101-32x8d", Bottleneck { groups: 32, base: 8 }, [3, 4, 23, 3])
}

/// ResNeXt of 101 layers, 64 groups of 4 channels.
pub fn resnext101_64x4d() -> NetworkSpec {
    network("resnext101-64x4d", Bottleneck { groups: 64, base: 4 }, [3, 4, 23, 3])
        .with_image([NEWER_WHOLE; 2])
}

/// 50 layers with twice the channels in the 3x3 convolutions.
pub fn wide_resnet50_2() -> NetworkSpec {
    network("wide-resnet50-2", WIDE, [3, 4, 6, 3])
}

/// 101 layers with twice the channels in the 3x3 convolutions.
pub fn wide_resnet101_2() -> NetworkSpec {
    network("wide-resnet101-2", WIDE, [3, 4, 23, 3])
}

fn network(name: &str, kind: Kind, counts: [usize; 4]) -> NetworkSpec {
    let mut spec = NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("conv1", |x| x.conv(conv2d(64, 7).stride(2).padding(3).without_bias()))
        .named("bn1", NetworkSpec::batch_norm)
        .named("relu", NetworkSpec::relu)
        .named("maxpool", |x| x.max_pool(pool(3).stride(2).padding(1).first_maximum()));
    for (stage, (count, width)) in counts.into_iter().zip(WIDTHS).enumerate() {
        for place in 0..count {
            let stride = if stage > 0 && place == 0 { 2 } else { 1 };
            // Bottlenecks have more channels than the pooling before the first of them.
            let widens = place == 0 && matches!(kind, Bottleneck { .. });
            let block = Block { kind, width, stride, downsamples: stride > 1 || widens };
            let name = format!("layer{}.{place}", stage + 1);
            spec = spec.named(&name, |x| residual(x, block));
        }
    }
    spec.named("avgpool", NetworkSpec::global_avg_pool).named("fc", |x| x.full_connect(1000))
}

fn residual(x: NetworkSpec, block: Block) -> NetworkSpec {
    match block.kind {
        Basic => x.residual_with(|x| basic(x, block), |x| shortcut(x, block.width, block)),
        Bottleneck { groups, base } => {
            let inner = block.width * base / WIDTHS[0] * groups;
            let outputs = block.width * EXPANSION;
            let main = |x| bottleneck(x, inner, groups, outputs, block.stride);
            x.residual_with(main, |x| shortcut(x, outputs, block))
        }
    }
    .relu()
}

fn basic(x: NetworkSpec, block: Block) -> NetworkSpec {
    let Block { width, stride, .. } = block;
    x.named("conv1", |x| x.conv(conv2d(width, 3).stride(stride).padding(1).without_bias()))
        .named("bn1", NetworkSpec::batch_norm)
        .relu()
        .named("conv2", |x| x.conv(conv2d(width, 3).padding(1).without_bias()))
        .named("bn2", NetworkSpec::batch_norm)
}

fn bottleneck(
    x: NetworkSpec,
    inner: usize,
    groups: usize,
    outputs: usize,
    stride: usize,
) -> NetworkSpec {
    let middle = conv2d(inner, 3).stride(stride).padding(1).groups(groups).without_bias();
    x.named("conv1", |x| x.conv(conv2d(inner, 1).without_bias()))
        .named("bn1", NetworkSpec::batch_norm)
        .relu()
        .named("conv2", |x| x.conv(middle))
        .named("bn2", NetworkSpec::batch_norm)
        .relu()
        .named("conv3", |x| x.conv(conv2d(outputs, 1).without_bias()))
        .named("bn3", NetworkSpec::batch_norm)
}

/// The block's input, or a 1x1 convolution of it where the block changes the shape.
fn shortcut(x: NetworkSpec, count: usize, block: Block) -> NetworkSpec {
    if !block.downsamples {
        return x;
    }
    let conv = conv2d(count, 1).stride(block.stride).without_bias();
    x.named("downsample", |x| x.conv(conv).batch_norm())
}
