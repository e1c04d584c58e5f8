//! Large blobs, read by several threads at once.
//!
//! sqlite keeps a large blob as a chain of pages, each of which names the next: who wants a part of it
//! has to go through all pages before. Reading them would take as long as reading that part, so for
//! this alone the file is mapped, and four bytes of each page are touched. The part itself is read, with
//! the file no longer mapped: its pages would stand beside the copy that the network keeps.

use std::thread;

use striate_nn::LayerParameters;
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor};

use super::database::{Database, explain};
use super::stored::StoredRow;
use crate::values::{Narrowing, Run, warn_non_finite};
use crate::{Error, Result};

/// The most threads that read: each goes through the pages of those before it.
const MOST: usize = 4;

/// Bytes that are worth a thread: reading them takes several times as long as starting one.
const LEAST_BYTES: usize = 2 << 20;

/// Going through pages takes this part of reading them, or less.
const WALK: f64 = 0.15;

/// Connections to a file, one for each thread that reads it.
pub(super) struct Readers<'a> {
    /// This thread's.
    database: &'a Database,
    others: Vec<Database>,
}

impl<'a> Readers<'a> {
    /// As many as the machine has processors for, and as a blob of `largest` bytes is worth.
    pub(super) fn new(database: &'a Database, largest: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let wanted = processors.min(MOST).min(largest / LEAST_BYTES);
        let others = (1..wanted).map_while(|_| database.again()).collect();
        Readers { database, others }
    }

    /// The weights and biases of a row that has been checked.
    ///
    /// This thread reads the last part of the weights, and the biases, which lie behind them.
    pub(super) fn load(
        &mut self,
        row: &StoredRow,
        weight: &Shape,
        bias: &Shape,
        device: &Device,
        dtype: Option<DType>,
    ) -> Result<LayerParameters> {
        let database = self.database;
        let (file, place) = (&database.file, row.place("weight").to_string());
        let failed = |e| Error::tensor(file, &place, e);
        let dtype = dtype.unwrap_or(row.stored().dtype());
        let mut values = HostValues::zeros(dtype, weight.count());
        let Some(run) = Run::of(&mut values) else {
            let error = striate_tensor::Error::parameter("read", "dtype", "f32 or f16", dtype);
            return Err(failed(error));
        };
        let threads = (self.others.len() + 1).min(row.bytes(weight) / LEAST_BYTES).max(1);
        let mut rest = Part { row, first: 0, run };
        let (counts, bias) = thread::scope(|scope| {
            let mut others = Vec::with_capacity(threads);
            for (database, end) in self.others.iter_mut().zip(ends(threads)) {
                let part;
                (part, rest) = rest.split((weight.count() as f64 * end) as usize);
                others.push(scope.spawn(move || part.load(database, || Ok(()))));
            }
            let own = rest.load(database, || row.load_bias(database, bias, device, dtype));
            // A panic of a thread goes on in this one.
            let join = |other: thread::ScopedJoinHandle<'_, _>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let others: Vec<Result<(usize, ())>> = others.into_iter().map(join).collect();
            // Of several errors, that of the first part.
            let counts = others.into_iter().map(|other| Ok(other?.0));
            let counts = counts.sum::<Result<usize>>()?;
            own.map(|(count, bias)| (counts + count, bias))
        })?;
        warn_non_finite(file, &place, counts, weight.count());
        let weight = HostTensor::new(*weight, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(failed)?;
        Ok(LayerParameters { weight, bias })
    }
}

/// Where the parts of so many threads end, the last one's aside, for all to take as long: later ones
/// have pages to go through first, and the last one goes on to the biases.
fn ends(threads: usize) -> impl Iterator<Item = f64> {
    let left = (0..threads).fold(1.0, |left, _| left * (1.0 - WALK));
    let time = WALK * (1.0 + WALK) / (1.0 - left);
    (1..threads).scan(0.0, move |end, _| {
        *end = time + (1.0 - WALK) * *end;
        Some(*end)
    })
}

/// A part of a row's weights.
struct Part<'a> {
    row: &'a StoredRow,
    /// Its first element.
    first: usize,
    run: Run<'a>,
}

impl<'a> Part<'a> {
    /// What comes before an element of the row, and the rest.
    fn split(self, end: usize) -> (Self, Self) {
        let Part { row, first, run } = self;
        let (run, run_after) = run.split(end - first);
        (Part { row, first, run }, Part { row, first: end, run: run_after })
    }

    /// Loads it, after something else that is done while the file is mapped. Gives how many values are
    /// not finite, and what else there was.
    fn load<T>(
        self,
        database: &Database,
        mapped: impl FnOnce() -> Result<T>,
    ) -> Result<(usize, T)> {
        let Part { row, first, run } = self;
        let place = row.place("weight");
        let failed = |e| explain(&database.file, &place.to_string(), e);
        let blob = database.blob(&place, row.rowid())?;
        let other = database.mapped(|| {
            let other = mapped()?;
            if first > 0 {
                // The blob remembers which pages it went through.
                let at = first * row.stored().size_bytes();
                blob.read_at_exact(&mut [0], at).map_err(failed)?;
            }
            Ok(other)
        })?;
        let fill = |piece: &mut [u8], at| blob.read_at_exact(piece, at).map_err(failed);
        Ok((run.load(first, row.stored(), Narrowing::Truncate, fill)?, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_become_shorter() {
        assert_eq!(ends(1).count(), 0);
        for threads in 2..=MOST {
            let mut parts = vec![0.0];
            parts.extend(ends(threads));
            parts.push(1.0);
            assert_eq!(parts.len(), threads + 1);
            let lengths: Vec<_> = parts.windows(2).map(|ends| ends[1] - ends[0]).collect();
            assert!(lengths.windows(2).all(|two| two[0] > two[1]), "{lengths:?}");
            assert!(lengths[threads - 1] > 0.0, "{lengths:?}");
        }
    }
}
