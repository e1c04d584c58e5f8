//! Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016): the
//! paper's table 1 at 299 pixels, as torchvision has it, with the names of its state dicts.
//!
//! | modules | output | | paper |
//! | --- | --- | --- | --- |
//! | Conv2d_1a to 2b | 147x147x64 | 3x3 (stride 2), 3x3, 3x3 padded | |
//! | maxpool1 | 73x73x64 | 3x3, stride 2 | |
//! | Conv2d_3b, 4a | 71x71x192 | 1x1 of 80, 3x3 | 3x3 of 80, stride 1 |
//! | maxpool2 | 35x35x192 | 3x3, stride 2 | 3x3 convolution, stride 2 |
//! | Mixed_5b to 5d | 35x35x288 | figure 5 | |
//! | Mixed_6a to 6e | 17x17x768 | figures 10 and 6 | |
//! | Mixed_7a to 7c | 8x8x2048 | figures 10 and 7 | |
//! | fc | 1000 | mean of all pixels, full connect | |
//!
//! Departures from the paper: those in the table's last column, and 5x5 convolutions in the first three
//! modules, are as in the network that the authors published and torchvision took over. Its weights were
//! trained on pixels of -1 to 1; torchvision's own `transform_input` is no part of this network.

use striate_nn::{ConvSpec, NetworkSpec, PerAxis, batch_norm, conv2d, pool};

/// How much the loss of the auxiliary classifier counts beside the network's own.
const AUXILIARY_WEIGHT: f32 = 0.4;

/// torchvision's `inception_v3`, with its auxiliary classifier, which training alone computes.
pub fn inception_v3() -> NetworkSpec {
    network("inception-v3", true)
}

/// torchvision's `inception_v3` without auxiliary classifier.
pub fn inception_v3_without_auxiliary() -> NetworkSpec {
    network("inception-v3-no-aux", false)
}

fn network(name: &str, has_auxiliary: bool) -> NetworkSpec {
    let halving = || pool(3).stride(2).first_maximum();
    let mut spec = NetworkSpec::new([299, 299, 3])
        .with_name(name)
        .with_image([342, 342])
        .named("Conv2d_1a_3x3", |x| steps(x, 32, 3, 2))
        .named("Conv2d_2a_3x3", |x| steps(x, 32, 3, 1))
        .named("Conv2d_2b_3x3", |x| same(x, 64, 3))
        .named("maxpool1", |x| x.max_pool(halving()))
        .named("Conv2d_3b_1x1", |x| same(x, 80, 1))
        .named("Conv2d_4a_3x3", |x| steps(x, 192, 3, 1))
        .named("maxpool2", |x| x.max_pool(halving()));
    for (name, projection) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        spec = spec.named(name, |x| figure_5(x, projection));
    }
    spec = spec.named("Mixed_6a", figure_10);
    for (name, width) in
        [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]
    {
        spec = spec.named(name, |x| figure_6(x, width));
    }
    if has_auxiliary {
        spec = spec.auxiliary("aux", AUXILIARY_WEIGHT, |x| x.named("AuxLogits", auxiliary));
    }
    spec.named("Mixed_7a", figure_10_at_17)
        .named("Mixed_7b", figure_7)
        .named("Mixed_7c", figure_7)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("dropout", |x| x.dropout(0.5))
        .named("fc", |x| x.full_connect(1000))
}

/// Convolutions of one size, 5x5 and twice 3x3 side by side.
fn figure_5(x: NetworkSpec, projection: usize) -> NetworkSpec {
    x.branches(|b| {
        b.path(|x| x.named("branch1x1", |x| same(x, 64, 1)))
            .path(|x| {
                x.named("branch5x5_1", |x| same(x, 48, 1)).named("branch5x5_2", |x| same(x, 64, 5))
            })
            .path(|x| {
                x.named("branch3x3dbl_1", |x| same(x, 64, 1))
                    .named("branch3x3dbl_2", |x| same(x, 96, 3))
                    .named("branch3x3dbl_3", |x| same(x, 96, 3))
            })
            .path(|x| pooled(x, projection))
            .concatenate()
    })
}

/// From 35x35 to 17x17.
fn figure_10(x: NetworkSpec) -> NetworkSpec {
    x.branches(|b| {
        b.path(|x| x.named("branch3x3", |x| steps(x, 384, 3, 2)))
            .path(|x| {
                x.named("branch3x3dbl_1", |x| same(x, 64, 1))
                    .named("branch3x3dbl_2", |x| same(x, 96, 3))
                    .named("branch3x3dbl_3", |x| steps(x, 96, 3, 2))
            })
            .path(|x| x.max_pool(pool(3).stride(2).first_maximum()))
            .concatenate()
    })
}

