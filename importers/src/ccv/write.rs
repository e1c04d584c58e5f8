//! Writing ccv's model files.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, MAIN_DB, params_from_iter};
use striate_nn::{LayerParameters, LayerShape, LayerSpec, Metadata, Network};
use striate_tensor::{DType, Tensor};

use super::database::{Place, explain};
use super::layers;
use super::schema::{CONVNET_PARAMS, LAYER_DATA, LAYER_PARAMS, TABLES, Table};
use crate::options::{WriteOptions, check_dtype};
use crate::replace::replace;
use crate::values::{Narrowing, non_finite, store, warn_non_finite};
use crate::{Error, Result};

/// sqlite's own limit for a row, less what the row's head and small columns take.
const MAX_ROW_BYTES: usize = 1_000_000_000 - 1024;

/// Writes a network as ccv does, into a temporary file that then takes the target's place.
///
/// Half precision is cut toward zero; a warning says so where a value is beyond what 16 bits hold.
/// A layer is half precision in the file where its weights and biases are both f16, or where
/// `options` ask for it. A network without a mean image has NULL there, which ccv reads as zeros.
///
/// # Errors
/// [`Error::Unrepresentable`] where the file would be of another network: a convolution without
/// ReLU, windows that do not end at the image's edge, even kernels, an output partition that is no
/// multiple of the input's, a layer beyond sqlite's 1,000,000,000 bytes a row.
/// [`Error::Target`], [`Error::Io`] and [`Error::Database`] where the file cannot be written;
/// then nothing has changed.
pub fn write(path: impl AsRef<Path>, network: &Network, options: &WriteOptions) -> Result<()> {
    let path = path.as_ref();
    let file = path.display().to_string();
    check_dtype(&file, options.dtype)?;
    let spec = network.spec();
    let verified = spec.verify(spec.classes()).map_err(|e| Error::network(&file, e))?;
    refuse(&file, &spec.layers, verified.shapes())?;
    for limit in verified.ccv_limits() {
        log::warn!("{file}: ccv itself may not run this network: {limit}");
    }
    if *network.metadata() != Metadata::default() && !options.strip {
        log::warn!("{file}: ccv's format has no place for labels and other metadata: left out");
    }

    replace(path, |temporary| {
        let connection =
            Connection::open(temporary.path()).map_err(|e| explain(&file, "the database", e))?;
        let writer = Writer { file: &file, connection: &connection, network, options };
        writer.write(verified.shapes())?;
        connection.close().map_err(|(_, e)| explain(&file, "the database", e))
    })
}

/// Refuses what ccv's format has no column for, and what ccv asserts.
fn refuse(file: &str, layers: &[LayerSpec], shapes: &[LayerShape]) -> Result<()> {
    let no = |layer: usize, reason: String| {
        let reason = format!("layer {layer}: {reason}");
        Err(Error::Unrepresentable { file: file.into(), format: "ccv's format", reason })
    };
    for (index, (layer, shape)) in layers.iter().zip(shapes).enumerate() {
        if !shape.exact {
            let reason = "its windows do not end at the edge of the padded image, as ccv demands";
            return no(index, reason.into());
        }
        if let (Some(weight), Some(bias)) = (&shape.weight, &shape.bias) {
            let bytes = (weight.count() + bias.count()) * DType::F32.size_bytes();
            if bytes > MAX_ROW_BYTES {
                return no(index, format!("its {bytes} bytes are more than sqlite has in a row"));
            }
        }
        let LayerSpec::Conv(conv) = layer else { continue };
        if !conv.relu {
            return no(index, "a convolution without ReLU, which ccv always applies".into());
        }
        if conv.kernel.iter().any(|extent| extent % 2 == 0) {
            let [rows, cols] = conv.kernel;
            return no(index, format!("a kernel of {rows} x {cols}; ccv's are odd"));
        }
        if conv.out_groups % conv.groups != 0 {
            let (out, groups) = (conv.out_groups, conv.groups);
            return no(index, format!("an output partition of {out}, no multiple of the {groups}"));
        }
    }
    Ok(())
}

struct Writer<'a> {
    file: &'a str,
    connection: &'a Connection,
    network: &'a Network,
    options: &'a WriteOptions,
}

