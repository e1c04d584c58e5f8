//! What 2, 4, 8 and 16 threads would make of networks, by the tasks that one thread runs: which layers have
//! too few tasks, or one that is too long.
//!
//!     cargo run --release --example many_threads --no-default-features --features task-times -- \
//!         [--batch N] [--layers] [NETWORK]…
//!
//! Loops are cut as for so many threads. Each task is timed on one thread, the best of some runs, and then
//! given to threads as the CPU backend does it. Waking
//! threads takes no time in this simulation, and memory is as fast for many threads as for one, so that it
//! is a bound on the gain: it finds layers that keep threads idle.

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use std::error::Error;
use std::time::Duration;

use striate::models;
use striate::ops_cpu::Cpu;
use striate::ops_cpu::task_times::{OpTimes, makespan, record};
use striate::prelude::*;

const THREADS: [usize; 4] = [2, 4, 8, 16];
const RUNS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut batch, mut shows_layers, mut names) = (1, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--batch" => batch = arguments.next().ok_or("--batch needs a number")?.parse()?,
            "--layers" => shows_layers = true,
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        names = ["resnet18", "mobilenet-v2"].map(str::to_owned).into();
    }
    println!("{:20} {:>9} {:>7}  times faster on 2, 4, 8, 16 threads", "", "ms", "serial");
    for name in &names {
        let spec = models::by_name(name)?;
        let mut alone = Duration::ZERO;
        let mut faster = Vec::new();
        for threads in [1].into_iter().chain(THREADS) {
            let device = Device::new(Cpu::new(Some(1))?.cut_for(threads));
            let [rows, cols, channels] = spec.input;
            let dims = [batch, rows, cols, channels];
            let x = Tensor::normal(dims, 0.0, 1.0, RandomKey::new(1, 0), &device)?;
            let network = spec.build(&device, Seed(1))?;
            let mut best = times(&network, &x)?;
            for _ in 0..RUNS {
                merge(&mut best, &times(&network, &x)?)?;
            }
            let total: Duration = best.iter().map(|op| op.total).sum();
            if threads == 1 {
                alone = total;
                let serial: Duration = best.iter().map(serial).sum();
                let share = 100.0 * serial.as_secs_f64() / total.as_secs_f64();
                print!("{name:20} {:9.2} {share:5.1} % ", 1e3 * total.as_secs_f64());
                continue;
            }
            let on_many: Duration = best.iter().map(|op| on(op, threads)).sum();
            print!(" {:6.2}", alone.as_secs_f64() / on_many.as_secs_f64());
            if shows_layers {
                faster.push((threads, best));
            }
        }
        println!();
        for (threads, best) in faster {
            layers(&best, threads);
        }
    }
    Ok(())
}

fn times(network: &Network, x: &Tensor) -> Result<Vec<OpTimes>, Box<dyn Error>> {
    let (result, ops) = record(|| network.forward(x));
    result?;
    Ok(ops)
}

/// Keeps the shorter time of each task, and of what stands between the loops.
fn merge(best: &mut Vec<OpTimes>, other: &[OpTimes]) -> Result<(), Box<dyn Error>> {
    let tasks = |ops: &[OpTimes]| -> Vec<Vec<usize>> {
        ops.iter().map(|op| op.loops.iter().map(Vec::len).collect()).collect()
    };
    // The first run prepares what later ones keep.
    if tasks(best) != tasks(other) {
        *best = other.to_vec();
        return Ok(());
    }
    for (best, other) in best.iter_mut().zip(other) {
        let between = serial(best).min(serial(other));
        let loops = best.loops.iter_mut().flatten().zip(other.loops.iter().flatten());
        loops.for_each(|(best, other)| *best = (*best).min(*other));
        best.total = between + best.loops.iter().flatten().sum::<Duration>();
    }
    Ok(())
}

/// What one thread does, however many there are.
fn serial(op: &OpTimes) -> Duration {
    op.total.saturating_sub(op.loops.iter().flatten().sum())
}

fn on(op: &OpTimes, threads: usize) -> Duration {
    serial(op) + op.loops.iter().map(|tasks| makespan(tasks, threads)).sum::<Duration>()
}

/// The ops by what they take, cut for so many threads: the tasks of each loop, the longest over the mean of
/// the loop in which that is largest by time, and the share of the threads that is busy.
fn layers(ops: &[OpTimes], threads: usize) {
    let all: Duration = ops.iter().map(|op| on(op, threads)).sum();
    println!("{threads} threads: op, share of the time, busy, longest / mean, tasks of each loop");
    for (index, op) in ops.iter().enumerate() {
        let here = on(op, threads).as_secs_f64();
        let share = here / all.as_secs_f64();
        if share < 0.002 {
            continue;
        }
        let busy = 100.0 * op.total.as_secs_f64() / (threads as f64 * here);
        let largest = op.loops.iter().max_by_key(|tasks| tasks.iter().sum::<Duration>());
        let uneven = largest.map_or(0.0, |tasks| {
            let mean = tasks.iter().sum::<Duration>().as_secs_f64() / tasks.len().max(1) as f64;
            tasks.iter().max().map_or(0.0, Duration::as_secs_f64) / mean
        });
        let tasks: Vec<usize> = op.loops.iter().map(Vec::len).collect();
        let output = op.output.map_or_else(String::new, |ty| ty.to_string());
        println!(
            "{index:3} {:5.1} % {busy:5.0} % {uneven:6.2}   {tasks:?} {} {output}",
            100.0 * share,
            op.name,
        );
    }
}
