//! GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015), twice: [`googlenet`] is
//! torchvision's, [`googlenet_2014`] the paper's.
//!
//! Both are the paper's table 1. torchvision's has batch normalization (epsilon 0.001) after each
//! convolution instead of biases and of local response normalization, and its "5x5" branches are
//! 3x3, by a slip that its trained weights keep. Its nodes have the names of its state dict.

use striate_nn::{BatchNormSpec, ConvSpec, NetworkSpec, PoolSpec, batch_norm, conv2d, lrn, pool};

/// A row of the paper's table: name, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
type Inception = (&'static str, usize, [usize; 2], [usize; 2], usize);

/// The rows between two pooling layers.
const STAGE_3: [Inception; 2] =
    [("inception3a", 64, [96, 128], [16, 32], 32), ("inception3b", 128, [128, 192], [32, 96], 64)];
const STAGE_4: [Inception; 5] = [
    ("inception4a", 192, [96, 208], [16, 48], 64),
    ("inception4b", 160, [112, 224], [24, 64], 64),
    ("inception4c", 128, [128, 256], [24, 64], 64),
    ("inception4d", 112, [144, 288], [32, 64], 64),
    ("inception4e", 256, [160, 320], [32, 128], 128),
];
const STAGE_5: [Inception; 2] = [
    ("inception5a", 256, [160, 320], [32, 128], 128),
    ("inception5b", 384, [192, 384], [48, 128], 128),
];

/// Where the auxiliary classifiers stand: their name, and the row that they follow.
const AUXILIARY: [(&str, &str); 2] = [("aux1", "inception4a"), ("aux2", "inception4d")];

/// How much the loss of an auxiliary classifier counts beside the network's own.
const AUXILIARY_WEIGHT: f32 = 0.3;

/// A convolution with what follows each one of a network.
type Convolution = fn(NetworkSpec, ConvSpec) -> NetworkSpec;

/// torchvision's `googlenet`, with its two auxiliary classifiers, which training alone computes: their
/// losses count 0.3 each. Their inputs are brought to 4x4 pixels by adaptive pooling, where the paper has
/// windows of 5x5 with a stride of 3.
pub fn googlenet() -> NetworkSpec {
    torchvision("googlenet", true)
}

/// torchvision's `googlenet` without auxiliary classifiers, as it is loaded for inference.
pub fn googlenet_without_auxiliary() -> NetworkSpec {
    torchvision("googlenet-no-aux", false)
}

/// The paper's network: biases, local response normalization around the second stage, 5x5 branches, and
/// two auxiliary classifiers.
///
/// What the paper leaves open is as in Caffe's `bvlc_googlenet`: pooling windows over the edge,
/// normalization over 5 channels, biases that start at 0.2. Caffe divides alpha by the window's size,
/// so its 0.0001 over 5 channels is 0.00002 here.
pub fn googlenet_2014() -> NetworkSpec {
    let normalization = lrn(5).kappa(1.0).alpha(1e-4 / 5.0);
    let spec = start("googlenet-2014")
        .named("conv1", |x| biased(x, conv2d(64, 7).stride(2).padding(3)))
        .named("maxpool1", |x| x.max_pool(halving()))
        .named("norm1", |x| x.lrn(normalization))
        .named("conv2_reduce", |x| biased(x, conv2d(64, 1)))
        .named("conv2", |x| biased(x, conv2d(192, 3).padding(1)))
        .named("norm2", |x| x.lrn(normalization))
        .named("maxpool2", |x| x.max_pool(halving()));
    let auxiliary =
        |x: NetworkSpec| auxiliary(x.named("pool", |x| x.avg_pool(pool(5).stride(3))), biased);
    end(rows(spec, halving(), inception_2014, Some(auxiliary)), 0.4)
}

fn torchvision(name: &str, has_auxiliary: bool) -> NetworkSpec {
    let spec = start(name)
        .named("conv1", |x| normalized(x, conv2d(64, 7).stride(2).padding(3)))
        .named("maxpool1", |x| x.max_pool(halving()))
        .named("conv2", |x| normalized(x, conv2d(64, 1)))
        .named("conv3", |x| normalized(x, conv2d(192, 3).padding(1)))
        .named("maxpool2", |x| x.max_pool(halving()));
    let last_pool = pool(2).stride(2).ceil().first_maximum();
    let auxiliary =
        |x: NetworkSpec| auxiliary(x.named("pool", |x| x.adaptive_avg_pool(4)), normalized);
    end(rows(spec, last_pool, inception, has_auxiliary.then_some(auxiliary)), 0.2)
}

/// A module of the paper, whose parts have the names of its table's columns.
fn inception_2014(x: NetworkSpec, row: Inception) -> NetworkSpec {
    let (_, one, [reduce_3, three], [reduce_5, five], projection) = row;
    x.branches(|b| {
        b.path(|x| x.named("1x1", |x| biased(x, conv2d(one, 1))))
            .path(|x| {
                x.named("3x3_reduce", |x| biased(x, conv2d(reduce_3, 1)))
                    .named("3x3", |x| biased(x, conv2d(three, 3).padding(1)))
            })
            .path(|x| {
                x.named("5x5_reduce", |x| biased(x, conv2d(reduce_5, 1)))
                    .named("5x5", |x| biased(x, conv2d(five, 5).padding(2)))
            })
            .path(|x| {
                x.named("pool", |x| x.max_pool(keeping()))
                    .named("pool_proj", |x| biased(x, conv2d(projection, 1)))
            })
            .concatenate()
    })
}

/// torchvision's module: its third branch is the table's "5x5" in 3x3.
fn inception(x: NetworkSpec, row: Inception) -> NetworkSpec {
    let (_, one, three, five, projection) = row;
    let two = |x: NetworkSpec, [reduce, count]: [usize; 2]| {
        x.named("0", |x| normalized(x, conv2d(reduce, 1)))
            .named("1", |x| normalized(x, conv2d(count, 3).padding(1)))
    };
    x.branches(|b| {
        b.path(|x| x.named("branch1", |x| normalized(x, conv2d(one, 1))))
            .path(|x| x.named("branch2", |x| two(x, three)))
            .path(|x| x.named("branch3", |x| two(x, five)))
            .path(|x| {
                x.named("branch4", |x| {
                    x.max_pool(keeping().ceil())
                        .named("1", |x| normalized(x, conv2d(projection, 1)))
                })
            })
            .concatenate()
    })
}

/// An auxiliary classifier but for its pooling to 4x4 pixels.
fn auxiliary(x: NetworkSpec, convolution: Convolution) -> NetworkSpec {
    x.named("conv", |x| convolution(x, conv2d(128, 1)))
        .named("fc1", |x| x.full_connect(1024))
        .relu()
        .dropout(0.7)
        .named("fc2", |x| x.full_connect(1000))
}

fn start(name: &str) -> NetworkSpec {
    NetworkSpec::new([224, 224, 3]).with_name(name).with_image([256, 256])
}

/// The inception modules, a stage after another, with the auxiliary classifiers in their places.
fn rows(
    mut spec: NetworkSpec,
    last_pool: PoolSpec,
    inception: fn(NetworkSpec, Inception) -> NetworkSpec,
    with_auxiliary: Option<fn(NetworkSpec) -> NetworkSpec>,
) -> NetworkSpec {
    let stages: [(&[Inception], _); 3] = [
        (&STAGE_3, Some(("maxpool3", halving()))),
        (&STAGE_4, Some(("maxpool4", last_pool))),
        (&STAGE_5, None),
    ];
    for (rows, after) in stages {
        for &row in rows {
            spec = spec.named(row.0, |x| inception(x, row));
            let here = AUXILIARY.iter().find(|(_, follows)| *follows == row.0);
            if let (Some((name, _)), Some(head)) = (here, with_auxiliary) {
                spec = spec.auxiliary(name, AUXILIARY_WEIGHT, |x| x.named(name, head));
            }
        }
        if let Some((name, pooling)) = after {
            spec = spec.named(name, |x| x.max_pool(pooling));
        }
    }
    spec
}

fn end(spec: NetworkSpec, dropout: f32) -> NetworkSpec {
    spec.named("avgpool", NetworkSpec::global_avg_pool)
        .named("dropout", |x| x.dropout(dropout))
        .named("fc", |x| x.full_connect(1000))
}

/// Pooling that halves an even extent: its last windows reach over the edge.
fn halving() -> PoolSpec {
    pool(3).stride(2).ceil().first_maximum()
}

/// Pooling that keeps rows and cols.
fn keeping() -> PoolSpec {
    pool(3).stride(1).padding(1).first_maximum()
}

/// The paper's convolution, ReLU behind it.
fn biased(x: NetworkSpec, conv: ConvSpec) -> NetworkSpec {
    x.conv(conv.bias(0.2).relu())
}

/// torchvision's `BasicConv2d`.
fn normalized(x: NetworkSpec, conv: ConvSpec) -> NetworkSpec {
    let norm: BatchNormSpec = batch_norm().epsilon(0.001);
    x.named("conv", |x| x.conv(conv.without_bias())).named("bn", |x| x.batch_norm_with(norm)).relu()
}
