//! Residual networks for small pictures (He, Zhang, Ren and Sun, "Deep residual learning for image
//! recognition", 2016, section 4.2): 6n + 2 layers with weights for CIFAR-10's 32x32 pixels.
//!
//! | stage | output | convolutions |
//! | --- | --- | --- |
//! | conv1 | 32x32 | 3x3, 16 |
//! | layer1 | 32x32 | n blocks of two 3x3, 16 |
//! | layer2 | 16x16 | n blocks of two 3x3, 32 |
//! | layer3 | 8x8 | n blocks of two 3x3, 64 |
//! | linear | 10 | mean of all pixels, full connect |
//!
//! Shortcuts have no weights (the paper's option A): where a stage begins, every second pixel is taken,
//! and the channels that are missing are zeros. The names are those of the usual PyTorch versions.
//! Departures from the paper: none in what is computed; fresh weights are drawn as in every network of
//! this crate.

use striate_nn::{NetworkSpec, conv2d, pool};

/// 20 layers with weights.
pub fn resnet20() -> NetworkSpec {
    network("resnet20", 3)
}

/// 32 layers with weights.
pub fn resnet32() -> NetworkSpec {
    network("resnet32", 5)
}

/// 44 layers with weights.
pub fn resnet44() -> NetworkSpec {
    network("resnet44", 7)
}

/// 56 layers with weights.
pub fn resnet56() -> NetworkSpec {
    network("resnet56", 9)
}

/// 110 layers with weights.
pub fn resnet110() -> NetworkSpec {
    network("resnet110", 18)
}

fn network(name: &str, blocks: usize) -> NetworkSpec {
    let mut spec = NetworkSpec::new([32, 32, 3])
        .with_name(name)
        .named("conv1", |x| x.conv(conv2d(16, 3).padding(1).without_bias()))
        .named("bn1", NetworkSpec::batch_norm)
        .named("relu", NetworkSpec::relu);
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for place in 0..blocks {
            let halves = stage > 0 && place == 0;
            let name = format!("layer{}.{place}", stage + 1);
            spec = spec.named(&name, |x| block(x, width, halves));
        }
    }
    spec.named("avgpool", NetworkSpec::global_avg_pool).named("linear", |x| x.full_connect(10))
}

fn block(x: NetworkSpec, width: usize, halves: bool) -> NetworkSpec {
    let stride = if halves { 2 } else { 1 };
    let main = |x: NetworkSpec| {
        x.named("conv1", |x| x.conv(conv2d(width, 3).stride(stride).padding(1).without_bias()))
            .named("bn1", NetworkSpec::batch_norm)
            .relu()
            .named("conv2", |x| x.conv(conv2d(width, 3).padding(1).without_bias()))
            .named("bn2", NetworkSpec::batch_norm)
    };
    x.residual_with(main, |x| if halves { shortcut(x) } else { x }).relu()
}

/// Every second pixel, with as many channels of zeros behind its own.
fn shortcut(x: NetworkSpec) -> NetworkSpec {
    x.avg_pool(pool(1).stride(2))
        .branches(|b| b.path(|x| x).path(|x| x.clamp(0.0, 0.0)).concatenate())
}
