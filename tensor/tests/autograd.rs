//! Backward passes: whole networks against differences, and what the graph promises.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use differences::{assert_gradients, device};
use striate_tensor::ops::*;
use striate_tensor::{RandomKey, Tensor};

/// A small network of the classic kind: convolution, LRN, pooling, full connect, dropout.
fn classic(t: &[Tensor], key: RandomKey) -> striate_tensor::Result<Tensor> {
    let [x, w1, b1, w2, b2, w3, b3] = t else { unreachable!() };
    let conv = Conv2d { stride: [2, 2], padding: [1, 1], relu: true, ..Conv2d::default() };
    let lrn = Lrn { size: 3, kappa: 2.0, alpha: 0.1, beta: 0.75, groups: 1 };
    let full = MatMul { transpose_b: true, relu: true, ..MatMul::default() };
    let labels = Tensor::from_vec(vec![2u32, 0], [2], x.device())?;
    x.conv2d(w1, Some(b1), conv)?
        .lrn(lrn)?
        .max_pool2d(Pool2d::square(2, 1, 0))?
        .flatten()?
        .matmul_with(w2, Some(b2), full)?
        .dropout(0.4, 1.0, key)?
        .matmul_with(w3, Some(b3), MatMul { relu: false, ..full })?
        .cross_entropy(&labels)?
        .mean_all()
}

fn classic_operands(scale: f32) -> Vec<Tensor> {
    let dims: [&[usize]; 7] = [&[2, 7, 7, 3], &[4, 3, 3, 3], &[4], &[5, 36], &[5], &[3, 5], &[3]];
    let key = |i| RandomKey::new(5, i);
    (dims.into_iter().zip(0..))
        .map(|(dims, i)| Tensor::uniform(dims, -scale, scale, key(i), &device()).unwrap())
        .collect()
}

#[test]
fn gradients_of_a_classic_network_are_the_differences() {
    // A seed whose ReLUs and maxima stand clear of their kinks.
    let network = |t: &[Tensor]| classic(t, RandomKey::new(1, 2));
    assert_gradients(&classic_operands(0.7), network, 1.0 / 256.0, 2e-3);
}
