//! Model files: ccv's sqlite form, safetensors and PyTorch's.

use std::path::Path;

use rusqlite::Connection;
use striate_importers::ccv::{self as form, TrainingState};
use striate_importers::safetensors::{TensorFile, write_tensors};
use striate_importers::{self as importers, ReadOptions, WriteOptions, pth};
use striate_nn::{LayerParameters, Network, NetworkSpec, Seed, conv2d, full_connect, lrn, pool};
use striate_tensor::{DType, Device, Reference, Tensor};

use super::{Scratch, printed, same_bits};

pub(super) fn device() -> Device {
    Device::new(Reference::new())
}

/// A sqlite file: as a model, as a checkpoint, and what there is to say of it.
pub fn ccv(bytes: &[u8]) {
    let scratch = Scratch::new();
    survives(&scratch, &scratch.file("model.sqlite3", bytes));
}

/// A sound checkpoint some of whose cells were changed: what no damage to a sqlite file's bytes
/// reaches. See [`Edit`] for the form.
pub fn ccv_rows(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.file("model.sqlite3", &checkpoint_bytes());
    let connection = Connection::open(&path).unwrap();
    // Nothing here has to outlive a power cut.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").unwrap();
    let mut rest = bytes;
    for _ in 0..8 {
        let Some((edit, after)) = Edit::parse(rest) else { break };
        edit.apply(&connection);
        rest = after;
    }
    drop(connection);
    survives(&scratch, &path);
}

/// A file of safetensors: its tensors one by one, and as a network.
pub fn safetensors(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.file("model.safetensors", bytes);
    match TensorFile::open(&path) {
        Ok(file) => tensors_come_back(&scratch, &file),
        Err(error) => printed(&error),
    }
    survives(&scratch, &path);
}

/// A file of PyTorch's, either form: every state dict in it, and the tensors of each.
pub fn pickle(bytes: &[u8]) {
    /// What the tensors of a file may have at most, by the file's bytes: deflated ones have more.
    const MOST_TIMES: usize = 8 * 1032;
    const SPARE_BYTES: usize = 1 << 20;
    let scratch = Scratch::new();
    let path = scratch.file("model.pth", bytes);
    let file = match pth::TensorFile::open(&path) {
        Ok(file) => file,
        Err(error) => return printed(&error),
    };
    let keys = file.other_keys().map(|key| pth::TensorFile::open_key(&path, key).unwrap());
    for file in std::iter::once(pth::TensorFile::open_key(&path, file.key()).unwrap()).chain(keys) {
        let mut total = 0;
        for name in file.names() {
            assert!(file.element_type(name).is_some());
            match file.tensor(name, &device(), None) {
                Ok(tensor) => {
                    assert_eq!(Some(tensor.dims()), file.shape(name), "{name}");
                    total += tensor.shape().count();
                }
                Err(error) => printed(&error),
            }
        }
        assert!(total <= bytes.len() * MOST_TIMES + SPARE_BYTES, "{total} numbers");
    }
    survives(&scratch, &path);
}

fn tensors_come_back(scratch: &Scratch, file: &TensorFile) {
    let device = device();
    let mut read = Vec::new();
    for name in file.names() {
        match file.tensor(name, &device, None) {
            Ok(tensor) => assert_eq!(Some(tensor.dims()), file.shape(name), "{name}"),
            Err(error) => printed(&error),
        }
        match file.stored(name, &device) {
            Ok(tensor) => {
                assert_eq!(Some(tensor.dims()), file.shape(name), "{name}");
                assert_eq!(Some(tensor.dtype()), file.dtype(name), "{name}");
                read.push((name, tensor));
            }
            Err(error) => printed(&error),
        }
    }
    let path = scratch.path("again.safetensors");
    let tensors: Vec<_> = read.iter().map(|(name, tensor)| (*name, tensor)).collect();
    match write_tensors(&path, &tensors, file.metadata()) {
        Ok(()) => {
            let again = TensorFile::open(&path).unwrap();
            assert_eq!(again.metadata(), file.metadata());
            assert_eq!(again.names().count(), tensors.len());
            for (name, tensor) in tensors {
                let [one, other] = [tensor, &again.stored(name, &device).unwrap()]
                    .map(|tensor| tensor.to_host().unwrap());
                assert_eq!(one.ty(), other.ty(), "{name}");
                assert_eq!(one.values().bytes(), other.values().bytes(), "{name} differs");
            }
        }
        Err(error) => printed(&error),
    }
}

