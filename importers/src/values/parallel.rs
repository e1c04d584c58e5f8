//! Reading large tensors by several threads.

use std::thread;

use striate_tensor::{DType, HostValues};

use super::{Counts, Narrowing, Run, Stored};
use crate::{Error, Result};

/// The most threads that read: more do not read sooner, since memory is then as busy as it can be.
const MOST_THREADS: usize = 4;

/// Bytes that are worth a thread: reading them takes several times as long as starting one.
const LEAST_BYTES: usize = 2 << 20;

/// How many threads are worth starting for so many bytes.
pub(crate) fn threads_for(bytes: usize) -> usize {
    let worth = (bytes / LEAST_BYTES).clamp(1, MOST_THREADS);
    // Asking the system takes longer than reading a small tensor.
    if worth == 1 { 1 } else { thread::available_parallelism().map_or(1, usize::from).min(worth) }
}

/// `count` stored floats as values of type `dtype`, and what became of them. `fill(bytes, offset)`
/// copies bytes of what is stored; several threads call it. What is read does not depend on how many.
pub(crate) fn load_parallel(
    file: &str,
    count: usize,
    stored: Stored,
    dtype: DType,
    narrowing: Narrowing,
    fill: impl Fn(&mut [u8], usize) -> Result<()> + Sync,
) -> Result<(HostValues, Counts)> {
    let mut values = HostValues::zeros(dtype, count);
    let Some(run) = Run::of(&mut values) else { return Ok((values, Counts::default())) };
    let threads = threads_for(count * stored.size_bytes());
    let counts =
        load_runs(file, run, threads, 1, |run, first| run.load(first, stored, narrowing, &fill))?;
    Ok((values, counts))
}

/// Loads a run in so many parts, each by a thread of its own. They have about the same length, and
/// all but the last are a multiple of `unit` elements. `load` gets a part and its first element.
pub(crate) fn load_runs(
    file: &str,
    run: Run<'_>,
    threads: usize,
    unit: usize,
    load: impl Fn(Run<'_>, usize) -> Result<Counts> + Sync,
) -> Result<Counts> {
    let unit = unit.max(1);
    let part = run.len().div_ceil(threads.max(1)).next_multiple_of(unit).max(unit);
    let load = &load;
    thread::scope(|scope| {
        let mut others = Vec::with_capacity(threads);
        let (mut rest, mut first) = (run, 0);
        while rest.len() > part {
            let (run, after) = rest.split(part);
            let other = thread::Builder::new()
                .spawn_scoped(scope, move || load(run, first))
                .map_err(|e| Error::io(file, "start a thread to read", e))?;
            others.push(other);
            (rest, first) = (after, first + part);
        }
        let own = load(rest, first);
        // A panic of a thread goes on in this one.
        let join = |other: thread::ScopedJoinHandle<'_, _>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let all: Vec<Result<Counts>> = others.into_iter().map(join).chain([own]).collect();
        // Of several errors, that of the first part.
        all.into_iter().try_fold(Counts::default(), |counts, more| Ok(counts.and(more?)))
    })
}

#[cfg(test)]
mod tests {
    use striate_tensor::f16;

    use super::*;

    #[test]
    fn any_number_of_threads_loads_the_same() {
        let n = 50_003;
        let mut numbers: Vec<f32> = (0..n).map(|i| (i % 2048) as f32).collect();
        numbers[40_000] = f32::INFINITY;
        numbers[20_000] = 1e5;
        numbers[30_000] = -1e5;
        let file: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        for dtype in [DType::F32, DType::F16] {
            let load = |threads| {
                let mut values = HostValues::zeros(dtype, n);
                let run = Run::of(&mut values).unwrap();
                let counts = load_runs("x", run, threads, 7, |run, first| {
                    run.load(first, Stored::F32, Narrowing::Nearest, |piece: &mut [u8], at| {
                        piece.copy_from_slice(&file[at..at + piece.len()]);
                        Ok(())
                    })
                });
                (values, counts.unwrap())
            };
            let expected = load(1);
            let overflows = if dtype == DType::F16 { 2 } else { 0 };
            let first = (dtype == DType::F16).then_some((20_000, 1e5));
            assert_eq!(expected.1, Counts { non_finite: 1, overflows, first });
            for threads in [2, 3, 4, 7] {
                assert!(load(threads) == expected, "{threads} {dtype}");
            }
        }
        let halves = HostValues::F16(vec![f16::ONE; 3]);
        let fill = |piece: &mut [u8], at: usize| {
            piece.copy_from_slice(&halves.bytes()[at..at + piece.len()]);
            Ok(())
        };
        let (values, counts) =
            load_parallel("x", 3, Stored::F16, DType::F16, Narrowing::Nearest, fill).unwrap();
        assert_eq!((values, counts), (halves.clone(), Counts::default()));
    }

    #[test]
    fn the_error_of_the_first_part_is_told() {
        let mut values = HostValues::zeros(DType::F32, 100);
        let error = load_runs("x", Run::of(&mut values).unwrap(), 4, 1, |_, first| match first {
            25 | 75 => Err(Error::content("x", format!("part {first}"), "a", "b")),
            _ => Ok(Counts::default()),
        });
        assert!(error.unwrap_err().to_string().contains("part 25"));
    }
}
