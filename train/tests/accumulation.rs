//! Gradients that are summed over mini-batches, warm-up and warnings: what moves the weights, when,
//! and at which rate.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{device, never, options, pictures, spec};
use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
use striate_train::{
    Decay, Observer, Outcome, Result, Session, SessionData, SessionOptions, StepEvent, TrainOptions,
};

/// Pictures: 5 mini-batches of 8 an epoch.
const COUNT: usize = 40;

/// What a session told.
#[derive(Default)]
struct Observed {
    warnings: Vec<String>,
    saved: Vec<u64>,
    steps: u64,
    factors: Vec<f64>,
}

impl Observer for Observed {
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        self.steps = step.iterations;
        self.factors.push(step.factor);
        Ok(())
    }

    fn warning(&mut self, text: &str) -> Result<()> {
        self.warnings.push(text.to_owned());
        Ok(())
    }

    fn saved(&mut self, _: &Path) -> Result<()> {
        self.saved.push(self.steps);
        Ok(())
    }
}

fn changed(change: impl Fn(&mut TrainOptions)) -> SessionOptions {
    let mut options = options();
    options.train.max_epoch = 1;
    change(&mut options.train);
    options
}

fn open(working: &Path, options: &SessionOptions) -> Session {
    let options = options.clone();
    Session::open(working, &spec(), pictures(COUNT, 1), options, &device(1)).unwrap()
}

/// Trains in a new working file: the bits of the weights, and what was told.
fn trained(options: &SessionOptions) -> (Vec<u32>, Observed) {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(&folder.path().join("m.sqlite3"), options);
    let mut told = Observed::default();
    session.run(&mut told, &never()).unwrap();
    (weights(&session), told)
}

