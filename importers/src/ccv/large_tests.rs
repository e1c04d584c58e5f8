//! The same weights whatever reads them, and files that are damaged or change meanwhile.

use std::path::Path;

use rusqlite::Connection;
use striate_nn::{Network, NetworkSpec, Seed, full_connect};
use striate_tensor::{DType, Reference, Tensor};

use super::super::schema::LAYER_DATA;
use super::*;
use crate::WriteOptions;

/// A network of a layer that four threads share in either precision, and its file.
fn network(folder: &Path, device: &Device, stored: DType, page: u32) -> (Network, Database) {
    let path = folder.join("network.sqlite3");
    let spec = NetworkSpec::new([8, 8, 16]).full_connect(full_connect(4200));
    let network = spec.build(device, Seed(3)).unwrap();
    let bias: Vec<f32> = (0..4200).map(|i| (i % 500) as f32 - 7.5).collect();
    let bias = Tensor::from_vec(bias, [4200], device).unwrap();
    let weight = network.layer_parameters()[0].clone().unwrap().weight;
    let parameters = vec![Some(LayerParameters { weight, bias })];
    let network = Network::new(network.spec().clone(), parameters, device).unwrap();
    crate::ccv::write(&path, &network, &WriteOptions::default().dtype(stored)).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "page_size", page).unwrap();
    connection.execute_batch("VACUUM").unwrap();
    (network, Database::open(&path).unwrap())
}

/// What so many threads load; nothing where it is left to sqlite.
fn load_with(
    database: &Database,
    threads: usize,
    network: &Network,
    dtype: DType,
) -> Result<Option<LayerParameters>> {
    let device = Device::new(Reference::new());
    let row = StoredRow::require(database, &LAYER_DATA, 0, "weights").unwrap();
    let shape = &network.shapes()[0];
    let (weight, bias) = (shape.weight().unwrap(), shape.bias().unwrap());
    let options = ReadOptions::default().dtype(dtype);
    load_by(threads, database, &row, &weight, &bias, &device, &options)
}

fn load(
    database: &Database,
    threads: usize,
    network: &Network,
    dtype: DType,
) -> Result<LayerParameters> {
    load_with(database, threads, network, dtype).map(|loaded| loaded.expect("a row of many pages"))
}

/// As read by sqlite alone.
fn load_by_sqlite(database: &Database, network: &Network, dtype: DType) -> LayerParameters {
    let device = Device::new(Reference::new());
    let row = StoredRow::require(database, &LAYER_DATA, 0, "weights").unwrap();
    let shape = &network.shapes()[0];
    let read = |column, shape| {
        let (at, options) = (row.place(column), ReadOptions::default().dtype(dtype));
        let (row, stored) = (row.rowid(), row.stored());
        super::super::stored::read_tensor(database, &at, row, stored, shape, &device, &options)
    };
    let (weight, bias) = (shape.weight().unwrap(), shape.bias().unwrap());
    let weight = read("weight", &weight).unwrap();
    LayerParameters { weight, bias: read("bias", &bias).unwrap() }
}

const MOST: usize = 4;

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
            let expected = floats(&load_by_sqlite(&database, &network, dtype));
            let original = floats(network.layer_parameters()[0].as_ref().unwrap());
            assert_eq!(expected.1, original.1);
            if (stored, dtype) == (DType::F32, DType::F32) {
                assert_eq!(expected.0, original.0);
            }
            for threads in 1..=MOST {
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

/// Pages that do not follow each other: a free list that was filled in another order, and a file in
/// which sqlite keeps pages of its own in between.
#[test]
fn pages_in_any_order_are_followed() {
    let device = Device::new(Reference::new());
    for (change, page) in [
        (
            "CREATE TABLE filler (x); \
             INSERT INTO filler WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
             WHERE i < 900) SELECT zeroblob(20000) FROM n; \
             DELETE FROM filler WHERE rowid % 3 = 0; DELETE FROM filler WHERE rowid % 2 = 0",
            1024,
        ),
        ("PRAGMA auto_vacuum = FULL; VACUUM", 4096),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (network, database) = network(folder.path(), &device, DType::F32, page);
        drop(database);
        let path = folder.path().join("network.sqlite3");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(change).unwrap();
        // Written anew, into what is free.
        let sql = "CREATE TABLE copy AS SELECT * FROM layer_data; DELETE FROM layer_data; \
                   INSERT INTO layer_data SELECT * FROM copy; DROP TABLE copy";
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        let database = Database::open(&path).unwrap();
        let expected = load_by_sqlite(&database, &network, DType::F32);
        let bits = |tensor: &Tensor| tensor.to_vec::<f32>().unwrap();
        for threads in 1..=MOST {
            let got = load(&database, threads, &network, DType::F32).unwrap();
            assert!(bits(&got.weight) == bits(&expected.weight), "{threads}");
            assert!(bits(&got.bias) == bits(&expected.bias), "{threads}");
        }
    }
}