/// 7x7 in two halves, once and twice.
fn figure_6(x: NetworkSpec, width: usize) -> NetworkSpec {
    x.branches(|b| {
        b.path(|x| x.named("branch1x1", |x| same(x, 192, 1)))
            .path(|x| {
                x.named("branch7x7_1", |x| same(x, width, 1))
                    .named("branch7x7_2", |x| same(x, width, [1, 7]))
                    .named("branch7x7_3", |x| same(x, 192, [7, 1]))
            })
            .path(|x| {
                x.named("branch7x7dbl_1", |x| same(x, width, 1))
                    .named("branch7x7dbl_2", |x| same(x, width, [7, 1]))
                    .named("branch7x7dbl_3", |x| same(x, width, [1, 7]))
                    .named("branch7x7dbl_4", |x| same(x, width, [7, 1]))
                    .named("branch7x7dbl_5", |x| same(x, 192, [1, 7]))
            })
            .path(|x| pooled(x, 192))
            .concatenate()
    })
}

/// From 17x17 to 8x8.
fn figure_10_at_17(x: NetworkSpec) -> NetworkSpec {
    x.branches(|b| {
        b.path(|x| {
            x.named("branch3x3_1", |x| same(x, 192, 1))
                .named("branch3x3_2", |x| steps(x, 320, 3, 2))
        })
        .path(|x| {
            x.named("branch7x7x3_1", |x| same(x, 192, 1))
                .named("branch7x7x3_2", |x| same(x, 192, [1, 7]))
                .named("branch7x7x3_3", |x| same(x, 192, [7, 1]))
                .named("branch7x7x3_4", |x| steps(x, 192, 3, 2))
        })
        .path(|x| x.max_pool(pool(3).stride(2).first_maximum()))
        .concatenate()
    })
}

/// 3x3 in two halves side by side, once and after another 3x3.
fn figure_7(x: NetworkSpec) -> NetworkSpec {
    let halves = |x: NetworkSpec, rows: &str, cols: &str| {
        x.branches(|b| {
            b.path(|x| x.named(rows, |x| same(x, 384, [1, 3])))
                .path(|x| x.named(cols, |x| same(x, 384, [3, 1])))
                .concatenate()
        })
    };
    x.branches(|b| {
        b.path(|x| x.named("branch1x1", |x| same(x, 320, 1)))
            .path(|x| {
                let x = x.named("branch3x3_1", |x| same(x, 384, 1));
                halves(x, "branch3x3_2a", "branch3x3_2b")
            })
            .path(|x| {
                let x = x
                    .named("branch3x3dbl_1", |x| same(x, 448, 1))
                    .named("branch3x3dbl_2", |x| same(x, 384, 3));
                halves(x, "branch3x3dbl_3a", "branch3x3dbl_3b")
            })
            .path(|x| pooled(x, 192))
            .concatenate()
    })
}

/// A module's branch of average pooling, which counts the padding.
fn pooled(x: NetworkSpec, count: usize) -> NetworkSpec {
    x.avg_pool(pool(3).stride(1).padding(1).count_padding())
        .named("branch_pool", |x| same(x, count, 1))
}

/// The classifier beside the last module of 17x17 pixels.
fn auxiliary(x: NetworkSpec) -> NetworkSpec {
    x.named("pool", |x| x.avg_pool(pool(5).stride(3)))
        .named("conv0", |x| same(x, 128, 1))
        .named("conv1", |x| steps(x, 768, 5, 1))
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("fc", |x| x.full_connect(1000))
}

/// torchvision's `BasicConv2d`, padded so that rows and cols stay.
fn same(x: NetworkSpec, count: usize, kernel: impl PerAxis) -> NetworkSpec {
    let [rows, cols] = kernel.per_axis();
    basic(x, conv2d(count, [rows, cols]).padding([rows / 2, cols / 2]))
}

/// torchvision's `BasicConv2d` without padding.
fn steps(x: NetworkSpec, count: usize, kernel: usize, stride: usize) -> NetworkSpec {
    basic(x, conv2d(count, kernel).stride(stride))
}

fn basic(x: NetworkSpec, conv: ConvSpec) -> NetworkSpec {
    x.named("conv", |x| x.conv(conv.without_bias()))
        .named("bn", |x| x.batch_norm_with(batch_norm().epsilon(0.001)))
        .relu()
}
