//! Reading checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use striate_nn::{LayerParameters, Network};
use striate_tensor::{DType, Device};

use super::{Checkpoint, ColourStatistics, TrainingState};
use crate::ccv::database::{CellName, Database, Fields};
use crate::ccv::layers::table_layers;
use crate::ccv::notes::read_notes;
use crate::ccv::read::{describe, read_network};
use crate::ccv::schema::{EXACT_WEIGHTS, FUNCTION_STATE, MOMENTUM_DATA, Table};
use crate::ccv::stored::{BlobCell, StoredRow, load_parameters};
use crate::inspection::TrainingPosition;
use crate::limits::MAX_LAYERS;
use crate::options::ReadOptions;
use crate::source::Source;
use crate::{Error, Result};

/// What whoever trained noted in a checkpoint, texts by name; nothing where no one did.
///
/// # Errors
/// Where the file is no ccv model, or its notes are damaged.
pub fn read_training_notes(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    training_notes(&Database::open(path.as_ref())?)
}

/// As [`read_training_notes`], of an open file.
pub(crate) fn read_training_notes_source(source: Arc<Source>) -> Result<BTreeMap<String, String>> {
    training_notes(&Database::of(source)?)
}

fn training_notes(database: &Database) -> Result<BTreeMap<String, String>> {
    let notes = read_notes(database)?.others;
    database.check_unchanged()?;
    Ok(notes)
}

/// Reads a checkpoint, or a model that is not in training; the network's weights in the precision
/// of the file, the state in f32.
///
/// What ccv's own training wrote is read as well; it has no notes.
///
/// # Errors
/// As [`read`](crate::ccv::read), and where the state of the training is not all there or not of
/// this network.
pub fn read_checkpoint(path: impl AsRef<Path>, device: &Device) -> Result<Checkpoint> {
    read_database(&Database::open(path.as_ref())?, device)
}

/// As [`read_checkpoint`], of an open file.
pub(crate) fn read_checkpoint_source(source: Arc<Source>, device: &Device) -> Result<Checkpoint> {
    read_database(&Database::of(source)?, device)
}

fn read_database(database: &Database, device: &Device) -> Result<Checkpoint> {
    let mut description = describe(database)?;
    let notes = std::mem::take(&mut description.notes);
    let network = read_network(database, description, device, &ReadOptions::default())?;
    let state = read_state(database, &network, notes, device)?;
    database.check_unchanged()?;
    Ok(Checkpoint { network, state })
}

fn read_state(
    database: &Database,
    network: &Network,
    notes: BTreeMap<String, String>,
    device: &Device,
) -> Result<Option<TrainingState>> {
    let has_exact = database.has(&EXACT_WEIGHTS)?;
    if !has_exact && !database.has(&FUNCTION_STATE)? && !database.has(&MOMENTUM_DATA)? {
        return Ok(None);
    }
    // Where one of these tables is, both must be: half a state is none to go on from.
    let head = read_head(database)?;
    database.check_table(&MOMENTUM_DATA)?;
    let order = read_order(database, &head)?;
    let colour = read_colour(database, &head)?;
    let velocities = read_parameters(database, &MOMENTUM_DATA, network, device)?;
    // The exact weights are of some layers, the velocities of all.
    let layers = table_layers(network.spec());
    for (shape, velocity) in network.shapes().iter().zip(&velocities) {
        if shape.weight().is_some()
            && velocity.is_none()
            && let Some(layer) = layers[shape.layer]
        {
            StoredRow::require(database, &MOMENTUM_DATA, layer, "velocities")?;
        }
    }
    let exact = match has_exact {
        true => {
            database.check_table(&EXACT_WEIGHTS)?;
            read_parameters(database, &EXACT_WEIGHTS, network, device)?
        }
        false => vec![None; network.shapes().len()],
    };
    let TrainingPosition { epoch, iteration, .. } = head.position;
    let line = head.line;
    Ok(Some(TrainingState { velocities, exact, epoch, iteration, order, colour, line, notes }))
}

/// The row of `function_state`, without its blobs.
struct Head {
    position: TrainingPosition,
    line: u64,
    order: BlobCell,
    vectors: BlobCell,
    values: BlobCell,
}

