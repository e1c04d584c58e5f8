//! What bad checkpoints get, and states that are not of their network.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs;

use common::{chain, dump, names, reference, small, small_spec, training};
use rusqlite::Connection;
use striate_importers::ccv::{self, TrainingState, read_checkpoint, write_checkpoint};
use striate_importers::{Error, inspect};
use striate_nn::{NetworkSpec, conv2d, lrn};
use striate_tensor::Tensor;

#[test]
fn wrong_rows_are_named() {
    let device = reference();
    let network = small(&device);
    let cases = [
        ("DROP TABLE function_state", "function_state: expected this table of ccv's, got only"),
        ("DROP TABLE momentum_data", "momentum_data: expected this table of ccv's, got only"),
        (
            "ALTER TABLE function_state DROP COLUMN idx",
            "function_state: expected a column idx, got fsid, t, i",
        ),
        ("ALTER TABLE striate_weights DROP COLUMN bias", "striate_weights: expected a column bias"),
        (
            "DROP TABLE striate_notes; CREATE VIEW striate_notes AS SELECT 1 AS key, 2 AS value",
            "striate_notes: expected a table, got a view",
        ),
        (
            "CREATE TABLE x (key TEXT, value TEXT); INSERT INTO x SELECT * FROM striate_notes; \
             INSERT INTO x VALUES ('spec', '{}'); DROP TABLE striate_notes; \
             ALTER TABLE x RENAME TO striate_notes",
            "striate_notes, key \"spec\", column value: expected one value, got another one",
        ),
        ("DELETE FROM function_state", "function_state: expected a row for fsid 0, got none"),
        (
            "UPDATE function_state SET t = -1",
            "function_state, fsid 0, column t: expected an integer from 0 to 2147483647, got -1",
        ),
        ("UPDATE function_state SET i = NULL", "fsid 0, column i: expected an integer"),
        ("UPDATE function_state SET i = 'x'", "got the text \"x\""),
        ("UPDATE function_state SET line_no = x'00'", "column line_no: expected an integer"),
        (
            "UPDATE function_state SET inum = 6",
            "function_state, fsid 0, column idx: expected a blob of 24 bytes (the order of 6 samples), got 20 bytes",
        ),
        (
            "UPDATE function_state SET inum = 2147483647",
            "column idx: expected a blob of 8589934588 bytes",
        ),
        ("UPDATE function_state SET idx = NULL", "(the order of 5 samples), got NULL"),
        ("UPDATE function_state SET idx = '20 bytes of some text'", "got a value of type text"),
        (
            "UPDATE function_state SET idx = x'0000000005000000010000000200000003000000'",
            "column idx: expected samples from 0 to 4, got 5 at place 1",
        ),
        (
            "UPDATE function_state SET eigenvalues = NULL",
            "column eigenvalues: expected a blob of 24 bytes (3 f64 values), got NULL",
        ),
        (
            "UPDATE function_state SET eigenvectors = zeroblob(36)",
            "column eigenvectors: expected a blob of 72 bytes (9 f64 values), got 36 bytes",
        ),
        (
            "DELETE FROM momentum_data WHERE layer = 5",
            "momentum_data: expected a row with the velocities of layer 5, got none",
        ),
        (
            "UPDATE momentum_data SET weight = zeroblob(5) WHERE layer = 5",
            "momentum_data, layer 5, column weight: expected a blob of 1728 bytes (432 f32 values of [6, 72]), got 5 bytes",
        ),
        (
            "UPDATE momentum_data SET bias = NULL WHERE layer = 0",
            "momentum_data, layer 0, column bias: expected a blob of 32 bytes",
        ),
        (
            "INSERT INTO momentum_data VALUES (7, zeroblob(4), zeroblob(4))",
            "momentum_data: expected only rows of this network's layers with weights, got one of layer 7",
        ),
        (
            "INSERT INTO striate_weights VALUES (1, zeroblob(4), zeroblob(4))",
            "striate_weights: expected only rows of this network's layers with weights, got one of layer 1",
        ),
        (
            "UPDATE striate_weights SET weight = 7 WHERE layer = 5",
            "striate_weights, layer 5, column weight: expected a blob of 1728 bytes",
        ),
        (
            "UPDATE striate_notes SET value = '2' WHERE key = 'format'",
            "striate_notes, key \"format\", column value: expected version 1 (update Striate to read newer), got 2",
        ),
        ("UPDATE striate_notes SET value = 'x' WHERE key = 'format'", "the version of the notes"),
        ("DELETE FROM striate_notes WHERE key = 'format'", "the version of the notes, got none"),
        (
            "UPDATE striate_notes SET value = '{' WHERE key = 'spec'",
            "key \"spec\", column value: expected the network's specification in JSON: ",
        ),
        (
            r#"UPDATE striate_notes SET value = '{"labels":7}' WHERE key = 'metadata'"#,
            "key \"metadata\", column value: expected labels, protocol and notes in JSON",
        ),
        (
            "UPDATE striate_notes SET value = x'00' WHERE key = 'training'",
            "key \"training\", column value: expected a text, got a blob of 1 bytes",
        ),
        (
            "UPDATE striate_notes SET value = CAST(x'ff' AS TEXT) WHERE key = 'training'",
            "key \"training\", column value: expected a text in UTF-8",
        ),
        (
            "UPDATE striate_notes SET key = NULL WHERE key = 'training'",
            "striate_notes, column key: expected a text, got NULL",
        ),
        // Of another network, consistent in itself.
        (
            "UPDATE layer_params SET output_count = 5 WHERE layer = 6;
             UPDATE layer_data SET weight = zeroblob(120), bias = zeroblob(20) WHERE layer = 6",
            "momentum_data, layer 6, column weight: expected a blob of 120 bytes",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    for (sql, expected) in cases {
        write_checkpoint(&path, &network, &training(&network, 5)).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let text = chain(&read_checkpoint(&path, &device).map(|_| ()).expect_err(sql));
        assert!(text.starts_with(&path.display().to_string()), "no file in: {text}");
        assert!(text.contains(expected), "{sql}\n  expected: {expected}\n  got: {text}");
    }
}

/// Whoever only classifies is not kept from it by a training that cannot go on.
#[test]
fn a_damaged_state_does_not_hide_the_network() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    let network = small(&device);
    write_checkpoint(&path, &network, &training(&network, 5)).unwrap();
    let sql = "DELETE FROM momentum_data; UPDATE function_state SET t = 'x'";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    assert!(read_checkpoint(&path, &device).is_err());
    assert_eq!(ccv::read(&path, &device).unwrap().spec(), network.spec());
    let inspection = inspect(&path).unwrap();
    assert!(inspection.training.is_none() && inspection.training_state.len() == 3);
}

#[test]
fn states_of_another_network_are_refused_and_nothing_is_written() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    let network = small(&device);
    let refused = |change: &dyn Fn(&mut TrainingState)| {
        let mut state = training(&network, 5);
        change(&mut state);
        let error = write_checkpoint(&path, &network, &state).unwrap_err();
        assert!(matches!(error, Error::Content { .. }), "{error}");
        assert!(names(folder.path()).is_empty());
        chain(&error)
    };
    let has = |text: String, part: &str| assert!(text.contains(part), "no `{part}` in {text}");
    has(
        refused(&|s| s.velocities.truncate(3)),
        "momentum_data: expected an entry for each of 7 layers, got 3",
    );
    has(refused(&|s| s.exact.clear()), "striate_weights: expected an entry");
    has(
        refused(&|s| s.velocities[5] = None),
        "momentum_data, layer 5: expected velocities of [6, 72], got none",
    );
    has(
        refused(&|s| s.velocities[1] = s.velocities[0].clone()),
        "momentum_data, layer 1: expected nothing for a layer without weights",
    );
    has(
        refused(&|s| s.velocities[3] = s.velocities[0].clone()),
        "momentum_data, layer 3, column weight: expected floats of [8, 3, 3, 4], got",
    );
    has(
        refused(&|s| {
            let bias = Tensor::from_vec(vec![0u32; 4], [4], &device).unwrap();
            s.velocities[6].as_mut().unwrap().bias = bias;
        }),
        "momentum_data, layer 6, column bias: expected floats of [4], got u32",
    );
    has(refused(&|s| s.epoch = 1 << 31), "column t: expected at most 2147483647");
    has(refused(&|s| s.iteration = u64::MAX), "column i: expected at most");
    has(refused(&|s| s.order[2] = 5), "expected samples from 0 to 4, got 5 at place 2");
    for key in ["spec", "metadata", "format"] {
        has(
            refused(&|s| drop(s.notes.insert(key.into(), "x".into()))),
            "expected another name than format, spec, metadata",
        );
    }
}

