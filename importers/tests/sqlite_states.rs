//! Databases in every state that sqlite leaves them in, in folders that may be read only, and under
//! names that mean something to sqlite.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{chain, names, reference, small, small_ccv, values};
use rusqlite::Connection;
use striate_importers::{Error, ReadOptions, WriteOptions, ccv, convert, inspect, read};
use striate_nn::Network;
use striate_tensor::DType;

/// Changes the first bias of the last layer to 1.
const CHANGE: &str =
    "UPDATE layer_data SET bias = x'0000803f000000000000000000000000' WHERE layer = 6";

fn load(path: &Path) -> Network {
    read(path, &reference(), &ReadOptions::default()).unwrap()
}

fn first_bias(network: &Network) -> f32 {
    network.layer_parameters()[6].as_ref().unwrap().bias.to_vec::<f32>().unwrap()[0]
}

/// A model in log mode, nothing beside it.
fn log_mode(folder: &Path) -> PathBuf {
    let path = small_ccv(folder, DType::F32);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.close().unwrap();
    assert_eq!(names(folder).len(), 1);
    path
}

/// The folder's files and their content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let file = |name: String| (name.clone(), fs::read(folder.join(name)).unwrap());
    names(folder).into_iter().map(file).collect()
}

/// Copies what is there now to another folder, as a program that is killed leaves it.
fn killed(from: &Path, suffixes: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("killed.sqlite3");
    for suffix in suffixes {
        let beside = |path: &Path| format!("{}{suffix}", path.display());
        fs::copy(beside(from), beside(&to)).unwrap();
    }
    (folder, to)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn reading_leaves_nothing_beside_a_file_in_log_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_mode(folder.path());
    let before = content(folder.path());
    let network = load(&path);
    inspect(&path).unwrap();
    ccv::read_checkpoint(&path, &reference()).unwrap();
    assert_eq!(content(folder.path()), before);
    assert_eq!(values(&network), values(&small(&reference())));
    // An empty log, beside either kind.
    for kind in ["wal", "delete"] {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", kind).unwrap();
        connection.close().unwrap();
        fs::write(format!("{}-wal", path.display()), b"").unwrap();
        let before = content(folder.path());
        load(&path);
        assert_eq!(content(folder.path()), before, "{kind}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_read_only_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_mode(folder.path());
    // Its superuser may write everywhere: then this shows that nothing is written.
    set_mode(&path, 0o444);
    set_mode(folder.path(), 0o555);
    let loaded = read(&path, &reference(), &ReadOptions::default());
    let there = names(folder.path());
    set_mode(folder.path(), 0o755);
    loaded.unwrap();
    assert_eq!(there.len(), 1);
}

#[test]
fn changes_in_a_log_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_mode(folder.path());
    let writer = Connection::open(&path).unwrap();
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    writer.execute_batch(CHANGE).unwrap();
    // More pages than the file itself has.
    writer
        .execute_batch("CREATE TABLE more (x); INSERT INTO more VALUES (zeroblob(300000))")
        .unwrap();

    // The program that writes has it open.
    let before = names(folder.path());
    assert_eq!(first_bias(&load(&path)), 1.0);
    assert!(inspect(&path).unwrap().training_state.is_empty());
    assert_eq!(names(folder.path()), before);

    // It was killed: its log is there, with or without the index.
    for suffixes in [&["", "-wal"][..], &["", "-wal", "-shm"]] {
        let (folder, path) = killed(&path, suffixes);
        let before = names(folder.path());
        let file = fs::read(&path).unwrap();
        assert_eq!(first_bias(&load(&path)), 1.0, "{suffixes:?}");
        assert_eq!(names(folder.path()), before, "{suffixes:?}");
        assert_eq!(fs::read(&path).unwrap(), file, "{suffixes:?}");
    }

    // A log whose end never reached the disk holds what was complete.
    let (folder, path) = killed(&path, &["", "-wal"]);
    let log = format!("{}-wal", path.display());
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 5000]).unwrap();
    assert_eq!(first_bias(&load(&path)), 1.0);
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn the_log_of_another_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_mode(folder.path());
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch(CHANGE).unwrap();
    let (other, there) = killed(&path, &["", "-wal"]);
    let plain = small_ccv(other.path(), DType::F32);
    fs::copy(&plain, &there).unwrap();
    let text = chain(&inspect(&there).unwrap_err());
    assert!(text.contains("killed.sqlite3-wal: expected no write-ahead log"), "{text}");
    assert!(text.contains("left by another database; remove it"), "{text}");
}

