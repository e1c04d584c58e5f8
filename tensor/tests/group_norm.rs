//! Layer, group and instance normalization: by hand, their gradients against differences, and all of it
//! against the formula composed of other ops.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use differences::{assert_gradients, assert_half_alike, device, halves, values};
use striate_tensor::ops::{GroupNorm, ReduceKind};
use striate_tensor::{Result, Tensor};

fn tensor<const N: usize>(dims: [usize; N], values: &[f32]) -> Tensor {
    Tensor::from_vec(values.to_vec(), dims, &device()).unwrap()
}

#[test]
fn normalization_by_hand() {
    // Two images of one pixel: (1, 3) is 2 ± 1, (5, 11) is 8 ± 3; the variances are 1 and 9.
    let x = tensor([2, 1, 2], &[1., 3., 5., 11.]);
    let (scale, shift) = (tensor([2], &[2., 10.]), tensor([2], &[0.5, 0.25]));
    let layer = x.layer_norm(&scale, &shift, 0.0).unwrap();
    assert_eq!(values(&layer), [-1.5, 10.25, -1.5, 10.25]);
    // With an epsilon of 7 the deviation of the second is 4.
    let layer = x.layer_norm(&scale, &shift, 7.0).unwrap();
    assert_eq!(values(&layer)[2..], [-1.0, 7.75]);
    // One image of two pixels: each channel by itself, 3 ± 2 and 7 ± 4; or all four, of mean 5 and
    // variance (16 + 4 + 0 + 36) / 4 = 14.
    let x = tensor([1, 2, 2], &[1., 3., 5., 11.]);
    let instance = x.instance_norm(&scale, &shift, 0.0).unwrap();
    assert_eq!(values(&instance), [-1.5, -9.75, 2.5, 10.25]);
    let group = x.group_norm(&scale, &shift, GroupNorm::group(1, 2.0)).unwrap();
    assert_eq!(values(&group), [-1.5, -4.75, 0.5, 15.25]);
}

/// The same by other ops, of `x [images, pixels, channels]`.
fn composed(x: &Tensor, scale: &Tensor, shift: &Tensor, norm: GroupNorm) -> Result<Tensor> {
    let e = norm.extents(x.shape())?;
    let parts = x.reshape([e.images, e.pixels, e.groups, e.per_group()])?;
    let centered = parts.sub(&parts.reduce(ReduceKind::Mean, [1, 3], true)?)?;
    let variance = centered.square()?.reduce(ReduceKind::Mean, [1, 3], true)?;
    let y = centered.mul(&variance.affine(1.0, norm.epsilon)?.rsqrt()?)?;
    y.reshape(*x.shape())?.mul(scale)?.add(shift)
}

fn norms() -> impl Iterator<Item = GroupNorm> {
    let groups = [1, 2, 6].into_iter();
    groups.flat_map(|groups| {
        [false, true].map(|pixelwise| GroupNorm { groups, pixelwise, epsilon: 0.25 })
    })
}

#[test]
fn gradients_are_the_differences() {
    for norm in norms() {
        let operands = [halves(&[2, 3, 6], 1), halves(&[6], 2), halves(&[6], 3)];
        let function = |t: &[Tensor]| t[0].group_norm(&t[1], &t[2], norm);
        assert_gradients(&operands, function, 1.0 / 32.0, 5e-4);
        assert_half_alike(&operands, function);
    }
}

/// Whichever operands want a gradient, it is that of the formula.
#[test]
fn is_the_formula_composed_of_other_ops() {
    for norm in norms() {
        let operands = [halves(&[4, 5, 6], 1), halves(&[6], 2), halves(&[6], 3)];
        for wanted in 0..8usize {
            let run = |function: fn(&[Tensor], GroupNorm) -> Result<Tensor>| {
                let wants = |i: usize| wanted >> i & 1 == 1;
                let leaves: Vec<Tensor> = (operands.iter().enumerate())
                    .map(|(i, x)| if wants(i) { x.clone().require_grad() } else { x.clone() })
                    .collect();
                let y = function(&leaves, norm).unwrap();
                let mut all = vec![Some(values(&y))];
                if wanted > 0 {
                    let gradients = y.backward_with(&halves(&[4, 5, 6], 9)).unwrap();
                    all.extend(leaves.iter().map(|x| gradients.get(x).map(values)));
                }
                all
            };
            let fused = run(|t, norm| t[0].group_norm(&t[1], &t[2], norm));
            let plain = run(|t, norm| composed(&t[0], &t[1], &t[2], norm));
            for (what, (got, want)) in fused.iter().zip(&plain).enumerate() {
                assert_eq!(got.is_some(), want.is_some());
                let (Some(got), Some(want)) = (got, want) else { continue };
                let scale = want.iter().fold(1e-2f64, |scale, x| scale.max(x.abs()));
                for (got, want) in got.iter().zip(want) {
                    let close = (got - want).abs() <= 1e-5 * scale;
                    assert!(close, "{norm:?}, {what} of {wanted:03b}: {got}, composed {want}");
                }
            }
        }
    }
}

#[test]
fn no_images_and_no_pixels_have_gradients() {
    for dims in [[0, 3, 4], [2, 0, 4]] {
        let x = Tensor::ones(dims, &device()).unwrap().require_grad();
        let scale = halves(&[4], 1).require_grad();
        let shift = halves(&[4], 2).require_grad();
        for norm in [GroupNorm::layer(1e-5), GroupNorm::group(2, 1e-5)] {
            let y = x.group_norm(&scale, &shift, norm).unwrap();
            let gradients = y.backward_with(&Tensor::ones(dims, &device()).unwrap()).unwrap();
            assert_eq!(gradients.get(&x).unwrap().dims(), dims);
            assert_eq!(values(gradients.get(&scale).unwrap()), [0.0; 4]);
            assert_eq!(values(gradients.get(&shift).unwrap()), [0.0; 4]);
        }
    }
}