#[test]
fn what_cannot_be_written_is_known_beforehand() {
    let device = reference();
    ccv::check_representable(small(&device).spec()).unwrap();
    for model in striate_models::all() {
        // Not all are chains of ccv's layers, and some leave a rest at an edge, as their authors had it.
        let spec = model.spec();
        let exact = spec.shapes().unwrap().iter().all(|shape| shape.exact);
        let fits = exact && spec.chain().is_ok();
        assert_eq!(ccv::check_representable(&spec).is_ok(), fits, "{}", spec.name);
    }
    let refused = |spec: &NetworkSpec| chain(&ccv::check_representable(spec).unwrap_err());
    // Its windows fall short, as `small` does not let them.
    let text = refused(&small_spec());
    assert!(text.starts_with("small: ccv's format cannot hold this network: layer 2"), "{text}");
    let base = || NetworkSpec::new([9, 9, 3]);
    let text = refused(&base().conv(conv2d(4, 3)).full_connect(2));
    assert!(text.starts_with("the network: ") && text.contains("without ReLU"), "{text}");
    let text = refused(&base().with_image([20_000, 20_000]).full_connect(2));
    assert!(text.contains("a mean image of 20000 x 20000"), "{text}");
    let text = refused(&base().lrn(lrn(1 << 40)).full_connect(2));
    assert!(text.contains("layer 0: 1099511627776 is beyond the 2147483647"), "{text}");
    let text = refused(&base().conv(conv2d(4, 3).relu()));
    assert!(text.contains("full-connect"), "{text}");
}

