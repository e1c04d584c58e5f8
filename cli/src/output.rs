//! Everything that is printed: tables and JSON lines on stdout, words for people on stderr.
//!
//! Whatever goes to a terminal goes through here, and is escaped as [`safe`] has it: no command has to
//! think of it.

mod safe;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::{CellAlignment, presets};
use log::{Level, LevelFilter};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::error::{Error, Result};

pub(crate) use safe::{SafeLines, json, printable, printable_lines};

/// Where output goes, and in which form.
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    format: Format,
    quiet: bool,
    /// Whoever reads along on a terminal wants to see each result when it is there.
    flush_each: bool,
}

impl Output {
    /// As the options say.
    pub(crate) fn new(global: &Global) -> Self {
        let stdout = io::stdout();
        let flush_each = stdout.is_terminal();
        Output {
            stdout: BufWriter::new(stdout.lock()),
            format: global.format,
            quiet: global.quiet,
            flush_each,
        }
    }

    /// The form asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether only results and errors are to be printed.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// A line of text, and one only.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.stdout, "{}", printable(text)).map_err(stdout_error)?;
        self.line_is_done()
    }

    /// Whole lines of text: what comes from outside has to be [`printable`] in them.
    pub(crate) fn text(&mut self, lines: &str) -> Result<()> {
        self.bytes(printable_lines(lines).as_bytes())?;
        self.line_is_done()
    }

    /// A value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = json(value).map_err(|e| Error::because("cannot write JSON", e))?;
        self.line(&text)
    }

    /// A table, without an empty line before or after.
    pub(crate) fn table(&mut self, table: &Table) -> Result<()> {
        for line in table.0.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdout.write_all(bytes).map_err(stdout_error)
    }

    /// What was done, in a sentence; not where a program reads along or `-q` is given.
    pub(crate) fn done(&mut self, text: &str) -> Result<()> {
        match (self.format, self.quiet) {
            (Format::Table, false) => self.line(text),
            _ => Ok(()),
        }
    }

    /// Everything printed so far reaches stdout.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.stdout.flush().map_err(stdout_error)
    }

    /// A word for people on stderr, not with `-q`.
    pub(crate) fn note(&self, text: &str) {
        note(self.quiet, text);
    }

    /// A doubt for people on stderr, not with `-q`.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet {
            stderr("warning", text);
        }
    }

    /// An error on stderr.
    pub(crate) fn error(&self, text: &str) {
        stderr("error", text);
    }

    fn line_is_done(&mut self) -> Result<()> {
        if self.flush_each { self.flush() } else { Ok(()) }
    }
}

/// A word for people on stderr, unless they want it quiet.
pub(crate) fn note(quiet: bool, text: &str) {
    if !quiet {
        stderr("note", text);
    }
}

/// A line on stderr: what kind of message it is, and the message.
fn stderr(kind: &str, text: &str) {
    // Where stderr is closed nobody can be told so.
    let _ = writeln!(io::stderr(), "{kind}: {}", printable(text));
}

/// Sends the messages of the libraries to stderr, in the style of our own: warnings, unless `-q`,
/// `-v` or `RUST_LOG` say otherwise.
pub(crate) fn start_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, 2) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    if let (false, Ok(filters)) = (global.quiet, std::env::var("RUST_LOG")) {
        builder.parse_filters(&filters);
    }
    let with_target = global.verbose > 1;
    let format = move |to: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let target = if with_target { record.target() } else { "" };
        writeln!(to, "{}", log_line(record.level(), target, &record.args().to_string()))
    };
    builder.format(format).init();
}

/// `warning: model.safetensors: …`; with the module that says so, if it is given.
fn log_line(level: Level, target: &str, text: &str) -> String {
    let kind = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let separator = if target.is_empty() { "" } else { ": " };
    let text = match level {
        // Listings for developers: indented, so that no line looks like one of ours.
        Level::Debug | Level::Trace => printable_lines(text).replace('\n', "\n    "),
        _ => printable(text).into_owned(),
    };
    format!("{kind}: {target}{separator}{text}")
}

fn stdout_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::because("cannot write to stdout", error),
    }
}

/// Rows of cells under heads.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Adds a row of as many cells as there are heads.
    pub(crate) fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        // Escaped before widths are measured, and before a line end could make two lines of one.
        let cell = |text: T| printable(text.as_ref()).into_owned();
        self.0.add_row(cells.into_iter().map(cell));
    }
}

/// A table with these heads; those of `right` are columns of numbers.
pub(crate) fn table(heads: &[&str], right: &[usize]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Table(table)
}

/// `12,345,678`
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MB`, in powers of 1000.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `225x225x3`
pub(crate) fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let texts = [0, 999, 1000, 999_949, 999_950, 1_500_000_000].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 GB"]);
        assert_eq!(dims(&[225, 225, 3]), "225x225x3");
    }

    #[test]
    fn a_cell_of_a_table_is_one_line() {
        let mut table = table(&["name", "n"], &[1]);
        table.add_row(["cat\nforged", "1"]);
        table.add_row(["\u{1b}[31m", "22"]);
        let lines: Vec<String> = table.0.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with("cat\\nforged") && lines[2].starts_with("\\u{1b}[31m"));
    }

    #[test]
    fn messages_of_the_libraries_have_the_style_of_ours() {
        let line = |level, target, text| log_line(level, target, text);
        assert_eq!(line(Level::Warn, "", "a\nerror: b"), "warning: a\\nerror: b");
        assert_eq!(line(Level::Info, "striate::device", "x"), "info: striate::device: x");
        assert_eq!(line(Level::Debug, "", "a\nb\u{1b}"), "debug: a\n    b\\u{1b}");
    }
}
