//! Damaged files of any kind give an error or a network, never a panic and never an allocation
//! that the file does not justify.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use common::caffe::{numbers, weights};
use common::{names, reference, small, small_ccv, training};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_importers::ccv::{read_checkpoint, write_checkpoint};
use striate_importers::{ModelFile, ReadOptions, WriteOptions, inspect, pth, read, safetensors};
use striate_tensor::DType;

/// Notes the largest allocation of each thread.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // A thread that is ending has no cell any more.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Far above what the small files need, far below what a damaged number could ask for.
const MAX_ALLOCATION_BYTES: usize = 4 << 20;

/// The largest mean image: its size is the definition's alone.
const MAX_MEAN_BYTES: usize = striate_importers::MAX_IMAGE_PIXELS * 3 * 4;

/// A definition of Caffe's with the layers that have weights, and these.
fn small_caffe() -> (&'static str, Vec<u8>) {
    let definition = "input: 'data' input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }
        layer { name: 'a' type: 'Convolution' bottom: 'data' top: 'a'
                convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
        layer { name: 'n' type: 'BatchNorm' bottom: 'a' top: 'a' batch_norm_param { eps: 0.001 } }
        layer { name: 's' type: 'Scale' bottom: 'a' top: 'a' scale_param { bias_term: true } }
        layer { name: 'p' type: 'Pooling' bottom: 'a' top: 'p' pooling_param { kernel_size: 2 } }
        layer { name: 'c' type: 'Slice' bottom: 'p' top: 'x' top: 'y' slice_param { slice_point: 1 } }
        layer { name: 'j' type: 'Concat' bottom: 'y' bottom: 'x' top: 'j' }
        layer { name: 'f' type: 'InnerProduct' bottom: 'j' top: 'f' inner_product_param { num_output: 2 } }";
    let blobs = |dims: &[&[usize]]| dims.iter().map(|dims| numbers(1, dims)).collect();
    let model = weights(&[
        ("a", blobs(&[&[4, 3, 3, 3], &[4]])),
        ("n", blobs(&[&[4], &[4], &[1]])),
        ("s", blobs(&[&[4], &[4]])),
        ("f", blobs(&[&[2, 16], &[2]])),
    ]);
    (definition, model)
}

fn survives(path: &Path) {
    let options = ReadOptions::default().dtype(DType::F32);
    LARGEST.set(0);
    let network = read(path, &reference(), &options);
    let inspection = inspect(path);
    let checkpoint = read_checkpoint(path, &reference());
    let largest = LARGEST.get();
    assert!(largest <= MAX_ALLOCATION_BYTES, "an allocation of {largest} bytes");
    if network.is_ok() {
        assert!(inspection.is_ok());
    }
    if checkpoint.is_ok() {
        assert!(network.is_ok());
    }
}

/// Good bytes with some changed and the end cut off.
fn damage(
    good: &[u8],
    changes: &[(prop::sample::Index, u8)],
    keep: Option<prop::sample::Index>,
) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    if let Some(keep) = keep {
        bytes.truncate(keep.index(good.len()));
    }
    bytes
}

type Changes = Vec<(prop::sample::Index, u8)>;

