//! What bad ccv files get: an error with the file, the table, the row and the column.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{chain, names, reference, small, small_ccv, small_spec};
use rusqlite::Connection;
use striate_importers::{Error, ReadOptions, WriteOptions, ccv, inspect, read, write};
use striate_nn::{LayerSpec, NetworkSpec, Seed, conv2d, pool};
use striate_tensor::DType;

/// The message after a statement has been run on a good file.
fn after(sql: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F32);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    message(&path)
}

fn message(path: &Path) -> String {
    let error = read(path, &reference(), &ReadOptions::default()).unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with(&path.display().to_string()), "no file in: {text}");
    text
}

#[test]
fn wrong_rows_are_named() {
    let cases = [
        (
            "DROP TABLE layer_data",
            "layer_data: expected this table of ccv's, got only convnet_params, layer_params",
        ),
        ("DROP TABLE layer_params", "layer_params: expected this table"),
        ("DROP TABLE convnet_params", "convnet_params: expected this table"),
        (
            "ALTER TABLE layer_params DROP COLUMN output_relu",
            "layer_params: expected a column output_relu, got layer, type",
        ),
        (
            "ALTER TABLE layer_data DROP COLUMN half_precision",
            "layer_data: expected a column half_precision",
        ),
        (
            "ALTER TABLE layer_data RENAME TO x; CREATE VIEW layer_data AS SELECT * FROM x",
            "layer_data: expected a table, got a view",
        ),
        ("DELETE FROM layer_params", "layer_params: expected a row for each layer, got no row"),
        (
            "DELETE FROM layer_params WHERE layer = 2",
            "expected layer 2 (layers are numbered from 0 without a gap), got layer 3",
        ),
        ("DELETE FROM layer_params WHERE layer = 0", "expected layer 0"),
        ("UPDATE layer_params SET layer = -1 WHERE layer = 0", "expected layer 0"),
        (
            "UPDATE layer_params SET type = 9 WHERE layer = 1",
            "layer_params, layer 1, column type: expected 1 (convolution), 2",
        ),
        ("UPDATE layer_params SET type = 9 WHERE layer = 1", "got 9"),
        (
            "UPDATE layer_params SET type = NULL WHERE layer = 1",
            "layer 1, column type: expected an integer from 0 to 2147483647, got NULL",
        ),
        (
            "UPDATE layer_params SET type = 'conv' WHERE layer = 1",
            "column type: expected an integer from 0 to 2147483647, got the text \"conv\"",
        ),
        (
            "UPDATE layer_params SET output_count = -8 WHERE layer = 0",
            "layer_params, layer 0, column output_count: expected an integer from 0 to 2147483647, got -8",
        ),
        ("UPDATE layer_params SET output_count = 1 << 40 WHERE layer = 0", "got 1099511627776"),
        ("UPDATE layer_params SET output_count = 2147483647 WHERE layer = 0", "layer 0 (conv)"),
        (
            "UPDATE layer_params SET output_count = 0 WHERE layer = 0",
            "column output_count: expected 1 or more, got 0",
        ),
        ("UPDATE layer_params SET output_count = 1.5 WHERE layer = 0", "got the real number 1.5"),
        ("UPDATE layer_params SET output_rows = x'00' WHERE layer = 0", "got a blob of 1 bytes"),
        (
            "UPDATE layer_params SET output_strides = 0 WHERE layer = 2",
            "layer 2, column output_strides: expected 1 or more",
        ),
        (
            "UPDATE layer_params SET output_kappa = 'x' WHERE layer = 1",
            "layer 1, column output_kappa: expected a number, got the text \"x\"",
        ),
        (
            "UPDATE layer_params SET output_alpha = 9e999 WHERE layer = 1",
            "column output_alpha: expected a finite number, got inf",
        ),
        (
            "UPDATE layer_params SET output_beta = NULL WHERE layer = 1",
            "column output_beta: expected a number, got NULL",
        ),
        (
            "UPDATE layer_params SET output_relu = 2 WHERE layer = 6",
            "column output_relu: expected 0 or 1, got 2",
        ),
        ("UPDATE layer_params SET output_relu = 1 WHERE layer = 6", "without relu"),
        (
            "UPDATE layer_params SET input_matrix_channels = 4 WHERE layer = 3",
            "layer 3, column input_matrix_channels: expected 8, which is what the layer before gives, got 4",
        ),
        (
            "UPDATE layer_params SET input_matrix_rows = 9 WHERE layer = 1",
            "layer 1, column input_matrix_rows: expected 8",
        ),
        (
            "UPDATE layer_params SET output_channels = 4 WHERE layer = 3",
            "layer 3, column output_channels: expected 8, the channels of the input, got 4",
        ),
        (
            "UPDATE layer_params SET input_node_count = 71 WHERE layer = 5",
            "layer 5, column input_node_count: expected 72",
        ),
        ("UPDATE layer_params SET input_matrix_partition = 3 WHERE layer = 3", "layer 3 (conv)"),
        ("UPDATE layer_params SET output_rows = 99 WHERE layer = 3", "layer 3 (conv)"),
        ("UPDATE layer_params SET output_partition = 3 WHERE layer = 0", "layer 0 (conv)"),
        ("DELETE FROM layer_params WHERE layer > 4", "full-connect layer last"),
        ("DELETE FROM convnet_params", "convnet_params: expected a row for convnet 0, got none"),
        ("UPDATE convnet_params SET input_height = 3", "whole image"),
        (
            "UPDATE convnet_params SET input_width = 'wide'",
            "convnet_params, convnet 0, column input_width: expected an integer",
        ),
        (
            "UPDATE convnet_params SET mean_activity = zeroblob(12)",
            "convnet_params, convnet 0, column mean_activity: expected a blob of 4332 bytes (the f32 mean image [19, 19, 3]), got 12 bytes",
        ),
        (
            "UPDATE convnet_params SET mean_activity = 'x'",
            "column mean_activity: expected a blob of 4332 bytes (the f32 mean image [19, 19, 3]), got a value of type text",
        ),
        (
            "DELETE FROM layer_data WHERE layer = 3",
            "layer_data: expected a row with the weights of layer 3, got none",
        ),
        (
            "UPDATE layer_data SET weight = zeroblob(5) WHERE layer = 5",
            "layer_data, layer 5, column weight: expected a blob of 1728 bytes (432 f32 values of [6, 72]), got 5 bytes",
        ),
        (
            "UPDATE layer_data SET half_precision = 1 WHERE layer = 5",
            "expected a blob of 864 bytes (432 f16 values of [6, 72]), got 1728 bytes",
        ),
        (
            "UPDATE layer_data SET half_precision = 7 WHERE layer = 5",
            "layer_data, layer 5, column half_precision: expected 0 or 1, got 7",
        ),
        (
            "UPDATE layer_data SET bias = NULL WHERE layer = 6",
            "layer_data, layer 6, column bias: expected a blob of 16 bytes (4 f32 values of [4]), got NULL",
        ),
        (
            "CREATE TABLE x AS SELECT * FROM layer_data; INSERT INTO x SELECT * FROM layer_data; \
             DROP TABLE layer_data; ALTER TABLE x RENAME TO layer_data",
            "layer_data: expected one row of layer 0, got 2 rows",
        ),
        (
            "CREATE TABLE x AS SELECT * FROM convnet_params; \
             INSERT INTO x SELECT * FROM convnet_params; \
             DROP TABLE convnet_params; ALTER TABLE x RENAME TO convnet_params",
            "convnet_params: expected one row of convnet 0, got 2 rows",
        ),
        ("UPDATE layer_data SET bias = 3 WHERE layer = 6", "got a value of type integer"),
        (
            "UPDATE layer_data SET bias = 'text of 16 bytes' WHERE layer = 6",
            "got a value of type text",
        ),
    ];
    for (sql, expected) in cases {
        let text = after(sql);
        assert!(text.contains(expected), "{sql}\n  expected: {expected}\n  got: {text}");
    }
}

