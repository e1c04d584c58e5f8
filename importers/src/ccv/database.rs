//! A ccv model file, opened for reading: its tables checked, its errors with their place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, OpenFlags, Row};

use super::schema::{TABLES, Table};
use crate::format::{self, Format};
use crate::{Error, Result};

/// ccv counts in 32-bit integers; nothing larger can have come from it.
pub(super) const MAX_COUNT: i64 = i32::MAX as i64;

/// An open model file whose tables and columns are there. Nothing that another program writes is seen
/// while it is open.
pub(super) struct Database {
    connection: Connection,
    /// Its name in messages.
    pub(super) file: String,
    /// Its size: no blob can be larger.
    pub(super) bytes: u64,
    path: PathBuf,
    /// Of the file that had this path before it was opened.
    identity: Option<Identity>,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = format::expect(path, Format::Ccv)?;
        let identity = Identity::of(path);
        let connection = connect(path).map_err(|e| explain(&file, "the database", e))?;
        let database = Database { connection, file, bytes, path: path.into(), identity };
        database.check_size()?;
        for table in TABLES {
            database.check_table(table)?;
        }
        Ok(database)
    }

    /// The same file once more, for another thread to read, in the same state. Nothing where that cannot
    /// be had: another program is about to write it, or has put another file in its place.
    pub(super) fn again(&self) -> Option<Self> {
        let connection = connect(&self.path).ok()?;
        // Whoever waits to write waits for us, too.
        connection.busy_timeout(Duration::ZERO).ok()?;
        let (file, bytes, path) = (self.file.clone(), self.bytes, self.path.clone());
        let again = Database { connection, file, bytes, path, identity: self.identity };
        // From its first statement on, nobody else may change the file, as for us; but for those with
        // a log, in which each reader sees what was there when it began.
        let sql = "SELECT journal_mode FROM pragma_journal_mode";
        let modes = again.query("the database", sql, [], |row| text(row, 0)).ok()?;
        let schema = again.tables().ok()?;
        let same = Identity::of(&self.path)? == self.identity? && schema == self.tables().ok()?;
        (same && modes.iter().all(|mode| mode != "wal")).then_some(again)
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
                    tables => format!("only {}", tables.join(", ")),
                };
                return Err(Error::content(&self.file, name, "this table of ccv's", got));
            }
        }
        let columns: Vec<String> =
            self.query(name, "SELECT name FROM pragma_table_info(?1)", [name], |row| text(row, 0))?;
        for column in table.columns {
            if !columns.iter().any(|c| c.eq_ignore_ascii_case(column)) {
                let got = columns.join(", ");
                return Err(Error::content(&self.file, name, format!("a column {column}"), got));
            }
        }
        Ok(())
    }

    /// The names of all tables, ours and others.
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        self.query("the schema", sql, [], |row| text(row, 0))
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

    /// Does something while sqlite maps the file instead of reading it.
    ///
    /// What lies in a row after a large blob is reached through all of the blob's pages. Mapped, that
    /// touches four bytes of each; read, it copies them all. Elsewhere the file is read: its mapped
    /// pages would stand beside the copy of them that the network keeps.
    pub(super) fn mapped<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let map = |bytes: u64| {
            // As a statement of its own, which answers with the size that sqlite allows.
            let sql = format!("PRAGMA mmap_size = {bytes}");
            self.query("the database", &sql, [], |_| Ok(()))
        };
        map(self.bytes)?;
        let result = work();
        map(0)?;
        result
    }

    /// A blob, to be read in pieces without a copy in between.
    pub(super) fn blob(&self, at: &Place<'_>, row: i64) -> Result<rusqlite::blob::Blob<'_>> {
        self.connection
            .blob_open(MAIN_DB, at.table, at.column, row, true)
            .map_err(|e| explain(&self.file, &at.to_string(), e))
    }

    /// The bytes of a blob that has been checked to be so long.
    pub(super) fn blob_bytes(&self, at: &Place<'_>, row: i64, bytes: usize) -> Result<Vec<u8>> {
        let mut all = vec![0; bytes];
        let blob = self.blob(at, row)?;
        let read = blob.read_at_exact(&mut all, 0);
        read.map_err(|e| explain(&self.file, &at.to_string(), e))?;
        Ok(all)
    }
}

/// Opens a file for reading. Its first statement begins a transaction, which ends with the connection.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Not as a URI: a file may be called `file:x?mode=memory`.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // A damaged page is reported where it is met, instead of read as if it were whole.
    // Functions and tables that the file's own schema brings in are not run.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch("BEGIN")?;
    Ok(connection)
}

/// Which file a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        Some(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Elsewhere a file that sqlite has opened cannot be replaced.
    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        Some(Identity {})
    }
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
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => "; the file is damaged or cut off",
        Some(ErrorCode::NotADatabase) => "; the file is encrypted or damaged",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another program is writing it"
        }
        // Only reading: nothing else here makes sqlite want to write.
        Some(ErrorCode::ReadOnly) => {
            "; another program has stopped in the middle of a change, which waits beside the file: \
             open it with that program once more"
        }
        Some(ErrorCode::TooBig) => "; sqlite holds at most 1,000,000,000 bytes in one row",
        _ => "",
    };
    let message = format!("sqlite: {error}{hint}");
    Error::Database { file: file.into(), place: place.into(), message }
}

/// A table, a row and a column, as messages name them.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'a str,
    /// What the row is of: `layer`, `convnet`.
    pub(super) key: &'a str,
    pub(super) row: i64,
    pub(super) column: &'a str,
}

impl std::fmt::Display for Place<'_> {
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
    pub(super) fn place<'a>(&'a self, column: &'a str) -> Place<'a> {
        Place { table: self.table, key: self.key, row: self.id, column }
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