#[test]
fn a_change_that_was_not_finished_is_undone_in_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F32);
    let expected = values(&load(&path));
    let writer = Connection::open(&path).unwrap();
    // So few pages of memory that the change reaches the file before its end.
    writer.pragma_update(None, "cache_size", 1).unwrap();
    writer.pragma_update(None, "cache_spill", 1).unwrap();
    let change = format!(
        "BEGIN; {CHANGE}; CREATE TABLE more (x); \
         INSERT INTO more VALUES (zeroblob(300000)); UPDATE layer_data SET half_precision = 0"
    );
    writer.execute_batch(&change).unwrap();
    let (other, there) = killed(&path, &["", "-journal"]);
    let journal = fs::read(format!("{}-journal", there.display())).unwrap();
    assert_eq!(journal[0], 0xd9);
    assert_ne!(fs::metadata(&there).unwrap().len(), 0);
    let before = content(other.path());
    assert_eq!(values(&load(&there)), expected);
    assert_eq!(content(other.path()), before);
}

/// Names that sqlite takes for something else than the name of a file.
#[cfg(unix)]
#[test]
fn names_are_those_of_files() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let good = small_ccv(folder.path(), DType::F32);
    let expected = values(&load(&good));
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    // It is relative names that sqlite looks at. The other tests here use names from the root.
    std::env::set_current_dir(folder.path()).unwrap();
    let inner = PathBuf::from("file:folder?");
    fs::create_dir(&inner).unwrap();
    let all: [&[u8]; 10] = [
        b"file:plain.sqlite3",
        b"file:x.sqlite3?mode=memory",
        b":memory:",
        b"a?b#c%41.sqlite3",
        b"  leading spaces.sqlite3",
        b"trailing.sqlite3 ",
        b"-dash.sqlite3",
        b"not\xffutf8.sqlite3",
        b"new\nline.sqlite3",
        b"quote'\".sqlite3",
    ];
    let relative = |name: &[u8]| PathBuf::from(OsStr::from_bytes(name));
    let beside = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => names(parent),
        _ => names(Path::new(".")),
    };
    for mode in ["delete", "wal"] {
        let connection = Connection::open(&good).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.close().unwrap();
        for name in all {
            for path in [relative(name), inner.join(relative(name))] {
                fs::copy(&good, &path).unwrap();
                assert_eq!(values(&load(&path)), expected, "{}", path.display());
                inspect(&path).unwrap();
                fs::remove_file(&path).unwrap();
                // Written to such a name it is whole, or the name is refused before.
                let before = beside(&path);
                match convert(&good, &path, &device, &WriteOptions::default()) {
                    Ok(()) => {
                        assert_eq!(values(&load(&path)), expected, "{}", path.display());
                        fs::remove_file(&path).unwrap();
                    }
                    Err(Error::Target { reason, .. }) => assert!(reason.contains("extension")),
                    Err(other) => panic!("{}", chain(&other)),
                }
                assert_eq!(beside(&path), before);
            }
        }
    }
    let text = chain(&read("", &device, &ReadOptions::default()).unwrap_err());
    assert!(text.contains("cannot open"), "{text}");
    let text = chain(&convert(&good, "", &device, &WriteOptions::default()).unwrap_err());
    assert!(text.contains("extension"), "{text}");
}