#[test]
fn a_network_that_needs_more_than_the_file_has_is_refused_before_allocating() {
    // A consistent description of a gigantic layer.
    let text = after(
        "UPDATE layer_params SET output_count = 2000000000 WHERE layer = 6;
         UPDATE layer_data SET weight = zeroblob(100) WHERE layer = 6",
    );
    assert!(text.contains("layer 6"), "{text}");
}

#[test]
fn files_that_are_no_database_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert!(message(&put("empty.sqlite3", b"")).contains("it is empty"));
    assert!(message(&put("noise.sqlite3", &[0xa5; 5000])).contains("encrypted"));
    assert!(message(&put("a.pt", b"PK\x03\x04rest")).contains("torch.save"));
    assert!(message(&put("a.txt", b"hello, this is a text")).contains("a text: "));
    assert!(message(folder.path()).contains("directory"));
    assert!(message(&folder.path().join("missing.sqlite3")).contains("cannot open"));
    let safetensors = put("s.sqlite3", b"\x02\0\0\0\0\0\0\0{}");
    let text = chain(&ccv::read(&safetensors, &reference()).unwrap_err());
    assert!(text.contains("ccv sqlite was asked for, and it is safetensors"), "{text}");

    // A database without tables, and one that is not ours.
    let path = folder.path().join("other.sqlite3");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE people (name TEXT)").unwrap();
    assert!(message(&path).contains("got only people"));
    assert!(chain(&inspect(&path).unwrap_err()).contains("got only people"));
}

