//! Networks that are no chains of ccv's layers train like any other: saved, resumed, on several devices;
//! and so do modules in code.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{CLASSES, chain, device, never, options, pictures, spec};
use striate_nn::{
    BatchNorm2d, Conv2d, FullConnect, GlobalAvgPool2d, NetworkSpec, Relu, Sequential, batch_norm,
    conv2d, full_connect, named_buffers, named_parameters, pool,
};
use striate_tensor::{Device, RandomKey, Tensor};
use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
use striate_train::{
    Observer, Outcome, Result, Session, SessionData, SessionOptions, StepEvent, TrainOptions,
    Trainer, read_history,
};

/// Batch normalization, a residual connection, branches, dropout as a layer of its own.
fn residual() -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_name("residual-bars")
        .with_image([9, 9])
        .named("stem", |x| x.conv(conv2d(6, 3).padding(1).without_bias()).batch_norm().relu())
        .max_pool(pool(2).stride(2).first_maximum())
        .residual(|x| x.conv(conv2d(6, 3).padding(1).without_bias()).batch_norm())
        .relu()
        .branches(|b| {
            let narrow = |x: NetworkSpec| x.conv(conv2d(4, 1)).batch_norm().relu();
            b.path(narrow).path(|x| x.max_pool(pool(3).stride(1).padding(1))).concatenate()
        })
        .global_avg_pool()
        .full_connect(full_connect(8).relu().dropout(0.25))
        .full_connect(CLASSES)
}

fn settings() -> SessionOptions {
    let mut options = options();
    options.train.max_epoch = 2;
    options.train.weights.rate = 0.01;
    options
}

fn open(working: &Path, options: &SessionOptions) -> Result<Session> {
    let (train, test) = (pictures(61, 1), Some(pictures(30, 2)));
    Session::open(
        working,
        &residual(),
        SessionData::new(train).test(test),
        options.clone(),
        &device(1),
    )
}

