//! Reading ccv's model files.

use std::path::Path;

use striate_nn::{LayerParameters, Network, NetworkSpec};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use super::database::{Database, Fields, Place, describe, explain};
use super::layers::read_spec;
use super::schema::{CONVNET_PARAMS, LAYER_DATA, TRAINING_TABLES};
use crate::inspection::{Inspection, StoredParameters};
use crate::options::{ReadOptions, check_dtype};
use crate::values::{Narrowing, Stored, load, non_finite, warn_non_finite};
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
/// network is the one that ccv's own half-precision file would give.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    path: impl AsRef<Path>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    let path = path.as_ref();
    let database = Database::open(path)?;
    let file = &database.file;
    check_dtype(file, options.dtype)?;
    let spec = read_spec(&database, &name_of(path))?;
    let mean = read_mean(&database, &spec, device)?;
    let shapes = spec.shapes().map_err(|e| Error::network(file, e))?;
    let mut parameters = Vec::with_capacity(shapes.len());
    for (layer, shape) in shapes.iter().enumerate() {
        parameters.push(match (&shape.weight, &shape.bias) {
            (Some(weight), Some(bias)) => {
                let row = StoredRow::find(&database, layer)?;
                let load = |column: Column, shape: &Shape| {
                    row.load(&database, column, shape, device, options)
                };
                Some(LayerParameters {
                    weight: load(Column::Weight, weight)?,
                    bias: load(Column::Bias, bias)?,
                })
            }
            _ => None,
        });
    }
    let network = Network::new(spec, parameters, device).map_err(|e| Error::network(file, e))?;
    match mean {
        Some(mean) => network.with_mean(mean).map_err(|e| Error::network(file, e)),
        None => Ok(network),
    }
}

/// What the file holds, without its weights.
pub(crate) fn inspect(path: &Path) -> Result<Inspection> {
    let database = Database::open(path)?;
    let spec = read_spec(&database, &name_of(path))?;
    let shapes = spec.shapes().map_err(|e| Error::network(&database.file, e))?;
    let mut layers = Vec::with_capacity(shapes.len());
    for (layer, shape) in shapes.iter().enumerate() {
        layers.push(match (&shape.weight, &shape.bias) {
            (Some(weight), Some(bias)) => {
                let row = StoredRow::find(&database, layer)?;
                row.check(&database, Column::Weight, weight)?;
                row.check(&database, Column::Bias, bias)?;
                let dtype = row.stored().dtype();
                Some(StoredParameters::new(dtype, weight.count(), dtype, bias.count()))
            }
            _ => None,
        });
    }
    let tables = database.tables()?;
    let training_state = tables.into_iter().filter(|t| TRAINING_TABLES.contains(&t.as_str()));
    Ok(Inspection {
        file: database.file.clone(),
        format: Format::Ccv,
        bytes: database.bytes,
        mean: mean_bytes(&database, &spec)?.is_some(),
        training_state: training_state.collect(),
        metadata: Default::default(),
        layers,
        spec,
    })
}

/// A ccv file has no name for its network: the file's own.
fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

#[derive(Clone, Copy)]
enum Column {
    Weight,
    Bias,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Column::Weight => "weight",
            Column::Bias => "bias",
        }
    }
}

/// A row of `layer_data`, without its blobs.
struct StoredRow {
    layer: i64,
    row: i64,
    half: bool,
    /// Type and size of weight and bias.
    blobs: [(String, i64); 2],
}

impl StoredRow {
    fn find(database: &Database, layer: usize) -> Result<Self> {
        let file = &database.file;
        let table = LAYER_DATA.name;
        // The types and sizes of blobs are in the row's head: no blob is read for them.
        let sql = format!(
            "SELECT rowid AS row, half_precision, typeof(weight) AS weight_type, \
             length(weight) AS weight_size, typeof(bias) AS bias_type, length(bias) AS bias_size \
             FROM {table} WHERE layer = ?1"
        );
        let id = layer as i64;
        let rows = database.query(&format!("{table}, layer {layer}"), &sql, [id], |row| {
            let fields = Fields { file, table, key: "layer", id, row };
            let failed = |e| explain(file, &format!("{table}, layer {layer}"), e);
            let get = |name: &str| row.get::<_, Option<i64>>(name).map_err(failed);
            let kind = |name: &str| row.get::<_, String>(name).map_err(failed);
            Ok(StoredRow {
                layer: id,
                row: get("row")?.unwrap_or(-1),
                half: fields.flag("half_precision")?,
                blobs: [
                    (kind("weight_type")?, get("weight_size")?.unwrap_or(0)),
                    (kind("bias_type")?, get("bias_size")?.unwrap_or(0)),
                ],
            })
        })?;
        let missing = || {
            let expected = format!("a row with the weights of layer {layer}");
            Error::content(file, table, expected, "none")
        };
        rows.into_iter().next().ok_or_else(missing)
    }

    fn stored(&self) -> Stored {
        if self.half { Stored::F16 } else { Stored::F32 }
    }