/// The file that was opened is read to its end, whatever has its name by then.
#[test]
fn a_file_that_another_has_taken_the_place_of_is_not_mixed_with_it() {
    let device = Device::new(Reference::new());
    let folder = tempfile::tempdir().unwrap();
    let (network, database) = network(folder.path(), &device, DType::F16, 4096);
    let path = folder.path().join("network.sqlite3");
    let other = folder.path().join("other.sqlite3");
    let mut content = std::fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle..].fill(0);
    std::fs::write(&other, content).unwrap();
    let bits =
        |loaded: LayerParameters| loaded.weight.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
    let before = bits(load(&database, 1, &network, DType::F16).unwrap());
    // Where a file in use cannot be replaced, there is nothing to mix.
    if std::fs::rename(&other, &path).is_ok() {
        let after = bits(load(&database, 3, &network, DType::F16).unwrap());
        assert!(after == before);
        assert!(database.check_unchanged().is_ok());
    }
}

#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let device = Device::new(Reference::new());
    let folder = tempfile::tempdir().unwrap();
    let (network, database) = network(folder.path(), &device, DType::F32, 4096);
    let path = folder.path().join("network.sqlite3");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(3 << 20).unwrap();
    for threads in 1..=MOST {
        let error = load(&database, threads, &network, DType::F32).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
    }
    assert!(database.check_unchanged().unwrap_err().to_string().contains("changed the file"));
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
        load_by_sqlite(database, &network, DType::F32).bias.to_vec::<f32>().unwrap()[1]
    };
    assert_eq!(bias(&database), -6.5);
    drop(database);

    // With a log nobody waits, and each reader sees what there was when it began.
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute_batch("CREATE TABLE other (x)").unwrap();
    let database = Database::open(&path).unwrap();
    assert!(load_with(&database, 1, &network, DType::F32).unwrap().is_none());
    writer.execute_batch(sql).unwrap();
    assert_eq!(bias(&database), -6.5);
    assert_eq!(bias(&Database::open(&path).unwrap()), 0.0);
}

mod damage {
    use proptest::prelude::*;

    use super::*;

    /// A file of few and small pages, and its network.
    fn file() -> (Network, Vec<u8>) {
        let device = Device::new(Reference::new());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.sqlite3");
        let spec = NetworkSpec::new([4, 4, 4]).full_connect(full_connect(40));
        let network = spec.build(&device, Seed(3)).unwrap();
        crate::ccv::write(&path, &network, &WriteOptions::default()).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "page_size", 512).unwrap();
        connection.execute_batch("VACUUM").unwrap();
        connection.close().unwrap();
        (network, std::fs::read(&path).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Whatever is damaged, what is read here is what sqlite reads, or an error.
        #[test]
        fn damaged_pages_are_read_as_sqlite_reads_them(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            heads in any::<bool>(),
        ) {
            let (network, mut bytes) = file();
            for (at, value) in changes {
                // Half of the damage is where pages say what they are and which is the next.
                let at = match heads {
                    true => at.index(bytes.len() / 512) * 512 + usize::from(value) % 12,
                    false => at.index(bytes.len()),
                };
                bytes[at] = value;
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("network.sqlite3");
            std::fs::write(&path, bytes).unwrap();
            let Ok(database) = Database::open(&path) else { return Ok(()) };
            let device = Device::new(Reference::new());
            let options = ReadOptions::default();
            let Ok(Some(row)) = StoredRow::find(&database, &LAYER_DATA, 0) else { return Ok(()) };
            let (weight, bias) =
                (network.shapes()[0].weight().unwrap(), network.shapes()[0].bias().unwrap());
            if row.check(&database, &weight, &bias).is_err() {
                return Ok(());
            }
            let bits = |tensor: &Tensor| {
                let values = tensor.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
                values.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            };
            let by_sqlite = |column, shape| {
                let (at, row) = (row.place(column), &row);
                let (id, stored) = (row.rowid(), row.stored());
                super::super::super::stored::read_tensor(
                    &database, &at, id, stored, shape, &device, &options,
                )
            };
            for threads in 1..=3 {
                let ours = load_by(threads, &database, &row, &weight, &bias, &device, &options);
                if let Ok(Some(ours)) = ours {
                    let theirs = (by_sqlite("weight", &weight), by_sqlite("bias", &bias));
                    if let (Ok(weight), Ok(bias)) = theirs {
                        prop_assert!(bits(&ours.weight) == bits(&weight), "{threads}");
                        prop_assert!(bits(&ours.bias) == bits(&bias), "{threads}");
                    }
                }
            }
        }
    }
}
