//! What is planned on paper against what was measured.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::sync::{Arc, Mutex};

use common::{device, never, options, pictures};
use striate_models as models;
use striate_nn::{Method, NetworkSpec, conv2d, full_connect, pool};
use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
use striate_train::plan::{Link, Machine, Plan};
use striate_train::{Clip, Error, Observer, Session, SessionOptions, StepEvent, TrainOptions};

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
        .conv(conv2d(6, 3).relu())
        .max_pool(pool(2).stride(2))
        .conv(conv2d(1031, 3).relu())
        .full_connect(full_connect(301).relu().dropout(0.5))
        .full_connect(full_connect(11).relu())
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
                    Session::open(working, &spec, samples, options, &device(1)).unwrap();
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

/// Peaks of the whole process for a step on CPU devices: what the program itself and its packed
/// weights take is on top.
#[test]
fn memory_is_near_what_a_step_took() {
    for (model, batch, megabytes) in
        [("alexnet", 32, 925.0), ("mattnet", 16, 1019.0), ("vgg-d", 4, 1540.0)]
    {
        let step = usual(model).step(Parallel::Data, 1, batch).unwrap();
        let planned = step.memory as f64 / 1e6 / megabytes;
        assert!((0.8..1.0).contains(&planned), "{model}: {planned} of {megabytes} MB");
    }
}

/// ccv's own numbers: MattNet, 128 samples a graphics card, 0.845 s on one and 0.909 s on four over
/// PCIe 3.0 x16. The model is a bound: it may be faster by 8 %, and slower by no more than 5 %.
#[test]
fn what_an_optimizer_keeps_and_bounded_gradients_take_memory() {
    let (alexnet, link) = ("alexnet", "10GbE");
    let plan = plan(alexnet, Machine::new(1e12).unwrap(), link);
    let weights = 4 * plan.parameters();
    let memory = |plan: &Plan, parallel, ranks| plan.step(parallel, ranks, 32).unwrap().memory;
    let options = TrainOptions::default().with_optimizer(Method::adamw());
    let adamw = plan.clone().with_options(&options);
    let averaged = TrainOptions { ema: Some(0.999), ..options.clone() };
    let averaged = plan.clone().with_options(&averaged);
    let clipped = TrainOptions { clip: Some(Clip::Norm { most: 1.0 }), ..options };
    let clipped = plan.clone().with_options(&clipped);
    let one = Parallel::Data;
    assert_eq!(memory(&adamw, one, 1) - memory(&plan, one, 1), weights);
    assert_eq!(memory(&averaged, one, 1) - memory(&plan, one, 1), 2 * weights);
    assert_eq!(memory(&clipped, one, 1) - memory(&adamw, one, 1), weights);
    // Several devices hold all gradients in any case.
    assert_eq!(memory(&clipped, one, 2), memory(&adamw, one, 2));
    let hybrid = Parallel::Hybrid;
    let more = memory(&adamw, hybrid, 2) - memory(&plan, hybrid, 2);
    assert!(more > weights / 2 && more < weights, "{more} of {weights}");
    let seconds = |plan: &Plan| plan.step(one, 1, 32).unwrap().step;
    let slow = |options: &TrainOptions| {
        let machine = Machine::new(1e12).unwrap().with_bandwidth(1e9).unwrap();
        let plan = crate::plan(alexnet, machine, link);
        seconds(&plan.with_options(options))
    };
    let sgd = slow(&TrainOptions::default());
    assert!(slow(&TrainOptions::default().with_optimizer(Method::adam())) > sgd);
}

