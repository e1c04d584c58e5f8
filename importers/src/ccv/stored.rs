//! Weights and biases as rows of a table, and blobs whose sizes are checked before they are read.

use rusqlite::Row;
use striate_nn::{LayerParameters, LayerShape, NetworkSpec};
use striate_tensor::{Device, HostTensor, HostValues, Shape, Tensor};

use super::database::{CellName, Database, Fields, explain};
use super::large;
use super::layers::table_layers;
use super::schema::Table;
use crate::options::ReadOptions;
use crate::values::{Counts, Narrowing, Report, Stored, load};
use crate::{Error, Result};

/// The column that says whether a row's blobs are half precision, in tables that have it.
const HALF_PRECISION: &str = "half_precision";

/// The type and size of a cell that should hold a blob. Both are in the head of its row: the blob
/// itself is not read for them.
pub(super) struct BlobCell {
    kind: String,
    bytes: u64,
}

impl BlobCell {
    /// What to select for a cell.
    pub(super) fn sql(column: &str) -> String {
        format!("typeof({column}) AS {column}_type, length({column}) AS {column}_size")
    }

    /// The cell of a row of such a selection.
    pub(super) fn of(file: &str, place: &CellName<'_>, row: &Row<'_>) -> Result<Self> {
        let failed = |e| explain(file, &place.to_string(), e);
        let column = place.column;
        let kind = row.get(format!("{column}_type").as_str()).map_err(failed)?;
        let size: Option<i64> = row.get(format!("{column}_size").as_str()).map_err(failed)?;
        Ok(BlobCell { kind, bytes: size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0) })
    }

    pub(super) fn is_null(&self) -> bool {
        self.kind == "null"
    }

    /// Refuses what is no blob, or one of another length than expected, which ccv itself passes
    /// over in silence, leaving random values.
    pub(super) fn check(
        &self,
        database: &Database,
        place: &CellName<'_>,
        expected: usize,
        of: &str,
    ) -> Result<()> {
        let refuse = |got: String| {
            let expected = format!("a blob of {expected} bytes ({of})");
            Err(Error::content(&database.file, place.to_string(), expected, got))
        };
        match self.kind.as_str() {
            "null" => refuse("NULL".into()),
            "blob" if self.bytes != expected as u64 => refuse(format!("{} bytes", self.bytes)),
            // A damaged row can claim any length: nothing is allocated for what cannot be there.
            "blob" if self.bytes > database.bytes => {
                refuse(format!("a file of {} bytes", database.bytes))
            }
            "blob" => Ok(()),
            other => refuse(format!("a value of type {other}")),
        }
    }
}

/// Floats of a blob that has been checked to hold them, as a tensor.
pub(super) fn read_tensor(
    database: &Database,
    at: &CellName<'_>,
    row: i64,
    stored: Stored,
    shape: &Shape,
    device: &Device,
    options: &ReadOptions,
) -> Result<Tensor> {
    let place = at.to_string();
    let dtype = options.dtype.unwrap_or(stored.dtype());
    let blob = database.blob(at, row)?;
    let loaded = load(shape.count(), stored, dtype, Narrowing::Truncate, |piece, at| {
        blob.read_at_exact(piece, at).map_err(|e| explain(&database.file, &place, e))
    })?;
    to_tensor(database, at, loaded, shape, device, options)
}

/// Loaded values as a tensor, once it is said what is wrong with them.
pub(super) fn to_tensor(
    database: &Database,
    at: &CellName<'_>,
    (values, counts): (HostValues, Counts),
    shape: &Shape,
    device: &Device,
    options: &ReadOptions,
) -> Result<Tensor> {
    let (file, place, dtype) = (&database.file, &at.to_string(), values.dtype());
    let (dims, allow_overflow) = (shape.dims(), options.allow_overflow);
    Report { file, place, dims, dtype, allow_overflow }.check(counts)?;
    HostTensor::new(*shape, values)
        .and_then(|host| Tensor::from_host(host, device))
        .map_err(|e| Error::tensor(file, place, e))
}

/// A layer's row in a table of weights and biases, without its blobs.
pub(super) struct StoredRow {
    table: &'static str,
    layer: i64,
    row: i64,
    half: bool,
    weight: BlobCell,
    bias: BlobCell,
}

