//! Clocks and memory.

use std::time::{Duration, Instant};

use super::clock::{Clock, Time};
use crate::error::Result;

/// Where the number of repetitions is not said: so many at least, for so long, so many at most.
const MIN_REPEATS: usize = 5;
const REPEAT_FOR: Duration = Duration::from_secs(1);
const MAX_REPEATS: usize = 10_000;

/// How long something took, each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<Time>);

impl Times {
    /// One more.
    pub(super) fn push(&mut self, time: Time) {
        self.0.push(time);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of both middle ones; 0 of none.
    pub(super) fn median(&self) -> Duration {
        middle(self.0.iter().map(|time| time.measured).collect())
    }

    /// The middle one by the host's clock.
    pub(super) fn wall_median(&self) -> Duration {
        middle(self.0.iter().map(|time| time.wall).collect())
    }

    /// The shortest; 0 of none.
    pub(super) fn min(&self) -> Duration {
        self.0.iter().map(|time| time.measured).min().unwrap_or_default()
    }
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let middle = times.len() / 2;
    match times.len() {
        0 => Duration::ZERO,
        n if n % 2 == 1 => times[middle],
        _ => (times[middle - 1] + times[middle]) / 2,
    }
}

/// Runs something once for nothing (memory is taken, weights are packed), then again and again.
pub(super) fn repeat(
    repeats: Option<usize>,
    clock: &Clock,
    mut run: impl FnMut() -> Result<()>,
) -> Result<Times> {
    run()?;
    let begun = Instant::now();
    let mut times = Times::default();
    loop {
        times.push(clock.time(&mut run)?);
        if enough(repeats, times.count(), begun) {
            return Ok(times);
        }
    }
}

/// Whether it has been repeated often enough.
pub(super) fn enough(repeats: Option<usize>, done: usize, begun: Instant) -> bool {
    match repeats {
        Some(repeats) => done >= repeats,
        None => done >= MAX_REPEATS || (done >= MIN_REPEATS && begun.elapsed() > REPEAT_FOR),
    }
}

/// Lets [`peak_bytes`] begin anew, where the system can: else it is the peak since the start.
pub(super) fn reset_peak() {
    #[cfg(target_os = "linux")]
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        log::debug!("the peak of memory counts from the start of the program: {error}");
    }
}

/// The most memory that this process held since the last reset; nothing where the system does not
/// say.
pub(super) fn peak_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    peak_in(&status)
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_minimum() {
        let time = |&ms: &u64| {
            let [measured, wall] = [ms, ms + 1].map(Duration::from_millis);
            Time { measured, wall }
        };
        let times = |ms: &[u64]| Times(ms.iter().map(time).collect());
        assert_eq!(times(&[9, 1, 5]).median(), Duration::from_millis(5));
        assert_eq!(times(&[4, 1, 2, 9]).median(), Duration::from_millis(3));
        assert_eq!(times(&[9, 1, 5]).min(), Duration::from_millis(1));
        assert_eq!(times(&[9, 1, 5]).wall_median(), Duration::from_millis(6));
        assert_eq!(times(&[]).median(), Duration::ZERO);
    }

    #[test]
    fn repeats_as_often_as_asked_after_one_run_for_nothing() {
        let mut runs = 0;
        let times = repeat(Some(3), &Clock::wall(), || {
            runs += 1;
            Ok(())
        });
        assert_eq!((times.unwrap().count(), runs), (3, 4));
    }

    #[test]
    fn the_peak_as_linux_writes_it() {
        assert_eq!(peak_in("VmPeak:\t 9 kB\nVmHWM:\t    1024 kB\n"), Some(1 << 20));
        assert_eq!(peak_in("nothing"), None);
    }
}
