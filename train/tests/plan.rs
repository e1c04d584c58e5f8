//! What is planned on paper against what was measured.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::sync::{Arc, Mutex};

use common::{device, never, options, pictures};
use striate_models as models;
use striate_nn::{NetworkSpec, conv, pool};
use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
use striate_train::plan::{Link, Machine, Plan};
use striate_train::{Observer, Session, SessionOptions, StepEvent};

fn plan(model: &str, machine: Machine, link: &str) -> Plan {
    Plan::new(&models::by_name(model).unwrap(), machine, link.parse().unwrap()).unwrap()
}

fn usual(model: &str) -> Plan {
    plan(model, Machine::new(1e12).unwrap(), "10GbE")
}

/// The table of the README: bytes counted on real steps.
#[test]
fn bytes_are_those_that_were_counted() {
    for (model, ranks, batch, data, hybrid) in [
        ("alexnet", 2, 32, 243.86, 13.92),
        ("alexnet", 2, 128, 243.86, 27.68),
        ("alexnet", 4, 128, 365.79, 69.02),
        ("vgg-d", 2, 4, 444.38, 59.73),
    ] {
        let plan = usual(model);
        for (parallel, counted) in [(Parallel::Data, data), (Parallel::Hybrid, hybrid)] {
            let step = plan.step(parallel, ranks, ranks * batch).unwrap();
            let sent = step.bytes as f64 / 1e6;
            assert!((sent - counted).abs() < 0.01, "{model} {parallel:?}: {sent} for {counted}");
        }
    }
}

/// Keeps what rank 0 is told of its steps.
struct Watch(Arc<Mutex<Vec<StepEvent>>>);

impl Observer for Watch {
    fn step(&mut self, step: &StepEvent) -> striate_train::Result<()> {
        self.0.lock().unwrap().push(*step);
        Ok(())
    }
}

/// Layers whose weights fill a bucket, one that does not, and outputs that no number of ranks
/// divides.
fn spec() -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_image([9, 9])
        .conv(conv(6, 3))
        .max_pool(pool(2).stride(2))
        .conv(conv(1031, 3))
        .full_connect(301)
        .relu()
        .dropout(0.5)
        .full_connect(11)
        .relu()
        .full_connect(5)
}

/// Bytes and messages of the second step of a real training.
fn real(ranks: usize, batch: usize, parallel: Parallel, pieces: Option<usize>) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("none.sqlite3");
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut options = options();
    options.train.mini_batch = ranks * batch;
    (options.train.max_epoch, options.train.max_iterations) = (1, Some(2));
    std::thread::scope(|scope| {
        for (rank, local) in Local::group(ranks).into_iter().enumerate() {
            let (options, working, events) = (&options, &working, Arc::clone(&events));
            scope.spawn(move || {
                let new = Ranks::new(Exchange::new(local).unwrap(), parallel);
                let new = Ranks { shards: Some(ranks), pieces, ..new };
                let options = SessionOptions { ranks: Some(new), ..options.clone() };
                let samples = pictures(2 * ranks * batch, 1);
                let spec = spec().with_classes(common::CLASSES);
                let mut session =
                    Session::open(working, &spec, samples, None, options, &device(1)).unwrap();
                match rank {
                    0 => session.run(&mut Watch(events), &never()).unwrap(),
                    _ => session.run(&mut (), &never()).unwrap(),
                };
            });
        }
    });
    let events = events.lock().unwrap();
    let traffic = events[1].exchange.unwrap().traffic;
    (traffic.bytes, traffic.messages)
}

#[test]
fn bytes_and_messages_are_those_of_a_real_step() {
    let plan = || {
        let spec = spec().with_classes(common::CLASSES);
        Plan::new(&spec, Machine::new(1e9).unwrap(), Link::new(1e9, 1e-5).unwrap()).unwrap()
    };
    for (ranks, batch, parallel, pieces) in [
        (1, 3, Parallel::Data, None),
        (2, 4, Parallel::Data, None),
        (4, 2, Parallel::Data, None),
        (1, 3, Parallel::Hybrid, None),
        (2, 5, Parallel::Hybrid, None),
        (3, 4, Parallel::Hybrid, None),
        (3, 2, Parallel::Hybrid, Some(7)),
        (2, 5, Parallel::Hybrid, Some(1)),
    ] {
        let plan = match pieces {
            Some(pieces) => plan().with_pieces(pieces as u64).unwrap(),
            None => plan(),
        };
        let step = plan.step(parallel, ranks as u64, (ranks * batch) as u64).unwrap();
        let (bytes, messages) = real(ranks, batch, parallel, pieces);
        let label = format!("{ranks} ranks, {batch} samples, {parallel:?}, {pieces:?}");
        assert_eq!((step.bytes, step.messages), (bytes, messages), "{label}");
    }
}

#[test]
fn explore() {
    for m in ["alexnet", "mattnet", "vgg-d"] {
        let p = usual(m);
        println!("{m} {} {}", p.flops(), p.parameters());
    }
    for (model, batch, mb) in
        [("alexnet", 32, 925.0), ("mattnet", 16, 1019.0), ("vgg-d", 4, 1540.0)]
    {
        let s = usual(model).step(Parallel::Data, 1, batch).unwrap();
        println!("{model} {} {mb}", s.memory as f64 / 1e6);
    }
    let mattnet = models::by_name("mattnet").unwrap();
    let card = Machine::measured(&mattnet, 128, 0.845).unwrap();
    println!("{card:?}");
    for m in ["mattnet", "vgg-d"] {
        for r in [1, 4] {
            for p in [Parallel::Data, Parallel::Hybrid] {
                println!("{m} {:?}", plan(m, card, "PCIe3x16").step(p, r, r * 128).unwrap());
            }
        }
    }
}