impl Writer<'_> {
    fn write(&self, shapes: &[LayerShape]) -> Result<()> {
        // The file is new and unseen until it is renamed: a journal would only write twice, and
        // it is synced once, at the end.
        self.run("PRAGMA journal_mode = OFF", "the database")?;
        self.run("PRAGMA synchronous = OFF", "the database")?;
        for table in TABLES {
            self.run(table.create, table.name)?;
        }
        self.run("BEGIN IMMEDIATE", "the database")?;
        for row in layers::rows(self.network.spec(), shapes) {
            self.insert(&LAYER_PARAMS, row)?;
        }
        self.write_mean()?;
        for (layer, parameters) in self.network.parameters().iter().enumerate() {
            if let Some(parameters) = parameters {
                self.write_parameters(layer, parameters)?;
            }
        }
        self.run("COMMIT", "the database")
    }

    /// Runs a statement and passes over what it answers.
    fn run(&self, sql: &str, place: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|e| explain(self.file, place, e))
    }

    fn insert<T: rusqlite::ToSql>(&self, table: &Table, values: Vec<T>) -> Result<()> {
        let marks = vec!["?"; values.len()].join(", ");
        let sql = format!("INSERT INTO {} VALUES ({marks})", table.name);
        let mut statement =
            self.connection.prepare_cached(&sql).map_err(|e| explain(self.file, table.name, e))?;
        let result = statement.execute(params_from_iter(values));
        result.map_err(|e| explain(self.file, table.name, e))?;
        Ok(())
    }

    fn write_mean(&self) -> Result<()> {
        let [rows, cols] = self.network.spec().image;
        let mean = self.network.mean();
        let bytes = mean.map_or(0, |mean| mean.ty().size_bytes());
        self.insert(
            &CONVNET_PARAMS,
            vec![
                Cell::Value(Value::Integer(0)),
                Cell::Value(Value::Integer(rows as i64)),
                Cell::Value(Value::Integer(cols as i64)),
                match mean {
                    Some(_) => Cell::Zeros(bytes),
                    None => Cell::Value(Value::Null),
                },
            ],
        )?;
        if let Some(mean) = mean {
            let at = Place {
                table: CONVNET_PARAMS.name,
                key: "convnet",
                row: 0,
                column: "mean_activity",
            };
            self.fill(at, mean, DType::F32)?;
        }
        Ok(())
    }

    fn write_parameters(&self, layer: usize, parameters: &LayerParameters) -> Result<()> {
        let LayerParameters { weight, bias } = parameters;
        // One flag says it for both: where they differ, f32 holds both.
        let held = match (weight.dtype(), bias.dtype()) {
            (DType::F16, DType::F16) => DType::F16,
            _ => DType::F32,
        };
        let dtype = self.options.dtype.unwrap_or(held);
        let zeros = |tensor: &Tensor| Cell::Zeros(tensor.shape().count() * dtype.size_bytes());
        // Zeros first, which sqlite needs no copy of; then the blobs are filled in place.
        self.insert(
            &LAYER_DATA,
            vec![
                Cell::Value(Value::Integer(layer as i64)),
                zeros(weight),
                zeros(bias),
                Cell::Value(Value::Integer((dtype == DType::F16).into())),
            ],
        )?;
        let row = layer as i64;
        for (column, tensor) in [("weight", weight), ("bias", bias)] {
            self.fill(Place { table: LAYER_DATA.name, key: "layer", row, column }, tensor, dtype)?;
        }
        Ok(())
    }

    fn fill(&self, at: Place<'_>, tensor: &Tensor, dtype: DType) -> Result<()> {
        let place = at.to_string();
        let host = tensor.to_host().map_err(|e| Error::tensor(self.file, &place, e))?;
        let values = host.values();
        warn_non_finite(self.file, &place, non_finite(values), values.len());
        let failed = |e| explain(self.file, &place, e);
        let mut blob = self
            .connection
            .blob_open(MAIN_DB, at.table, at.column, at.row, false)
            .map_err(failed)?;
        let put = |piece: &[u8], at| blob.write_all_at(piece, at).map_err(failed);
        let losses = store(values, dtype, Narrowing::Truncate, put)?;
        losses.warn(self.file, &place, values.len());
        blob.close().map_err(failed)
    }
}

/// A value of a row, or zeros to be filled in later.
enum Cell {
    Value(Value),
    Zeros(usize),
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Cell::Value(value) => value.to_sql(),
            // Within sqlite's row limit, which is far below this type's.
            Cell::Zeros(bytes) => {
                Ok(ToSqlOutput::ZeroBlob(i32::try_from(*bytes).unwrap_or(i32::MAX)))
            }
        }
    }
}
