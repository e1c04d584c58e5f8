//! Writing ccv's model files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, MAIN_DB, params_from_iter};
use striate_nn::{LayerParameters, LayerShape, LayerSpec, Network, NetworkSpec};
use striate_tensor::{DType, Tensor};

use super::checkpoint::{TrainingState, write_state};
use super::database::{CellName, MAX_COUNT, explain};
use super::layers;
use super::notes::{needs_notes, write_notes};
use super::opened::real_path;
use super::schema::{CONVNET_PARAMS, LAYER_DATA, LAYER_PARAMS, TABLES, Table};
use crate::limits::MAX_LAYERS;
use crate::options::{WriteOptions, check_dtype};
use crate::replace::replace;
use crate::values::{Narrowing, Report, store};
use crate::{Error, Result};

/// sqlite's own limit for a row, less what the row's head and small columns take.
pub(super) const MAX_ROW_BYTES: usize = 1_000_000_000 - 1024;

/// Writes a network as ccv does, into a temporary file that then takes the target's place.
///
/// Half precision is cut toward zero.
/// A layer is half precision in the file where its weights and biases are both f16, or where
/// `options` ask for it. A network without a mean image has NULL there, which ccv reads as zeros.
/// What ccv's tables have no place for (class names and other metadata, dropout rates) is in a table
/// of ours beside them, which ccv passes over; a network without such has no table of ours.
///
/// # Errors
/// [`Error::Unrepresentable`] where the file would be of another network: a convolution without
/// ReLU, windows that do not end at the image's edge, even kernels, an output partition that is no
/// multiple of the input's, a layer beyond sqlite's 1,000,000,000 bytes a row, a number beyond
/// ccv's 31 bits.
/// [`Error::Overflow`] where f16 has no place for a value and `options` do not allow that.
/// [`Error::Target`], [`Error::Io`] and [`Error::Database`] where the file cannot be written;
/// then nothing has changed.
pub fn write(path: impl AsRef<Path>, network: &Network, options: &WriteOptions) -> Result<()> {
    write_model(path.as_ref(), network, None, options)
}

/// Whether a network of this specification can be written in ccv's form, as a model or as a
/// checkpoint: worth asking before a training of days.
///
/// # Errors
/// What [`write()`] would say of the network; it stands under its name, for there is no file yet.
pub fn check_representable(spec: &NetworkSpec) -> Result<()> {
    let name = if spec.name.is_empty() { "the network" } else { &spec.name };
    let verified = spec.verify(spec.classes()).map_err(|e| Error::network(name, e))?;
    refuse(name, spec, verified.shapes())
}

/// Writes a network, with the state of its training where there is one.
pub(super) fn write_model(
    path: &Path,
    network: &Network,
    state: Option<&TrainingState>,
    options: &WriteOptions,
) -> Result<()> {
    let file = path.display().to_string();
    check_dtype(&file, options.dtype)?;
    let spec = network.spec();
    let verified = spec.verify(spec.classes()).map_err(|e| Error::network(&file, e))?;
    refuse(&file, spec, verified.shapes())?;
    refuse_leftovers(path, &file)?;
    // A checkpoint is written often; who trains has been told at the beginning.
    if state.is_none() {
        for limit in verified.ccv_limits() {
            log::warn!("{file}: ccv itself may not run this network: {limit}");
        }
    }

    replace(path, |temporary| {
        // A path from the root, which sqlite never takes for a URI.
        let path = real_path(temporary.path()).map_err(|e| Error::io(&file, "write", e))?;
        let connection = Connection::open(path).map_err(|e| explain(&file, "the database", e))?;
        let allow_overflow = options.allow_overflow;
        let writer = Writer { file: &file, connection: &connection, allow_overflow };
        writer.write(network, verified.shapes(), state, options)?;
        connection.close().map_err(|(_, e)| explain(&file, "the database", e))
    })
}

/// Refuses a target beside which sqlite has left the changes of a program that did not end well:
/// whoever opens the new file next would write the old one's pages into it.
fn refuse_leftovers(path: &Path, file: &str) -> Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    for suffix in ["-journal", "-wal"] {
        let mut name = target.clone().into_os_string();
        name.push(suffix);
        // As sqlite has it, one that begins with a zero, or is empty, is of no meaning.
        let mut first = [0];
        let read = File::open(&name).and_then(|mut file| file.read_exact(&mut first));
        if read.is_ok() && first != [0] {
            let reason = format!(
                "there is {}, the unfinished changes of another program; end that program, or open \
                 the old file with it once more",
                Path::new(&name).display()
            );
            return Err(Error::Target { file: file.into(), reason });
        }
    }
    Ok(())
}

