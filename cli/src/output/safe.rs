//! Text that is safe to print.
//!
//! Names of files, labels and notes come from outside. Written as they are, their control
//! characters could clear a terminal, colour it, or forge a line of the program's own output; marks
//! that turn the direction of writing around could show a name that is not there. What people read is
//! therefore escaped, as `\n` or `\u{1b}`; what programs read stays whole, escaped as JSON has it.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Whether a character must not reach a terminal: controls (C0, DEL, C1), separators of lines, and
/// invisible characters of format, those that change the direction of writing among them. Joiners
/// (U+200C, U+200D) are part of words in several scripts, and do no harm.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with an escape for each character that a terminal would act on. White space
/// stays as it is.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Whole lines, escaped as by [`printable`] but for their ends.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

fn escaped(text: &str, escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&escape) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match escape(c) {
            // `\n`, `\t`, `\u{1b}`
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// A value as JSON on one line. Reading it back gives the same texts; as they stand there a terminal
/// does nothing but show them.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Safe))?;
    // Only whole characters were written.
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// JSON without white space, with more characters escaped than it must: by itself it lets DEL, the
/// controls of C1 and marks of direction through.
struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, from) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = from.chars();
            if let Some(c) = characters.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Escapes the lines of JSON that are written through it, as [`json`] does.
pub(crate) struct SafeLines<W: io::Write> {
    to: W,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl<W: io::Write> SafeLines<W> {
    pub(crate) fn new(to: W) -> Self {
        SafeLines { to, line: Vec::new() }
    }
}

impl<W: io::Write> io::Write for SafeLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                // JSON has unsafe characters in strings only.
                let text = String::from_utf8_lossy(&line[..line.len() - 1]);
                Safe.write_string_fragment(&mut self.to, &text)?;
                self.to.write_all(b"\n")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with its form on a terminal.
    const ESCAPED: [(&str, &str); 9] = [
        ("cat\nforged 99 %", "cat\\nforged 99 %"),
        ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
        ("a\r\u{8}b", "a\\r\\u{8}b"),
        ("a\u{7f}\u{9b}2J", "a\\u{7f}\\u{9b}2J"),
        ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
        ("\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
        ("a\u{2028}b\u{200b}", "a\\u{2028}b\\u{200b}"),
        ("tab\there", "tab\\there"),
        ("\u{feff}\u{e0041}", "\\u{feff}\\u{e0041}"),
    ];

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        for (text, expected) in ESCAPED {
            assert_eq!(printable(text), expected);
        }
        // White space, quotes, other scripts and signs of several characters stay.
        for text in
            ["no  such.png", "C:\\photos \"x\"", "猫 Käse", "می\u{200c}خواهم", "👩\u{200d}🔬"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(printable_lines("a\nb\u{7}\n"), "a\nb\\u{7}\n");
    }

    #[test]
    fn lines_of_json_are_made_safe_on_their_way() {
        use std::io::Write;

        let mut lines = SafeLines::new(Vec::new());
        for (text, _) in ESCAPED {
            serde_json::to_writer(&mut lines, &[text]).unwrap();
            lines.write_all(b"\n").unwrap();
        }
        let written = String::from_utf8(lines.to).unwrap();
        let expected: Vec<String> =
            ESCAPED.iter().map(|(text, _)| json(&[text]).unwrap()).collect();
        assert_eq!(written.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn json_is_safe_and_loses_nothing() {
        for (text, _) in ESCAPED {
            let written = json(&[text]).unwrap();
            assert!(!written.chars().any(is_unsafe), "{written:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&written).unwrap(), [text]);
        }
        assert_eq!(json(&["猫\"\\"]).unwrap(), r#"["猫\"\\"]"#);
    }
}
