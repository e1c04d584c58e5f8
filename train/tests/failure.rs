//! A device that fails in the middle of a step.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use striate_nn::{Module, NetworkSpec, Seed, conv2d, full_connect, named_parameters, pool};
use striate_tensor::{
    Backend, Buffer, Device, DeviceInfo, Error, HostTensor, HostValues, Op, Operand, Pending,
    Reference, Result, Target, Tensor, TensorType,
};
use striate_train::{TrainOptions, Trainer};

/// The reference, until it has executed so many more ops: then it fails once.
struct Failing(Arc<AtomicUsize>);

const NEVER: usize = usize::MAX;

impl Failing {
    fn count(&self) -> Result<()> {
        let left = self.0.load(Relaxed);
        if left == 0 {
            self.0.store(NEVER, Relaxed);
            return Err(Error::Device { device: "failing".into(), message: "as asked".into() });
        }
        if left != NEVER {
            self.0.store(left - 1, Relaxed);
        }
        Ok(())
    }
}

impl Backend for Failing {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { name: "failing".into(), ..Reference.info() }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Reference.upload(values)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Reference.download(buffer, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        self.count()?;
        Reference.execute(op, inputs, output)
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        self.count()?;
        Reference.execute_in_place(op, targets, inputs)
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        Reference.supports(op, inputs)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

struct Training {
    trainer: Trainer,
    device: Device,
    left: Arc<AtomicUsize>,
}

impl Training {
    fn new() -> Self {
        let left = Arc::new(AtomicUsize::new(NEVER));
        let device = Device::new(Failing(Arc::clone(&left)));
        let spec = NetworkSpec::new([6, 6, 1])
            .conv(conv2d(4, 3).padding(1).relu())
            .max_pool(pool(2))
            .full_connect(full_connect(8).relu().dropout(0.5))
            .full_connect(3);
        let options = TrainOptions { sgd_frequency: 2, ..TrainOptions::default() };
        let trainer = Trainer::new(spec.build(&device, Seed(1)).unwrap(), options).unwrap();
        Training { trainer, device, left }
    }

    /// A step on images of its own.
    fn step(&mut self, iteration: u64) -> striate_train::Result<()> {
        let mut images = vec![0.0f32; 2 * 36];
        for (i, pixel) in images.iter_mut().enumerate() {
            *pixel = ((i * 7 + iteration as usize * 13) % 11) as f32 / 11.0 - 0.5;
        }
        let images = Tensor::from_vec(images, [2, 6, 6, 1], &self.device)?;
        let labels = Tensor::from_vec(vec![0u32, 2], [2], &self.device)?;
        self.trainer.step(&images, &labels, iteration, 1.0).map(|_| ())
    }

    fn weights(&self) -> Vec<(String, Vec<f32>)> {
        let network: &dyn Module = self.trainer.network();
        let parameters = named_parameters(network).into_iter();
        parameters.map(|(name, tensor)| (name, tensor.to_vec().unwrap())).collect()
    }
}

#[test]
fn after_a_step_that_failed_nothing_is_left_to_be_learned() {
    let mut expected = Training::new();
    (2..4).for_each(|iteration| expected.step(iteration).unwrap());
    let mut again = Training::new();
    (0..2).for_each(|iteration| again.step(iteration).unwrap());

    let (mut forward, mut backward) = (0, 0);
    for ops in 0.. {
        let mut training = Training::new();
        training.step(0).unwrap();
        let unmoved = training.weights();
        training.left.store(ops, Relaxed);
        // This one would have moved the weights, by gradients of both mini-batches.
        if training.step(1).is_ok() {
            break;
        }
        assert_eq!(training.left.load(Relaxed), NEVER, "{ops}: it failed by itself");
        if training.trainer.is_accumulating() {
            // On the way forward: the same mini-batch may come again.
            training.step(1).unwrap();
            assert_eq!(training.weights(), again.weights(), "{ops}");
            forward += 1;
            continue;
        }
        backward += 1;
        if training.weights() != unmoved {
            // Halfway through moving them, which the trainer says.
            continue;
        }
        (2..4).for_each(|iteration| training.step(iteration).unwrap());
        assert_eq!(training.weights(), expected.weights(), "{ops}");
    }
    assert!(forward > 5 && backward > 20, "ops that failed: {forward} forward, {backward} back");
}