fn weights(session: &Session) -> Vec<u32> {
    let named = striate_nn::named_parameters(session.network());
    let values = named.iter().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

#[test]
fn what_is_left_over_moves_by_the_rate_of_its_own_epoch() {
    let with = |frequency: usize, decay: Decay, epochs: u64| {
        let options = changed(|o| {
            (o.sgd_frequency, o.schedule.decay, o.max_epoch) = (frequency, decay.clone(), epochs);
        });
        trained(&options).0
    };
    let still = trained(&changed(|o| (o.weights.rate, o.biases.rate) = (0.0, 0.0))).0;
    for frequency in [2, 3, 4, 5, 6, 100] {
        let constant = with(frequency, Decay::Constant, 1);
        assert_ne!(constant, still, "every {frequency}");
        // The rate falls with the next epoch, which there is none of.
        assert_eq!(with(frequency, Decay::steps([1]), 1), constant, "every {frequency}");
        assert_ne!(with(frequency, Decay::Cosine { last: 0.0 }, 1), still, "every {frequency}");
    }
    // A whole epoch at once, whatever number beyond it is given.
    assert_eq!(with(6, Decay::Constant, 2), with(5, Decay::Constant, 2));
    // Cosine: the only move of an epoch has the factor of its last mini-batch, 4 of 5.
    let cosine = Decay::Cosine { last: 0.0 };
    let factor = changed(|o| o.schedule.decay = cosine.clone()).train.schedule.step_factor(4, 5, 1);
    let at_rate = changed(|o| {
        o.weights.rate = (f64::from(o.weights.rate) * factor) as f32;
        o.biases.rate = (f64::from(o.biases.rate) * factor) as f32;
        o.sgd_frequency = 5;
    });
    assert_eq!(with(6, cosine, 1), trained(&at_rate).0);
}

#[test]
fn what_is_left_over_is_the_same_bits_on_several_devices_and_after_interruptions() {
    for (parallel, frequency) in [(Parallel::Data, 3), (Parallel::Data, 7), (Parallel::Hybrid, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let options = changed(|o| {
            (o.sgd_frequency, o.max_epoch) = (frequency, 2);
            o.schedule.decay = Decay::Cosine { last: 0.0 };
            o.schedule.warm_up = 1.0;
        });
        let train = |name: &str, size: usize, max_iterations: Option<u64>| {
            let working = folder.path().join(name);
            std::thread::scope(|scope| {
                let run = |local: Local| {
                    let (options, working) = (&options, &working);
                    scope.spawn(move || {
                        let ranks = Some(Ranks::new(Exchange::new(local).unwrap(), parallel));
                        let mut options = SessionOptions { ranks, ..options.clone() };
                        options.train.max_iterations = max_iterations;
                        let data = pictures(COUNT, 1);
                        let device = device(1);
                        let session = Session::open(working, &spec(), data, options, &device);
                        session.unwrap().run(&mut (), &never()).unwrap();
                    })
                };
                let threads: Vec<_> = Local::group(size).into_iter().map(run).collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            });
            let device = device(1);
            let network = striate_importers::read(&working, &device, &Default::default()).unwrap();
            let named = striate_nn::named_parameters(&network);
            named.iter().flat_map(|(_, t)| t.to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
        };
        let (one, two) = (train("one.sqlite3", 1, None), train("two.sqlite3", 2, None));
        let scale = one.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        for (a, b) in one.iter().zip(&two) {
            let bound = if parallel == Parallel::Data { 0.0 } else { 1e-5 * scale };
            assert!((a - b).abs() <= bound, "{parallel:?}: {a} {b}");
        }
        // Ended at an epoch and resumed, on another number of devices where that is possible.
        let sizes = if parallel == Parallel::Data { [2, 1] } else { [2, 2] };
        train("parts.sqlite3", sizes[0], Some(5));
        assert_eq!(train("parts.sqlite3", sizes[1], None), two, "{parallel:?}");
    }
}

#[test]
fn stops_between_two_moves_resume_to_the_same_bits() {
    struct StopAt<'a>(u64, &'a AtomicBool);
    impl Observer for StopAt<'_> {
        fn step(&mut self, step: &StepEvent) -> Result<()> {
            self.1.store(step.iterations >= self.0, Ordering::Relaxed);
            Ok(())
        }
    }
    for frequency in [2, 3, 6] {
        let options = changed(|o| {
            (o.sgd_frequency, o.max_epoch) = (frequency, 2);
            o.schedule.decay = Decay::Cosine { last: 0.0 };
        });
        let whole = trained(&options).0;
        for moment in 1..10 {
            let folder = tempfile::tempdir().unwrap();
            let working = folder.path().join("m.sqlite3");
            let stop = never();
            let outcome = open(&working, &options).run(&mut StopAt(moment, &stop), &stop).unwrap();
            // Unless the next move is the last one.
            let is_early = moment.next_multiple_of(5) < 10 || (frequency < 5 && moment < 8);
            assert!(!is_early || outcome == Outcome::Stopped, "{frequency} {moment}");
            let mut session = open(&working, &options);
            assert!(session.is_resumed());
            session.run(&mut (), &never()).unwrap();
            assert!(weights(&session) == whole, "every {frequency}, stopped at {moment}");
        }
    }
}

#[test]
fn so_many_mini_batches_are_so_many_and_all_of_them_count() {
    let ended = |frequency: usize, max: u64| {
        let options = changed(|o| {
            (o.sgd_frequency, o.max_iterations, o.max_epoch) = (frequency, Some(max), 9);
        });
        let (weights, told) = trained(&options);
        assert_eq!(told.steps, max, "every {frequency}");
        weights
    };
    // 3 of 5 or of more: one move of all three.
    assert_eq!(ended(5, 3), ended(3, 3));
    assert_eq!(ended(100, 3), ended(3, 3));
    assert_ne!(ended(2, 3), ended(2, 2));
    // Over the end of an epoch.
    assert_eq!(ended(100, 7).len(), ended(1, 7).len());
}

#[test]
fn checkpoints_that_are_due_between_two_moves_come_with_the_next() {
    let mut options = changed(|o| o.sgd_frequency = 3);
    options.checkpoint_every = Some(2);
    assert_eq!(trained(&options).1.saved, [3, 5]);
    options.checkpoint_every = Some(1);
    options.train.sgd_frequency = 2;
    assert_eq!(trained(&options).1.saved, [2, 4, 5]);
}

#[test]
fn a_frequency_beyond_the_epoch_is_told() {
    let warnings = |frequency: usize| {
        let told = trained(&changed(|o| o.sgd_frequency = frequency)).1;
        told.warnings.iter().filter(|text| text.contains("once an epoch")).count()
    };
    assert_eq!([warnings(1), warnings(5), warnings(6)], [0, 0, 1]);
}

#[test]
fn a_warm_up_of_one_mini_batch_changes_nothing_and_none_is_for_nothing() {
    let one_batch = |warm_up: f64| {
        changed(|o| (o.mini_batch, o.schedule.warm_up, o.max_epoch) = (COUNT, warm_up, 2))
    };
    assert_eq!(trained(&one_batch(1.0)).0, trained(&one_batch(0.0)).0);
    let told = trained(&changed(|o| (o.schedule.warm_up, o.max_epoch) = (1.0, 2))).1;
    assert_eq!(told.factors[..6], [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]);
}

#[test]
fn a_network_that_does_not_learn_is_told_once() {
    let told = |change: &dyn Fn(&mut TrainOptions)| {
        let folder = tempfile::tempdir().unwrap();
        let options = changed(change);
        let test = Some(pictures(30, 2));
        let data = pictures(COUNT, 1);
        let working = folder.path().join("m.sqlite3");
        let mut session =
            Session::open(working, &spec(), SessionData::new(data).test(test), options, &device(1))
                .unwrap();
        let mut told = Observed::default();
        session.run(&mut told, &never()).unwrap();
        (told.warnings, session.is_guessing())
    };
    let rate = |rate: f32| {
        move |o: &mut TrainOptions| {
            (o.weights.rate, o.biases.rate) = (rate, rate);
            o.max_epoch = 40;
        }
    };
    let (warnings, _) = told(&rate(0.0));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("a tenth of the learning rate"), "{warnings:?}");
    let (warnings, is_guessing) = told(&|o| o.max_epoch = 40);
    assert_eq!((warnings.len(), is_guessing), (0, false), "{warnings:?}");
}
