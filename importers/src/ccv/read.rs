//! Reading ccv's model files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use striate_nn::{Metadata, Network, NetworkSpec};
use striate_tensor::{Device, Shape, Tensor};

use super::checkpoint::training_position;
use super::database::{CellName, Database};
use super::layers::{read_spec, stored_part, table_layers};
use super::notes::{SPEC, ccv_metadata, read_notes};
use super::schema::{CONVNET_PARAMS, LAYER_DATA, NOTES, is_training_table};
use super::stored::{BlobCell, StoredRow, load_parameters, read_tensor};
use crate::inspection::{Inspection, StoredParameters};
use crate::options::{ReadOptions, check_dtype};
use crate::source::Source;
use crate::values::Stored;
use crate::{Error, Format, Result};

/// Reads a network, its weights in the precision of the file.
///
/// # Errors
/// Where the file is no ccv model, is damaged, or its network is impossible; the message names
/// the table, the row and the column.
pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Network> {
    read_with(path, device, &ReadOptions::default())
}

/// Reads a network.
///
/// Where `options` ask for f16 and the file holds f32, the values are cut toward zero: the
/// network is the one that ccv's own half-precision file would give. A value that f16 has no place for
/// is an [`Error::Overflow`], unless `options` allow it. A checkpoint of ours
/// ([`write_checkpoint`](super::write_checkpoint)) gives its network with its name, dropout rates and
/// metadata.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    path: impl AsRef<Path>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    read_database(&Database::open(path.as_ref())?, device, options)
}

/// As [`read_with`], of an open file.
pub(crate) fn read_source(
    source: Arc<Source>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    read_database(&Database::of(source)?, device, options)
}

fn read_database(database: &Database, device: &Device, options: &ReadOptions) -> Result<Network> {
    let network = read_network(database, describe(database)?, device, options)?;
    database.check_unchanged()?;
    Ok(network)
}

/// What a file says of its network beside the weights.
pub(super) struct Description {
    pub(super) spec: NetworkSpec,
    pub(super) metadata: Metadata,
    /// The notes of ours that are neither of these.
    pub(super) notes: BTreeMap<String, String>,
}

/// The network that the tables describe, with what our notes add to it.
pub(super) fn describe(database: &Database) -> Result<Description> {
    // A ccv file has no name for its network: the file's own.
    let stored = read_spec(database, &database.stem())?;
    let notes = read_notes(database)?;
    let spec = match notes.spec {
        Some(noted) if stored_part(&noted) == stored_part(&stored) => noted,
        Some(_) => {
            log::warn!(
                "{}: {}: the note '{SPEC}' is of other layers than the tables, as after \
                 a change by another program: passed over",
                database.file,
                NOTES.name
            );
            stored
        }
        None => stored,
    };
    let mut metadata = notes.metadata;
    if metadata == Metadata::default() && spec.scan().is_some() {
        metadata = ccv_metadata();
    }
    Ok(Description { spec, metadata, notes: notes.others })
}

/// The network of an open file.
pub(super) fn read_network(
    database: &Database,
    description: Description,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    let file = &database.file;
    check_dtype(file, options.dtype)?;
    options.pixels.refuse(file)?;
    let Description { spec, metadata, .. } = description;
    let mean = read_mean(database, &spec, device)?;
    let shapes = spec.shapes().map_err(|e| Error::network(file, e))?;
    let find = |layer| StoredRow::require(database, &LAYER_DATA, layer, "weights").map(Some);
    let parameters = load_parameters(database, &spec, &shapes, find, device, options)?;
    let network = Network::new(spec, parameters, device).map_err(|e| Error::network(file, e))?;
    let network = network.with_metadata(metadata);
    match mean {
        Some(mean) => network.with_mean(mean).map_err(|e| Error::network(file, e)),
        None => Ok(network),
    }
}

/// What the file holds, without its weights.
pub(crate) fn inspect(source: Arc<Source>) -> Result<Inspection> {
    let database = Database::of(source)?;
    let Description { spec, metadata, .. } = describe(&database)?;
    let shapes = spec.shapes().map_err(|e| Error::network(&database.file, e))?;
    let mut layers = Vec::with_capacity(shapes.len());
    for (number, shape) in table_layers(&spec).into_iter().zip(&shapes) {
        layers.push(match (number, shape.weight(), shape.bias()) {
            (Some(number), Some(weight), Some(bias)) => {
                let row = StoredRow::require(&database, &LAYER_DATA, number, "weights")?;
                row.check(&database, &weight, &bias)?;
                let dtype = row.stored().dtype();
                Some(StoredParameters::new(dtype, weight.count(), dtype, bias.count()))
            }
            _ => None,
        });
    }
    let tables = database.tables()?;
    let training_state = tables.into_iter().filter(|t| is_training_table(t)).collect();
    let mean = mean_shape(&database, &spec)?.is_some();
    let training = training_position(&database);
    database.check_unchanged()?;
    Ok(Inspection {
        file: database.file.clone(),
        format: Format::Ccv,
        bytes: database.file_bytes(),
        mean,
        training_state,
        training,
        training_options: None,
        metadata,
        layers,
        spec,
    })
}

const MEAN: CellName<'static> =
    CellName { table: CONVNET_PARAMS.name, key: "convnet", row: 0, column: "mean_activity" };

/// The shape of the mean image, its blob checked, or nothing where it is NULL.
fn mean_shape(database: &Database, spec: &NetworkSpec) -> Result<Option<Shape>> {
    let file = &database.file;
    let sql = format!(
        "SELECT {} FROM {} WHERE convnet = 0",
        BlobCell::sql(MEAN.column),
        CONVNET_PARAMS.name
    );
    let cells = database.query(MEAN.table, &sql, [], |row| BlobCell::of(file, &MEAN, row))?;
    let Some(cell) = cells.first().filter(|cell| !cell.is_null()) else { return Ok(None) };
    let dims = [spec.image[0], spec.image[1], spec.input[2]];
    let shape = Shape::new(&dims).map_err(|e| Error::tensor(file, MEAN.to_string(), e))?;
    let bytes = shape.count() * Stored::F32.size_bytes();
    cell.check(database, &MEAN, bytes, &format!("the f32 mean image {shape}"))?;
    Ok(Some(shape))
}

fn read_mean(database: &Database, spec: &NetworkSpec, device: &Device) -> Result<Option<Tensor>> {
    let Some(shape) = mean_shape(database, spec)? else { return Ok(None) };
    read_tensor(database, &MEAN, 0, Stored::F32, &shape, device, &ReadOptions::default()).map(Some)
}
