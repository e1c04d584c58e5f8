//! Layers of many pages, read by several threads at once.

use std::thread;

use striate_nn::LayerParameters;
use striate_tensor::{Device, HostValues, Shape};

use super::database::Database;
use super::pages::{Pages, Position, StoredValue, StoredValues};
use super::stored::{StoredRow, to_tensor};
use crate::options::ReadOptions;
use crate::values::{Counts, Narrowing, Run, Stored, threads_for};
use crate::{Error, Result};

/// Bytes of weights from which their pages are read here: below, sqlite takes as long.
const LEAST_BYTES: usize = 128 * 1024;

/// Loads the weights and biases of a row that has been checked. Nothing where sqlite is to read them:
/// they are small, or are not where they were expected.
pub(super) fn load(
    database: &Database,
    row: &StoredRow,
    weight: &Shape,
    bias: &Shape,
    device: &Device,
    options: &ReadOptions,
) -> Result<Option<LayerParameters>> {
    if row.bytes(weight) < LEAST_BYTES {
        return Ok(None);
    }
    load_by(threads_for(row.bytes(weight)), database, row, weight, bias, device, options)
}

fn load_by(
    threads: usize,
    database: &Database,
    row: &StoredRow,
    weight: &Shape,
    bias: &Shape,
    device: &Device,
    options: &ReadOptions,
) -> Result<Option<LayerParameters>> {
    let Some(pages) = database.pages() else { return Ok(None) };
    let Some((root, columns)) = database.layout(row.table())? else { return Ok(None) };
    let Some(values) = pages.row(root, row.rowid())? else { return Ok(None) };
    let blob = |name: &str, shape: &Shape| {
        let at = columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        let value = values.values.get(at).filter(|value| value.is_blob)?;
        (value.bytes == row.bytes(shape) as u64).then_some(*value)
    };
    let (Some(weights), Some(biases)) = (blob("weight", weight), blob("bias", bias)) else {
        return Ok(None);
    };
    // The biases follow the weights, in their last page.
    if biases.start != weights.start + weights.bytes {
        return Ok(None);
    }
    let chain = Chain { file: &database.file, pages, row, values: &values, weights };
    let dtype = options.dtype.unwrap_or(row.stored().dtype());
    let mut loaded = HostValues::zeros(dtype, weight.count());
    let (counts, end) = chain.load(&mut loaded, threads)?;
    let place = row.place("weight");
    let weight = to_tensor(database, &place, (loaded, counts), weight, device, options)?;

    let place = row.place("bias");
    let mut reader = pages.reader(&values, biases.start, end, &database.file, place);
    let fill = |piece: &mut [u8], _| reader.read(piece);
    let loaded = crate::values::load(bias.count(), row.stored(), dtype, Narrowing::Truncate, fill)?;
    let bias = to_tensor(database, &place, loaded, bias, device, options)?;
    Ok(Some(LayerParameters { weight, bias }))
}

/// The chain of pages with a layer's weights.
struct Chain<'a> {
    /// The file's name in messages: its connection stays with its thread.
    file: &'a str,
    pages: &'a Pages,
    row: &'a StoredRow,
    values: &'a StoredValues,
    weights: StoredValue,
}

/// What a thread has loaded, and where that ends.
type Loaded = Result<(Counts, Position)>;

impl Chain<'_> {
    /// Loads all weights, in so many parts.
    ///
    /// Where a part begins is a guess: the pages that come before it are as many as they must be, and
    /// nearly always follow each other in the file. The part before, once it has gone through its pages,
    /// knows. What was read from a wrong place is read again.
    fn load(&self, out: &mut HostValues, threads: usize) -> Loaded {
        let count = out.len();
        let part = count.div_ceil(threads.max(1)).max(1);
        let (file, start) = (self.file, self.weights.start);
        let mut at = self.pages.guess(self.values, start);
        let mut counts = Counts::default();
        let parts: Vec<(usize, Position, Loaded)> = thread::scope(|scope| {
            let mut others = Vec::with_capacity(threads);
            let (mut rest, mut first) = (run(out, file)?, 0);
            let guess = |first| self.pages.guess(self.values, start + self.offset(first));
            while rest.len() > part {
                let (run, after) = rest.split(part);
                let begin = guess(first);
                let other = thread::Builder::new()
                    .spawn_scoped(scope, move || self.load_run(run, first, begin))
                    .map_err(|e| Error::io(file, "start a thread to read", e))?;
                others.push((first, begin, other));
                (rest, first) = (after, first + part);
            }
            let begin = guess(first);
            let own = (first, begin, self.load_run(rest, first, begin));
            // A panic of a thread goes on in this one.
            let join = |other: thread::ScopedJoinHandle<'_, Loaded>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let others =
                others.into_iter().map(|(first, begin, other)| (first, begin, join(other)));
            Ok::<_, Error>(others.chain([own]).collect())
        })?;
        for (first, begin, loaded) in parts {
            // A position before the chain is no guess.
            if begin != at {
                let (_, rest) = run(out, file)?.split(first);
                let (more, end) = self.load_run(rest, first, at)?;
                return Ok((counts.and(more), end));
            }
            let (more, end) = loaded?;
            (counts, at) = (counts.and(more), end);
        }
        Ok((counts, at))
    }

    /// Where an element's bytes begin among those of the weights.
    fn offset(&self, element: usize) -> u64 {
        element as u64 * self.stored().size_bytes() as u64
    }

    fn stored(&self) -> Stored {
        self.row.stored()
    }

    fn load_run(&self, run: Run<'_>, first: usize, begin: Position) -> Loaded {
        let at = self.weights.start + self.offset(first);
        let (file, place) = (self.file, self.row.place("weight"));
        let mut reader = self.pages.reader(self.values, at, begin, file, place);
        // One piece follows the other.
        let fill = |piece: &mut [u8], _| reader.read(piece);
        let counts = run.load(first, self.stored(), Narrowing::Truncate, fill)?;
        Ok((counts, reader.position()))
    }
}

fn run<'a>(values: &'a mut HostValues, file: &str) -> Result<Run<'a>> {
    let dtype = values.dtype();
    Run::of(values).ok_or_else(|| {
        let error = striate_tensor::Error::parameter("read", "dtype", "f32 or f16", dtype);
        Error::tensor(file, "the weights", error)
    })
}

#[cfg(test)]
#[path = "large_tests.rs"]
mod tests;
