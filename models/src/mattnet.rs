//! MattNet (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2013), in
//! the three variants of ccv, all at 225 pixels.

use striate_nn::{NetworkSpec, conv2d, full_connect, lrn, pool};

/// What the variants share: a first convolution of `count` kernels in steps of 2, normalization and
/// pooling to 55x55.
fn start(name: &str, count: usize) -> NetworkSpec {
    NetworkSpec::new([225, 225, 3])
        .with_name(name)
        .with_image([257, 257])
        .conv(conv2d(count, 7).stride(2).padding(1).out_groups(2).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(3).stride(2).groups(2))
}

/// ccv's variant a: AlexNet with smaller kernels and steps at the start.
pub fn mattnet_a() -> NetworkSpec {
    start("mattnet-a", 96)
        .conv(conv2d(256, 5).stride(2).padding(1).groups(2).bias(1.0).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(3).stride(2).groups(2))
        .conv(conv2d(384, 3).padding(1).out_groups(2).relu())
        .conv(conv2d(384, 3).padding(1).groups(2).bias(1.0).relu())
        .conv(conv2d(256, 3).padding(1).groups(2).bias(1.0).relu())
        .max_pool(pool(3).stride(2).groups(2))
        .full_connect(full_connect(4096).relu().dropout(0.5).bias(1.0))
        .full_connect(full_connect(4096).relu().dropout(0.5).bias(1.0))
        .full_connect(1000)
}

/// ccv's variant b: wider and deeper, and average pooling before smaller full-connect layers.
pub fn mattnet_b() -> NetworkSpec {
    let convs = start("mattnet-b", 128)
        .conv(conv2d(384, 5).stride(2).padding(1).groups(2).bias(1.0).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(3).stride(2).groups(2))
        .conv(conv2d(512, 3).padding(1).out_groups(2).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu())
        .conv(conv2d(512, 3).padding(1).out_groups(2).bias(1.0).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu());
    end(convs)
}

/// ccv's variant c, the one that its model file `image-net-2012-matt-c` holds: as b, with the
/// resolution kept longer.
pub fn mattnet_c() -> NetworkSpec {
    let convs = start("mattnet", 128)
        .conv(conv2d(384, 3).padding(1).groups(2).bias(1.0).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(3).stride(2).groups(2))
        .conv(conv2d(512, 3).padding(1).out_groups(2).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu())
        .max_pool(pool(3).stride(2).groups(2))
        .conv(conv2d(512, 3).padding(1).out_groups(2).bias(1.0).relu())
        .conv(conv2d(512, 3).padding(1).groups(2).bias(1.0).relu());
    end(convs)
}

/// What b and c share.
fn end(convs: NetworkSpec) -> NetworkSpec {
    convs
        .max_pool(pool(3).stride(2).groups(2))
        .avg_pool(pool(3).stride(3))
        .full_connect(full_connect(2048).relu().dropout(0.5).bias(1.0))
        .full_connect(full_connect(2048).relu().dropout(0.5).bias(1.0))
        .full_connect(1000)
}
