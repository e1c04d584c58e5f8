//! DenseNet (Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", 2017):
//! the paper's table 1, DenseNet-BC, as torchvision has it, with the names of its state dicts.
//!
//! | layers | output | 121 | 169 | 201 | 161 |
//! | --- | --- | --- | --- | --- | --- |
//! | convolution | 112x112 | 7x7, stride 2: 64 | 64 | 64 | 96 |
//! | pooling | 56x56 | 3x3 max, stride 2 | | | |
//! | dense block 1 | 56x56 | 6 | 6 | 6 | 6 |
//! | dense block 2 | 28x28 | 12 | 12 | 12 | 12 |
//! | dense block 3 | 14x14 | 24 | 32 | 48 | 36 |
//! | dense block 4 | 7x7 | 16 | 32 | 32 | 24 |
//! | growth | | 32 | 32 | 32 | 48 |
//!
//! A layer of a dense block is 1x1 and 3x3; between blocks, 1x1 and 2x2 average pooling halve channels,
//! rows and cols. Departures from the paper: none in what is computed.

use striate_nn::{NetworkSpec, conv2d, pool};

/// A column of the paper's table.
struct Column {
    /// Channels that each layer adds, the paper's k.
    growth: usize,
    /// Channels of the first convolution.
    first: usize,
    /// Layers of each dense block.
    layers: [usize; 4],
}

/// The 1x1 convolution of a layer has so many times the growth.
const BOTTLENECK: usize = 4;

/// 121 layers with weights.
pub fn densenet121() -> NetworkSpec {
    network("densenet121", &Column { growth: 32, first: 64, layers: [6, 12, 24, 16] })
}

/// 169 layers with weights.
pub fn densenet169() -> NetworkSpec {
    network("densenet169", &Column { growth: 32, first: 64, layers: [6, 12, 32, 32] })
}

/// 201 layers with weights.
pub fn densenet201() -> NetworkSpec {
    network("densenet201", &Column { growth: 32, first: 64, layers: [6, 12, 48, 32] })
}

/// 161 layers with weights, wider.
pub fn densenet161() -> NetworkSpec {
    network("densenet161", &Column { growth: 48, first: 96, layers: [6, 12, 36, 24] })
}

fn network(name: &str, column: &Column) -> NetworkSpec {
    let &Column { growth, first, layers } = column;
    let features = |x: NetworkSpec| {
        let mut x = x
            .named("conv0", |x| x.conv(conv2d(first, 7).stride(2).padding(3).without_bias()))
            .named("norm0", NetworkSpec::batch_norm)
            .named("relu0", NetworkSpec::relu)
            .named("pool0", |x| x.max_pool(pool(3).stride(2).padding(1).first_maximum()));
        let mut channels = first;
        for (block, &count) in (1..).zip(&layers) {
            x = x.named(&format!("denseblock{block}"), |x| dense(x, count, growth));
            channels += count * growth;
            if block < layers.len() {
                channels /= 2;
                x = x.named(&format!("transition{block}"), |x| transition(x, channels));
            }
        }
        x.named("norm5", NetworkSpec::batch_norm).named("relu5", NetworkSpec::relu)
    };
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("features", features)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", |x| x.full_connect(1000))
}

/// Layers that each see what all before them put out.
fn dense(mut x: NetworkSpec, count: usize, growth: usize) -> NetworkSpec {
    let layer = |x: NetworkSpec| {
        x.named("norm1", NetworkSpec::batch_norm)
            .named("relu1", NetworkSpec::relu)
            .named("conv1", |x| x.conv(conv2d(BOTTLENECK * growth, 1).without_bias()))
            .named("norm2", NetworkSpec::batch_norm)
            .named("relu2", NetworkSpec::relu)
            .named("conv2", |x| x.conv(conv2d(growth, 3).padding(1).without_bias()))
    };
    for place in 1..=count {
        let name = format!("denselayer{place}");
        x = x.branches(|b| b.path(|x| x).path(|x| x.named(&name, layer)).concatenate());
    }
    x
}

/// Half the channels, rows and cols.
fn transition(x: NetworkSpec, channels: usize) -> NetworkSpec {
    x.named("norm", NetworkSpec::batch_norm)
        .named("relu", NetworkSpec::relu)
        .named("conv", |x| x.conv(conv2d(channels, 1).without_bias()))
        .named("pool", |x| x.avg_pool(pool(2).stride(2)))
}