impl StoredRow {
    /// The row of a layer, where there is one.
    pub(super) fn find(
        database: &Database,
        table: &'static Table,
        layer: usize,
    ) -> Result<Option<Self>> {
        let file = &database.file;
        let half = match table.columns.contains(&HALF_PRECISION) {
            true => HALF_PRECISION,
            false => "0",
        };
        let sql = format!(
            "SELECT rowid AS row, {half} AS {HALF_PRECISION}, {}, {} FROM {} WHERE layer = ?1",
            BlobCell::sql("weight"),
            BlobCell::sql("bias"),
            table.name,
        );
        let (table, id) = (table.name, layer as i64);
        let place = format!("{table}, layer {layer}");
        // A table of ccv's has the layer as its key; another program may have made it without.
        let rows = database.query(&place, &sql, [id], |row| {
            let fields = Fields { file, table, key: "layer", id, row };
            let rowid: Option<i64> = row.get("row").map_err(|e| explain(file, &place, e))?;
            Ok(StoredRow {
                table,
                layer: id,
                row: rowid.unwrap_or(-1),
                half: fields.flag(HALF_PRECISION)?,
                weight: BlobCell::of(file, &fields.place("weight"), row)?,
                bias: BlobCell::of(file, &fields.place("bias"), row)?,
            })
        })?;
        database.at_most_one(table, &format!("layer {layer}"), rows)
    }

    /// The row of a layer that must have one, with its `what`.
    pub(super) fn require(
        database: &Database,
        table: &'static Table,
        layer: usize,
        what: &str,
    ) -> Result<Self> {
        Self::find(database, table, layer)?.ok_or_else(|| {
            let expected = format!("a row with the {what} of layer {layer}");
            Error::content(&database.file, table.name, expected, "none")
        })
    }

    pub(super) fn stored(&self) -> Stored {
        if self.half { Stored::F16 } else { Stored::F32 }
    }

    /// Whether both blobs are there, and as long as their layer needs.
    pub(super) fn check(&self, database: &Database, weight: &Shape, bias: &Shape) -> Result<()> {
        let stored = self.stored();
        for (column, cell, shape) in [("weight", &self.weight, weight), ("bias", &self.bias, bias)]
        {
            let of = format!("{} {} values of {shape}", shape.count(), stored.dtype());
            cell.check(database, &self.place(column), self.bytes(shape), &of)?;
        }
        Ok(())
    }

    /// Bytes of a blob of these values.
    pub(super) fn bytes(&self, shape: &Shape) -> usize {
        shape.count() * self.stored().size_bytes()
    }

    pub(super) fn table(&self) -> &'static str {
        self.table
    }

    pub(super) fn rowid(&self) -> i64 {
        self.row
    }

    /// The weights and biases, once they have been checked.
    fn load(
        &self,
        database: &Database,
        weight: &Shape,
        bias: &Shape,
        device: &Device,
        options: &ReadOptions,
    ) -> Result<LayerParameters> {
        if let Some(parameters) = large::load(database, self, weight, bias, device, options)? {
            return Ok(parameters);
        }
        let read = |column, shape| {
            let (at, stored) = (self.place(column), self.stored());
            read_tensor(database, &at, self.row, stored, shape, device, options)
        };
        Ok(LayerParameters { weight: read("weight", weight)?, bias: read("bias", bias)? })
    }

    pub(super) fn place(&self, column: &'static str) -> CellName<'static> {
        CellName { table: self.table, key: "layer", row: self.layer, column }
    }
}

/// The weights and biases of all layers whose row is found.
pub(super) fn load_parameters(
    database: &Database,
    spec: &NetworkSpec,
    shapes: &[LayerShape],
    find: impl Fn(usize) -> Result<Option<StoredRow>>,
    device: &Device,
    options: &ReadOptions,
) -> Result<Vec<Option<LayerParameters>>> {
    let mut rows = Vec::with_capacity(shapes.len());
    let numbers = table_layers(spec);
    for (layer, shape) in shapes.iter().enumerate() {
        let (Some(weight), Some(bias)) = (shape.weight(), shape.bias()) else { continue };
        let Some(number) = numbers[layer] else { continue };
        if let Some(row) = find(number)? {
            row.check(database, &weight, &bias)?;
            rows.push((layer, row, weight, bias));
        }
    }
    let mut all = vec![None; shapes.len()];
    for (layer, row, weight, bias) in &rows {
        all[*layer] = Some(row.load(database, weight, bias, device, options)?);
    }
    Ok(all)
}