/// Refuses what ccv's format has no column for, and what ccv asserts.
fn refuse(file: &str, spec: &NetworkSpec, shapes: &[LayerShape]) -> Result<()> {
    let no = |layer: usize, reason: String| {
        Err(unrepresentable(file, format!("layer {layer}: {reason}")))
    };
    if shapes.len() > MAX_LAYERS {
        return Err(unrepresentable(file, format!("more than {MAX_LAYERS} layers")));
    }
    let [rows, cols] = spec.image;
    let mean = [rows, cols, spec.input[2], DType::F32.size_bytes()];
    let mean = mean.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
    if mean.is_none_or(|bytes| bytes > MAX_ROW_BYTES) {
        let reason = format!("a mean image of {rows} x {cols} is more than sqlite has in a row");
        return Err(unrepresentable(file, reason));
    }
    for (index, row) in layers::rows(spec, shapes).iter().enumerate() {
        let large = row.iter().find_map(|value| match value {
            Value::Integer(n) if *n > MAX_COUNT || *n < 0 => Some(*n as usize),
            _ => None,
        });
        if let Some(n) = large {
            return no(index, format!("{n} is beyond the {MAX_COUNT} of ccv's integers"));
        }
    }
    let chain = spec.chain().map_err(|e| unrepresentable(file, e.to_string()))?;
    for (index, layer) in chain.iter().enumerate() {
        let shape = &shapes[layer.node];
        if !shape.exact {
            let reason = "its windows do not end at the edge of the padded image, as ccv demands";
            return no(index, reason.into());
        }
        if let (Some(weight), Some(bias)) = (shape.weight(), shape.bias()) {
            let bytes = (weight.count() + bias.count()) * DType::F32.size_bytes();
            if bytes > MAX_ROW_BYTES {
                return no(index, format!("its {bytes} bytes are more than sqlite has in a row"));
            }
        }
        let conv = match &layer.layer {
            LayerSpec::Conv(conv) => conv,
            LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => {
                if pool.ceil || pool.count_padding {
                    return no(index, "pooling that rounds up or counts its padding".into());
                }
                if let Err(reason) = check_even(pool.size, pool.stride, pool.padding) {
                    return no(index, reason);
                }
                continue;
            }
            LayerSpec::FullConnect(full) if !full.bias => {
                return no(index, "no biases, which ccv always has".into());
            }
            _ => continue,
        };
        if let Err(reason) = check_even([1, 1], conv.stride, conv.padding) {
            return no(index, reason);
        }
        if !conv.bias {
            return no(index, "no biases, which ccv always has".into());
        }
        if conv.dilation != [1, 1] {
            return no(index, "a dilated kernel, which ccv does not know".into());
        }
        if !conv.relu {
            return no(index, "a convolution without ReLU, which ccv always applies".into());
        }
        if conv.kernel.iter().any(|extent| extent % 2 == 0) {
            let [rows, cols] = conv.kernel;
            return no(index, format!("a kernel of {rows} x {cols}; ccv's are odd"));
        }
        if conv.out_groups % conv.groups != 0 {
            let (out, groups) = (conv.out_groups, conv.groups);
            return no(
                index,
                format!(
                    "`out-groups` is {out}, no multiple of `groups`, {groups}; leave `out-groups` out, \
                     for it has no effect"
                ),
            );
        }
    }
    Ok(())
}

/// Whether a window has one number for rows and cols, as ccv has it.
fn check_even(
    size: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
) -> std::result::Result<(), String> {
    let one = |[rows, cols]: [usize; 2]| rows == cols;
    if one(size) && one(stride) && padding.as_flattened().iter().all(|p| *p == padding[0][0]) {
        return Ok(());
    }
    Err("a size, stride or padding that differs between rows and cols, or between sides".into())
}

/// The error of what ccv's tables have no place for.
pub(super) fn unrepresentable(file: &str, reason: String) -> Error {
    Error::Unrepresentable { file: file.into(), format: "ccv's format", reason }
}

/// A new file, being filled.
pub(super) struct Writer<'a> {
    /// Its name in messages: the target's.
    pub(super) file: &'a str,
    connection: &'a Connection,
    allow_overflow: bool,
}

