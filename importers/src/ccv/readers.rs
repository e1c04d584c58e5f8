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
                let other = thread::Builder::new()
                    .spawn_scoped(scope, move || part.load(database, || Ok(())))
                    .map_err(|e| Error::io(file, "start a thread to read", e))?;
                others.push(other);
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
    use std::path::Path;

    use rusqlite::Connection;
    use striate_nn::{Network, NetworkSpec, Seed, full_connect};
    use striate_tensor::Reference;

    use super::super::schema::LAYER_DATA;
    use super::*;
    use crate::WriteOptions;

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

    /// A network of a layer that four threads share in either precision, and its file.
    fn network(folder: &Path, device: &Device, stored: DType, page: u32) -> (Network, Database) {
        let path = folder.join("network.sqlite3");
        let spec = NetworkSpec::new([8, 8, 16]).full_connect(full_connect(4200));
        let network = spec.build(device, Seed(3)).unwrap();
        let bias: Vec<f32> = (0..4200).map(|i| (i % 500) as f32 - 7.5).collect();
        let bias = Tensor::from_vec(bias, [4200], device).unwrap();
        let weight = network.parameters()[0].clone().unwrap().weight;
        let parameters = vec![Some(LayerParameters { weight, bias })];
        let network = Network::new(network.spec().clone(), parameters, device).unwrap();
        crate::ccv::write(&path, &network, &WriteOptions::default().dtype(stored)).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "page_size", page).unwrap();
        connection.execute_batch("VACUUM").unwrap();
        (network, Database::open(&path).unwrap())
    }

    fn load(
        database: &Database,
        threads: usize,
        network: &Network,
        dtype: DType,
    ) -> Result<LayerParameters> {
        let device = Device::new(Reference::new());
        let again = || database.again().expect("the same file");
        let mut readers = Readers { database, others: (1..threads).map(|_| again()).collect() };
        let row = StoredRow::require(database, &LAYER_DATA, 0, "weights").unwrap();
        let shape = &network.shapes()[0];
        let (weight, bias) = (shape.weight.unwrap(), shape.bias.unwrap());
        readers.load(&row, &weight, &bias, &device, Some(dtype))
    }

    #[test]
    fn any_number_of_threads_reads_the_same() {
        let device = Device::new(Reference::new());
        for (stored, page) in [(DType::F32, 1024), (DType::F16, 4096), (DType::F16, 65536)] {
            let folder = tempfile::tempdir().unwrap();
            let (network, database) = network(folder.path(), &device, stored, page);
            for dtype in [DType::F32, DType::F16] {
                let floats = |parameters: &LayerParameters| {
                    let floats = |tensor: &Tensor| tensor.cast(DType::F32).unwrap().to_vec::<f32>();
                    (floats(&parameters.weight).unwrap(), floats(&parameters.bias).unwrap())
                };
                let expected = floats(&load(&database, 1, &network, dtype).unwrap());
                let original = floats(network.parameters()[0].as_ref().unwrap());
                assert_eq!(expected.1, original.1);
                if (stored, dtype) == (DType::F32, DType::F32) {
                    assert_eq!(expected.0, original.0);
                }
                for threads in 2..=MOST {
                    let got = floats(&load(&database, threads, &network, dtype).unwrap());
                    assert!(got == expected, "{stored} in pages of {page} as {dtype}, {threads}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_chain_of_pages_is_an_error_for_any_number_of_threads() {
        let device = Device::new(Reference::new());
        let folder = tempfile::tempdir().unwrap();
        let (network, database) = network(folder.path(), &device, DType::F32, 4096);
        let path = folder.path().join("network.sqlite3");
        let whole = std::fs::read(&path).unwrap();
        drop(database);
        for page in [100, whole.len() / 4096 / 2, whole.len() / 4096 - 100] {
            // Each page begins with the number of the next.
            let mut damaged = whole.clone();
            damaged[page * 4096..][..4].fill(0xff);
            std::fs::write(&path, damaged).unwrap();
            let database = Database::open(&path).unwrap();
            for threads in 1..=MOST {
                let error = load(&database, threads, &network, DType::F32).unwrap_err();
                let error = error.to_string();
                assert!(
                    error.contains("layer_data, layer 0, column") && error.contains("damaged"),
                    "{page} {threads}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_another_has_taken_the_place_of_is_not_mixed_with_it() {
        let device = Device::new(Reference::new());
        let folder = tempfile::tempdir().unwrap();
        let (network, database) = network(folder.path(), &device, DType::F16, 4096);
        assert!(database.again().is_some());
        let path = folder.path().join("network.sqlite3");
        let other = folder.path().join("other.sqlite3");
        std::fs::copy(&path, &other).unwrap();
        // Where a file in use cannot be replaced, there is nothing to refuse.
        if std::fs::rename(&other, &path).is_ok() {
            assert!(database.again().is_none());
            load(&database, 1, &network, DType::F16).unwrap();
        }
    }

    #[test]
    fn who_writes_meanwhile_waits_or_is_not_seen() {
        let device = Device::new(Reference::new());
        let folder = tempfile::tempdir().unwrap();
        let (network, database) = network(folder.path(), &device, DType::F16, 4096);
        let path = folder.path().join("network.sqlite3");
        let writer = Connection::open(&path).unwrap();
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        let sql = "UPDATE layer_data SET bias = zeroblob(length(bias))";
        let error = writer.execute_batch(sql).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
        let bias = |database: &Database| {
            let bias = load(database, 1, &network, DType::F32).unwrap().bias;
            bias.to_vec::<f32>().unwrap()[1]
        };
        assert_eq!(bias(&database), -6.5);
        drop(database);

        // With a log nobody waits, and each reader sees what there was when it began.
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        let database = Database::open(&path).unwrap();
        assert!(database.again().is_none());
        writer.execute_batch(sql).unwrap();
        assert_eq!(bias(&database), -6.5);
        assert_eq!(bias(&Database::open(&path).unwrap()), 0.0);
    }
}
