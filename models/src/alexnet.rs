//! AlexNet and its descendants (Krizhevsky, Sutskever and Hinton, "ImageNet classification with
//! deep convolutional neural networks", 2012).

use striate_nn::{NetworkSpec, conv2d, full_connect, lrn, pool};

/// AlexNet as ccv has it: 225 pixels, the second, fourth and fifth convolution in two towers that
/// do not see each other, normalization before pooling.
pub fn alexnet() -> NetworkSpec {
    NetworkSpec::new([225, 225, 3])
        .with_name("alexnet")
        .with_image([257, 257])
        .conv(conv2d(96, 11).stride(4).padding(1).out_groups(2).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(3).stride(2).groups(2))
        .conv(conv2d(256, 5).padding(2).groups(2).bias(1.0).relu())
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

/// AlexNet of Krizhevsky's "One weird trick for parallelizing convolutional neural networks"
/// (2014): one tower, no normalization, 224 pixels. In training it drops the outputs of its first two
/// full-connect layers, as in 2012; [`alexnet_torchvision`] drops their inputs. Inference is the same.
pub fn alexnet_2014() -> NetworkSpec {
    NetworkSpec::new([224, 224, 3])
        .with_name("alexnet-2014")
        .with_image([256, 256])
        // 217 pixels of steps by 4: the last one of them is never seen.
        .conv(conv2d(64, 11).stride(4).padding(2).relu())
        .max_pool(pool(3).stride(2))
        .conv(conv2d(192, 5).padding(2).relu())
        .max_pool(pool(3).stride(2))
        .conv(conv2d(384, 3).padding(1).relu())
        .conv(conv2d(256, 3).padding(1).relu())
        .conv(conv2d(256, 3).padding(1).relu())
        .max_pool(pool(3).stride(2))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(1000)
}

/// torchvision's `alexnet`: [`alexnet_2014`] with dropout on the inputs of its first two full-connect
/// layers, and with the names of torchvision's state dict.
pub fn alexnet_torchvision() -> NetworkSpec {
    let features = |x: NetworkSpec| {
        x.conv(conv2d(64, 11).stride(4).padding(2))
            .relu()
            .max_pool(pool(3).stride(2).first_maximum())
            .conv(conv2d(192, 5).padding(2))
            .relu()
            .max_pool(pool(3).stride(2).first_maximum())
            .conv(conv2d(384, 3).padding(1))
            .relu()
            .conv(conv2d(256, 3).padding(1))
            .relu()
            .conv(conv2d(256, 3).padding(1))
            .relu()
            .max_pool(pool(3).stride(2).first_maximum())
    };
    let classifier = |x: NetworkSpec| {
        x.dropout(0.5)
            .full_connect(4096)
            .relu()
            .dropout(0.5)
            .full_connect(4096)
            .relu()
            .full_connect(1000)
    };
    NetworkSpec::new([224, 224, 3])
        .with_name("alexnet-torchvision")
        .with_image([256, 256])
        .named("features", features)
        .named("classifier", classifier)
}

/// CaffeNet, Caffe's `bvlc_reference_caffenet`: AlexNet at 227 pixels with normalization after
/// pooling, across both towers. Caffe divides alpha by the window's size, so its 0.0001 over 5
/// channels is 0.00002 here.
pub fn caffenet() -> NetworkSpec {
    let normalization = lrn(5).kappa(1.0).alpha(1e-4 / 5.0);
    NetworkSpec::new([227, 227, 3])
        .with_name("caffenet")
        .with_image([256, 256])
        .conv(conv2d(96, 11).stride(4).relu())
        .max_pool(pool(3).stride(2))
        .lrn(normalization)
        .conv(conv2d(256, 5).padding(2).groups(2).bias(1.0).relu())
        .max_pool(pool(3).stride(2))
        .lrn(normalization)
        .conv(conv2d(384, 3).padding(1).relu())
        .conv(conv2d(384, 3).padding(1).groups(2).bias(1.0).relu())
        .conv(conv2d(256, 3).padding(1).groups(2).bias(1.0).relu())
        .max_pool(pool(3).stride(2))
        .full_connect(full_connect(4096).relu().dropout(0.5).bias(1.0))
        .full_connect(full_connect(4096).relu().dropout(0.5).bias(1.0))
        .full_connect(1000)
}