#[test]
fn cut_off_files_are_errors() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    let network = small(&device);
    write_checkpoint(&path, &network, &training(&network, 5)).unwrap();
    let good = fs::read(&path).unwrap();
    for keep in (0..good.len()).step_by(1024) {
        fs::write(&path, &good[..keep]).unwrap();
        assert!(read_checkpoint(&path, &device).is_err(), "{keep} of {}", good.len());
    }
}

/// What sqlite keeps beside a file is rolled into whatever lies there under its name.
#[test]
fn unfinished_changes_of_another_program_are_not_written_over() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    let network = small(&device);
    let state = training(&network, 5);
    write_checkpoint(&path, &network, &state).unwrap();
    let before = dump(&path);

    // A program in the middle of a change, and what a kill of it leaves: a copy of both files.
    let killed = folder.path().join("killed.sqlite3");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; UPDATE momentum_data SET bias = zeroblob(20000);",
        )
        .unwrap();
    for suffix in ["", "-journal"] {
        let name = |stem: &str| folder.path().join(format!("{stem}.sqlite3{suffix}"));
        fs::copy(name("c"), name("killed")).unwrap();
    }
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    assert!(dump(&path) == before);

    let text = chain(&write_checkpoint(&killed, &network, &state).unwrap_err());
    assert!(text.contains("killed.sqlite3-journal, the unfinished changes of another"), "{text}");
    // Reading undoes the change, in a copy.
    let files = names(folder.path());
    let read = read_checkpoint(&killed, &device).unwrap();
    assert_eq!(read.state.unwrap().order, state.order);
    assert_eq!(names(folder.path()), files);
    // As the message advises.
    let connection = Connection::open(&killed).unwrap();
    connection.query_row("SELECT count(*) FROM momentum_data", [], |_| Ok(())).unwrap();
    drop(connection);
    assert!(dump(&killed) == before);
    write_checkpoint(&killed, &network, &state).unwrap();
}
