//! Transposed convolution: by hand, against the convolution that it turns round, and its gradients.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use differences::{assert_gradients, assert_half_alike, device, halves, values};
use striate_tensor::ops::{Conv2d, ConvTranspose2d};
use striate_tensor::{DType, Tensor};

#[test]
fn windows_overlap_and_the_padding_is_cut_off() {
    let tensor = |dims: [usize; 4], values: &[f32]| {
        Tensor::from_vec(values.to_vec(), dims, &device()).unwrap()
    };
    // 1, 10 and 100, each times (1, 2, 3), two pixels apart: 1 2 3 + . . 10 20 30 + . . . . 100 200 300.
    let (x, w) = (tensor([1, 1, 3, 1], &[1., 10., 100.]), tensor([1, 1, 3, 1], &[1., 2., 3.]));
    let twice = ConvTranspose2d { stride: [1, 2], ..ConvTranspose2d::default() };
    let y = |op| values(&x.conv_transpose2d(&w, None, op).unwrap());
    assert_eq!(y(twice), [1., 2., 13., 20., 130., 200., 300.]);
    assert_eq!(y(ConvTranspose2d { padding: [[0, 0], [1, 2]], ..twice }), [2., 13., 20., 130.]);
    let longer = ConvTranspose2d { output_padding: [0, 1], ..twice };
    assert_eq!(y(longer), [1., 2., 13., 20., 130., 200., 300., 0.]);
    let spread = ConvTranspose2d { dilation: [1, 2], stride: [1, 1], ..twice };
    assert_eq!(y(spread), [1., 10., 102., 20., 203., 30., 300.]);
    let bias = Tensor::full([1], 0.5, DType::F32, &device()).unwrap();
    let biased = values(&x.conv_transpose2d(&w, Some(&bias), longer).unwrap());
    assert_eq!(biased, [1.5, 2.5, 13.5, 20.5, 130.5, 200.5, 300.5, 0.5]);
    // Two groups: the second channel goes to the outputs 2 and 3 alone.
    let (x, w) = (tensor([1, 1, 1, 2], &[1., 10.]), tensor([2, 1, 1, 2], &[1., 2., 3., 4.]));
    let groups = ConvTranspose2d { groups: 2, ..ConvTranspose2d::default() };
    assert_eq!(values(&x.conv_transpose2d(&w, None, groups).unwrap()), [1., 2., 30., 40.]);
}

fn cases() -> Vec<([usize; 4], [usize; 4], ConvTranspose2d)> {
    let plain = ConvTranspose2d::default();
    let uneven = ConvTranspose2d {
        stride: [2, 3],
        padding: [[1, 0], [0, 2]],
        output_padding: [1, 2],
        ..plain
    };
    vec![
        ([2, 3, 2, 3], [3, 2, 2, 4], plain),
        ([1, 3, 4, 2], [2, 3, 2, 3], uneven),
        ([1, 2, 3, 4], [4, 2, 3, 2], ConvTranspose2d { groups: 2, dilation: [2, 1], ..uneven }),
        ([2, 2, 2, 3], [3, 3, 3, 1], ConvTranspose2d { groups: 3, stride: [2, 2], ..plain }),
    ]
}

#[test]
fn it_is_the_gradient_of_a_convolution_in_its_input() {
    for (x, w, op) in cases() {
        let (x, w) = (halves(&x, 1), halves(&w, 2));
        let y = x.conv_transpose2d(&w, None, op).unwrap();
        let input = Tensor::zeros(*y.shape(), &device()).unwrap().require_grad();
        let conv = Conv2d { stride: op.stride, padding: op.padding, ..op.conv() };
        let seen = input.conv2d(&w, None, conv).unwrap();
        assert_eq!(seen.dims(), x.dims());
        let gradients = seen.backward_with(&x).unwrap();
        assert_eq!(values(gradients.get(&input).unwrap()), values(&y), "{op:?}");
    }
}

#[test]
fn gradients_are_the_differences() {
    for (x, w, op) in cases() {
        let out = w[3] * op.groups;
        let operands = [halves(&x, 1), halves(&w, 2), halves(&[out], 3)];
        let function = |t: &[Tensor]| t[0].conv_transpose2d(&t[1], Some(&t[2]), op);
        assert_gradients(&operands, function, 0.25, 1e-4);
        assert_half_alike(&operands, function);
    }
}
