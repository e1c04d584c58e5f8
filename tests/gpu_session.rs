//! A training in a working file on a graphics adapter: what a device that is lost in the middle of a step
//! leaves behind, and a loss that is found not to be finite after the next step has begun.
//!
//! Without an adapter the tests say so and pass; with `STRIATE_REQUIRE_GPU=1` they fail.

#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use common::gpu;
use striate::image::Dataset;
use striate::ops_wgsl::Wgpu;
use striate::prelude::*;
use striate::train::{Error, Observer, Outcome, Session, SessionOptions, StepEvent, TrainOptions};

/// 5 mini-batches an epoch, 4 epochs, a checkpoint every 2 mini-batches.
fn session(working: &Path, gpu: &Wgpu, rate: f32) -> Session {
    let spec = NetworkSpec::new([6, 6, 1])
        .conv(conv2d(4, 3).without_bias())
        .batch_norm()
        .relu()
        .full_connect(2);
    let pictures = (0..10u8).map(|i| Image::filled(6, 6, 1, i * 25).unwrap()).collect();
    let samples = Dataset::from_images(pictures, vec![0, 0, 0, 0, 0, 1, 1, 1, 1, 1]).unwrap();
    let mut train = TrainOptions { mini_batch: 2, max_epoch: 4, ..TrainOptions::default() };
    train.weights.rate = rate;
    let options = SessionOptions { train, checkpoint_every: Some(2), ..SessionOptions::default() };
    let device = Device::new(gpu.clone());
    Session::open(working, &spec, samples, options, &device).unwrap()
}

/// Notes the losses, and loses the device at one of them.
#[derive(Default)]
struct Notes {
    losses: Vec<(u64, u64)>,
    loses: Option<(u64, Wgpu)>,
}

impl Observer for Notes {
    fn step(&mut self, step: &StepEvent) -> striate::train::Result<()> {
        self.losses.push((step.iterations, step.report.loss_sum.to_bits()));
        if let Some((_, gpu)) = self.loses.as_ref().filter(|(at, _)| *at == step.iterations) {
            gpu.lose();
        }
        Ok(())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn a_training_whose_device_is_lost_resumes_at_its_checkpoint_to_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let [whole, broken] =
        ["whole", "broken"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let mut undisturbed = Notes::default();
    let outcome = session(&whole, &gpu, 0.01).run(&mut undisturbed, &never).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(
        undisturbed.losses.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        Vec::from_iter(1..=20)
    );

    let lost_at = 8;
    let mut notes = Notes { loses: Some((lost_at, gpu.clone())), ..Notes::default() };
    let mut session_lost = session(&broken, &gpu, 0.01);
    let error = session_lost.run(&mut notes, &never).unwrap_err();
    // What was told is what the device had computed.
    assert_eq!(notes.losses, undisturbed.losses[..lost_at as usize]);
    // The mini-batch after those that were told, counted from 0.
    assert!(matches!(error, Error::Step { iteration, .. } if iteration == lost_at), "{error:?}");
    let message = chain(&error);
    for part in ["iteration 8", "stays as it is", "gpu:0", "the device was lost"] {
        assert!(message.contains(part), "{message} has no {part}");
    }
    drop(session_lost);

    let gpu = self::gpu().unwrap();
    let mut resumed = session(&broken, &gpu, 0.01);
    assert!(resumed.is_resumed());
    let from = (resumed.position().epoch * 5 + resumed.position().iteration) as usize;
    assert!(from == 7 || from == 5, "{from}");
    let mut notes = Notes::default();
    resumed.run(&mut notes, &never).unwrap();
    assert_eq!(notes.losses, undisturbed.losses[from..]);
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&broken).unwrap());
}

#[test]
fn a_loss_that_is_not_finite_ends_the_training_as_if_it_had_been_seen_at_once() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let working = folder.path().join("diverged.safetensors");
    let mut session = session(&working, &gpu, 1e30);
    let mut notes = Notes::default();
    let error = session.run(&mut notes, &never).unwrap_err();
    let Error::Diverged { iteration, loss } = error else { panic!("{error:?}") };
    assert!(!loss.is_finite());
    // All before it were told, and nothing after it.
    assert_eq!(notes.losses.len() as u64, iteration);
    assert!(notes.losses.iter().all(|(_, bits)| f64::from_bits(*bits).is_finite()));
    let at = session.position();
    assert_eq!(at.epoch * 5 + at.iteration, iteration);
    // It does not go on with such weights.
    let again = session.run(&mut notes, &never).unwrap_err();
    assert!(matches!(again, Error::Diverged { iteration: same, .. } if same == iteration));
    assert_eq!(notes.losses.len() as u64, iteration);
}
