//! SqueezeNet (Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
//! model size", 2016): the paper's table 1, and the authors' version 1.1, which needs 2.4 times fewer
//! products. The names are those of torchvision's state dicts.
//!
//! Departures from the paper: torchvision's first convolution of 1.0 has no padding, so that it puts out
//! 109x109 pixels and not 111x111; pooling windows reach over the edge (as in the authors' Caffe files).

use striate_nn::{NetworkSpec, conv2d, pool};

/// A row of the paper's table.
#[derive(Clone, Copy)]
enum Row {
    /// s1x1, and as many e1x1 as e3x3.
    Fire(usize, usize),
    /// 3x3 max pooling in steps of 2.
    Pool,
}

use Row::{Fire, Pool};

const VERSION_1_0: [Row; 11] = [
    Pool,
    Fire(16, 64),
    Fire(16, 64),
    Fire(32, 128),
    Pool,
    Fire(32, 128),
    Fire(48, 192),
    Fire(48, 192),
    Fire(64, 256),
    Pool,
    Fire(64, 256),
];

const VERSION_1_1: [Row; 11] = [
    Pool,
    Fire(16, 64),
    Fire(16, 64),
    Pool,
    Fire(32, 128),
    Fire(32, 128),
    Pool,
    Fire(48, 192),
    Fire(48, 192),
    Fire(64, 256),
    Fire(64, 256),
];

/// Version 1.0, the paper's.
pub fn squeezenet1_0() -> NetworkSpec {
    network("squeezenet1-0", 96, 7, &VERSION_1_0)
}

/// Version 1.1: a smaller first convolution, pooling earlier.
pub fn squeezenet1_1() -> NetworkSpec {
    network("squeezenet1-1", 64, 3, &VERSION_1_1)
}

fn network(name: &str, count: usize, kernel: usize, rows: &[Row]) -> NetworkSpec {
    let features = |x: NetworkSpec| {
        let mut x =
            x.named("0", |x| x.conv(conv2d(count, kernel).stride(2))).named("1", NetworkSpec::relu);
        for (place, &row) in rows.iter().enumerate() {
            x = x.named(&(place + 2).to_string(), |x| match row {
                Fire(squeeze, expand) => fire(x, squeeze, expand),
                Pool => x.max_pool(pool(3).stride(2).ceil().first_maximum()),
            });
        }
        x
    };
    let classifier =
        |x: NetworkSpec| x.dropout(0.5).conv(conv2d(1000, 1)).relu().global_avg_pool().flatten();
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("features", features)
        .named("classifier", classifier)
}

/// The module of the paper's figure 1.
fn fire(x: NetworkSpec, squeeze: usize, expand: usize) -> NetworkSpec {
    x.named("squeeze", |x| x.conv(conv2d(squeeze, 1)))
        .named("squeeze_activation", NetworkSpec::relu)
        .branches(|b| {
            b.path(|x| x.named("expand1x1", |x| x.conv(conv2d(expand, 1))).relu())
                .path(|x| x.named("expand3x3", |x| x.conv(conv2d(expand, 3).padding(1))).relu())
                .concatenate()
        })
}