/// Reads a model file in every way that there is. What is a network is inspected without an error,
/// and comes back as the same when written.
pub(super) fn survives(scratch: &Scratch, path: &Path) {
    let device = device();
    let network = importers::read(path, &device, &ReadOptions::default());
    let inspection = importers::inspect(path);
    let checkpoint = form::read_checkpoint(path, &device);
    let notes = form::read_training_notes(path);
    if let Err(error) = &notes {
        printed(error);
    }
    match &network {
        Ok(network) => {
            let inspection = inspection.expect("what was read is inspected as well");
            assert_eq!(&inspection.spec.difference(network.spec()), &None);
            let again = scratch.path("again.safetensors");
            importers::write(&again, network, &WriteOptions::default())
                .expect("what was read is written");
            let again = importers::read(&again, &device, &ReadOptions::default())
                .expect("what was written is read");
            assert_eq!(again.spec(), network.spec());
            assert_same_network(network, &again);
        }
        Err(error) => {
            printed(error);
            if let Err(error) = &inspection {
                printed(error);
            }
        }
    }
    match checkpoint {
        Ok(checkpoint) => {
            assert!(network.is_ok(), "a checkpoint is a model as well: {:?}", network.err());
            if let Some(state) = &checkpoint.state {
                checkpoint_comes_back(scratch, &checkpoint.network, state);
            }
        }
        Err(error) => printed(&error),
    }
}

fn checkpoint_comes_back(scratch: &Scratch, network: &Network, state: &TrainingState) {
    let path = scratch.path("again.sqlite3");
    if let Err(error) = form::write_checkpoint(&path, network, state) {
        // ccv's form has limits that what was read may be beyond, with our notes.
        printed(&error);
        return;
    }
    let again = form::read_checkpoint(&path, &device()).expect("what was written is read");
    assert_same_network(network, &again.network);
    let again = again.state.expect("the state that was written");
    assert_eq!((again.epoch, again.iteration), (state.epoch, state.iteration));
    assert_eq!(again.order, state.order);
    assert_same_layers(&again.velocities, &state.velocities);
    assert_same_layers(&again.exact, &state.exact);
}

fn assert_same_network(one: &Network, other: &Network) {
    assert_eq!(one.parameter_infos(), other.parameter_infos());
    let pairs = one.parameters().iter().zip(other.parameters());
    for ((one, other), info) in pairs.zip(one.parameter_infos()) {
        assert_same(&info.name, one, other);
    }
    assert_eq!(one.buffer_infos(), other.buffer_infos());
    let pairs = one.buffers().iter().zip(other.buffers());
    for ((one, other), info) in pairs.zip(one.buffer_infos()) {
        assert_same(&info.name, one.value(), other.value());
    }
    match (one.mean(), other.mean()) {
        (Some(one), Some(other)) => assert_same("the mean image", one, other),
        (one, other) => assert_eq!(one.is_some(), other.is_some(), "the mean image"),
    }
}

fn assert_same_layers(one: &[Option<LayerParameters>], other: &[Option<LayerParameters>]) {
    assert_eq!(one.len(), other.len());
    for (layer, pair) in one.iter().zip(other).enumerate() {
        match pair {
            (Some(one), Some(other)) => {
                assert_same(&format!("weight of layer {layer}"), &one.weight, &other.weight);
                assert_same(&format!("bias of layer {layer}"), &one.bias, &other.bias);
            }
            (one, other) => assert_eq!(one.is_some(), other.is_some(), "layer {layer}"),
        }
    }
}

fn assert_same(what: &str, one: &Tensor, other: &Tensor) {
    assert_eq!(one.dims(), other.dims(), "{what}");
    let values = |tensor: &Tensor| tensor.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
    assert!(same_bits(&values(one), &values(other)), "{what} differs");
}

/// A small network with every kind of layer, in training.
fn checkpoint_bytes() -> Vec<u8> {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let made = || {
        let scratch = Scratch::new();
        let path = scratch.path("sound.sqlite3");
        let (network, state) = small_training();
        form::write_checkpoint(&path, &network, &state).unwrap();
        std::fs::read(path).unwrap()
    };
    BYTES.get_or_init(made).clone()
}

