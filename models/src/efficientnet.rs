//! EfficientNet (Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
//! 2019) and EfficientNetV2 (the same, "EfficientNetV2: smaller models and faster training", 2021), as
//! torchvision has them, with the names of its state dicts. [`efficientnet_lite`](crate::efficientnet_lite)
//! has the Lite variants.
//!
//! Departures from the papers: convolutions are padded evenly, as in torchvision; the authors' program
//! pads an even extent by one pixel less at the top and left.

use striate_nn::{BatchNormSpec, NetworkSpec, batch_norm, conv2d, squeeze_excite};
use striate_tensor::ops::UnaryKind;

use crate::blocks::{depthwise, normalized, rounded};

/// The two blocks.
#[derive(Clone, Copy, PartialEq)]
enum Operator {
    /// 1x1, depthwise, squeeze and excitation, 1x1.
    MbConv,
    /// The first two as one convolution, without squeeze and excitation.
    Fused,
}

use Operator::{Fused, MbConv};

/// A row of the papers' tables: operator, expansion, kernel, stride of the first, output channels,
/// layers.
type Row = (Operator, f64, usize, usize, f64, usize);

/// Table 1 of the first paper, B0.
const B0: [Row; 7] = [
    (MbConv, 1.0, 3, 1, 16.0, 1),
    (MbConv, 6.0, 3, 2, 24.0, 2),
    (MbConv, 6.0, 5, 2, 40.0, 2),
    (MbConv, 6.0, 3, 2, 80.0, 3),
    (MbConv, 6.0, 5, 1, 112.0, 3),
    (MbConv, 6.0, 5, 2, 192.0, 4),
    (MbConv, 6.0, 3, 1, 320.0, 1),
];

/// Table 4 of the second paper, S.
const V2_S: [Row; 6] = [
    (Fused, 1.0, 3, 1, 24.0, 2),
    (Fused, 4.0, 3, 2, 48.0, 4),
    (Fused, 4.0, 3, 2, 64.0, 4),
    (MbConv, 4.0, 3, 2, 128.0, 6),
    (MbConv, 6.0, 3, 1, 160.0, 9),
    (MbConv, 6.0, 3, 2, 256.0, 15),
];

/// M.
const V2_M: [Row; 7] = [
    (Fused, 1.0, 3, 1, 24.0, 3),
    (Fused, 4.0, 3, 2, 48.0, 5),
    (Fused, 4.0, 3, 2, 80.0, 5),
    (MbConv, 4.0, 3, 2, 160.0, 7),
    (MbConv, 6.0, 3, 1, 176.0, 14),
    (MbConv, 6.0, 3, 2, 304.0, 18),
    (MbConv, 6.0, 3, 1, 512.0, 5),
];

/// L.
const V2_L: [Row; 7] = [
    (Fused, 1.0, 3, 1, 32.0, 4),
    (Fused, 4.0, 3, 2, 64.0, 7),
    (Fused, 4.0, 3, 2, 96.0, 7),
    (MbConv, 4.0, 3, 2, 192.0, 10),
    (MbConv, 6.0, 3, 1, 224.0, 19),
    (MbConv, 6.0, 3, 2, 384.0, 25),
    (MbConv, 6.0, 3, 1, 640.0, 7),
];

/// What a network has beside its rows.
struct Scale {
    /// Pixels that it sees, and of the whole image, a side.
    sides: [usize; 2],
    /// Times the channels, and times the layers, of the rows.
    width: f64,
    depth: f64,
    /// Channels of the first convolution before they are scaled, and of the last one.
    first: f64,
    last: usize,
    dropout: f32,
    norm: BatchNormSpec,
}

/// Layers are left out in training at a rate that grows to this, from the first to the last.
const STOCHASTIC_DEPTH: f64 = 0.2;

/// B0 of the first paper.
pub fn efficientnet_b0() -> NetworkSpec {
    first_version("efficientnet-b0", [224, 256], 1.0, 1.0, 0.2, batch_norm())
}

/// B1.
pub fn efficientnet_b1() -> NetworkSpec {
    first_version("efficientnet-b1", [240, 256], 1.0, 1.1, 0.2, batch_norm())
}

/// B2.
pub fn efficientnet_b2() -> NetworkSpec {
    first_version("efficientnet-b2", [288, 288], 1.1, 1.2, 0.3, batch_norm())
}

/// B3.
pub fn efficientnet_b3() -> NetworkSpec {
    first_version("efficientnet-b3", [300, 320], 1.2, 1.4, 0.3, batch_norm())
}

/// B4.
pub fn efficientnet_b4() -> NetworkSpec {
    first_version("efficientnet-b4", [380, 384], 1.4, 1.8, 0.4, batch_norm())
}

/// B5.
pub fn efficientnet_b5() -> NetworkSpec {
    first_version("efficientnet-b5", [456, 456], 1.6, 2.2, 0.4, authors_norm())
}

/// B6.
pub fn efficientnet_b6() -> NetworkSpec {
    first_version("efficientnet-b6", [528, 528], 1.8, 2.6, 0.5, authors_norm())
}

/// B7.
pub fn efficientnet_b7() -> NetworkSpec {
    first_version("efficientnet-b7", [600, 600], 2.0, 3.1, 0.5, authors_norm())
}

