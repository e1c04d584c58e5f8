//! Trainings with every optimizer: interrupted, on any number of threads and of devices, the same file.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{CLASSES, chain, device, never, options, pictures, spec, train_on_ranks};
use striate_importers::safetensors::read_training;
use striate_nn::{Method, NetworkSpec, Rates, Role, conv2d, full_connect, pool};
use striate_train::parallel::{Parallel, Ranks};
use striate_train::{
    Clip, Decay, Error, Loss, Observer, Outcome, Result, Session, SessionData, SessionOptions,
    StepEvent, TrainOptions, read_history,
};

/// With normalization, whose statistics averages of weights do not replace.
fn normed() -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_image([9, 9])
        .conv(conv2d(6, 3))
        .batch_norm()
        .relu()
        .max_pool(pool(2).stride(2))
        .full_connect(full_connect(12).relu().dropout(0.5))
        .full_connect(CLASSES)
}

fn with(method: Method, change: impl Fn(&mut TrainOptions)) -> SessionOptions {
    let mut options = options();
    let train = TrainOptions { mini_batch: 8, max_epoch: 4, ..TrainOptions::default() };
    options.train = train.with_optimizer(method);
    change(&mut options.train);
    options
}

/// Every optimizer, with schedules and bounds of all kinds.
fn all() -> Vec<(&'static str, SessionOptions)> {
    let adamw = with(Method::adamw(), |train| {
        train.clip = Some(Clip::Norm { most: 1.0 });
        train.ema = Some(0.9);
        train.schedule.decay = Decay::one_cycle();
    });
    let adam = with(Method::adam(), |train| {
        train.loss = Loss::BinaryCrossEntropy;
        train.label_smoothing = 0.1;
        train.clip = Some(Clip::Value { most: 0.01 });
        train.schedule.warm_up = 0.5;
        let (patience, threshold) = (0, 0.5);
        train.schedule.decay = Decay::Plateau { factor: 0.5, patience, threshold, last: 0.0 };
    });
    let rmsprop = with(Method::rmsprop(), |train| {
        (train.weights.momentum, train.biases.momentum) = (0.5, 0.5);
        train.schedule.decay = Decay::Exponential { factor: 0.5 };
        train.ema = Some(0.5);
    });
    let nesterov = with(Method::TorchSgd { nesterov: true }, |train| {
        train.sgd_frequency = 3;
        train.clip = Some(Clip::Norm { most: 0.5 });
        train.schedule.decay = Decay::CosineRestarts { epochs: 1, times: 2, last: 0.1 };
        train.roles.insert(Role::Scale, Rates { decay: 0.01, ..train.weights });
    });
    let sgd = with(Method::Sgd, |train| {
        (train.weights.rate, train.biases.rate) = (0.0005, 0.0005);
        train.sgd_frequency = 2;
        train.ema = Some(0.9);
    });
    vec![
        ("adamw", adamw),
        ("adam", adam),
        ("rmsprop", rmsprop),
        ("nesterov", nesterov),
        ("sgd", sgd),
    ]
}

fn open(working: &Path, options: &SessionOptions, threads: usize) -> Result<Session> {
    let test = Some(pictures(30, 2));
    Session::open(
        working,
        &normed(),
        SessionData::new(pictures(61, 1)).test(test),
        options.clone(),
        &device(threads),
    )
}

fn whole(working: &Path, options: &SessionOptions, threads: usize) -> Vec<u8> {
    let outcome = open(working, options, threads).unwrap().run(&mut (), &never()).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    std::fs::read(working).unwrap()
}

/// Asks to stop when so many mini-batches more have been learnt.
struct StopAfter<'a> {
    left: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &StepEvent) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        self.stop.store(self.left == 0, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn interruptions_threads_and_workers_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mut options) in all() {
        let file = |what: &str| folder.path().join(format!("{name}.{what}.safetensors"));
        let reference = whole(&file("whole"), &options, 1);
        (options.workers, options.checkpoint_every) = (3, Some(2));
        assert!(whole(&file("threads"), &options, 2) == reference, "{name}: threads");

        options.workers = 1;
        let mut runs = 0;
        loop {
            let stop = never();
            let mut session = open(&file("parts"), &options, 1 + runs as usize % 2).unwrap();
            let mut observer = StopAfter { left: 1 + runs % 4, stop: &stop };
            runs += 1;
            if session.run(&mut observer, &stop).unwrap() == Outcome::Finished {
                break;
            }
        }
        assert!(runs >= 4, "{name}: {runs}");
        assert!(std::fs::read(file("parts")).unwrap() == reference, "{name}: interruptions");
        let history = read_history(file("whole")).unwrap().unwrap();
        assert!(history.epochs.iter().all(|epoch| epoch.loss.is_finite()), "{name}");
        assert_eq!(history.plateau.is_some(), name == "adam");
    }
}

