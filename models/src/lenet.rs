//! LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
//! recognition", 1998), in the form that Caffe's examples made common: two convolutions, max
//! pooling, ReLU.

use striate_nn::{NetworkSpec, conv2d, full_connect, pool};

/// LeNet: 28x28 pixels of one channel, 10 classes. It sees the whole image.
pub fn lenet() -> NetworkSpec {
    NetworkSpec::new([28, 28, 1])
        .with_name("lenet")
        .conv(conv2d(20, 5).relu())
        .max_pool(pool(2).stride(2))
        .conv(conv2d(50, 5).relu())
        .max_pool(pool(2).stride(2))
        .full_connect(full_connect(500).relu().dropout(0.5))
        .full_connect(10)
}