/// S of the second paper.
pub fn efficientnet_v2_s() -> NetworkSpec {
    second_version("efficientnet-v2-s", [384, 384], &V2_S, 24.0, 0.2)
}

/// M.
pub fn efficientnet_v2_m() -> NetworkSpec {
    second_version("efficientnet-v2-m", [480, 480], &V2_M, 24.0, 0.3)
}

/// L.
pub fn efficientnet_v2_l() -> NetworkSpec {
    second_version("efficientnet-v2-l", [480, 480], &V2_L, 32.0, 0.4)
}

/// The constants of the authors' program, which torchvision has from B5 on.
fn authors_norm() -> BatchNormSpec {
    batch_norm().epsilon(0.001).momentum(0.01)
}

fn first_version(
    name: &str,
    sides: [usize; 2],
    width: f64,
    depth: f64,
    dropout: f32,
    norm: BatchNormSpec,
) -> NetworkSpec {
    let last = 4 * rounded(B0[6].4 * width);
    network(name, &B0, &Scale { sides, width, depth, first: 32.0, last, dropout, norm })
}

fn second_version(
    name: &str,
    sides: [usize; 2],
    rows: &[Row],
    first: f64,
    dropout: f32,
) -> NetworkSpec {
    let norm = batch_norm().epsilon(0.001);
    let last = 1280;
    network(name, rows, &Scale { sides, width: 1.0, depth: 1.0, first, last, dropout, norm })
}

fn network(name: &str, rows: &[Row], scale: &Scale) -> NetworkSpec {
    let Scale { sides: [side, image], width, depth, norm, .. } = *scale;
    let layers_of = |row: &Row| (row.5 as f64 * depth).ceil() as usize;
    let total: usize = rows.iter().map(layers_of).sum();
    let features = |x: NetworkSpec| {
        let mut channels = rounded(scale.first * width);
        let first = conv2d(channels, 3).stride(2).padding(1);
        let mut x = x.named("0", |x| normalized(x, first, norm).silu());
        let mut done = 0;
        for (stage, row) in (1..).zip(rows) {
            let (operator, expansion, kernel, stride, count, _) = *row;
            let count = rounded(count * width);
            for layer in 0..layers_of(row) {
                let stride = if layer == 0 { stride } else { 1 };
                let drop = (STOCHASTIC_DEPTH * f64::from(done) / total as f64) as f32;
                let block = Block { operator, channels, expansion, kernel, stride, count, drop };
                x = x.named(&format!("{stage}.{layer}"), |x| block.build(x, norm));
                (channels, done) = (count, done + 1);
            }
        }
        let place = (rows.len() + 1).to_string();
        x.named(&place, |x| normalized(x, conv2d(scale.last, 1), norm).silu())
    };
    NetworkSpec::new([side, side, 3])
        .with_name(name)
        .with_image([image, image])
        .named("features", features)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", |x| x.dropout(scale.dropout).full_connect(1000))
}

/// A block in its place.
struct Block {
    operator: Operator,
    channels: usize,
    expansion: f64,
    kernel: usize,
    stride: usize,
    count: usize,
    /// The rate at which training leaves the block out.
    drop: f32,
}

impl Block {
    /// The block's input is added where the shape stays.
    fn build(&self, x: NetworkSpec, norm: BatchNormSpec) -> NetworkSpec {
        let main = |x: NetworkSpec| {
            x.named("block", |x| match self.operator {
                MbConv => self.mb_conv(x, norm),
                Fused => self.fused(x, norm),
            })
        };
        if self.stride > 1 || self.channels != self.count {
            return main(x);
        }
        x.residual(|x| {
            let x = main(x);
            if self.drop > 0.0 { x.stochastic_depth(self.drop) } else { x }
        })
    }

    fn expanded(&self) -> usize {
        rounded(self.channels as f64 * self.expansion)
    }

    fn mb_conv(&self, mut x: NetworkSpec, norm: BatchNormSpec) -> NetworkSpec {
        let expanded = self.expanded();
        let mut place = 0;
        if expanded != self.channels {
            x = x.named("0", |x| normalized(x, conv2d(expanded, 1), norm).silu());
            place = 1;
        }
        let depthwise = depthwise(expanded, self.kernel).stride(self.stride);
        let squeeze =
            squeeze_excite(expanded, (self.channels / 4).max(1)).activation(UnaryKind::Silu);
        x.named(&place.to_string(), |x| normalized(x, depthwise, norm).silu())
            .named(&(place + 1).to_string(), |x| x.squeeze_excite(squeeze))
            .named(&(place + 2).to_string(), |x| normalized(x, conv2d(self.count, 1), norm))
    }

    fn fused(&self, x: NetworkSpec, norm: BatchNormSpec) -> NetworkSpec {
        let expanded = self.expanded();
        let padding = self.kernel / 2;
        let whole = |count| conv2d(count, self.kernel).stride(self.stride).padding(padding);
        if expanded == self.channels {
            return x.named("0", |x| normalized(x, whole(self.count), norm).silu());
        }
        x.named("0", |x| normalized(x, whole(expanded), norm).silu())
            .named("1", |x| normalized(x, conv2d(self.count, 1), norm))
    }
}
