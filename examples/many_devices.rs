//! What training on many devices sends and waits for, measured on a real step:
//!
//! ```sh
//! cargo run --release --example many_devices -- traffic alexnet 128 2 4
//! cargo run --release --example many_devices -- scaling alexnet 8 1 2 4
//! ```
//!
//! `traffic NETWORK SAMPLES RANKS…` trains one mini-batch of so many samples a rank, on ranks that
//! are CPU devices of this process, and compares the bytes that a rank has sent with the formula.
//! `scaling` trains three, and says how long a step took, how long collectives went on, and how
//! much of that computation has waited for: with as many samples a rank for any number of ranks,
//! that is what should stay small.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use striate::image::Dataset;
use striate::nn::{LayerKind, NetworkSpec};
use striate::prelude::*;
use striate::train::parallel::{Exchange, Local, Parallel, Ranks};
use striate::train::{self, Observer, Session, SessionOptions, StepEvent, TrainOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, network, samples, ranks @ ..] = &arguments[..] else {
        return Err("usage: many_devices traffic|scaling NETWORK SAMPLES RANKS…".into());
    };
    let samples: usize = samples.parse()?;
    let spec = models::by_name(network)?;
    let steps = if what == "traffic" { 1 } else { 3 };
    match what.as_str() {
        "traffic" => println!("ranks  scheme    sent MB  formula MB  messages  whole/hybrid"),
        "scaling" => println!("ranks  scheme   step ms  collectives ms  exposed ms  hidden ms"),
        _ => return Err("expected traffic or scaling".into()),
    }
    for ranks in ranks {
        let ranks: usize = ranks.parse()?;
        let mut data_bytes = 0;
        for parallel in [Parallel::Data, Parallel::Hybrid] {
            let events = steps_on(ranks, samples, steps, parallel, &spec)?;
            // The first step also finds its memory.
            let Some(last) = events.last() else { return Err("no step was done".into()) };
            let exchange = last.exchange.unwrap_or_default();
            let scheme = format!("{parallel:?}").to_lowercase();
            if what == "scaling" {
                let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
                println!(
                    "{ranks:>5}  {scheme:<6}  {:>8.1}  {:>14.1}  {:>10.1}  {:>9.1}",
                    ms(last.time),
                    ms(exchange.traffic.time),
                    ms(exchange.exposed),
                    ms(exchange.hidden())
                );
                continue;
            }
            let bytes = exchange.traffic.bytes;
            let ratio = match parallel {
                Parallel::Data => {
                    data_bytes = bytes;
                    String::new()
                }
                Parallel::Hybrid => format!("{:.1}", data_bytes as f64 / bytes.max(1) as f64),
            };
            println!(
                "{ranks:>5}  {scheme:<6}  {:>9.2}  {:>10.2}  {:>8}  {ratio:>12}",
                bytes as f64 / 1e6,
                formula(&spec, parallel, ranks, samples)? / 1e6,
                exchange.traffic.messages
            );
        }
    }
    Ok(())
}

/// Bytes that a rank of so many sends in a step, `n` samples each: the sum of `p` numbers over `r`
/// ranks costs each `2 p (r - 1) / r`, and half of it where it is only gathered or scattered.
fn formula(spec: &NetworkSpec, parallel: Parallel, r: usize, n: usize) -> Result<f64, Failure> {
    let shapes = spec.shapes()?;
    let count = |kinds: &dyn Fn(LayerKind) -> bool| -> f64 {
        let layers = shapes.iter().filter(|shape| kinds(shape.kind));
        layers.flat_map(|s| [s.weight(), s.bias()]).flatten().map(|s| s.count() as f64).sum()
    };
    let others = (r - 1) as f64 / r as f64;
    if parallel == Parallel::Data {
        return Ok(4.0 * 2.0 * others * count(&|_| true));
    }
    let full: Vec<_> = shapes.iter().filter(|s| s.kind == LayerKind::FullConnect).collect();
    let inputs = |i: usize| full[i].input.iter().product::<usize>() as f64;
    let outputs = |i: usize| full[i].bias().map_or(0, |bias| bias.count()) as f64;
    // The joined activations there and their gradients back; outputs of each layer there, and back
    // of all but the last.
    let mut activations = 2.0 * inputs(0);
    for layer in 0..full.len() {
        activations += outputs(layer) * if layer + 1 < full.len() { 2.0 } else { 1.0 };
    }
    let replicated = count(&|kind| kind != LayerKind::FullConnect);
    Ok(4.0 * others * (2.0 * replicated + (r * n) as f64 * activations))
}

/// Tells rank 0's steps, and ends the training before anything is written.
struct Watch {
    events: Arc<Mutex<Vec<StepEvent>>>,
    steps: usize,
}

const ENOUGH: &str = "enough has been seen";

impl Observer for Watch {
    fn step(&mut self, step: &StepEvent) -> train::Result<()> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(*step);
        match events.len() < self.steps {
            true => Ok(()),
            false => Err(train::Error::Observer { message: ENOUGH.into() }),
        }
    }
}

/// The first steps of a training on pictures of noise, as rank 0 sees them.
fn steps_on(
    ranks: usize,
    samples: usize,
    steps: usize,
    parallel: Parallel,
    spec: &NetworkSpec,
) -> Result<Vec<StepEvent>, Failure> {
    let ([rows, cols], channels) = (spec.image, spec.input[2]);
    let count = ranks * samples;
    let picture = |i: usize| {
        let key = RandomKey::new(1, i as u64);
        let values = (0..rows * cols * channels).map(|p| key.number(p as u64 / 8) as u8).collect();
        Image::new(rows, cols, channels, values)
    };
    let pictures = (0..count).map(picture).collect::<Result<Vec<_>, _>>()?;
    let pictures = Dataset::from_images(pictures, vec![0; count])?;
    let options = SessionOptions {
        train: TrainOptions { mini_batch: count, ..TrainOptions::default() },
        ..SessionOptions::default()
    };
    let folder = tempfile::tempdir()?;
    let working = folder.path().join("none.sqlite3");
    let events = Arc::new(Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, |all| all.get());
    let run = |rank: usize, local: Local| -> Result<(), Failure> {
        // A shard a rank: nobody computes in smaller pieces than it must.
        let ranks_of = Ranks::new(Exchange::new(local)?, parallel);
        let ranks_of = Ranks { shards: Some(ranks), ..ranks_of };
        let options = SessionOptions { ranks: Some(ranks_of), ..options.clone() };
        let device = Device::cpu(Some((threads / ranks).max(1)))?;
        let mut session = Session::open(&working, spec, pictures.clone(), options, &device)?;
        let stop = AtomicBool::new(false);
        let mut watch = Watch { events: Arc::clone(&events), steps };
        match rank {
            0 => session.run(&mut watch, &stop)?,
            _ => session.run(&mut (), &stop)?,
        };
        Ok(())
    };
    std::thread::scope(|scope| {
        let run = &run;
        let start = |(rank, local)| scope.spawn(move || run(rank, local));
        let threads: Vec<_> = Local::group(ranks).into_iter().enumerate().map(start).collect();
        for thread in threads {
            let Ok(result) = thread.join() else { return Err("a rank panicked".into()) };
            match result {
                Err(error) if error.to_string().contains(ENOUGH) => {}
                other => other?,
            }
        }
        Ok::<(), Failure>(())
    })?;
    let events = events.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(events.clone())
}