fn changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_databases(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        early in any::<bool>(),
        half in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = small_ccv(folder.path(), if half { DType::F16 } else { DType::F32 });
        let good = fs::read(&path).unwrap();
        // Half of the damage goes where the schema and the rows are, not into the numbers.
        let (head, tail) = good.split_at(if early { 3 * 4096 } else { good.len() });
        let bytes = [damage(head, &changes, None), tail.to_vec()].concat();
        fs::write(&path, damage(&bytes, &[], keep)).unwrap();
        survives(&path);
    }

    #[test]
    fn damaged_checkpoints(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        page in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite3");
        let network = small(&reference());
        write_checkpoint(&path, &network, &training(&network, 40)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        // Where heads of rows are, every page has its share of the damage.
        let start = page.index(bytes.len() / 4096) * 4096;
        let end = (start + 4096).min(bytes.len());
        let damaged = damage(&bytes[start..end], &changes, None);
        bytes[start..end].copy_from_slice(&damaged);
        fs::write(&path, damage(&bytes, &[], keep)).unwrap();
        survives(&path);
    }

    #[test]
    fn changed_numbers_in_function_state(
        column in prop::sample::select(vec!["t", "i", "inum", "line_no", "idx", "eigenvalues"]),
        value in any::<i64>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite3");
        let network = small(&reference());
        write_checkpoint(&path, &network, &training(&network, 40)).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = format!("UPDATE function_state SET {column} = ?1");
        connection.execute(&sql, [value >> (value & 63)]).unwrap();
        drop(connection);
        survives(&path);
    }

    #[test]
    fn damaged_safetensors(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        in_int8 in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let options = WriteOptions::default().dtype(in_int8.then_some(DType::I8));
        safetensors::write(&path, &small(&reference()), &options).unwrap();
        let good = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize + 8;
        let bytes = [damage(&good[..length], &changes, None), good[length..].to_vec()].concat();
        fs::write(&path, damage(&bytes, &[], keep)).unwrap();
        survives(&path);
    }

    #[test]
    fn changed_numbers_in_headers(
        from in 0usize..9,
        to in "-?[0-9]{1,20}",
        in_int8 in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let options = WriteOptions::default().dtype(in_int8.then_some(DType::I8));
        safetensors::write(&path, &small(&reference()), &options).unwrap();
        let good = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&good[8..8 + length]).unwrap();
        let header = header.replace(&from.to_string(), &to);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(&good[8 + length..]);
        fs::write(&path, bytes).unwrap();
        survives(&path);
    }

    /// Half of the damage goes into the pickle, which is at the beginning of both forms.
    #[test]
    fn damaged_pickles(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        early in any::<bool>(),
        name in prop::sample::select(vec![
            "plain.pth", "plain.legacy.pth", "protocol-4.pth", "deflated.pth", "checkpoint.pth",
            "module.pth", "script.pt", "module.legacy.pth", "parameters.pth", "harm.pth",
        ]),
    ) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch/pth");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        let good = fs::read(fixtures.join(name)).unwrap();
        let (head, tail) = good.split_at(if early { good.len() / 3 } else { good.len() });
        let bytes = [damage(head, &changes, None), tail.to_vec()].concat();
        fs::write(&path, damage(&bytes, &[], keep)).unwrap();
        survives(&path);
        LARGEST.set(0);
        if let Ok(file) = pth::TensorFile::open(&path) {
            for tensor in file.names() {
                let _ = file.tensor(tensor, &reference(), None);
            }
        }
        let largest = LARGEST.get();
        prop_assert!(largest <= MAX_ALLOCATION_BYTES, "an allocation of {} bytes", largest);
    }

    /// Half of the damage goes into a caffemodel, half into its definition.
    #[test]
    fn damaged_caffemodels(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        text in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (definition, model) = small_caffe();
        let (definition, model) = match text {
            true => (damage(definition.as_bytes(), &changes, keep), model),
            false => (definition.into(), damage(&model, &changes, keep)),
        };
        let path = folder.path().join("x.caffemodel");
        fs::write(&path, model).unwrap();
        fs::write(folder.path().join("x.prototxt"), definition).unwrap();
        survives(&path);
    }

    #[test]
    fn changed_numbers_in_definitions(from in 0usize..9, to in "-?[0-9]{1,20}") {
        let folder = tempfile::tempdir().unwrap();
        let (definition, model) = small_caffe();
        let path = folder.path().join("x.caffemodel");
        fs::write(&path, model).unwrap();
        let definition = definition.replace(&from.to_string(), &to);
        fs::write(folder.path().join("x.prototxt"), definition).unwrap();
        LARGEST.set(0);
        let network = read(&path, &reference(), &ReadOptions::default());
        prop_assert_eq!(network.is_ok(), inspect(&path).is_ok());
        let largest = LARGEST.get();
        prop_assert!(largest <= MAX_MEAN_BYTES, "an allocation of {} bytes", largest);
    }

    /// Beginnings of all kinds, of files and of pipes: a message, whatever they are.
    #[test]
    fn any_beginning(
        known in prop::sample::select(vec![
            &b""[..], b"SQLite format 3\0", b"\x08\0\0\0\0\0\0\0{", b"\x80\x02", b"<html", b"{", b"PK",
            b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"version https://git-lfs", b"BM", b"\x08\x07\x12", b"\x0a\x04name\xa2\x06",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
        extension in prop::sample::select(vec!["safetensors", "sqlite3", "bin"]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("x.{extension}"));
        let bytes = [known, &rest].concat();
        fs::write(&path, &bytes).unwrap();
        survives(&path);
        prop_assert!(inspect(&path).is_err());
        let is_torch = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02\x8a");
        let is_caffe = bytes.starts_with(b"\x0a\x04name\xa2\x06");
        let is_onnx = matches!(bytes[..], [8, 1..=30, ..]);
        let is_ours = bytes.starts_with(b"SQLite") || bytes.get(8) == Some(&b'{');
        let beginning = is_torch || is_caffe || is_onnx || is_ours;
        let named = match ModelFile::from_reader(&bytes[..], "pipe") {
            Ok(_) => beginning,
            Err(error) => error.to_string().starts_with("pipe: "),
        };
        prop_assert!(named);
    }
}

proptest! {
    // Each case copies files and has sqlite sync them.
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(32)
    })]

    /// What another program has left beside a database, damaged.
    #[test]
    fn damaged_logs_and_journals(
        changes in changes(),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        log in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = small_ccv(folder.path(), DType::F32);
        let connection = rusqlite::Connection::open(&path).unwrap();
        let mode = if log { "wal" } else { "delete" };
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.pragma_update(None, "cache_size", 1).unwrap();
        connection
            .execute_batch(
                "BEGIN; CREATE TABLE more (x); INSERT INTO more VALUES (zeroblob(50000)); \
                 UPDATE layer_data SET bias = bias",
            )
            .unwrap();
        if log {
            connection.execute_batch("COMMIT").unwrap();
        }
        let suffix = if log { "-wal" } else { "-journal" };
        let beside = |path: &Path| format!("{}{suffix}", path.display());
        let killed = folder.path().join("killed.sqlite3");
        fs::copy(&path, &killed).unwrap();
        let good = fs::read(beside(&path)).unwrap();
        drop(connection);
        fs::write(beside(&killed), damage(&good, &changes, keep)).unwrap();
        let before = (fs::read(&killed).unwrap(), names(folder.path()));
        survives(&killed);
        prop_assert!((fs::read(&killed).unwrap(), names(folder.path())) == before);
    }
}
