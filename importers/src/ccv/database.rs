//! A ccv model file, opened for reading: its tables checked, its errors with their place.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, Row};
use tempfile::TempDir;

use super::opened::{self, Mode, Opened};
use super::pages::Pages;
use super::schema::{TABLES, Table};
use crate::format::Format;
use crate::source::Source;
use crate::{Error, Result};

/// ccv counts in 32-bit integers; nothing larger can have come from it.
pub(super) const MAX_COUNT: i64 = i32::MAX as i64;

/// Names of tables or columns that a message lists.
const LISTED: usize = 20;

/// Tables that a file may have: ccv's have six at most, those of ours eight.
const MAX_TABLES: usize = 1000;

/// An open model file whose tables and columns are there. Nothing that another program writes is seen
/// while it is open.
pub(super) struct Database {
    // First, to be closed first: closing a file ends the locks that this process has on it.
    connection: Connection,
    /// The file itself, for large blobs; nothing where its log has a part in it.
    pages: Option<Pages>,
    mode: Mode,
    /// Its name in messages.
    pub(super) file: String,
    /// Its size, with its log: no blob can be larger.
    pub(super) bytes: u64,
    source: Arc<Source>,
    copy: Option<TempDir>,
}

impl Database {
    /// Opens a file by its path.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::of(Arc::new(Source::expect(path, Format::Ccv)?))
    }

    /// The database of an open file.
    pub(super) fn of(source: Arc<Source>) -> Result<Self> {
        let file = source.name().to_owned();
        let Opened { connection, mode, copy, path, bytes } = opened::open(&source)?;
        let pages = match (mode, &copy) {
            (Mode::Log, _) => None,
            (_, None) => Pages::of(Arc::clone(&source)),
            (_, Some(_)) => Pages::of(Arc::new(Source::expect(&path, Format::Ccv)?)),
        };
        let database = Database { connection, pages, mode, file, bytes, source, copy };
        database.check_size()?;
        for table in TABLES {
            database.check_table(table)?;
        }
        Ok(database)
    }

    /// What stands for a name of the network, which ccv's form has none of.
    pub(super) fn stem(&self) -> String {
        self.source.stem()
    }

    /// The size of the file alone.
    pub(super) fn file_bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// The file itself, for large blobs.
    pub(super) fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// Refuses what was read, where another program has written the file meanwhile.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        match (self.mode, &self.copy) {
            // Changes stay in the log, and those of the file do not reach a copy.
            (Mode::Log, _) | (_, Some(_)) => Ok(()),
            _ => self.source.check_unchanged(),
        }
    }

    /// Refuses a file that ends within its last page, which sqlite reads as if zeros followed.
    fn check_size(&self) -> Result<()> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let failed = |e| explain(&self.file, "the database", e);
        let sizes: Vec<i64> =
            self.query("the database", sql, [], |row| row.get(0).map_err(failed))?;
        match sizes.first().and_then(|size| u64::try_from(*size).ok()) {
            Some(size) if size > self.bytes => {
                let expected = format!("{size} bytes");
                let got = format!("{}; the file is cut off", self.bytes);
                Err(Error::content(&self.file, "the database", expected, got))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a table that is not there, is no table, or lacks a column.
    pub(super) fn check_table(&self, table: &Table) -> Result<()> {
        let name = table.name;
        let there: Vec<String> = self.query(
            name,
            "SELECT name, type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE",
            [name],
            |row| text(row, 1),
        )?;
        match there.first().map(String::as_str) {
            Some("table") => {}
            Some(other) => {
                return Err(Error::content(&self.file, name, "a table", format!("a {other}")));
            }
            None => {
                let tables = self.tables()?;
                let got = match tables.as_slice() {
                    [] => "a database without tables".into(),
                    tables => format!("only {}", listed(tables)),
                };
                return Err(Error::content(&self.file, name, "this table of ccv's", got));
            }
        }
        let columns: Vec<String> =
            self.query(name, "SELECT name FROM pragma_table_info(?1)", [name], |row| text(row, 0))?;
        for column in table.columns {
            if !columns.iter().any(|c| c.eq_ignore_ascii_case(column)) {
                let got = listed(&columns);
                return Err(Error::content(&self.file, name, format!("a column {column}"), got));
            }
        }
        Ok(())
    }

    /// The names of all tables, ours and others.
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name LIMIT {}",
            MAX_TABLES + 1
        );
        let tables = self.query("the schema", &sql, [], |row| text(row, 0))?;
        if tables.len() > MAX_TABLES {
            let expected = format!("at most {MAX_TABLES} tables");
            return Err(Error::content(&self.file, "the schema", expected, "more"));
        }
        Ok(tables)
    }

    /// The page where a table begins, and its columns in the order of a row's values. Nothing where a
    /// row holds them in another way.
    pub(super) fn layout(&self, table: &str) -> Result<Option<(u32, Vec<String>)>> {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let roots = self.query(table, sql, [table], |row| {
            row.get::<_, u32>(0).map_err(|e| explain(&self.file, table, e))
        })?;
        let sql = "SELECT name, hidden FROM pragma_table_xinfo(?1) ORDER BY cid";
        let columns = self.query(table, sql, [table], |row| {
            let hidden: i64 = row.get(1).map_err(|e| explain(&self.file, table, e))?;
            Ok((text(row, 0)?, hidden != 0))
        })?;
        // A computed column is not in the row.
        if columns.iter().any(|(_, hidden)| *hidden) {
            return Ok(None);
        }
        let columns = columns.into_iter().map(|(name, _)| name).collect();
        Ok(roots.first().map(|root| (*root, columns)))
    }

    /// Whether there is something of this table's name, whatever it is.
    pub(super) fn has(&self, table: &Table) -> Result<bool> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE LIMIT 1";
        let found = self.query(table.name, sql, [table.name], |_| Ok(()))?;
        Ok(!found.is_empty())
    }

    /// The rows of a statement, each through `read`; what fails names `place`.
    pub(super) fn query<T>(
        &self,
        place: &str,
        sql: &str,
        parameters: impl rusqlite::Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let explain = |e| explain(&self.file, place, e);
        let mut statement = self.connection.prepare(sql).map_err(explain)?;
        let mut rows = statement.query(parameters).map_err(explain)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(explain)? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    /// The row of a key, where there is one; refuses a second one.
    pub(super) fn at_most_one<T>(&self, table: &str, key: &str, rows: Vec<T>) -> Result<Option<T>> {
        match rows.len() {
            0 | 1 => Ok(rows.into_iter().next()),
            more => {
                let got = format!("{more} rows");
                Err(Error::content(&self.file, table, format!("one row of {key}"), got))
            }
        }
    }

    /// A blob, to be read in pieces without a copy in between.
    pub(super) fn blob(&self, at: &CellName<'_>, row: i64) -> Result<rusqlite::blob::Blob<'_>> {
        self.connection
            .blob_open(MAIN_DB, at.table, at.column, row, true)
            .map_err(|e| explain(&self.file, &at.to_string(), e))
    }

    /// The bytes of a blob that has been checked to be so long.
    pub(super) fn blob_bytes(&self, at: &CellName<'_>, row: i64, bytes: usize) -> Result<Vec<u8>> {
        let mut all = vec![0; bytes];
        let blob = self.blob(at, row)?;
        let read = blob.read_at_exact(&mut all, 0);
        read.map_err(|e| explain(&self.file, &at.to_string(), e))?;
        Ok(all)
    }
}

/// Some names in a message.
fn listed(names: &[String]) -> String {
    let shown = names.get(..LISTED).unwrap_or(names).join(", ");
    if names.len() > LISTED { format!("{shown}, …") } else { shown }
}

fn text(row: &Row<'_>, column: usize) -> Result<String> {
    Ok(match row.get_ref(column) {
        Ok(ValueRef::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

/// What sqlite says, with what it means for the reader of the message.
pub(super) fn explain(file: &str, place: &str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let problem = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged or cut off",
        Some(ErrorCode::NotADatabase) => "the file is encrypted or damaged",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program is writing it"
        }
        // Only reading: nothing else here makes sqlite want to write.
        Some(ErrorCode::ReadOnly) => {
            "another program has stopped in the middle of a change, which waits beside the file: \
             open it with that program once more"
        }
        Some(ErrorCode::CannotOpen) if file.len() > LONGEST_PATH => {
            "sqlite opens no path of more than 512 bytes: move the file"
        }
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::TooBig) => "sqlite holds at most 1,000,000,000 bytes in one row",
        _ => "sqlite cannot read or write it",
    };
    // Its own source only says the same once more, with a number before it.
    let source = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.into(),
        other => Box::new(other).into(),
    };
    Error::Database { file: file.into(), place: place.into(), problem: problem.into(), source }
}

/// A path from which sqlite's own limit, of the path from the root, may be reached.
const LONGEST_PATH: usize = 256;

/// A table, a row and a column, as messages name them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellName<'a> {
    pub(super) table: &'a str,
    /// What the row is of: `layer`, `convnet`.
    pub(super) key: &'a str,
    pub(super) row: i64,
    pub(super) column: &'a str,
}