#[test]
fn four_cards_take_about_as_long_as_they_took_ccv() {
    let mattnet = models::by_name("mattnet").unwrap();
    let card = Machine::measured(&mattnet, 128, 0.845).unwrap();
    assert!((4e12..4.1e12).contains(&card.flops), "{}", card.flops);
    let plan = plan("mattnet", card, "PCIe3x16");
    let one = plan.step(Parallel::Data, 1, 128).unwrap();
    assert!((one.step - 0.845).abs() < 1e-9 && one.bytes == 0 && one.exposed == 0.0);
    for parallel in [Parallel::Data, Parallel::Hybrid] {
        let four = plan.step(parallel, 4, 512).unwrap();
        let ratio = four.step / 0.909;
        assert!((0.92..1.05).contains(&ratio), "{parallel:?}: {} s", four.step);
        assert!(four.step > one.step && four.speedup < 4.0);
        assert!((four.step - four.computation - four.exposed).abs() < 1e-12);
    }
    let hybrid = plan.step(Parallel::Hybrid, 4, 512).unwrap();
    assert!((0.846..0.849).contains(&hybrid.step), "{}", hybrid.step);
}

/// What the trainer hides is hidden on paper: gradients behind the backward pass, all but the last;
/// and on a slow wire what remains is what the wire takes.
#[test]
fn gradients_hide_behind_the_backward_pass() {
    let machine = Machine::new(5e11).unwrap();
    let fast = plan("alexnet", machine, "10GbE").step(Parallel::Data, 4, 512).unwrap();
    assert!(fast.collectives > 0.2 && fast.exposed < 0.01 * fast.collectives, "{fast:?}");
    let slow = plan("alexnet", machine, "1MB/s").step(Parallel::Data, 4, 512).unwrap();
    assert!(slow.exposed > 0.99 * slow.collectives - slow.computation, "{slow:?}");
    assert_eq!((fast.bytes, fast.computation), (slow.bytes, slow.computation));
}

#[test]
fn hybrid_is_better_where_the_wire_is_slow_and_the_batch_small() {
    let machine = Machine::new(4.5e12).unwrap();
    let slow = plan("vgg-d", machine, "1GbE");
    let best = slow.best(2, 2 * 4).unwrap();
    assert_eq!(best.parallel, Parallel::Hybrid);
    assert!(best.beats(&slow.step(Parallel::Data, 2, 2 * 4).unwrap()));
    // Activations grow with the samples of all, gradients do not.
    assert_eq!(slow.best(128, 128 * 64).unwrap().parallel, Parallel::Data);
    // Data parallel is for powers of two, hybrid for as many ranks as outputs.
    assert_eq!(slow.best(3, 96).unwrap().parallel, Parallel::Hybrid);
    assert_eq!(slow.best(1024, 4096).unwrap().parallel, Parallel::Data);
}

#[test]
fn the_best_batch_is_the_smallest_that_is_as_good_and_fits() {
    let machine = Machine::new(4.5e12).unwrap();
    let free = plan("vgg-d", machine, "10GbE");
    let best = free.best_batch(Parallel::Data, 8).unwrap();
    assert!(best.batch.is_power_of_two() && best.mini_batch == 8 * best.batch);
    let more = free.step(Parallel::Data, 8, 8 * 1024).unwrap();
    assert!(best.samples_per_second() >= 0.99 * more.samples_per_second());
    let half = free.step(Parallel::Data, 8, 4 * best.batch).unwrap();
    assert!(half.samples_per_second() < 0.99 * more.samples_per_second());

    let small = plan("vgg-d", machine.with_memory(best.memory - 1), "10GbE");
    let fits = small.best_batch(Parallel::Data, 8).unwrap();
    assert!(fits.fits && fits.batch == best.batch / 2, "{fits:?}");
    let tiny = plan("vgg-d", machine.with_memory(1000), "10GbE");
    let none = tiny.best_batch(Parallel::Data, 8).unwrap();
    assert!(!none.fits && none.batch == 1);
    // Hybrid has a share of the full-connect weights only: it fits where data parallel does not.
    let data = free.step(Parallel::Data, 8, 64).unwrap();
    let between = plan("vgg-d", machine.with_memory(data.memory - 1), "NVLink");
    let best = between.best(8, 64).unwrap();
    assert!(best.fits && best.parallel == Parallel::Hybrid);
}