/// A small network with every kind of layer and a mean image, and the state of its training.
pub fn small_training() -> (Network, TrainingState) {
    let device = device();
    let spec = NetworkSpec::new([9, 9, 3])
        .with_image([11, 11])
        .conv(conv2d(4, 3).stride(2).padding(1).out_groups(2).relu())
        .lrn(lrn(3).groups(2))
        .max_pool(pool(2).stride(1).groups(2))
        .conv(conv2d(4, 3).padding(1).groups(2).relu())
        .avg_pool(pool(2).stride(2))
        .full_connect(full_connect(3).relu().dropout(0.5))
        .full_connect(2);
    let mean = (0..11 * 11 * 3).map(|i| 100.0 + (i % 37) as f32 * 0.25).collect();
    let mean = Tensor::from_vec::<f32, _>(mean, [11, 11, 3], &device).unwrap();
    let network = spec.build(&device, Seed(7)).unwrap().with_mean(mean).unwrap();
    let mut exact = vec![None; network.spec().nodes.len()];
    exact[5] = network.layer_parameters()[5].clone();
    let state = TrainingState {
        velocities: network.layer_parameters().to_vec(),
        exact,
        epoch: 2,
        iteration: 3,
        order: (0..10).rev().collect(),
        colour: Some(Default::default()),
        line: 0,
        notes: [("training".to_owned(), "{\"seed\":1}".to_owned())].into(),
    };
    (network, state)
}

/// A change of one cell. Three bytes choose the table, the column and the row; the fourth says what
/// the cell becomes: NULL, a number (8 bytes), a real (8 bytes), a text or a blob (a byte with the
/// length, then that), a cut of the blob that is there, or no row at all.
struct Edit<'a> {
    place: [u8; 3],
    value: Value<'a>,
}

enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Cut(u8),
    Gone,
}

impl<'a> Edit<'a> {
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[table, column, row, kind], rest) = bytes.split_first_chunk::<4>()?;
        let counted = || {
            let (&length, rest) = rest.split_first()?;
            Some(rest.split_at(usize::from(length).min(rest.len())))
        };
        let (value, rest) = match kind % 7 {
            0 => (Value::Null, rest),
            1 => {
                let (number, rest) = rest.split_first_chunk()?;
                (Value::Integer(i64::from_le_bytes(*number)), rest)
            }
            2 => {
                let (number, rest) = rest.split_first_chunk()?;
                (Value::Real(f64::from_le_bytes(*number)), rest)
            }
            3 => counted().map(|(text, rest)| (Value::Text(text), rest))?,
            4 => counted().map(|(blob, rest)| (Value::Blob(blob), rest))?,
            5 => rest.split_first().map(|(&cut, rest)| (Value::Cut(cut), rest))?,
            _ => (Value::Gone, rest),
        };
        Some((Edit { place: [table, column, row], value }, rest))
    }

    /// A change that the schema does not allow changes nothing.
    fn apply(&self, connection: &Connection) {
        let [table, column, row] = self.place.map(usize::from);
        let tables = names(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'");
        let Some(table) = tables.get(table % tables.len().max(1)) else { return };
        let columns = names(connection, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let Some(column) = columns.get(column % columns.len().max(1)) else { return };
        let rows = names(connection, &format!("SELECT CAST(rowid AS TEXT) FROM \"{table}\""));
        let Some(row) = rows.get(row % rows.len().max(1)) else { return };
        let set = format!("UPDATE \"{table}\" SET \"{column}\" =");
        let of = format!("WHERE rowid = {row}");
        let _ = match self.value {
            Value::Null => connection.execute(&format!("{set} NULL {of}"), []),
            Value::Integer(value) => connection.execute(&format!("{set} ?1 {of}"), [value]),
            Value::Real(value) => connection.execute(&format!("{set} ?1 {of}"), [value]),
            Value::Text(text) => {
                // Not every text in a file is UTF-8.
                connection.execute(&format!("{set} CAST(?1 AS TEXT) {of}"), [text])
            }
            Value::Blob(blob) => connection.execute(&format!("{set} ?1 {of}"), [blob]),
            Value::Cut(cut) => {
                let cell = format!("substr(\"{column}\", 1, length(\"{column}\") - {cut})");
                connection.execute(&format!("{set} {cell} {of}"), [])
            }
            Value::Gone => connection.execute(&format!("DELETE FROM \"{table}\" {of}"), []),
        };
    }
}

fn names(connection: &Connection, sql: &str) -> Vec<String> {
    let Ok(mut statement) = connection.prepare(sql) else { return Vec::new() };
    let Ok(rows) = statement.query_map([], |row| row.get(0)) else { return Vec::new() };
    rows.filter_map(|row| row.ok()).collect()
}