impl std::fmt::Display for CellName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} {}, column {}", self.table, self.key, self.row, self.column)
    }
}

/// A row whose columns are read by name, with checked types and ranges.
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    pub(super) table: &'a str,
    pub(super) key: &'a str,
    pub(super) id: i64,
    pub(super) row: &'a Row<'a>,
}

impl Fields<'_> {
    pub(super) fn place<'a>(&'a self, column: &'a str) -> CellName<'a> {
        CellName { table: self.table, key: self.key, row: self.id, column }
    }

    pub(super) fn fail(&self, column: &str, expected: impl Into<String>, got: String) -> Error {
        Error::content(self.file, self.place(column).to_string(), expected, got)
    }

    fn value(&self, column: &str) -> Result<ValueRef<'_>> {
        self.row.get_ref(column).map_err(|e| explain(self.file, &self.place(column).to_string(), e))
    }

    /// An integer from 0 to what ccv can hold, or nothing where it is NULL.
    pub(super) fn optional(&self, column: &str) -> Result<Option<usize>> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(n) if (0..=MAX_COUNT).contains(&n) => Ok(Some(n as usize)),
            other => {
                let expected = format!("an integer from 0 to {MAX_COUNT}");
                Err(self.fail(column, expected, describe(other)))
            }
        }
    }

    /// An integer from 0 to what ccv can hold.
    pub(super) fn count(&self, column: &str) -> Result<usize> {
        let expected = || format!("an integer from 0 to {MAX_COUNT}");
        self.optional(column)?.ok_or_else(|| self.fail(column, expected(), "NULL".into()))
    }

    /// An integer from 1 to what ccv can hold.
    pub(super) fn positive(&self, column: &str) -> Result<usize> {
        match self.count(column)? {
            0 => Err(self.fail(column, "1 or more", "0".into())),
            n => Ok(n),
        }
    }

    /// 0 or 1; NULL is 0, as in ccv.
    pub(super) fn flag(&self, column: &str) -> Result<bool> {
        match self.value(column)? {
            ValueRef::Null | ValueRef::Integer(0) => Ok(false),
            ValueRef::Integer(1) => Ok(true),
            other => Err(self.fail(column, "0 or 1", describe(other))),
        }
    }

    /// A finite number that a float holds.
    pub(super) fn float(&self, column: &str) -> Result<f32> {
        let value = match self.value(column)? {
            ValueRef::Real(v) => v as f32,
            // Where a table was made without types, whole numbers are stored as integers.
            ValueRef::Integer(v) => v as f32,
            other => return Err(self.fail(column, "a number", describe(other))),
        };
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.fail(column, "a finite number", value.to_string()))
        }
    }
}

/// A value as a message shows it, long texts cut.
pub(super) fn describe(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("the real number {v}"),
        ValueRef::Text(t) => {
            let shown: String = String::from_utf8_lossy(&t[..t.len().min(64)]).into_owned();
            format!("the text {shown:?}")
        }
        ValueRef::Blob(b) => format!("a blob of {} bytes", b.len()),
    }
}
