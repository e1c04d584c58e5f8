//! What the tests share: the golden files, small networks, and rows of a database as they are.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is
#![allow(dead_code)] // each test file uses its own part

pub(crate) mod caffe;
pub(crate) mod plain;

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use striate_importers::WriteOptions;
use striate_importers::ccv::{self, ColourStatistics, TrainingState};
use striate_nn::{
    LayerParameters, Metadata, Network, NetworkSpec, Seed, conv2d, full_connect, lrn, pool,
};
use striate_tensor::{DType, Device, Reference, Tensor};

/// Folders of model files that ccv wrote, with the networks in each: the fixtures, and all that were
/// recorded where these are beside the repository. `STRIATE_REQUIRE_GOLDEN=1` makes their absence a
/// failure.
pub(crate) fn golden() -> Vec<(PathBuf, &'static [&'static str])> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<(PathBuf, &[&str])> =
        vec![(root.join("tests/fixtures/ccv/nets"), &["tiny"])];
    let whole = root.join("../shared/ccv-golden/nets");
    if whole.is_dir() {
        folders.push((whole, &["tiny", "tiny2", "tiny-nolrn"]));
    } else {
        let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|v| v == "1");
        assert!(!required, "there is no {}", whole.display());
    }
    folders
}

/// Each of these networks, with its folder.
pub(crate) fn golden_nets() -> impl Iterator<Item = (PathBuf, &'static str)> {
    golden()
        .into_iter()
        .flat_map(|(folder, nets)| nets.iter().map(move |net| (folder.clone(), *net)))
}

pub(crate) fn reference() -> Device {
    Device::new(Reference::new())
}

/// Every kind of layer, groups, a stored output partition.
pub(crate) fn small_spec() -> NetworkSpec {
    NetworkSpec::new([15, 13, 3])
        .with_name("small")
        .with_image([19, 17])
        .conv(conv2d(8, 3).stride(2).padding(1).out_groups(2).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(2).stride(2).padding(0).groups(2))
        .conv(conv2d(8, 3).padding(1).groups(2).relu())
        .avg_pool(pool(2).stride(1))
        .full_connect(full_connect(6).relu().dropout(0.5))
        .full_connect(4)
}

/// A network of [`small_spec`] whose windows end at the edge, with a mean image and metadata.
pub(crate) fn small(device: &Device) -> Network {
    let mut spec = small_spec();
    // 15 x 13 in steps of 2 from padding 1 is 8 x 7; make both even for the pooling.
    spec.input = [15, 15, 3];
    spec.image = [19, 19];
    let [rows, cols] = spec.image;
    let mean: Vec<f32> = (0..rows * cols * 3).map(|i| 100.0 + (i % 37) as f32 * 0.3).collect();
    let mean = Tensor::from_vec(mean, [rows, cols, 3], device).unwrap();
    let metadata = Metadata {
        labels: Some(["a", "b", "c", "d"].map(String::from).to_vec()),
        protocol: Some("centre".into()),
        extra: [("seed".to_string(), "7".to_string())].into(),
        ..Metadata::default()
    };
    let network = spec.build(device, Seed(7)).unwrap();
    network.with_mean(mean).unwrap().with_metadata(metadata)
}

/// A small model in ccv's form.
pub(crate) fn small_ccv(folder: &Path, dtype: DType) -> PathBuf {
    let path = folder.join(format!("small.{dtype}.sqlite3"));
    ccv::write(&path, &small(&reference()), &WriteOptions::default().dtype(dtype)).unwrap();
    path
}

/// The state of a training of `network` over so many samples: velocities that differ everywhere and
/// with the number of samples, and exact weights of the first full connect.
pub(crate) fn training(network: &Network, samples: u32) -> TrainingState {
    let velocity = |tensor: &Tensor| {
        let values = (0..tensor.shape().count()).map(|i| (i as f32 + samples as f32 * 0.37).sin());
        Tensor::from_vec(values.collect::<Vec<_>>(), tensor.dims(), network.device()).unwrap()
    };
    let velocities = network.layer_parameters().into_iter().map(|parameters| {
        let LayerParameters { weight, bias } = parameters?;
        Some(LayerParameters { weight: velocity(&weight), bias: velocity(&bias) })
    });
    let velocities: Vec<_> = velocities.collect();
    let mut exact = vec![None; velocities.len()];
    if let Some(layer) = network.spec().first_full_connect()
        && layer + 1 < exact.len()
    {
        exact[layer] = velocities[layer].clone();
    }
    TrainingState {
        velocities,
        exact,
        epoch: 3,
        iteration: u64::from(samples),
        order: (0..samples).rev().collect(),
        colour: Some(ColourStatistics {
            vectors: [[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
            values: [3.0, 2.0, 0.1],
        }),
        line: 0,
        notes: [("training".to_string(), "{\"seed\":1}".to_string())].into(),
    }
}

/// The bits of a network, of the velocities and of the exact weights.
pub(crate) fn checkpoint_values(network: &Network, state: &TrainingState) -> Vec<Vec<u32>> {
    let layers =
        [&network.layer_parameters(), &state.velocities, &state.exact].map(|l| l.to_vec()).concat();
    let bits = |tensor: &Tensor| {
        let values = tensor.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
        values.iter().map(|v| v.to_bits()).collect()
    };
    let layer = |layer: Option<LayerParameters>| {
        layer.map_or_else(|| vec![vec![]], |p| vec![bits(&p.weight), bits(&p.bias)])
    };
    layers.into_iter().flat_map(layer).collect()
}

/// All values of a network's layers and mean image.
pub(crate) fn values(network: &Network) -> Vec<striate_tensor::HostTensor> {
    let tensors = network.parameters().iter().chain(network.mean());
    tensors.map(|t| t.to_host().unwrap()).collect()
}

/// A table's statement and rows.
pub(crate) type Dump = Vec<(String, Vec<Vec<Value>>)>;

/// The schema in its order, and every row of every table.
pub(crate) fn dump(path: &Path) -> Dump {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    let sql = "SELECT sql, name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid";
    let mut statement = connection.prepare(sql).unwrap();
    let tables = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let tables: Vec<(String, String)> = tables.map(Result::unwrap).collect();
    let rows = |name: &str| {
        let sql = format!("SELECT rowid, * FROM {name} ORDER BY rowid");
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect());
        rows.unwrap().map(Result::unwrap).collect()
    };
    tables.into_iter().map(|(sql, name)| (sql, rows(&name))).collect()
}

/// The message of an error and of its sources, as one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The names of what is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
