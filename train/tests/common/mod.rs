//! A small network and pictures that it can learn, in memory.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]
#![allow(dead_code, reason = "each test program uses some of it")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use striate_data::augment::Recipe;
use striate_data::{Dataset, Image};
use striate_nn::{NetworkSpec, conv2d, full_connect, pool};
use striate_ops_cpu::Cpu;
use striate_tensor::{Device, RandomKey};
use striate_train::parallel::{Exchange, Local, Ranks};
use striate_train::{
    Observer, Outcome, Result, Session, SessionData, SessionOptions, TrainOptions,
};

pub(crate) const CLASSES: usize = 3;

/// Grey pictures of 9 x 9 with a bright row, column or square, and noise.
pub(crate) fn pictures(count: usize, seed: u64) -> Dataset {
    let labels: Vec<u32> = (0..count).map(|i| (i % CLASSES) as u32).collect();
    let picture = |(i, &class): (usize, &u32)| {
        let key = RandomKey::new(seed, i as u64);
        let place = 2 + (key.number(1000) % 5) as usize;
        let pixel = |p: usize| {
            let (row, col) = (p / 9, p % 9);
            let bright = match class {
                0 => row == place,
                1 => col == place,
                _ => row.abs_diff(place) <= 1 && col.abs_diff(place) <= 1,
            };
            (key.number(p as u64) % 60) as u8 + if bright { 190 } else { 0 }
        };
        Image::new(9, 9, 1, (0..81).map(pixel).collect()).unwrap()
    };
    Dataset::from_images(labels.iter().enumerate().map(picture).collect(), labels).unwrap()
}

pub(crate) fn spec() -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_name("bars")
        .with_image([9, 9])
        .conv(conv2d(6, 3).relu())
        .max_pool(pool(2).stride(2))
        .full_connect(full_connect(12).relu().dropout(0.5))
        .full_connect(CLASSES)
}

pub(crate) fn options() -> SessionOptions {
    let mut options = SessionOptions {
        recipe: Recipe::by_name("ccv").unwrap(),
        train: TrainOptions { mini_batch: 8, max_epoch: 4, ..TrainOptions::default() },
        ..SessionOptions::default()
    };
    options.train.weights.rate = 0.0005;
    options.train.biases.rate = 0.001;
    options
}

pub(crate) fn device(threads: usize) -> Device {
    Device::new(Cpu::new(Some(threads)).unwrap())
}

pub(crate) fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// The message of an error and of all its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a session of 61 pictures on each of so many ranks, each in a thread; what each said.
pub(crate) fn train_on_ranks(
    size: usize,
    working: &Path,
    spec: &NetworkSpec,
    options: &SessionOptions,
    choose: &(dyn Fn(Exchange) -> Ranks + Sync),
    observe: &(dyn Fn(usize) -> Box<dyn Observer> + Sync),
    stop: &AtomicBool,
) -> Vec<Result<Outcome>> {
    std::thread::scope(|scope| {
        let run = |(rank, local): (usize, Local)| {
            scope.spawn(move || {
                let ranks = choose(Exchange::new(local)?);
                let options = SessionOptions { ranks: Some(ranks), ..options.clone() };
                let data = SessionData::new(pictures(61, 1)).test(Some(pictures(30, 2)));
                let mut session = Session::open(working, spec, data, options, &device(1))?;
                session.run(&mut *observe(rank), stop)
            })
        };
        let threads: Vec<_> = Local::group(size).into_iter().enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