    fn place(&self, column: Column) -> Place<'static> {
        Place { table: LAYER_DATA.name, key: "layer", row: self.layer, column: column.name() }
    }

    /// Whether the blob is one, and as long as its layer needs.
    fn check(&self, database: &Database, column: Column, shape: &Shape) -> Result<()> {
        let (kind, size) = &self.blobs[column as usize];
        let stored = self.stored();
        let got = || match kind.as_str() {
            "null" => "NULL".to_string(),
            "blob" => format!("{size}"),
            other => format!("a value of type {other}"),
        };
        check_blob(
            database,
            &self.place(column),
            shape.count() * stored.size_bytes(),
            &format!("{} {} values of {shape}", shape.count(), stored.dtype()),
            (kind == "blob").then_some(*size as u64),
            got,
        )
    }

    fn load(
        &self,
        database: &Database,
        column: Column,
        shape: &Shape,
        device: &Device,
        options: &ReadOptions,
    ) -> Result<Tensor> {
        self.check(database, column, shape)?;
        let at = self.place(column);
        let dtype = options.dtype.unwrap_or(self.stored().dtype());
        let blob = database.blob(&at, self.row)?;
        let place = at.to_string();
        let values =
            load(shape.count(), self.stored(), dtype, Narrowing::Truncate, |piece, at| {
                blob.read_at_exact(piece, at).map_err(|e| explain(&database.file, &place, e))
            })?;
        let layer = format!("layer {}: {}", self.layer, column.name());
        warn_non_finite(&database.file, &layer, non_finite(&values), values.len());
        HostTensor::new(*shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(|e| Error::tensor(&database.file, place, e))
    }
}

/// Refuses a blob of another length than expected, which ccv itself passes over in silence,
/// leaving random values.
fn check_blob(
    database: &Database,
    place: &Place<'_>,
    expected: usize,
    of: &str,
    size: Option<u64>,
    got: impl FnOnce() -> String,
) -> Result<()> {
    if size != Some(expected as u64) {
        let unit = if size.is_some() { " bytes" } else { "" };
        let expected = format!("a blob of {expected} bytes ({of})");
        let got = format!("{}{unit}", got());
        return Err(Error::content(&database.file, place.to_string(), expected, got));
    }
    // A damaged row can claim any length: nothing is allocated for what cannot be there.
    if expected as u64 > database.bytes {
        let got = format!("a file of {} bytes", database.bytes);
        let expected = format!("a blob of {expected} bytes ({of})");
        return Err(Error::content(&database.file, place.to_string(), expected, got));
    }
    Ok(())
}

const MEAN: Place<'static> =
    Place { table: CONVNET_PARAMS.name, key: "convnet", row: 0, column: "mean_activity" };

/// The number of bytes of the mean image, checked, or nothing where it is NULL.
fn mean_bytes(database: &Database, spec: &NetworkSpec) -> Result<Option<usize>> {
    let file = &database.file;
    let sql = "SELECT typeof(mean_activity), length(mean_activity) FROM convnet_params \
               WHERE convnet = 0";
    let rows = database.query(MEAN.table, sql, [], |row| {
        let failed = |e| explain(file, &MEAN.to_string(), e);
        let kind: String = row.get(0).map_err(failed)?;
        let size: Option<i64> = row.get(1).map_err(failed)?;
        Ok((kind, size.unwrap_or(0), row.get_ref(1).map(describe).unwrap_or_default()))
    })?;
    let Some((kind, size, shown)) = rows.into_iter().next() else { return Ok(None) };
    if kind == "null" {
        return Ok(None);
    }
    let dims = [spec.image[0], spec.image[1], spec.input[2]];
    let shape = Shape::new(&dims).map_err(|e| Error::tensor(file, MEAN.to_string(), e))?;
    let expected = shape.count() * Stored::F32.size_bytes();
    let of = format!("the f32 mean image {shape}");
    let is_blob = kind == "blob";
    check_blob(database, &MEAN, expected, &of, is_blob.then_some(size as u64), || match is_blob {
        true => shown,
        false => format!("a value of type {kind}"),
    })?;
    Ok(Some(expected))
}

fn read_mean(database: &Database, spec: &NetworkSpec, device: &Device) -> Result<Option<Tensor>> {
    let Some(bytes) = mean_bytes(database, spec)? else { return Ok(None) };
    let blob = database.blob(&MEAN, 0)?;
    let (stored, count) = (Stored::F32, bytes / Stored::F32.size_bytes());
    let values = load(count, stored, stored.dtype(), Narrowing::Truncate, |piece, at| {
        blob.read_at_exact(piece, at).map_err(|e| explain(&database.file, &MEAN.to_string(), e))
    })?;
    warn_non_finite(&database.file, "the mean image", non_finite(&values), count);
    let dims = [spec.image[0], spec.image[1], spec.input[2]];
    Shape::new(&dims)
        .and_then(|shape| HostTensor::new(shape, values))
        .and_then(|host| Tensor::from_host(host, device))
        .map(Some)
        .map_err(|e| Error::tensor(&database.file, MEAN.to_string(), e))
}
