//! MobileNetV2 (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018): the
//! paper's table 2, as torchvision has it, with the names of its state dicts.
//!
//! Departures from the paper: none in what is computed (dropout of 0.2 before the last layer is as in the
//! authors' program).

use striate_nn::{NetworkSpec, batch_norm, conv2d};

use crate::blocks::{depthwise, normalized};

/// A row of the paper's table: expansion t, output channels c, repeats n, stride s of the first.
type Row = (usize, usize, usize, usize);

const ROWS: [Row; 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Channels of the first convolution, and of the last.
const ENDS: [usize; 2] = [32, 1280];

/// torchvision's `mobilenet_v2`: full width.
pub fn mobilenet_v2() -> NetworkSpec {
    let features = |x: NetworkSpec| {
        let mut channels = ENDS[0];
        let first = conv2d(channels, 3).stride(2).padding(1);
        let mut x = x.named("0", |x| normalized(x, first, batch_norm()).relu6());
        let mut place = 1;
        for (expansion, count, repeats, stride) in ROWS {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                let block = Block { channels, expansion, count, stride };
                x = x.named(&place.to_string(), |x| block.build(x));
                (channels, place) = (count, place + 1);
            }
        }
        let last = conv2d(ENDS[1], 1);
        x.named(&place.to_string(), |x| normalized(x, last, batch_norm()).relu6())
    };
    NetworkSpec::new([224, 224, 3])
        .with_name("mobilenet-v2")
        .with_image([256, 256])
        .named("features", features)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", |x| x.dropout(0.2).full_connect(1000))
}

/// A block in its place.
struct Block {
    channels: usize,
    expansion: usize,
    count: usize,
    stride: usize,
}

impl Block {
    /// An inverted residual: 1x1, depthwise 3x3, 1x1 without activation; its input is added where the
    /// shape stays.
    fn build(&self, x: NetworkSpec) -> NetworkSpec {
        let Block { channels, expansion, count, stride } = *self;
        let expanded = channels * expansion;
        let norm = batch_norm();
        let main = |x: NetworkSpec| {
            let mut x = x;
            let mut parts = vec![depthwise(expanded, 3).stride(stride)];
            if expansion > 1 {
                parts.insert(0, conv2d(expanded, 1));
            }
            let last = parts.len();
            for (place, conv) in parts.into_iter().enumerate() {
                let part = |x| normalized(x, conv, norm).relu6();
                x = x.named(&place.to_string(), part);
            }
            x.named(&last.to_string(), |x| x.conv(conv2d(count, 1).without_bias()))
                .named(&(last + 1).to_string(), NetworkSpec::batch_norm)
        };
        if stride == 1 && channels == count {
            return x.residual(|x| x.named("conv", main));
        }
        x.named("conv", main)
    }
}
