//! The conformance suite on the CPU: with 1 and 2 threads, and with every instruction set that this
//! processor has; and the same bits for every number of threads.
//!
//! `CONFORMANCE_CASES` sets the number of random cases for each op, `STRIATE_SIMD` leaves out the
//! instruction sets beyond one: a memory checker needs fewer of both.

#![allow(clippy::unwrap_used, reason = "a device that cannot be made is a test that fails")]

use striate_ops_cpu::{Cpu, Level};
use striate_tensor::conformance::{self, Settings};
use striate_tensor::{Device, conformance_tests};

fn device(threads: usize, level: Level) -> Device {
    Device::new(Cpu::with_level(Some(threads), level).unwrap())
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    if let Some(cases) = std::env::var("CONFORMANCE_CASES").ok().and_then(|n| n.parse().ok()) {
        settings.cases = cases;
    }
    settings
}

mod one_thread {
    use super::*;
    conformance_tests!(device(1, Level::best()), settings());
}

mod two_threads {
    use super::*;
    conformance_tests!(device(2, Level::best()), settings());
}

/// The instruction sets below the best, which is tested above.
fn lesser_levels() -> impl Iterator<Item = Level> {
    Level::available().into_iter().filter(|&level| level < Level::best())
}

#[test]
fn lesser_levels_pass_on_one_thread() {
    for level in lesser_levels() {
        conformance::run(&device(1, level), &settings());
    }
}

#[test]
fn lesser_levels_pass_on_two_threads() {
    for level in lesser_levels() {
        conformance::run(&device(2, level), &settings());
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    for level in lesser_levels().chain([Level::best()]) {
        let one = conformance::bits(&device(1, level));
        for threads in [2, 3] {
            let many = conformance::bits(&device(threads, level));
            assert_eq!(one.len(), many.len());
            for ((op, one), (_, many)) in one.iter().zip(&many) {
                let differs = one.iter().zip(many).position(|(a, b)| a != b);
                assert_eq!(differs, None, "{op} at {level} with {threads} threads, at a byte");
            }
        }
    }
}
