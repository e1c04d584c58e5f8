//! Steps of optimizers: how many weights a dispatch moves.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

mod common;

use striate_ops_wgsl::Options;
use striate_tensor::ops::{Optimize, SgdMomentum};
use striate_tensor::{Device, Op, Tensor, TensorUpdate};

/// The dispatches of a step of 21 weights with so many tensors of state, and the first number of each weight.
fn step(options: Options, op: &Op, states: usize) -> Option<(u64, Vec<f32>)> {
    let gpu = common::gpu(options)?;
    let device = Device::new(gpu.clone());
    let ones = |count| Tensor::ones([count], &device).unwrap();
    let mut targets: Vec<Vec<Tensor>> =
        (1..=21).map(|count| (0..=states).map(|_| ones(40 * count)).collect()).collect();
    let gradients: Vec<Tensor> = (1..=21).map(|count| ones(40 * count)).collect();
    let before = gpu.profile();
    let updates = targets.iter_mut().zip(&gradients).map(|(targets, gradient)| TensorUpdate {
        op: op.clone(),
        targets: targets.iter_mut().collect(),
        inputs: vec![gradient],
    });
    device.update(&mut updates.collect::<Vec<_>>()).unwrap();
    let dispatches = gpu.profile().since(&before).dispatches;
    let first = targets.iter().map(|targets| targets[0].to_vec::<f32>().unwrap()[0]);
    Some((dispatches, first.collect()))
}

#[test]
fn small_weights_move_together() {
    let sgd = SgdMomentum { rate: 0.5, momentum: 0.5, decay: 0.0, scale: 1.0 };
    let adam = Optimize::Adam {
        rate: 0.1,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        decay: 0.0,
        decoupled: false,
        scale: 1.0,
        step: 1_000,
    };
    let average = Optimize::Average { keep: 0.5 };
    // At 8 storage buffers two with a velocity or Adam's moments, four averages.
    for (op, states, most) in [(Op::from(sgd), 1, 11), (adam.into(), 2, 11), (average.into(), 0, 6)]
    {
        let Some((dispatches, expected)) = step(common::default_limits(), &op, states) else {
            return;
        };
        assert_eq!(dispatches, most, "{op:?}");
        let Some((dispatches, moved)) = step(common::full_limits(), &op, states) else { return };
        assert!(dispatches <= most, "{op:?}: {dispatches}");
        assert_eq!(moved, expected, "{op:?}");
    }
}
