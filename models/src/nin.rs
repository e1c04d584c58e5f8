//! Network in Network (Lin, Chen and Yan, "Network in network", 2013): 1x1 convolutions after each
//! convolution, and the mean of each class's feature map instead of full-connect layers.
//!
//! The paper gives the CIFAR-10 network's outline alone; counts, kernels and names are those of the
//! definitions that its authors put into Caffe's model zoo. Caffe counts pooling windows upwards.

use striate_nn::{NetworkSpec, PoolSpec, conv2d, pool};

/// The ImageNet network of the zoo: 224 pixels.
pub fn nin() -> NetworkSpec {
    NetworkSpec::new([224, 224, 3])
        .with_name("nin")
        .with_image([256, 256])
        .named("conv1", |x| x.conv(conv2d(96, 11).stride(4).relu()))
        .named("cccp1", |x| x.conv(conv2d(96, 1).relu()))
        .named("cccp2", |x| x.conv(conv2d(96, 1).relu()))
        .named("pool1", |x| x.max_pool(halving().first_maximum()))
        .named("conv2", |x| x.conv(conv2d(256, 5).padding(2).relu()))
        .named("cccp3", |x| x.conv(conv2d(256, 1).relu()))
        .named("cccp4", |x| x.conv(conv2d(256, 1).relu()))
        .named("pool2", |x| x.max_pool(halving().first_maximum()))
        .named("conv3", |x| x.conv(conv2d(384, 3).padding(1).relu()))
        .named("cccp5", |x| x.conv(conv2d(384, 1).relu()))
        .named("cccp6", |x| x.conv(conv2d(384, 1).relu()))
        .named("pool3", |x| x.max_pool(halving().first_maximum()))
        .named("drop", |x| x.dropout(0.5))
        .named("conv4-1024", |x| x.conv(conv2d(1024, 3).padding(1).relu()))
        .named("cccp7-1024", |x| x.conv(conv2d(1024, 1).relu()))
        .named("cccp8-1024", |x| x.conv(conv2d(1000, 1).relu()))
        .named("pool4", NetworkSpec::global_avg_pool)
        .flatten()
}

/// The CIFAR-10 network of the zoo: 32 pixels, 10 classes.
pub fn nin_cifar10() -> NetworkSpec {
    NetworkSpec::new([32, 32, 3])
        .with_name("nin-cifar10")
        .named("conv1", |x| x.conv(conv2d(192, 5).padding(2).relu()))
        .named("cccp1", |x| x.conv(conv2d(160, 1).relu()))
        .named("cccp2", |x| x.conv(conv2d(96, 1).relu()))
        .named("pool1", |x| x.max_pool(halving().first_maximum()))
        .named("drop3", |x| x.dropout(0.5))
        .named("conv2", |x| x.conv(conv2d(192, 5).padding(2).relu()))
        .named("cccp3", |x| x.conv(conv2d(192, 1).relu()))
        .named("cccp4", |x| x.conv(conv2d(192, 1).relu()))
        .named("pool2", |x| x.avg_pool(halving()))
        .named("drop6", |x| x.dropout(0.5))
        .named("conv3", |x| x.conv(conv2d(192, 3).padding(1).relu()))
        .named("cccp5", |x| x.conv(conv2d(192, 1).relu()))
        .named("cccp6", |x| x.conv(conv2d(10, 1).relu()))
        .named("pool3", NetworkSpec::global_avg_pool)
        .flatten()
}

/// Pooling that halves: its last windows reach over the edge.
fn halving() -> PoolSpec {
    pool(3).stride(2).ceil()
}
