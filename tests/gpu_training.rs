//! Training on a graphics adapter: over many steps memory stays what it was, a step that is looked at when
//! the next one has begun never leaves the device without work, and two runs give the same bits.
//!
//! Without an adapter the test says so and passes; with `STRIATE_REQUIRE_GPU=1` it fails.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that unwraps says where it failed"
)]

mod common;

use common::gpu;
use striate::ops_wgsl::{Profile, Wgpu};
use striate::prelude::*;
use striate::train::{PendingStep, TrainOptions, Trainer};

/// Strides, groups, depthwise convolutions, normalization and pooling.
#[rustfmt::skip]
fn network(device: &Device) -> Network {
    NetworkSpec::new([12, 12, 3])
        .conv(conv2d(8, 3).stride(2).padding(1).without_bias()).batch_norm().relu()
        .conv(conv2d(8, 3).padding(1).groups(8)).relu()
        .conv(conv2d(12, 3).padding(1).groups(2)).relu()
        .max_pool(pool(2).stride(2)).full_connect(4)
        .build(device, Seed(3)).unwrap()
}

/// When the host looks at what a step showed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Looks {
    /// Before the backward pass.
    AtOnce,
    /// When the next one has begun.
    AStepLater,
}

/// The bits of all parameters and losses after so many steps, and what one of them asked of the device.
fn trained(gpu: &Wgpu, steps: u64, looks: Looks) -> (Vec<u64>, Profile) {
    let device = Device::new(gpu.clone());
    let mut trainer = Trainer::new(network(&device), TrainOptions::default()).unwrap();
    let key = |stream| RandomKey::new(5, stream);
    let x = Tensor::uniform([8, 12, 12, 3], -1.0, 1.0, key(0), &device).unwrap();
    let labels =
        Tensor::from_vec((0..8).map(|i| i % 4).collect::<Vec<u32>>(), [8], &device).unwrap();
    let mut known = gpu.profile();
    let mut last = known.clone();
    let mut losses = Vec::new();
    let mut before: Option<PendingStep> = None;
    for step in 0..steps {
        // What a step needs is there after some of them.
        if step == 20 {
            known = gpu.profile();
        }
        if step + 1 == steps {
            last = gpu.profile();
        }
        let report = match looks {
            Looks::AtOnce => Some(trainer.step(&x, &labels, step, 0.01).unwrap()),
            Looks::AStepLater => {
                let step = trainer.step_pending(&x, &labels, step, 0.01).unwrap();
                before.replace(step).map(|step| step.wait().unwrap())
            }
        };
        losses.extend(report.map(|report| report.loss_sum));
    }
    let now = gpu.profile();
    assert_eq!(now.allocations, known.allocations, "memory grew after the first steps");
    losses.extend(before.map(|step| step.wait().unwrap().loss_sum));
    let parameters = trainer.network().parameters();
    let values = parameters.iter().flat_map(|p| p.to_vec::<f32>().unwrap()).map(f64::from);
    assert_eq!(losses.len() as u64, steps);
    (losses.into_iter().chain(values).map(f64::to_bits).collect(), now.since(&last))
}

/// `STRIATE_TRAINING_STEPS` asks for more.
#[test]
fn many_steps_are_the_same_twice_and_need_no_more_memory() {
    let Some(gpu) = gpu() else { return };
    let asked = std::env::var("STRIATE_TRAINING_STEPS").ok().and_then(|n| n.parse().ok());
    let steps = asked.unwrap_or(60);
    let mut runs = Vec::new();
    for looks in [Looks::AStepLater, Looks::AtOnce, Looks::AStepLater] {
        let (run, step) = trained(&gpu, steps, looks);
        println!("{looks:?}: {step:?}");
        assert!(step.waits <= 1, "{step:?}");
        assert!(step.drains == 0 || looks == Looks::AtOnce, "{step:?}");
        // Numbers, not tensors.
        assert!(step.bytes_uploaded < 64 && step.bytes_downloaded < 64, "{step:?}");
        runs.push(run);
    }
    assert!(runs.iter().all(|run| *run == runs[0]), "two runs differ");
    assert!(runs[0].iter().all(|bits| f64::from_bits(*bits).is_finite()));
}
