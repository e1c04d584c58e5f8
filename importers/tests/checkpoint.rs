//! Training checkpoints: what is written comes back, what ccv wrote is read, conversions keep it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::path::Path;

use common::{checkpoint_values, dump, names, reference, small, small_ccv, training, values};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rusqlite::Connection;
use striate_importers::ccv::{
    ColourStatistics, read_checkpoint, write_checkpoint, write_checkpoint_with,
};
use striate_importers::{ReadOptions, WriteOptions, ccv, convert, inspect, read};
use striate_nn::{Network, NetworkSpec, Seed, conv2d, full_connect, lrn, pool};
use striate_tensor::DType;

/// A network of any layers that ccv's tables hold.
fn any_network() -> impl Strategy<Value = Network> {
    let block = (1usize..4, any::<bool>(), any::<bool>(), any::<bool>());
    let full = (1usize..5, any::<bool>(), 0.0f32..0.9);
    let blocks = prop::collection::vec(block, 0..3);
    (1usize..4, blocks, prop::collection::vec(full, 0..3), 2usize..5, any::<u64>()).prop_map(
        |(channels, blocks, full, classes, seed)| {
            // A size that padded 3 x 3 convolutions and halving fit exactly.
            let mut spec = NetworkSpec::new([8, 8, channels]).with_name("any");
            for (count, norm, halve, average) in blocks {
                spec = spec.conv(conv2d(2 * count, 3).padding(1).bias(0.5).relu());
                spec = if norm { spec.lrn(lrn(3)) } else { spec };
                spec = match (halve, average) {
                    (true, true) => spec.avg_pool(pool(2).stride(2)),
                    (true, false) => spec.max_pool(pool(2).stride(2)),
                    (false, _) => spec,
                };
            }
            for (count, relu, dropout) in full {
                let layer = full_connect(count).dropout(dropout);
                spec = spec.full_connect(if relu { layer.relu() } else { layer });
            }
            spec.full_connect(classes).build(&reference(), Seed(seed)).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_checkpoint_comes_back(
        network in any_network(),
        epoch in 0u64..=i32::MAX as u64,
        iteration in 0u64..=i32::MAX as u64,
        order in prop::collection::vec(any::<u32>(), 0..40),
        colour in prop::option::of(prop::array::uniform12(any::<f64>())),
        notes in prop::collection::btree_map("[a-z]{0,8}é?", ".*", 0..4),
        (every, line) in (1usize..4, 0u64..1000),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sqlite3");
        let mut state = training(&network, 3);
        state.exact = network.layer_parameters().to_vec();
        for (layer, exact) in state.exact.iter_mut().enumerate() {
            if layer % every != 0 {
                *exact = None;
            }
        }
        (state.epoch, state.iteration, state.line) = (epoch, iteration, line);
        let samples = order.len() as u32;
        state.order = order.iter().map(|n| n % samples).collect();
        state.colour = colour.map(|c| ColourStatistics {
            vectors: [[c[0], c[1], c[2]], [c[3], c[4], c[5]], [c[6], c[7], c[8]]],
            values: [c[9], c[10], c[11]],
        });
        state.notes = notes;
        state.notes.retain(|key, _| !["format", "spec", "metadata"].contains(&key.as_str()));

        write_checkpoint(&path, &network, &state).unwrap();
        let back = read_checkpoint(&path, &reference()).unwrap();
        let read = back.state.unwrap();
        prop_assert_eq!(back.network.spec(), network.spec());
        prop_assert_eq!(checkpoint_values(&back.network, &read), checkpoint_values(&network, &state));
        prop_assert_eq!((read.epoch, read.iteration, read.line), (epoch, iteration, line));
        prop_assert_eq!(&read.order, &state.order);
        prop_assert_eq!(&read.notes, &state.notes);
        let bits = |colour: Option<ColourStatistics>| {
            colour.map(|c| [c.vectors.as_flattened(), &c.values].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        prop_assert_eq!(bits(read.colour), bits(state.colour));
        prop_assert_eq!(names(folder.path()), ["c.sqlite3"]);

        // The same again is the same file, row for row.
        let again = folder.path().join("d.sqlite3");
        write_checkpoint(&again, &back.network, &read).unwrap();
        prop_assert!(dump(&again) == dump(&path));
    }
}

/// The training tables as ccv makes them, with every value of `small` in its place.
const CCV_TABLES: &str = "
    CREATE TABLE function_state (fsid INTEGER PRIMARY KEY ASC, t INTEGER, i INTEGER, inum INTEGER,
        line_no INTEGER, idx BLOB, eigenvectors BLOB, eigenvalues BLOB);
    CREATE TABLE conv_vary_params (layer INTEGER PRIMARY KEY ASC, fx INTEGER, fy INTEGER,
        fz INTEGER, bcx INTEGER, bcy INTEGER, bcz INTEGER, bgx INTEGER, bgy INTEGER, bgz INTEGER);
    CREATE TABLE momentum_data (layer INTEGER PRIMARY KEY ASC, weight BLOB, bias BLOB);
    INSERT INTO conv_vary_params VALUES (0, 4, 8, 32, 4, 16, 32, 4, 6, 24), (3, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    INSERT INTO function_state VALUES (0, 12, 345, 3, 2345, x'020000000000000001000000',
        x'000000000000f03f00000000000000000000000000000000000000000000000000000000000000400000000000000000000000000000000000000000000000000000000000000840',
        NULL);
    UPDATE function_state SET eigenvalues = x'000000000000f03f0000000000000040000000000000e0bf';
    INSERT INTO momentum_data SELECT layer, weight, bias FROM layer_data;";

fn ccv_made(folder: &Path) -> std::path::PathBuf {
    let path = small_ccv(folder, DType::F32);
    Connection::open(&path).unwrap().execute_batch(CCV_TABLES).unwrap();
    path
}

#[test]
fn what_ccvs_own_training_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = ccv_made(folder.path());
    let checkpoint = read_checkpoint(&path, &reference()).unwrap();
    let state = checkpoint.state.unwrap();
    assert_eq!((state.epoch, state.iteration, state.line), (12, 345, 2345));
    assert_eq!(state.order, [2, 0, 1]);
    let colour = state.colour.unwrap();
    assert_eq!(colour.vectors, [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]);
    assert_eq!(colour.values, [1.0, 2.0, -0.5]);
    assert!(state.notes.is_empty() && state.exact.iter().all(Option::is_none));
    let network = &checkpoint.network;
    for (velocity, weights) in state.velocities.iter().zip(network.layer_parameters()) {
        assert_eq!(velocity.is_some(), weights.is_some());
        if let (Some(velocity), Some(weights)) = (velocity, weights) {
            let bits = |t: &striate_tensor::Tensor| t.to_vec::<f32>().unwrap();
            assert_eq!(bits(&velocity.weight), bits(&weights.weight));
            assert_eq!(bits(&velocity.bias), bits(&weights.bias));
        }
    }
    let inspection = inspect(&path).unwrap();
    let training = inspection.training.unwrap();
    assert_eq!((training.epoch, training.iteration, training.samples), (12, 345, 3));
    let expected = ["conv_vary_params", "function_state", "momentum_data"];
    assert_eq!(inspection.training_state, expected);

    // ccv's tables go through as they are, but for its tuning; ours come beside them.
    let out = folder.path().join("out.sqlite3");
    convert(&path, &out, &reference(), &WriteOptions::default()).unwrap();
    let tables = dump(&out);
    for (sql, rows) in dump(&path) {
        let same = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let there = tables.iter().find(|(other, _)| same(other) == same(&sql));
        match there {
            Some((_, other)) => assert!(rows == *other, "{sql}"),
            None => assert!(sql.contains("conv_vary_params"), "{sql}"),
        }
    }
}

#[test]
fn a_model_is_a_checkpoint_without_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F16);
    let checkpoint = read_checkpoint(&path, &reference()).unwrap();
    assert!(checkpoint.state.is_none() && inspect(&path).unwrap().training.is_none());
    assert_eq!(values(&checkpoint.network), values(&ccv::read(&path, &reference()).unwrap()));
}

#[test]
fn classifying_knows_what_the_notes_say() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite3");
    let network = small(&device);
    write_checkpoint(&path, &network, &training(&network, 5)).unwrap();
    let options = ReadOptions::default();
    let found = read(&path, &device, &options).unwrap();
    assert_eq!((found.spec(), found.metadata()), (network.spec(), network.metadata()));
    let inspection = inspect(&path).unwrap();
    assert_eq!((&inspection.spec, &inspection.metadata), (network.spec(), network.metadata()));
    let ours = ["function_state", "momentum_data", "striate_weights"];
    assert_eq!(inspection.training_state, ours);

    // Another program changed the layers: its tables count, and the labels stay.
    let sql = "UPDATE layer_params SET output_beta = 0.5 WHERE layer = 1";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let changed = read(&path, &device, &options).unwrap();
    assert_eq!(changed.spec().name, "c");
    assert_eq!(changed.metadata(), network.metadata());
    assert_eq!(changed.spec().nodes[1].kind(), network.spec().nodes[1].kind());
    assert_ne!(changed.spec().nodes[1], network.spec().nodes[1]);
}

#[test]
fn conversions_keep_the_state_unless_it_is_stripped() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let spec = NetworkSpec::new([16, 16, 3]).conv(conv2d(8, 3).padding(1).relu()).full_connect(40);
    let network = spec.build(&device, Seed(1)).unwrap();
    let state = training(&network, 100);
    write_checkpoint(path("in.sqlite3"), &network, &state).unwrap();
    let made = |name: &str, options: &WriteOptions| {
        convert(path("in.sqlite3"), path(name), &device, options).unwrap();
        std::fs::metadata(path(name)).unwrap().len() as f64
    };

    let whole = made("same.sqlite3", &WriteOptions::default());
    assert!(dump(&path("same.sqlite3")) == dump(&path("in.sqlite3")));

    // Half precision cuts the weights for classifying, and training goes on from the uncut ones.
    made("half.sqlite3", &WriteOptions::default().dtype(DType::F16));
    let half = read_checkpoint(path("half.sqlite3"), &device).unwrap();
    let kept = half.state.unwrap();
    assert!(
        half.network.layer_parameters().iter().flatten().all(|p| p.weight.dtype() == DType::F16)
    );
    let uncut = Network::new(network.spec().clone(), kept.exact.clone(), &device).unwrap();
    assert_eq!(values(&uncut), values(&network));
    let velocities = |state: &ccv::TrainingState| {
        Network::new(network.spec().clone(), state.velocities.clone(), &device).unwrap()
    };
    assert_eq!(values(&velocities(&kept)), values(&velocities(&state)));

    // Velocities take as much as the weights: without them half of the file is left, and with half
    // precision a quarter.
    let strip = WriteOptions::default().strip(true);
    let stripped = made("strip.sqlite3", &strip);
    assert!((0.45..0.55).contains(&(stripped / whole)), "{stripped} of {whole}");
    let stripped = made("small.sqlite3", &strip.clone().dtype(DType::F16));
    assert!((0.22..0.30).contains(&(stripped / whole)), "{stripped} of {whole}");
    assert!(read_checkpoint(path("small.sqlite3"), &device).unwrap().state.is_none());
    write_checkpoint_with(path("also.sqlite3"), &network, &state, &strip).unwrap();
    assert!(dump(&path("also.sqlite3")) == dump(&path("strip.sqlite3")));

    // Onto itself.
    convert(path("in.sqlite3"), path("in.sqlite3"), &device, &strip).unwrap();
    assert!(dump(&path("in.sqlite3")) == dump(&path("strip.sqlite3")));
}

