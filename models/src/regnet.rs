//! RegNet (Radosavovic et al., "Designing network design spaces", 2020): X and Y (with squeeze and
//! excitation) as torchvision lists them, with the names of its state dicts.
//!
//! The paper makes depths and widths from a few numbers; these are the rows of its tables 5 and 6 that
//! come of it. Departures from the paper: torchvision rounds the widths of three of them differently;
//! functions whose names end in `_paper` have the paper's. `regnet_y_128gf` is torchvision's; it is not in
//! the paper.

use striate_nn::{NetworkSpec, batch_norm, conv2d, squeeze_excite};

use crate::blocks::normalized;

/// A network of the paper's tables.
struct Row {
    /// Blocks of each stage.
    depths: [usize; 4],
    /// Channels of each stage.
    widths: [usize; 4],
    /// Channels of a group.
    group: usize,
}

/// Channels of the first convolution.
const FIRST: usize = 32;

/// The first convolution of squeeze and excitation has one output for so many of the block's inputs.
const SQUEEZE: usize = 4;

macro_rules! regnets {
    ($($(#[$doc:meta])* $function:ident $name:literal $build:ident $depths:expr, $widths:expr, $group:literal;)*) => {$(
        $(#[$doc])*
        pub fn $function() -> NetworkSpec {
            $build($name, &Row { depths: $depths, widths: $widths, group: $group })
        }
    )*};
}

regnets! {
    /// X of 0.4 billion products.
    regnet_x_400mf "regnet-x-400mf" x [1, 2, 7, 12], [32, 64, 160, 400], 16;
    /// X of 0.4 billion products with the paper's widths, as timm has it.
    regnet_x_400mf_paper "regnet-x-400mf-paper" x [1, 2, 7, 12], [32, 64, 160, 384], 16;
    /// X of 0.8 billion products.
    regnet_x_800mf "regnet-x-800mf" x [1, 3, 7, 5], [64, 128, 288, 672], 16;
    /// X of 1.6 billion products.
    regnet_x_1_6gf "regnet-x-1-6gf" x [2, 4, 10, 2], [72, 168, 408, 912], 24;
    /// X of 3.2 billion products.
    regnet_x_3_2gf "regnet-x-3-2gf" x [2, 6, 15, 2], [96, 192, 432, 1008], 48;
    /// X of 8 billion products.
    regnet_x_8gf "regnet-x-8gf" x [2, 5, 15, 1], [80, 240, 720, 1920], 120;
    /// X of 16 billion products.
    regnet_x_16gf "regnet-x-16gf" x [2, 6, 13, 1], [256, 512, 896, 2048], 128;
    /// X of 32 billion products.
    regnet_x_32gf "regnet-x-32gf" x [2, 7, 13, 1], [336, 672, 1344, 2520], 168;
    /// Y of 0.4 billion products.
    regnet_y_400mf "regnet-y-400mf" y [1, 3, 6, 6], [48, 104, 208, 440], 8;
    /// Y of 0.8 billion products.
    regnet_y_800mf "regnet-y-800mf" y [1, 3, 8, 2], [64, 144, 320, 784], 16;
    /// Y of 0.8 billion products with the paper's widths, as timm has it.
    regnet_y_800mf_paper "regnet-y-800mf-paper" y [1, 3, 8, 2], [64, 128, 320, 768], 16;
    /// Y of 1.6 billion products.
    regnet_y_1_6gf "regnet-y-1-6gf" y [2, 6, 17, 2], [48, 120, 336, 888], 24;
    /// Y of 3.2 billion products.
    regnet_y_3_2gf "regnet-y-3-2gf" y [2, 5, 13, 1], [72, 216, 576, 1512], 24;
    /// Y of 8 billion products.
    regnet_y_8gf "regnet-y-8gf" y [2, 4, 10, 1], [224, 448, 896, 2016], 56;
    /// Y of 8 billion products with the paper's widths, as timm has it.
    regnet_y_8gf_paper "regnet-y-8gf-paper" y [2, 4, 10, 1], [168, 448, 896, 2016], 56;
    /// Y of 16 billion products.
    regnet_y_16gf "regnet-y-16gf" y [2, 4, 11, 1], [224, 448, 1232, 3024], 112;
    /// Y of 32 billion products.
    regnet_y_32gf "regnet-y-32gf" y [2, 5, 12, 1], [232, 696, 1392, 3712], 232;
    /// Y of 128 billion products.
    regnet_y_128gf "regnet-y-128gf" y [2, 7, 17, 1], [528, 1056, 2904, 7392], 264;
}

fn x(name: &str, row: &Row) -> NetworkSpec {
    network(name, row, false)
}

fn y(name: &str, row: &Row) -> NetworkSpec {
    network(name, row, true)
}

fn network(name: &str, row: &Row, squeezes: bool) -> NetworkSpec {
    let first = conv2d(FIRST, 3).stride(2).padding(1);
    let trunk = |x: NetworkSpec| {
        let mut x = x;
        let mut channels = FIRST;
        for (stage, (depth, count)) in (1..).zip(row.depths.into_iter().zip(row.widths)) {
            for place in 0..depth {
                let stride = if place == 0 { 2 } else { 1 };
                let block = Block { channels, count, stride, group: row.group, squeezes };
                let name = format!("block{stage}.block{stage}-{place}");
                x = x.named(&name, |x| block.build(x));
                channels = count;
            }
        }
        x
    };
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("stem", |x| normalized(x, first, batch_norm()).relu())
        .named("trunk_output", trunk)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("fc", |x| x.full_connect(1000))
}

/// A block in its place.
struct Block {
    channels: usize,
    count: usize,
    stride: usize,
    group: usize,
    squeezes: bool,
}

impl Block {
    /// The paper's block: 1x1, 3x3 in groups, squeeze and excitation in Y, 1x1; and its input, through
    /// 1x1 where the shape changes.
    fn build(&self, x: NetworkSpec) -> NetworkSpec {
        let Block { channels, count, stride, group, squeezes } = *self;
        let norm = batch_norm();
        let middle = conv2d(count, 3).stride(stride).padding(1).groups(count / group.min(count));
        // Rounded to the nearest, halves to even.
        let squeezed = (channels as f64 / SQUEEZE as f64).round_ties_even() as usize;
        let function = |x: NetworkSpec| {
            let mut x = x
                .named("a", |x| normalized(x, conv2d(count, 1), norm).relu())
                .named("b", |x| normalized(x, middle, norm).relu());
            if squeezes {
                x = x.named("se", |x| x.squeeze_excite(squeeze_excite(count, squeezed)));
            }
            x.named("c", |x| normalized(x, conv2d(count, 1), norm))
        };
        let shortcut = |x: NetworkSpec| match stride > 1 || channels != count {
            true => x.named("proj", |x| normalized(x, conv2d(count, 1).stride(stride), norm)),
            false => x,
        };
        x.residual_with(|x| x.named("f", function), shortcut).named("activation", NetworkSpec::relu)
    }
}