#[test]
fn damaged_databases_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(small_ccv(folder.path(), DType::F32)).unwrap();
    let path = folder.path().join("bad.sqlite3");
    for keep in [16, 50, 100, 512, 4096, good.len() - 4096] {
        fs::write(&path, &good[..keep]).unwrap();
        let text = message(&path);
        assert!(text.contains("damaged"), "{keep}: {text}");
    }
    let mut bad = good.clone();
    bad[4096..].fill(0xff);
    fs::write(&path, bad).unwrap();
    // Once: sqlite's own error would say it again, with a number.
    let reason = "the file is damaged or cut off: database disk image is malformed";
    assert!(message(&path).ends_with(reason), "{}", message(&path));
    // Encrypted beyond the first line: the page size makes no sense.
    let mut bad = good;
    bad[16..200].fill(0xa5);
    fs::write(&path, bad).unwrap();
    assert!(message(&path).contains("encrypted or damaged"));
}

#[test]
fn weights_that_are_not_finite_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F32);
    let sql = "UPDATE layer_data SET bias = x'0000c07f0000807f0000000000000000' WHERE layer = 6";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let network = ccv::read(&path, &reference()).unwrap();
    let bias = network.layer_parameters()[6].clone().unwrap().bias;
    let bias = bias.to_vec::<f32>().unwrap();
    assert!(bias[0].is_nan() && bias[1].is_infinite());
}

#[test]
fn what_ccv_cannot_hold_is_refused_with_the_reason() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite3");
    let refused = |spec: NetworkSpec| {
        let network = spec.build(&device, Seed(1)).unwrap();
        let error = ccv::write(&path, &network, &WriteOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Unrepresentable { .. }), "{error}");
        chain(&error)
    };
    let base = || NetworkSpec::new([9, 9, 3]);
    let text = refused(base().conv(conv2d(4, 3)).full_connect(2));
    assert!(text.contains("x.sqlite3") && text.contains("layer 0") && text.contains("ReLU"));
    let text =
        refused(base().conv(conv2d(4, 3).relu()).max_pool(pool(2).stride(2)).full_connect(2));
    assert!(text.contains("layer 1") && text.contains("edge"), "{text}");
    let text = refused(base().conv(conv2d(4, 2).relu()).full_connect(2));
    assert!(text.contains("kernel of 2 x 2"), "{text}");
    let mut spec = small(&device).spec().clone();
    if let LayerSpec::Conv(conv) = &mut spec.nodes[3].layer {
        conv.out_groups = 1;
    }
    assert!(refused(spec).contains("`out-groups` is 1"));
    // Windows that fall short are fine in our own form.
    let network = small_spec().build(&device, Seed(1)).unwrap();
    write(folder.path().join("x.safetensors"), &network, &WriteOptions::default()).unwrap();
    assert_eq!(names(folder.path()), ["x.safetensors"]);
}

#[test]
fn nothing_is_left_where_writing_fails() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let network = small(&device);
    let failed = |path: &Path| {
        let error = write(path, &network, &WriteOptions::default()).unwrap_err();
        let text = chain(&error);
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        text
    };
    for extension in ["sqlite3", "safetensors"] {
        let directory = folder.path().join(format!("d.{extension}"));
        fs::create_dir(&directory).unwrap();
        assert!(failed(&directory).contains("it is a directory"));
        fs::remove_dir(&directory).unwrap();
        let missing = folder.path().join(format!("no/x.{extension}"));
        assert!(failed(&missing).contains("there is no folder"));
        let options = WriteOptions::default().dtype(DType::U32);
        let path = folder.path().join(format!("x.{extension}"));
        let text = chain(&write(&path, &network, &options).unwrap_err());
        assert!(text.contains("f32 or f16"), "{text}");
        assert!(names(folder.path()).is_empty());
    }
    assert!(failed(&folder.path().join("x.onnx")).contains(".safetensors"));
    assert!(names(folder.path()).is_empty());
}
