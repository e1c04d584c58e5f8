//! OverFeat (Sermanet, Eigen, Zhang, Mathieu, Fergus and LeCun, "OverFeat: integrated recognition,
//! localization and detection using convolutional networks", 2013): the two classifiers of its tables 1
//! and 3. Pooling windows do not overlap and there is no normalization across channels.
//!
//! The paper's table 1 gives the second layer's input as 24x24: it is 28x28 by the table's own kernels
//! and strides, and 24x24 is that layer's output before pooling. The paper trains with biases and does
//! not say what they start from: 0 here.

use striate_nn::{NetworkSpec, conv2d, full_connect, pool};

/// The fast model, table 1: 231 pixels, 145 million parameters.
pub fn overfeat_fast() -> NetworkSpec {
    NetworkSpec::new([231, 231, 3])
        .with_name("overfeat-fast")
        .with_image([256, 256])
        .conv(conv2d(96, 11).stride(4).relu())
        .max_pool(pool(2).stride(2).first_maximum())
        .conv(conv2d(256, 5).relu())
        .max_pool(pool(2).stride(2).first_maximum())
        .conv(conv2d(512, 3).padding(1).relu())
        .conv(conv2d(1024, 3).padding(1).relu())
        .conv(conv2d(1024, 3).padding(1).relu())
        .max_pool(pool(2).stride(2).first_maximum())
        .full_connect(full_connect(3072).relu().dropout(0.5))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(1000)
}

/// The accurate model, table 3: 221 pixels, a finer first layer, one convolution more.
pub fn overfeat_accurate() -> NetworkSpec {
    NetworkSpec::new([221, 221, 3])
        .with_name("overfeat-accurate")
        .with_image([256, 256])
        .conv(conv2d(96, 7).stride(2).relu())
        .max_pool(pool(3).stride(3).first_maximum())
        .conv(conv2d(256, 7).relu())
        .max_pool(pool(2).stride(2).first_maximum())
        .conv(conv2d(512, 3).padding(1).relu())
        .conv(conv2d(512, 3).padding(1).relu())
        .conv(conv2d(1024, 3).padding(1).relu())
        .conv(conv2d(1024, 3).padding(1).relu())
        .max_pool(pool(3).stride(3).first_maximum())
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(1000)
}