/// The bits of a file's parameters and running statistics.
fn bits(working: &Path) -> Vec<u32> {
    let network = striate_importers::read(working, &device(1), &Default::default()).unwrap();
    let tensors = named_parameters(&network).into_iter().map(|(_, tensor)| tensor);
    let buffers = named_buffers(&network).into_iter().map(|(_, buffer)| buffer.value().clone());
    let values = tensors.chain(buffers).flat_map(|tensor| tensor.to_vec::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

/// Asks to stop after so many mini-batches.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &StepEvent) -> Result<()> {
        self.0 = self.0.saturating_sub(1);
        self.1.store(self.0 == 0, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_residual_network_is_saved_and_resumed_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.safetensors");
    assert_eq!(
        open(&whole, &settings()).unwrap().run(&mut (), &never()).unwrap(),
        Outcome::Finished
    );
    assert_eq!(read_history(&whole).unwrap().unwrap().epochs.len(), 2);
    let parts = folder.path().join("parts.safetensors");
    let mut runs = 0;
    loop {
        let stop = never();
        let mut options = settings();
        // Recomputed activations have the same bits, statistics included.
        options.train.recompute = runs % 2 == 1;
        let mut session = open(&parts, &options).unwrap();
        assert_eq!(session.is_resumed(), runs > 0);
        runs += 1;
        if session.run(&mut StopAfter(1 + runs % 3, &stop), &stop).unwrap() == Outcome::Finished {
            break;
        }
    }
    assert!(runs > 5, "{runs}");
    assert_eq!(bits(&whole), bits(&parts));
    // The running statistics have moved from where they began.
    let network = striate_importers::read(&whole, &device(1), &Default::default()).unwrap();
    let running = network.buffers()[0].value().to_vec::<f32>().unwrap();
    assert!(running[..6].iter().any(|mean| mean.abs() > 0.01), "{running:?}");
}

#[test]
fn a_residual_network_has_the_same_bits_on_1_2_and_4_devices() {
    let folder = tempfile::tempdir().unwrap();
    let train_on = |size: usize, parallel: Parallel| {
        let working = folder.path().join(format!("{parallel:?}{size}.safetensors"));
        std::thread::scope(|scope| {
            let working = &working;
            let ranks = Local::group(size).into_iter().map(|local| {
                scope.spawn(move || {
                    let ranks = Some(Ranks::new(Exchange::new(local)?, parallel));
                    let options = SessionOptions { ranks, ..settings() };
                    open(working, &options)?.run(&mut (), &never())
                })
            });
            let ranks: Vec<_> = ranks.collect();
            for rank in ranks {
                assert_eq!(rank.join().unwrap().unwrap(), Outcome::Finished);
            }
        });
        bits(&working)
    };
    let one = train_on(1, Parallel::Data);
    assert!(one == train_on(2, Parallel::Data), "2 devices part from 1");
    assert!(one == train_on(4, Parallel::Data), "4 devices part from 1");
    // Hybrid sums in another order; it has the same parameters, and statistics that moved.
    assert_eq!(train_on(2, Parallel::Hybrid).len(), one.len());
}

#[test]
fn what_a_form_or_a_way_cannot_hold_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open(&folder.path().join("m.sqlite3"), &settings()).map(|_| ()).unwrap_err();
    let message = chain(&refused);
    assert!(message.contains(".safetensors"), "{message}");
    assert!(message.contains("stem.1"), "{message}");
    // A chain of ccv's layers fits both forms, to the same weights.
    let both = ["one.sqlite3", "other.safetensors"].map(|name| {
        let working = folder.path().join(name);
        let (train, test) = (pictures(61, 1), Some(pictures(30, 2)));
        let session = Session::open(
            &working,
            &spec(),
            SessionData::new(train).test(test),
            options(),
            &device(1),
        );
        session.unwrap().run(&mut (), &never()).unwrap();
        bits(&working)
    });
    assert_eq!(both[0], both[1]);
}

fn module(device: &Device) -> Sequential {
    let key = |n| RandomKey::new(7, n);
    Sequential::new()
        .then(Conv2d::new(conv2d(4, 3).without_bias(), 1, key(0), device).unwrap())
        .then(BatchNorm2d::new(batch_norm(), 4, device).unwrap())
        .then(Relu)
        .then(|x: &Tensor, _: &striate_nn::Context| x.tanh())
        .then(GlobalAvgPool2d)
        .then(FullConnect::new(full_connect(CLASSES).dropout(0.2), 4, key(1), device).unwrap())
}

#[test]
fn a_module_in_code_is_trained_saved_and_resumed_to_the_bit() {
    let device = device(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.safetensors");
    let batch = |step: u64| {
        let key = RandomKey::new(3, step);
        let images = Tensor::uniform([6, 8, 8, 1], -1.0, 1.0, key, &device).unwrap();
        (images, Tensor::from_vec(vec![0u32, 1, 2, 0, 1, 2], [6], &device).unwrap())
    };
    let run = |trainer: &mut Trainer<Sequential>, steps: std::ops::Range<u64>| {
        for step in steps {
            let (images, labels) = batch(step);
            trainer.step(&images, &labels, step, 1.0).unwrap();
        }
    };
    let fresh = || Trainer::of_module(module(&device), TrainOptions::default()).unwrap();
    let mut whole = fresh();
    run(&mut whole, 0..6);
    let mut first = fresh();
    run(&mut first, 0..3);
    first.save(&path, 3).unwrap();
    let mut second = fresh();
    let next = second.resume(&path).unwrap();
    run(&mut second, next..6);
    let bits = |trainer: &Trainer<Sequential>| -> Vec<u32> {
        let parameters = named_parameters(trainer.module()).into_iter().map(|(_, tensor)| tensor);
        let buffers = named_buffers(trainer.module()).into_iter();
        let buffers = buffers.map(|(_, buffer)| buffer.value().clone());
        let all = parameters.chain(buffers).chain(trainer.velocities().values().cloned());
        all.flat_map(|tensor| tensor.to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
    };
    assert_eq!(bits(&whole), bits(&second));
    assert_ne!(bits(&whole), bits(&first));
    // A file of another module is refused, and changes nothing.
    let mut other = Trainer::of_module(
        Sequential::new().then(FullConnect::new(3, 64, RandomKey::new(1, 1), &device).unwrap()),
        TrainOptions::default(),
    )
    .unwrap();
    assert!(other.resume(&path).is_err());
}