/// Trains on so many devices; what each rank's session said.
fn train_on(
    size: usize,
    working: &Path,
    spec: &NetworkSpec,
    options: &SessionOptions,
    parallel: Parallel,
) -> Vec<Result<Outcome>> {
    let choose = |exchange| Ranks::new(exchange, parallel);
    train_on_ranks(size, working, spec, options, &choose, &|_| Box::new(()), &never())
}

#[test]
fn one_and_two_devices_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in all() {
        let file = |what: &str| folder.path().join(format!("{name}.{what}.safetensors"));
        let train = |size, what: &str, options: &SessionOptions| {
            for result in train_on(size, &file(what), &normed(), options, Parallel::Data) {
                assert_eq!(result.unwrap(), Outcome::Finished);
            }
            std::fs::read(file(what)).unwrap()
        };
        let one = train(1, "one", &options);
        assert!(one == train(2, "two", &options), "{name}: 2 devices part from 1");
        let mut half = options.clone();
        // Between two moves of the weights, whatever the number of mini-batches for one.
        half.train.max_iterations = Some(14);
        train(2, "resumed", &half);
        assert!(one == train(1, "resumed", &options), "{name}: 1 device goes on with 2's training");
    }
}

#[test]
fn hybrid_training_keeps_the_state_of_split_layers() {
    let folder = tempfile::tempdir().unwrap();
    let options = with(Method::adamw(), |train| {
        (train.ema, train.max_epoch) = (Some(0.9), 2);
        (train.weights.rate, train.biases.rate) = (1e-4, 1e-4);
    });
    let file = |what: &str| folder.path().join(format!("{what}.safetensors"));
    let all = |path: &Path| {
        let (network, training) = read_training(path, &device(1)).unwrap();
        let state = training.unwrap().state;
        let kinds = ["first-moment", "second-moment", "weights"];
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), kinds);
        let state = state.tensors.into_values().flat_map(|own| own.into_values());
        let all = network.parameters().iter().cloned().chain(state);
        all.flat_map(|tensor| tensor.to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
    };
    for size in [1, 2] {
        let what = format!("hybrid{size}");
        for result in train_on(size, &file(&what), &spec(), &options, Parallel::Hybrid) {
            assert_eq!(result.unwrap(), Outcome::Finished);
        }
    }
    let (one, two) = (all(&file("hybrid1")), all(&file("hybrid2")));
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 2e-3 * (1.0 + one.abs()), "{one} {two}");
    }
}

/// The norm is that of all gradients, of which ranks have parts: as on one device, where it is a tenth of
/// what it would be.
#[test]
fn hybrid_training_bounds_the_norm_of_all_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let file = |what: &str| folder.path().join(format!("{what}.safetensors"));
    let all = |path: &Path| {
        let (network, _) = read_training(path, &device(1)).unwrap();
        let all = network.parameters().iter();
        all.flat_map(|tensor| tensor.to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
    };
    let options = |clip: Option<Clip>| {
        with(Method::TorchSgd { nesterov: false }, |train| {
            (train.clip, train.max_epoch, train.sgd_frequency) = (clip, 2, 2);
            (train.weights.rate, train.biases.rate) = (0.01, 0.01);
        })
    };
    let clipped = options(Some(Clip::Norm { most: 0.05 }));
    let train = |size, what: &str, options: &SessionOptions, parallel| {
        for result in train_on(size, &file(what), &spec(), options, parallel) {
            assert_eq!(result.unwrap(), Outcome::Finished);
        }
        file(what)
    };
    let plain = train(1, "plain", &clipped, Parallel::Data);
    let free = train(1, "free", &options(None), Parallel::Data);
    let distance = |one: &Path, two: &Path| {
        let (one, two) = (all(one), all(two));
        one.iter().zip(&two).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    };
    let bound = distance(&plain, &free);
    for size in [1, 2, 3] {
        let hybrid = train(size, &format!("hybrid{size}"), &clipped, Parallel::Hybrid);
        let off = distance(&plain, &hybrid);
        assert!(off < 0.01 * bound, "{size} ranks: {off}, without a bound {bound}");
    }
}