/// Stripping drops the state of a training, and nothing else.
#[test]
fn metadata_and_dropout_go_through_every_conversion() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let network = small(&device);
    let metadata = striate_nn::Metadata {
        view: Some(serde_json::json!({"resize": "stretch", "size": [9, 9], "of": "the future"})),
        recipe: Some(serde_json::json!({"color_gain": 0.1})),
        note: Some("a note".into()),
        ..network.metadata().clone()
    };
    let network = network.with_metadata(metadata);
    write_checkpoint(path("in.sqlite3"), &network, &training(&network, 9)).unwrap();
    for strip in [false, true] {
        let options = WriteOptions::default().strip(strip);
        let mut from = "in.sqlite3";
        for to in ["a.sqlite3", "b.safetensors", "c.sqlite3", "d.sqlite3", "e.safetensors"] {
            convert(path(from), path(to), &device, &options).unwrap();
            let back = read(path(to), &device, &ReadOptions::default()).unwrap();
            assert_eq!(back.metadata(), network.metadata(), "{to}, strip {strip}");
            assert_eq!(back.spec(), network.spec(), "{to}, strip {strip}");
            let inspection = inspect(path(to)).unwrap();
            assert_eq!(inspection.metadata, *network.metadata(), "{to}");
            let in_training = to == "a.sqlite3" && !strip;
            assert_eq!(inspection.training_state.is_empty(), !in_training, "{to}");
            from = to;
        }
    }
    // A plain network is stored as ccv stores it, without a table of ours.
    let spec = NetworkSpec::new([16, 16, 3]).conv(conv2d(8, 3).padding(1).relu()).full_connect(40);
    let plain = spec.build(&device, Seed(1)).unwrap();
    ccv::write(path("plain.sqlite3"), &plain, &WriteOptions::default()).unwrap();
    let tables = Connection::open(path("plain.sqlite3")).unwrap();
    let count = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
    assert_eq!(tables.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
}

#[test]
fn an_output_partition_that_ccv_cannot_hold_is_refused_by_its_name() {
    let spec = NetworkSpec::new([8, 8, 3]).conv(conv2d(9, 3).groups(3).relu()).full_connect(4);
    ccv::check_representable(&spec).unwrap();
    let spec = NetworkSpec::new([8, 8, 3])
        .conv(conv2d(9, 3).groups(3).out_groups(1).relu())
        .full_connect(4);
    let error = ccv::check_representable(&spec).unwrap_err().to_string();
    for part in ["layer 0", "`out-groups` is 1", "leave `out-groups` out"] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}