const fn place(column: &'static str) -> CellName<'static> {
    CellName { table: FUNCTION_STATE.name, key: "fsid", row: 0, column }
}

const ORDER: CellName<'static> = place("idx");
const VECTORS: CellName<'static> = place("eigenvectors");
const VALUES: CellName<'static> = place("eigenvalues");

fn read_head(database: &Database) -> Result<Head> {
    database.check_table(&FUNCTION_STATE)?;
    let file = &database.file;
    let [order, vectors, values] = [ORDER, VECTORS, VALUES].map(|at| BlobCell::sql(at.column));
    let table = FUNCTION_STATE.name;
    let sql = format!(
        "SELECT t, i, inum, line_no, {order}, {vectors}, {values} FROM {table} WHERE fsid = 0"
    );
    let rows = database.query(table, &sql, [], |row| {
        let fields = Fields { file, table, key: "fsid", id: 0, row };
        let position = TrainingPosition {
            epoch: fields.count("t")? as u64,
            iteration: fields.count("i")? as u64,
            samples: fields.count("inum")? as u64,
        };
        Ok(Head {
            position,
            line: fields.optional("line_no")?.unwrap_or(0) as u64,
            order: BlobCell::of(file, &ORDER, row)?,
            vectors: BlobCell::of(file, &VECTORS, row)?,
            values: BlobCell::of(file, &VALUES, row)?,
        })
    })?;
    let missing = || Error::content(file, table, "a row for fsid 0", "none");
    database.at_most_one(table, "fsid 0", rows)?.ok_or_else(missing)
}

/// Where the training of a file is; `None` where it is none, or says it in a way that
/// [`read_checkpoint`] would refuse: an inspection goes on all the same.
pub(in crate::ccv) fn training_position(database: &Database) -> Option<TrainingPosition> {
    match database.has(&FUNCTION_STATE) {
        Ok(true) => {}
        _ => return None,
    }
    match read_head(database) {
        Ok(head) => Some(head.position),
        Err(error) => {
            log::warn!("{error}; this training cannot be resumed");
            None
        }
    }
}

fn read_order(database: &Database, head: &Head) -> Result<Vec<u32>> {
    let samples = head.position.samples;
    let count = usize::try_from(samples).unwrap_or(usize::MAX);
    let bytes = count.saturating_mul(size_of::<u32>());
    head.order.check(database, &ORDER, bytes, &format!("the order of {samples} samples"))?;
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let bytes = database.blob_bytes(&ORDER, 0, bytes)?;
    let order = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
    let order: Vec<u32> = order.collect();
    check_order(&database.file, &order)?;
    Ok(order)
}

/// Refuses an order with a sample that is beyond their number.
pub(super) fn check_order(file: &str, order: &[u32]) -> Result<()> {
    match order.iter().position(|sample| *sample as usize >= order.len()) {
        Some(at) => {
            let expected = format!("samples from 0 to {}", order.len() - 1);
            let got = order.get(at).map_or(0, |sample| *sample);
            let got = format!("{got} at place {at}");
            Err(Error::content(file, ORDER.to_string(), expected, got))
        }
        None => Ok(()),
    }
}

fn read_colour(database: &Database, head: &Head) -> Result<Option<ColourStatistics>> {
    if head.vectors.is_null() && head.values.is_null() {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(12);
    for (at, cell, count) in [(VECTORS, &head.vectors, 9), (VALUES, &head.values, 3)] {
        let bytes = count * size_of::<f64>();
        cell.check(database, &at, bytes, &format!("{count} f64 values"))?;
        let bytes = database.blob_bytes(&at, 0, bytes)?;
        all.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)));
    }
    let mut all = all.into_iter();
    let mut three = || [(); 3].map(|()| all.next().unwrap_or(0.0));
    let vectors = [three(), three(), three()];
    Ok(Some(ColourStatistics { vectors, values: three() }))
}

/// The rows of a table of weights and biases, one entry a layer, as f32.
fn read_parameters(
    database: &Database,
    table: &'static Table,
    network: &Network,
    device: &Device,
) -> Result<Vec<Option<LayerParameters>>> {
    check_layers(database, table, network)?;
    let find = |layer| StoredRow::find(database, table, layer);
    let options = ReadOptions::default().dtype(DType::F32);
    load_parameters(database, network.spec(), network.shapes(), find, device, &options)
}

/// Refuses a row of a layer that has no weights or is not there: the state of another network.
fn check_layers(database: &Database, table: &Table, network: &Network) -> Result<()> {
    let sql = format!("SELECT layer FROM {} ORDER BY layer LIMIT {}", table.name, MAX_LAYERS + 1);
    let file = &database.file;
    let layers = database.query(table.name, &sql, [], |row| {
        Ok(row.get_ref(0).map_or_else(|_| "?".into(), crate::ccv::database::describe))
    })?;
    let numbers = table_layers(network.spec());
    let with = network.shapes().iter().filter(|shape| shape.weight().is_some());
    let known: BTreeSet<String> =
        with.filter_map(|shape| numbers[shape.layer]).map(|layer| layer.to_string()).collect();
    match layers.iter().find(|layer| !known.contains(*layer)) {
        Some(layer) => {
            let expected = "only rows of this network's layers with weights";
            Err(Error::content(file, table.name, expected, format!("one of layer {layer}")))
        }
        None => Ok(()),
    }
}