impl Writer<'_> {
    fn write(
        &self,
        network: &Network,
        shapes: &[LayerShape],
        state: Option<&TrainingState>,
        options: &WriteOptions,
    ) -> Result<()> {
        // The file is new and unseen until it is renamed: a journal would only write twice, and
        // it is synced once, at the end.
        self.run("PRAGMA journal_mode = OFF", "the database")?;
        self.run("PRAGMA synchronous = OFF", "the database")?;
        self.run(&format!("PRAGMA page_size = {}", page_bytes(shapes)), "the database")?;
        for table in TABLES {
            self.create(table)?;
        }
        self.run("BEGIN IMMEDIATE", "the database")?;
        for row in layers::rows(network.spec(), shapes) {
            self.insert(&LAYER_PARAMS, row)?;
        }
        self.write_mean(network)?;
        let layers = layers::table_layers(network.spec());
        for (layer, parameters) in layers.into_iter().zip(&network.layer_parameters()) {
            if let (Some(layer), Some(parameters)) = (layer, parameters) {
                self.write_weights(layer, parameters, options)?;
            }
        }
        match state {
            Some(state) => write_state(self, network, state)?,
            None if needs_notes(network) => write_notes(self, network, &BTreeMap::new())?,
            None => {}
        }
        self.run("COMMIT", "the database")
    }

    pub(super) fn create(&self, table: &Table) -> Result<()> {
        self.run(table.create, table.name)
    }

    /// Runs a statement and passes over what it answers.
    fn run(&self, sql: &str, place: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|e| explain(self.file, place, e))
    }

    pub(super) fn insert<T: rusqlite::ToSql>(&self, table: &Table, values: Vec<T>) -> Result<()> {
        let marks = vec!["?"; values.len()].join(", ");
        let sql = format!("INSERT INTO {} VALUES ({marks})", table.name);
        let mut statement =
            self.connection.prepare_cached(&sql).map_err(|e| explain(self.file, table.name, e))?;
        let result = statement.execute(params_from_iter(values));
        result.map_err(|e| explain(self.file, table.name, e))?;
        Ok(())
    }

    fn write_mean(&self, network: &Network) -> Result<()> {
        let [rows, cols] = network.spec().image;
        let mean = network.mean();
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
            let at = CellName {
                table: CONVNET_PARAMS.name,
                key: "convnet",
                row: 0,
                column: "mean_activity",
            };
            self.fill(at, mean, DType::F32)?;
        }
        Ok(())
    }

    fn write_weights(
        &self,
        layer: usize,
        parameters: &LayerParameters,
        options: &WriteOptions,
    ) -> Result<()> {
        // One flag says it for both: where they differ, f32 holds both.
        let held = match (parameters.weight.dtype(), parameters.bias.dtype()) {
            (DType::F16, DType::F16) => DType::F16,
            _ => DType::F32,
        };
        let dtype = options.dtype.unwrap_or(held);
        let half = Cell::Value(Value::Integer((dtype == DType::F16).into()));
        self.write_parameters(&LAYER_DATA, layer, parameters, dtype, vec![half])
    }

    /// A row of a table of weights and biases; `more` are the columns after them.
    pub(super) fn write_parameters(
        &self,
        table: &Table,
        layer: usize,
        parameters: &LayerParameters,
        dtype: DType,
        more: Vec<Cell>,
    ) -> Result<()> {
        let LayerParameters { weight, bias } = parameters;
        let zeros = |tensor: &Tensor| Cell::Zeros(tensor.shape().count() * dtype.size_bytes());
        // Zeros first, which sqlite needs no copy of; then the blobs are filled in place.
        let mut row = vec![Cell::Value(Value::Integer(layer as i64)), zeros(weight), zeros(bias)];
        row.extend(more);
        self.insert(table, row)?;
        let row = layer as i64;
        for (column, tensor) in [("weight", weight), ("bias", bias)] {
            self.fill(CellName { table: table.name, key: "layer", row, column }, tensor, dtype)?;
        }
        Ok(())
    }

    fn fill(&self, at: CellName<'_>, tensor: &Tensor, dtype: DType) -> Result<()> {
        let place = at.to_string();
        let host = tensor.to_host().map_err(|e| Error::tensor(self.file, &place, e))?;
        let failed = |e| explain(self.file, &place, e);
        let mut blob = self
            .connection
            .blob_open(MAIN_DB, at.table, at.column, at.row, false)
            .map_err(failed)?;
        let put = |piece: &[u8], at| blob.write_all_at(piece, at).map_err(failed);
        let counts = store(host.values(), dtype, Narrowing::Truncate, put)?;
        blob.close().map_err(failed)?;
        let (file, dims, allow_overflow) = (self.file, tensor.dims(), self.allow_overflow);
        Report { file, place: &place, dims, dtype, allow_overflow }.check(counts)
    }
}

/// The size of the file's pages. sqlite reads a blob page by page, so that few large ones are read
/// sooner; a small model would grow by a page a table. Any size is sqlite's, and so ccv's, to read.
fn page_bytes(shapes: &[LayerShape]) -> usize {
    const LARGE_MODEL: usize = 1 << 20;
    let weights: usize = shapes.iter().filter_map(|s| s.weight()).map(|s| s.count()).sum();
    if weights >= LARGE_MODEL { 65_536 } else { 4096 }
}

/// A value of a row, or zeros to be filled in later.
pub(super) enum Cell {
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
