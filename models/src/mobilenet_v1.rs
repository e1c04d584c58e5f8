//! MobileNet (Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
//! applications", 2017): the paper's table 1, a chain of depthwise and 1x1 convolutions.
//!
//! Each convolution is followed by batch normalization and ReLU. Departures from the paper: the table's
//! last depthwise convolution has a stride of 2 there, and keeps rows and cols, which is a slip: here its
//! stride is 1. torchvision does not have this network; the names are our own.

use striate_nn::{ConvSpec, NetworkSpec, batch_norm, conv2d};

use crate::blocks::{depthwise, normalized};

/// The rows of the paper's table: outputs of the 1x1 convolution, and the stride of the depthwise one
/// before it.
const ROWS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// The paper's network of full width.
pub fn mobilenet_v1() -> NetworkSpec {
    let convolution = |x, conv: ConvSpec| normalized(x, conv, batch_norm()).relu();
    let mut spec = NetworkSpec::new([224, 224, 3])
        .with_name("mobilenet-v1")
        .with_image([256, 256])
        .named("conv", |x| convolution(x, conv2d(32, 3).stride(2).padding(1)));
    let mut channels = 32;
    for (place, (count, stride)) in (1..).zip(ROWS) {
        let block = |x: NetworkSpec| {
            x.named("depthwise", |x| convolution(x, depthwise(channels, 3).stride(stride)))
                .named("pointwise", |x| convolution(x, conv2d(count, 1)))
        };
        spec = spec.named(&format!("block{place}"), block);
        channels = count;
    }
    spec.named("avgpool", NetworkSpec::global_avg_pool).named("fc", |x| x.full_connect(1000))
}
