//! Everything that is printed: tables and JSON lines on stdout, words for people on stderr.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::error::{Error, Result};

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

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.stdout, "{text}").map_err(stdout_error)?;
        self.line_is_done()
    }

    /// Whole lines of text.
    pub(crate) fn text(&mut self, lines: &str) -> Result<()> {
        self.bytes(lines.as_bytes())?;
        self.line_is_done()
    }

    /// A value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.stdout, value).map_err(|e| stdout_error(e.into()))?;
        self.line("")
    }

    /// A table, without an empty line before or after.
    pub(crate) fn table(&mut self, table: &Table) -> Result<()> {
        for line in table.lines() {
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
            stderr(&format!("warning: {text}"));
        }
    }

    /// An error on stderr.
    pub(crate) fn error(&self, text: &str) {
        stderr(&format!("error: {text}"));
    }

    fn line_is_done(&mut self) -> Result<()> {
        if self.flush_each { self.flush() } else { Ok(()) }
    }
}

/// A word for people on stderr, unless they want it quiet.
pub(crate) fn note(quiet: bool, text: &str) {
    if !quiet {
        stderr(&format!("note: {text}"));
    }
}

fn stderr(text: &str) {
    // Where stderr is closed nobody can be told so.
    let _ = writeln!(io::stderr(), "{text}");
}

fn stdout_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::because("cannot write to stdout", error),
    }
}

/// A table with these heads; those of `right` are columns of numbers.
pub(crate) fn table(heads: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
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
}