#[test]
fn the_average_is_tested_and_is_the_network_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.safetensors");
    let mut options = with(Method::adamw(), |train| train.max_epoch = 1);
    options.train.ema = Some(0.99);
    whole(&path, &options, 1);
    let (network, training) = read_training(&path, &device(1)).unwrap();
    let state = training.unwrap().state;
    // 61 samples in mini-batches of 8.
    assert_eq!(state.steps, 8);
    let weights = &state.tensors["weights"];
    assert_eq!(weights.len(), network.parameters().len());
    let bits = |tensor: &striate_tensor::Tensor| tensor.to_vec::<f32>().unwrap();
    let parts = (network.parameters().iter().zip(weights.values()))
        .filter(|(average, weight)| bits(average) != bits(weight));
    assert!(parts.count() > 0, "the network is not the weights themselves");
    let best = folder.path().join("bars.best.safetensors");
    let best = striate_importers::read(best, &device(1), &Default::default()).unwrap();
    for (average, best) in network.parameters().iter().zip(best.parameters()) {
        assert_eq!(bits(average), bits(best), "what was tested is what is kept");
    }
    // Without an average the weights themselves go on.
    options.train.ema = None;
    options.train.max_iterations = Some(8);
    whole(&path, &options, 1);
    options.train.max_iterations = Some(9);
    options.train.max_epoch = 2;
    let before: Vec<_> = weights.values().map(bits).collect();
    whole(&path, &options, 1);
    let (network, training) = read_training(&path, &device(1)).unwrap();
    assert!(!training.unwrap().state.tensors.contains_key("weights"));
    let moved = network.parameters().iter().map(bits).zip(before);
    for (now, before) in moved {
        let far = now.iter().zip(&before).any(|(now, before)| (now - before).abs() > 0.01);
        assert!(!far, "a step of a rate of 0.001 from the weights, not from their average");
    }
}

#[test]
fn what_does_not_fit_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let adamw = with(Method::adamw(), |train| train.max_epoch = 1);
    let refused = |working: &Path, options: &SessionOptions| {
        let test = Some(pictures(30, 2));
        let opened = Session::open(
            working,
            &spec(),
            SessionData::new(pictures(61, 1)).test(test),
            options.clone(),
            &device(1),
        );
        opened.err().unwrap()
    };
    let ccv = folder.path().join("bars.sqlite3");
    let error = refused(&ccv, &adamw);
    let message = chain(&error);
    assert!(matches!(error, Error::Option { .. }), "{message}");
    assert!(message.contains("got the optimizer adamw"), "{message}");
    assert!(message.contains(".safetensors holds every training"), "{message}");
    let averaged = with(Method::Sgd, |train| train.ema = Some(0.9));
    assert!(chain(&refused(&ccv, &averaged)).contains("an average of the weights"));
    assert!(!ccv.exists());

    let own = folder.path().join("bars.safetensors");
    whole(&own, &adamw, 1);
    let before = std::fs::read(&own).unwrap();
    let error = open(&own, &with(Method::adam(), |_| {}), 1).err().unwrap();
    let message = chain(&error);
    assert!(matches!(error, Error::Mismatch { .. }), "{message}");
    assert!(message.contains("expected the optimizer adam, got adamw"), "{message}");
    assert!(before == std::fs::read(&own).unwrap());
    for (change, part) in [
        ((|t| t.clip = Some(Clip::Norm { most: 0.0 })) as fn(&mut TrainOptions), "a largest norm"),
        (|t| t.ema = Some(1.0), "a share of the average"),
        (|t| t.optimizer = Method::Adam { betas: [0.9, 1.0], epsilon: 1e-8 }, "betas and alpha"),
        (|t| t.optimizer = Method::RmsProp { alpha: 0.9, epsilon: 0.0 }, "an epsilon above 0"),
    ] {
        let message = chain(&refused(&own, &with(Method::adamw(), change)));
        assert!(message.contains(part), "{message} has no {part}");
    }
}
