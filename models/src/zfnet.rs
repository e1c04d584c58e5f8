//! ZFNet (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2013): the paper's
//! figure 3, at 224 pixels. [`mattnet`](crate::mattnet) has ccv's variants of it.
//!
//! | layer | output | |
//! | --- | --- | --- |
//! | 1 | 110x110x96 | 7x7, stride 2; 3x3 max pooling to 55x55; normalization |
//! | 2 | 26x26x256 | 5x5, stride 2; 3x3 max pooling to 13x13; normalization |
//! | 3, 4 | 13x13x384 | 3x3 |
//! | 5 | 13x13x256 | 3x3; 3x3 max pooling to 6x6 |
//! | 6, 7 | 4096 | full connect, dropout |
//! | 8 | 1000 | full connect |
//!
//! Departures from the paper: it calls its normalization "contrast normalization" and gives no constants;
//! here it is AlexNet's, over 5 channels.

use striate_nn::{NetworkSpec, conv2d, full_connect, lrn, pool};

/// The paper's network.
pub fn zfnet() -> NetworkSpec {
    let pooling = pool(3).stride(2).first_maximum();
    NetworkSpec::new([224, 224, 3])
        .with_name("zfnet")
        .with_image([256, 256])
        .conv(conv2d(96, 7).stride(2).padding(1).relu())
        // To 55x55 and to 13x13 the last windows reach over the edge.
        .max_pool(pooling.ceil())
        .lrn(lrn(5))
        .conv(conv2d(256, 5).stride(2).relu())
        .max_pool(pooling.ceil())
        .lrn(lrn(5))
        .conv(conv2d(384, 3).padding(1).relu())
        .conv(conv2d(384, 3).padding(1).relu())
        .conv(conv2d(256, 3).padding(1).relu())
        .max_pool(pooling)
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(1000)
}
