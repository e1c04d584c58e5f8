//! ShuffleNet V2 (Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design",
//! 2018): the paper's table 5, as torchvision has it, with the names of its state dicts.
//!
//! | layer | output | 0.5x | 1x | 1.5x | 2x |
//! | --- | --- | --- | --- | --- | --- |
//! | conv1, maxpool | 112x112, 56x56 | 24 | 24 | 24 | 24 |
//! | stage2 | 28x28 | 4 units of 48 | 116 | 176 | 244 |
//! | stage3 | 14x14 | 8 units of 96 | 232 | 352 | 488 |
//! | stage4 | 7x7 | 4 units of 192 | 464 | 704 | 976 |
//! | conv5 | 7x7 | 1024 | 1024 | 1024 | 2048 |
//!
//! Departures from the paper: none in what is computed.

use striate_nn::{ConvSpec, NetworkSpec, batch_norm, conv2d, pool};

use crate::blocks::{NEWER_WHOLE, depthwise, normalized};

/// Channels of the first convolution.
const FIRST: usize = 24;

/// Units of each stage.
const UNITS: [usize; 3] = [4, 8, 4];

/// 0.5x.
pub fn shufflenet_v2_x0_5() -> NetworkSpec {
    network("shufflenet-v2-x0-5", [48, 96, 192], 1024)
}

/// 1x.
pub fn shufflenet_v2_x1_0() -> NetworkSpec {
    network("shufflenet-v2-x1-0", [116, 232, 464], 1024)
}

/// 1.5x.
pub fn shufflenet_v2_x1_5() -> NetworkSpec {
    network("shufflenet-v2-x1-5", [176, 352, 704], 1024).with_image([NEWER_WHOLE; 2])
}

/// 2x.
pub fn shufflenet_v2_x2_0() -> NetworkSpec {
    network("shufflenet-v2-x2-0", [244, 488, 976], 2048).with_image([NEWER_WHOLE; 2])
}

fn network(name: &str, widths: [usize; 3], last: usize) -> NetworkSpec {
    let first = conv2d(FIRST, 3).stride(2).padding(1);
    let mut spec = NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("conv1", |x| convolution(x, first).relu())
        .named("maxpool", |x| x.max_pool(pool(3).stride(2).padding(1).first_maximum()));
    let mut channels = FIRST;
    for (stage, (width, units)) in (2..).zip(widths.into_iter().zip(UNITS)) {
        for unit in 0..units {
            let name = format!("stage{stage}.{unit}");
            spec = spec.named(&name, |x| match unit {
                0 => halving_unit(x, channels, width),
                _ => basic_unit(x, width),
            });
        }
        channels = width;
    }
    spec.named("conv5", |x| convolution(x, conv2d(last, 1)).relu())
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("fc", |x| x.full_connect(1000))
}

fn convolution(x: NetworkSpec, conv: ConvSpec) -> NetworkSpec {
    normalized(x, conv, batch_norm())
}

/// The paper's figure 3 (c): half of the channels pass, the other half goes through the branch.
fn basic_unit(x: NetworkSpec, width: usize) -> NetworkSpec {
    let half = width / 2;
    x.branches(|b| {
        b.path(|x| x.channels(0..half))
            .path(|x| x.channels(half..width).named("branch2", |x| branch(x, half, 1)))
            .concatenate()
    })
    .channel_shuffle(2)
}

/// The paper's figure 3 (d): all channels go through both branches, which halve rows and cols.
fn halving_unit(x: NetworkSpec, channels: usize, width: usize) -> NetworkSpec {
    let half = width / 2;
    let first = |x: NetworkSpec| {
        let x = convolution(x, depthwise(channels, 3).stride(2));
        convolution(x, conv2d(half, 1)).relu()
    };
    x.branches(|b| {
        b.path(|x| x.named("branch1", first))
            .path(|x| x.named("branch2", |x| branch(x, half, 2)))
            .concatenate()
    })
    .channel_shuffle(2)
}

/// 1x1, depthwise 3x3 without activation, 1x1.
fn branch(x: NetworkSpec, half: usize, stride: usize) -> NetworkSpec {
    let x = convolution(x, conv2d(half, 1)).relu();
    let x = convolution(x, depthwise(half, 3).stride(stride));
    convolution(x, conv2d(half, 1)).relu()
}
