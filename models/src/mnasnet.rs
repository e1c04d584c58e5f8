//! MNASNet (Tan et al., "MnasNet: platform-aware neural architecture search for mobile", 2019): variant
//! B1 of the authors' program, without squeeze and excitation, in the four widths of torchvision, with
//! the names of its state dicts.
//!
//! Departures from the paper: its figure 7 is variant A1, with squeeze and excitation; torchvision has
//! B1. Batch normalization has a momentum of 0.0003.

use striate_nn::{BatchNormSpec, NetworkSpec, batch_norm, conv2d};

use crate::blocks::{NEWER_WHOLE, depthwise, normalized, rounded};

/// A stack of blocks: kernel, stride of the first, expansion, output channels, repeats.
type Row = (usize, usize, usize, f64, usize);

const ROWS: [Row; 6] = [
    (3, 2, 3, 24.0, 3),
    (5, 2, 3, 40.0, 3),
    (5, 2, 6, 80.0, 3),
    (3, 1, 6, 96.0, 2),
    (5, 2, 6, 192.0, 4),
    (3, 1, 6, 320.0, 1),
];

/// Channels of the first convolution, and of the first 1x1 convolution; the widths scale them too.
const FIRST: [f64; 2] = [32.0, 16.0];

/// Channels of the last convolution, of every width.
const LAST: usize = 1280;

/// Half the width.
pub fn mnasnet0_5() -> NetworkSpec {
    network("mnasnet0-5", 0.5)
}

/// Three quarters of the width.
pub fn mnasnet0_75() -> NetworkSpec {
    network("mnasnet0-75", 0.75).with_image([NEWER_WHOLE; 2])
}

/// Full width.
pub fn mnasnet1_0() -> NetworkSpec {
    network("mnasnet1-0", 1.0)
}

/// 1.3 times the width.
pub fn mnasnet1_3() -> NetworkSpec {
    network("mnasnet1-3", 1.3).with_image([NEWER_WHOLE; 2])
}

fn norm() -> BatchNormSpec {
    batch_norm().momentum(0.0003)
}

fn network(name: &str, width: f64) -> NetworkSpec {
    let [first, second] = FIRST.map(|channels| rounded(channels * width));
    let layers = |x: NetworkSpec| {
        // The sequence's first layers are counted one by one, then each stack is one.
        let x = normalized(x, conv2d(first, 3).stride(2).padding(1), norm()).relu();
        let x = normalized(x, depthwise(first, 3), norm()).relu();
        let mut x = normalized(x, conv2d(second, 1), norm());
        let mut channels = second;
        for (place, (kernel, stride, expansion, count, repeats)) in (8..).zip(ROWS) {
            let count = rounded(count * width);
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                let block = Block { channels, kernel, stride, expansion, count };
                x = x.named(&format!("{place}.{repeat}"), |x| block.build(x));
                channels = count;
            }
        }
        x.named("14", |x| x.conv(conv2d(LAST, 1).without_bias()))
            .named("15", |x| x.batch_norm_with(norm()))
            .named("16", NetworkSpec::relu)
    };
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("layers", layers)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", |x| x.dropout(0.2).full_connect(1000))
}

/// A block in its place.
struct Block {
    channels: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    count: usize,
}

impl Block {
    /// 1x1, depthwise, 1x1 without activation; its input is added where the shape stays.
    fn build(&self, x: NetworkSpec) -> NetworkSpec {
        let Block { channels, kernel, stride, expansion, count } = *self;
        let expanded = channels * expansion;
        let main = |x: NetworkSpec| {
            let x = normalized(x, conv2d(expanded, 1), norm()).relu();
            let x = normalized(x, depthwise(expanded, kernel).stride(stride), norm()).relu();
            normalized(x, conv2d(count, 1), norm())
        };
        if stride == 1 && channels == count {
            return x.residual(|x| x.named("layers", main));
        }
        x.named("layers", main)
    }
}
