//! ccv's files, read and written again: every row and the schema as ccv wrote them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is

mod common;

use std::path::PathBuf;

use common::{chain, dump, golden_nets, reference, small, small_ccv, values};
use striate_importers::{Format, ReadOptions, WriteOptions, ccv, inspect, read, write};
use striate_nn::{LayerParameters, Network, NetworkSpec, Seed, full_connect};
use striate_tensor::{DType, HostValues, Tensor};

#[test]
fn what_ccv_wrote_is_written_again_byte_for_byte() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    for (nets, name) in golden_nets() {
        for precision in ["f32", "f16"] {
            let theirs = nets.join(format!("{name}.{precision}.sqlite3"));
            let ours = folder.path().join("ours.sqlite3");
            let network = ccv::read(&theirs, &device).unwrap();
            ccv::write(&ours, &network, &WriteOptions::default()).unwrap();
            assert!(dump(&ours) == dump(&theirs), "{name} {precision}");
        }
    }
}

#[test]
fn half_precision_is_cut_as_ccv_cuts_it() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    for (nets, name) in golden_nets() {
        let full = nets.join(format!("{name}.f32.sqlite3"));
        let half = nets.join(format!("{name}.f16.sqlite3"));
        let ours = folder.path().join("ours.sqlite3");
        let network = ccv::read(&full, &device).unwrap();
        ccv::write(&ours, &network, &WriteOptions::default().dtype(DType::F16)).unwrap();
        assert!(dump(&ours) == dump(&half), "{name}");

        // Halves asked for while reading are the same as those of the file.
        let cut =
            ccv::read_with(&full, &device, &ReadOptions::default().dtype(DType::F16)).unwrap();
        assert_eq!(values(&cut), values(&ccv::read(&half, &device).unwrap()));
    }
}

#[test]
fn a_large_network_comes_back_and_one_cut_off_is_an_error() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let spec = NetworkSpec::new([8, 8, 16]).full_connect(full_connect(1100).relu()).full_connect(5);
    let network = spec.build(&device, Seed(3)).unwrap();
    // Biases that differ and that f16 holds: they are read before the weights that they lie behind.
    let parameters = network.layer_parameters().into_iter().map(|parameters| {
        let LayerParameters { weight, bias } = parameters.unwrap();
        let values: Vec<f32> = (0..bias.shape().count()).map(|i| (i % 500) as f32 - 7.5).collect();
        let bias = Tensor::from_vec(values, bias.dims(), &device).unwrap();
        Some(LayerParameters { weight, bias })
    });
    let network = Network::new(network.spec().clone(), parameters.collect(), &device).unwrap();
    for dtype in [DType::F32, DType::F16] {
        let path = folder.path().join("large.sqlite3");
        ccv::write(&path, &network, &WriteOptions::default().dtype(dtype)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // sqlite writes 65,536 as 1.
        assert_eq!(bytes[16..18], [0, 1], "the size of pages");
        let again = ccv::read(&path, &device).unwrap();
        if dtype == DType::F32 {
            assert_eq!(values(&again), values(&network));
        }
        let full = ReadOptions::default().dtype(DType::F32);
        let bias = |network: &Network| network.layer_parameters()[0].clone().unwrap().bias;
        let read = bias(&ccv::read_with(&path, &device, &full).unwrap());
        assert_eq!(read.to_vec::<f32>().unwrap(), bias(&network).to_vec::<f32>().unwrap());

        let cut = folder.path().join("cut.sqlite3");
        std::fs::write(&cut, &bytes[..bytes.len() - 70_000]).unwrap();
        let error = chain(&ccv::read(&cut, &device).unwrap_err());
        assert!(error.contains("cut.sqlite3") && error.contains("cut off"), "{error}");
    }
}

#[test]
fn golden_networks_compute_what_ccv_computed() {
    let device = reference();
    let npy = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let head = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        bytes[head..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>()
    };
    for (nets, name) in golden_nets() {
        let network = ccv::read(nets.join(format!("{name}.f16.sqlite3")), &device).unwrap();
        let [rows, cols, channels] = network.spec().input;
        let x = npy(nets.join(format!("{name}.formula.input.npy")));
        let x = striate_tensor::Tensor::from_vec(x, [1, rows, cols, channels], &device).unwrap();
        let got = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
        let expected = npy(nets.join(format!("{name}.f16.formula.logits.npy")));
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(&expected) {
            // ccv was built with -ffast-math: 1e-4 of the scale is the contract.
            assert!((got - expected).abs() <= 1e-4 * largest, "{name}: {got} {expected}");
        }
    }
}

#[test]
fn our_own_networks_survive_ccvs_form() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let network = small(&device);
    for dtype in [DType::F32, DType::F16] {
        let path = small_ccv(folder.path(), dtype);
        let back = ccv::read(&path, &device).unwrap();
        assert_eq!(back.spec().input, network.spec().input);
        assert_eq!(back.spec().image, network.spec().image);
        assert_eq!(back.shapes(), network.shapes());
        assert_eq!(back.spec().nodes.len(), network.spec().nodes.len());
        assert!(back.parameters().iter().all(|p| p.dtype() == dtype || p.dims().len() == 1));
        if dtype == DType::F32 {
            assert_eq!(values(&back), values(&network));
        }
        let again = folder.path().join("again.sqlite3");
        ccv::write(&again, &back, &WriteOptions::default()).unwrap();
        assert!(dump(&again) == dump(&path));
    }
}