#[test]
fn memory_bandwidth_shows_where_little_is_calculated() {
    let machine = Machine::new(9e12).unwrap();
    let bound = plan("vgg-d", machine.with_bandwidth(9e11).unwrap(), "NVLink");
    let free = plan("vgg-d", machine, "NVLink");
    let cost = |batch: u64| {
        let step = |plan: &Plan| plan.step(Parallel::Data, 1, batch).unwrap().step;
        step(&bound) / step(&free)
    };
    assert!(cost(1) > 1.2 && cost(128) < 1.05, "{} {}", cost(1), cost(128));
    // Each of several has fewer weights to read and move.
    let hybrid = bound.step(Parallel::Hybrid, 8, 8).unwrap();
    assert!(hybrid.computation < bound.step(Parallel::Data, 8, 8).unwrap().computation);
}

#[test]
fn what_cannot_be_is_refused_with_what_could() {
    let plan = usual("alexnet");
    let refused = |result: striate_train::Result<striate_train::plan::Prediction>, part: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Plan { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(plan.step(Parallel::Data, 0, 8), "expected 1 to 1048576 devices, got 0");
    refused(plan.step(Parallel::Hybrid, u64::MAX, u64::MAX), "1048576 devices");
    refused(plan.step(Parallel::Data, 3, 9), "1, 2, 4, 8 … devices, got 3");
    refused(plan.step(Parallel::Hybrid, 1001, 5000), "the 1000 outputs of the narrowest");
    refused(plan.step(Parallel::Data, 4, 3), "a mini-batch of 4 to 1048576 on 4 devices, got 3");
    refused(plan.step(Parallel::Data, 4, u64::MAX), "a mini-batch of 4 to 1048576");
    refused(plan.best(2048 + 1, 1 << 19), "devices");
    let flat = NetworkSpec::new([1, 1, 9]).full_connect(full_connect(4).relu()).full_connect(2);
    let machine = Machine::new(1e9).unwrap();
    let flat = Plan::new(&flat, machine, Link::new(1e9, 0.0).unwrap()).unwrap();
    refused(flat.step(Parallel::Hybrid, 2, 8), "layers before the first full-connect one");
    assert!(flat.step(Parallel::Data, 2, 8).is_ok());
    assert!(flat.with_pieces(0).is_err());

    let open = NetworkSpec::new([8, 8, 1]).conv(conv2d(4, 3).relu());
    let link = Link::new(1e9, 1e-6).unwrap();
    assert!(matches!(Plan::new(&open, machine, link), Err(Error::Network(_))));
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        assert!(Machine::new(wrong).is_err() && machine.with_bandwidth(wrong).is_err());
        assert!(Machine::measured(&spec(), 8, wrong).is_err() && Link::new(wrong, 0.0).is_err());
    }
    assert!(Machine::measured(&spec(), 0, 1.0).is_err() && Link::new(1.0, -1.0).is_err());
}

/// The largest of everything is a number still.
#[test]
fn nothing_overflows() {
    let wide = NetworkSpec::new([1 << 15, 1 << 15, 16]).conv(conv2d(16, 1).relu()).full_connect(1);
    let deep = NetworkSpec::new([64, 64, 3]).conv(conv2d(8, 3).relu()).full_connect(1 << 19);
    for spec in [wide, deep] {
        for (flops, link) in [(1.0, (1.0, 3600.0)), (1e24, (1e24, 0.0))] {
            let link = Link::new(link.0, link.1).unwrap();
            let machine = Machine::new(flops).unwrap().with_bandwidth(flops).unwrap();
            let plan = Plan::new(&spec, machine.with_memory(u64::MAX), link).unwrap();
            let plan = plan.with_pieces(u64::MAX).unwrap();
            for ranks in [1, 1 << 10, 1 << 20] {
                let Ok(step) = plan.best(ranks, 1 << 20) else { continue };
                let numbers = [step.step, step.exposed, step.collectives, step.speedup];
                assert!(numbers.iter().all(|n| n.is_finite() && *n >= 0.0), "{step:?}");
                assert!(step.samples_per_second() > 0.0 && step.memory > 0);
            }
        }
    }
}
