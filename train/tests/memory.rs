//! What a step of training holds, and that it copies no weights: on a device that counts.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use striate_nn::{NetworkSpec, Seed, conv2d, full_connect, pool};
use striate_tensor::{
    Backend, Buffer, BufferData, Device, DeviceInfo, HostTensor, HostValues, Op, Operand, Pending,
    Reference, Result, Target, Tensor, TensorType,
};
use striate_train::{TrainOptions, Trainer};

/// Bytes that are held, the most that were, and copies of what was to be updated in place.
#[derive(Default)]
struct Count {
    held: AtomicUsize,
    peak: AtomicUsize,
    copies: AtomicUsize,
}

/// The reference, counting; and how many bytes of gradients it wants at a time.
struct Counting(Arc<Count>, usize);

struct Counted(Buffer, Arc<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.held.fetch_sub(self.0.size_bytes(), Relaxed);
    }
}

impl BufferData for Counted {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

impl Counting {
    fn counted(&self, buffer: Buffer) -> Buffer {
        let bytes = buffer.size_bytes();
        self.0.peak.fetch_max(bytes + self.0.held.fetch_add(bytes, Relaxed), Relaxed);
        Buffer::new(Counted(buffer, Arc::clone(&self.0)))
    }
}

fn inner(buffer: &Buffer) -> &Buffer {
    &buffer.downcast::<Counted>().unwrap().0
}

impl Backend for Counting {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { name: "counting".into(), ..Reference.info() }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Ok(self.counted(Reference.upload(values)?))
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Reference.download(inner(buffer), ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let inputs: Vec<Operand<'_>> =
            inputs.iter().map(|x| Operand { buffer: inner(x.buffer), ty: x.ty }).collect();
        Ok(self.counted(Reference.execute(op, &inputs, output)?))
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        for target in targets.iter_mut() {
            if target.buffer.unique::<Counted>().is_none() {
                self.0.copies.fetch_add(1, Relaxed);
                let copy = Reference.download(inner(target.buffer), target.ty)?.wait()?;
                *target.buffer = self.upload(copy.into_values())?;
            }
        }
        let mut targets: Vec<Target<'_>> = (targets.iter_mut())
            .map(|to| Target { buffer: &mut to.buffer.unique::<Counted>().unwrap().0, ty: to.ty })
            .collect();
        let inputs: Vec<Operand<'_>> =
            inputs.iter().map(|x| Operand { buffer: inner(x.buffer), ty: x.ty }).collect();
        Reference.execute_in_place(op, &mut targets, &inputs)
    }

    fn gathered_bytes(&self) -> usize {
        self.1
    }

    fn supports(&self, _: &Op, _: &[TensorType]) -> bool {
        true
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// A network of which the weights are the most: 4 layers of 64 × 64.
fn trainer(device: &Device, options: TrainOptions) -> Trainer {
    let mut spec = NetworkSpec::new([6, 6, 1])
        .conv(conv2d(4, 3).padding(1).relu())
        .max_pool(pool(2))
        .full_connect(full_connect(64).relu());
    for _ in 0..4 {
        spec = spec.full_connect(full_connect(64).relu().dropout(0.5));
    }
    Trainer::new(spec.full_connect(3).build(device, Seed(1)).unwrap(), options).unwrap()
}

fn train(options: TrainOptions, steps: u64) -> (Arc<Count>, usize, Trainer) {
    train_gathering(0, options, steps)
}

fn train_gathering(
    gathered: usize,
    options: TrainOptions,
    steps: u64,
) -> (Arc<Count>, usize, Trainer) {
    let count = Arc::new(Count::default());
    let device = Device::new(Counting(Arc::clone(&count), gathered));
    let mut trainer = trainer(&device, options);
    let weights = count.held.load(Relaxed);
    let images = Tensor::uniform([2, 6, 6, 1], -1.0, 1.0, Default::default(), &device).unwrap();
    let labels = Tensor::from_vec(vec![0u32, 2], [2], &device).unwrap();
    for iteration in 0..steps {
        trainer.step(&images, &labels, iteration, 1.0).unwrap();
    }
    (count, weights, trainer)
}

#[test]
fn a_step_holds_a_gradient_at_a_time() {
    let (count, weights, trainer) = train(TrainOptions::default(), 3);
    let gradient = 64 * 64 * 4;
    let activations = 12 * 1024;
    let peak = count.peak.load(Relaxed);
    assert!(weights > 4 * gradient && trainer.velocities().len() == 14);
    assert!(peak < 2 * weights + gradient + activations, "{peak} bytes for weights of {weights}");
}

#[test]
fn weights_that_move_together_move_as_one_by_one() {
    let bits = |trainer: &Trainer| {
        let tensors = trainer.network().parameters().iter().chain(trainer.velocities().values());
        tensors.map(|tensor| tensor.to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    };
    for sgd_frequency in [1, 3] {
        let options = TrainOptions { sgd_frequency, ema: Some(0.9), ..TrainOptions::default() };
        let (_, _, alone) = train(options.clone(), 4);
        // One large one with what came before it, several of them, all.
        for gathered in [64 * 64 * 4, 40_000, usize::MAX] {
            let (count, _, together) = train_gathering(gathered, options.clone(), 4);
            assert_eq!(bits(&alone), bits(&together), "{gathered} bytes, every {sgd_frequency}");
            // Each average is a copy from the first step on.
            assert_eq!(count.copies.load(Relaxed), 14, "{gathered} bytes");
        }
    }
}

#[test]
fn weights_and_velocities_are_not_copied() {
    for (recompute, sgd_frequency) in [(false, 1), (true, 1), (false, 3)] {
        let options = TrainOptions { recompute, sgd_frequency, ..TrainOptions::default() };
        let (count, _, _) = train(options, 4);
        assert_eq!(count.copies.load(Relaxed), 0, "recompute {recompute}, {sgd_frequency}");
    }
}

/// Whose weights somebody else has too are copied once, and theirs stay.
#[test]
fn a_clone_of_the_network_keeps_its_weights() {
    let (count, _, mut trainer) = train(TrainOptions::default(), 1);
    let kept = trainer.network().clone();
    let weight = |network: &striate_nn::Network| {
        network.layer_parameters()[2].as_ref().unwrap().weight.to_vec::<f32>().unwrap()
    };
    let before = weight(&kept);
    let device = kept.device().clone();
    let images = Tensor::ones([2, 6, 6, 1], &device).unwrap();
    let labels = Tensor::from_vec(vec![0u32, 2], [2], &device).unwrap();
    for iteration in 1..4 {
        trainer.step(&images, &labels, iteration, 1.0).unwrap();
    }
    assert_eq!(weight(&kept), before);
    assert_ne!(weight(trainer.network()), before);
    assert_eq!(count.copies.load(Relaxed), 14, "each parameter once");
}