#[test]
fn a_precision_can_be_asked_for() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let half = small_ccv(folder.path(), DType::F16);
    let options = ReadOptions::default().dtype(DType::F32);
    let wide = ccv::read_with(&half, &device, &options).unwrap();
    let halves = ccv::read(&half, &device).unwrap();
    for (wide, half) in values(&wide).iter().zip(values(&halves)) {
        let HostValues::F32(wide) = wide.values() else { panic!("not f32") };
        match half.values() {
            HostValues::F16(half) => {
                assert!(half.iter().map(|h| h.to_f32()).eq(wide.iter().copied()))
            }
            // The mean image stays f32.
            HostValues::F32(mean) => assert_eq!(mean, wide),
            _ => panic!("not floats"),
        }
    }
    let options = ReadOptions::default().dtype(DType::U32);
    let text = chain(&ccv::read_with(&half, &device, &options).unwrap_err());
    assert!(text.contains("small.f16.sqlite3") && text.contains("f32 or f16"), "{text}");
}

#[test]
fn layers_may_differ_in_precision() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let (full, half) = (small_ccv(folder.path(), DType::F32), small_ccv(folder.path(), DType::F16));
    let connection = rusqlite::Connection::open(&full).unwrap();
    connection.execute("ATTACH ?1 AS half", [half.to_str().unwrap()]).unwrap();
    let sql = "REPLACE INTO layer_data SELECT * FROM half.layer_data WHERE layer = 5";
    connection.execute(sql, []).unwrap();
    connection.execute("DETACH half", []).unwrap();
    drop(connection);
    let network = ccv::read(&full, &device).unwrap();
    let dtypes: Vec<DType> =
        network.layer_parameters().iter().flatten().map(|p| p.weight.dtype()).collect();
    assert_eq!(dtypes, [DType::F32, DType::F32, DType::F16, DType::F32]);
    let inspection = inspect(&full).unwrap();
    assert_eq!(inspection.dtype(), None);
    assert_eq!(inspection.layers[5].as_ref().unwrap().weight_dtype, DType::F16);
    let again = folder.path().join("again.sqlite3");
    write(&again, &network, &WriteOptions::default()).unwrap();
    assert!(dump(&again) == dump(&full));
}

#[test]
fn tables_of_a_training_are_passed_over() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F32);
    let before = ccv::read(&path, &device).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE momentum_data (layer INTEGER PRIMARY KEY ASC, weight BLOB, bias BLOB);
             CREATE TABLE function_state (fsid INTEGER PRIMARY KEY ASC, t INTEGER);
             CREATE TABLE conv_vary_params (layer INTEGER PRIMARY KEY ASC, x INTEGER);
             CREATE TABLE mine (x);
             INSERT INTO layer_data VALUES (99, zeroblob(3), NULL, 0);",
        )
        .unwrap();
    drop(connection);
    let after = read(&path, &device, &ReadOptions::default()).unwrap();
    assert_eq!(values(&after), values(&before));
    let inspection = inspect(&path).unwrap();
    assert_eq!(inspection.training_state, ["conv_vary_params", "function_state", "momentum_data"]);
}

#[test]
fn an_inspection_knows_all_but_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_ccv(folder.path(), DType::F16);
    let inspection = inspect(&path).unwrap();
    assert_eq!(inspection.format, Format::Ccv);
    assert_eq!(inspection.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(inspection.dtype(), Some(DType::F16));
    assert_eq!(inspection.spec.name, "small");
    assert!(inspection.mean && inspection.training_state.is_empty());
    let expected = inspection.spec.summary().unwrap().parameters;
    assert_eq!(inspection.parameters() as u64, expected);
    let json = serde_json::to_value(&inspection).unwrap();
    assert_eq!(json["format"], "ccv");
    assert_eq!(json["layers"][0]["weight_dtype"], "f16");
}

#[test]
fn a_network_without_a_mean_image_stays_without() {
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite3");
    let small = small(&device);
    let bare = striate_nn::Network::new(small.spec().clone(), small.layer_parameters(), &device);
    ccv::write(&path, &bare.unwrap(), &WriteOptions::default()).unwrap();
    assert!(ccv::read(&path, &device).unwrap().mean().is_none());
    assert!(!inspect(&path).unwrap().mean);
}

#[test]
fn one_input_channel_and_any_count_can_be_stored() {
    // ccv itself would not run these; its files hold them.
    let device = reference();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lenet.sqlite3");
    let spec = striate_models::by_name("lenet").unwrap();
    let network = spec.build(&device, striate_nn::Seed(1)).unwrap();
    ccv::write(&path, &network, &WriteOptions::default()).unwrap();
    let back = ccv::read(&path, &device).unwrap();
    assert_eq!(back.spec().input, [28, 28, 1]);
    assert_eq!(values(&back), values(&network));
}
