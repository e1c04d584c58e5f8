//! Protobuf's text form, such as Caffe's `.prototxt`: names with values, and messages in braces.

use std::path::Path;

use super::read_file;
use crate::limits::MAX_SPEC_BYTES;
use crate::{Error, Result};

/// How deeply messages may nest. Those of Caffe nest five deep.
const MAX_DEPTH: usize = 32;

/// Characters of a text that a message shows.
const SHOWN: usize = 32;

/// Where something stands in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextPosition {
    line: u32,
    column: u32,
}

impl std::fmt::Display for TextPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A name with a value. Of a list each element is a field of the same name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) place: TextPosition,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A message: its fields in their order.
    Message(Vec<Field>),
    /// A text in quotes.
    Text(String),
    /// Anything else: a number, a truth value, the name of a constant.
    Word(String),
}

impl Field {
    /// The error that the value is something else.
    pub(super) fn error(&self, file: &str, expected: impl Into<String>) -> Error {
        let got = match &self.value {
            Value::Message(_) => "a message".into(),
            Value::Text(text) => shown(text),
            Value::Word(word) => format!("`{}`", cut(word)),
        };
        Error::content(file, format!("{}: `{}`", self.place, cut(&self.name)), expected, got)
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

fn shown(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// The text of a file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let bytes = read_file(path, "a description of a network", MAX_SPEC_BYTES)?;
    String::from_utf8(bytes).map_err(|e| Error::parse(&name, "text", "UTF-8", e.utf8_error()))
}

/// The fields of a text; `file` stands for it in messages.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Field>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { file, rest: text, place: TextPosition { line: 1, column: 1 } };
    parser.fields(None, 0)
}

struct Parser<'a> {
    file: &'a str,
    rest: &'a str,
    place: TextPosition,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        match next {
            '\n' => {
                self.place = TextPosition { line: self.place.line.saturating_add(1), column: 1 }
            }
            _ => self.place.column = self.place.column.saturating_add(1),
        }
        Some(next)
    }

    /// Takes the next character, where it is this one.
    fn takes(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        if is {
            self.next();
        }
        is
    }

    /// Past white space and comments.
    fn skip(&mut self) {
        while let Some(next) = self.peek() {
            match next {
                '#' => while self.next().is_some_and(|c| c != '\n') {},
                _ if next.is_whitespace() => {
                    self.next();
                }
                _ => return,
            }
        }
    }

    fn error(&self, expected: impl Into<String>) -> Error {
        let got = match self.peek() {
            None => "the end of the text".into(),
            Some(_) => {
                let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                shown(&self.rest[..end])
            }
        };
        Error::content(self.file, self.place.to_string(), expected, got)
    }

    /// The fields of a message that ends with `close`, or with the text.
    fn fields(&mut self, close: Option<char>, depth: usize) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            self.skip();
            match (self.peek(), close) {
                (None, None) => return Ok(fields),
                (Some(next), Some(close)) if next == close => {
                    self.next();
                    return Ok(fields);
                }
                _ => {}
            }
            let place = self.place;
            let name = self.word();
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !starts {
                let end = close.map_or_else(String::new, |close| format!(", or `{close}`"));
                return Err(self.error(format!("the name of a field{end}")));
            }
            self.values(&name, place, depth, &mut fields)?;
            self.skip();
            if !self.takes(',') {
                self.takes(';');
            }
        }
    }

    /// What stands behind a name: a value, or a list of them.
    fn values(
        &mut self,
        name: &str,
        place: TextPosition,
        depth: usize,
        fields: &mut Vec<Field>,
    ) -> Result<()> {
        self.skip();
        let colon = self.takes(':');
        self.skip();
        let mut put = |value| fields.push(Field { name: name.to_owned(), value, place });
        if !self.takes('[') {
            put(self.value(colon, depth)?);
            return Ok(());
        }
        self.skip();
        if self.takes(']') {
            return Ok(());
        }
        loop {
            put(self.value(colon, depth)?);
            self.skip();
            if self.takes(']') {
                return Ok(());
            }
            if !self.takes(',') {
                return Err(self.error("`,` or `]` in a list"));
            }
            self.skip();
        }
    }

    /// A value; only a message may follow a name without a colon.
    fn value(&mut self, colon: bool, depth: usize) -> Result<Value> {
        let close = match self.peek() {
            Some('{') => '}',
            Some('<') => '>',
            _ if !colon => return Err(self.error("`:` or `{` after the name of a field")),
            Some('"' | '\'') => return self.text(),
            _ => return self.scalar(),
        };
        if depth >= MAX_DEPTH {
            return Err(self.error(format!("at most {MAX_DEPTH} messages within each other")));
        }
        self.next();
        Ok(Value::Message(self.fields(Some(close), depth + 1)?))
    }

    fn scalar(&mut self) -> Result<Value> {
        let negative = self.takes('-');
        if negative {
            self.skip();
        }
        let word = self.word();
        match word.is_empty() {
            true => Err(self.error("a value")),
            false if negative => Ok(Value::Word(format!("-{word}"))),
            false => Ok(Value::Word(word)),
        }
    }

    /// A name or a number.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek() {
            let exponent = matches!(next, '+' | '-')
                && word.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && word.ends_with(['e', 'E']);
            if !(next.is_ascii_alphanumeric() || matches!(next, '_' | '.') || exponent) {
                break;
            }
            word.push(next);
            self.next();
        }
        word
    }

    /// Texts in quotes, which are one where they follow each other.
    fn text(&mut self) -> Result<Value> {
        let (mut bytes, start) = (Vec::new(), self.place);
        while let Some(quote @ ('"' | '\'')) = self.peek() {
            self.next();
            loop {
                match self.peek() {
                    None | Some('\n') => return Err(self.error(format!("{quote} after a text"))),
                    Some('\\') => self.escape(&mut bytes)?,
                    Some(next) => {
                        self.next();
                        if next == quote {
                            break;
                        }
                        bytes.extend(next.encode_utf8(&mut [0; 4]).bytes());
                    }
                }
            }
            self.skip();
        }
        let place = start.to_string();
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::parse(self.file, place, "a text in UTF-8", e.utf8_error()))?;
        Ok(Value::Text(text))
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let escape = self.error("a known escape (such as \\n, \\x41 or \\101)");
        self.next();
        let byte = match self.next() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('v') => 11,
            Some(plain @ ('\\' | '\'' | '"' | '?')) => plain as u8,
            Some('x' | 'X') => self.digits(16, 2).ok_or(escape)? as u8,
            Some(u @ ('u' | 'U')) => {
                let code = self.digits(16, if u == 'u' { 4 } else { 8 });
                let character = code.and_then(char::from_u32).ok_or(escape)?;
                bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                return Ok(());
            }
            Some(first @ '0'..='7') => {
                let rest = self.octal(first as u32 - '0' as u32);
                u8::try_from(rest).map_err(|_| escape)?
            }
            _ => return Err(escape),
        };
        bytes.push(byte);
        Ok(())
    }

    /// A number of up to so many digits; none where there is no digit.
    fn digits(&mut self, base: u32, most: usize) -> Option<u32> {
        let mut number = None;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(base)) else { break };
            number = Some(number.unwrap_or(0u32).wrapping_mul(base) | digit);
            self.next();
        }
        number
    }

    fn octal(&mut self, first: u32) -> u32 {
        let mut number = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            number = number * 8 + digit;
            self.next();
        }
        number
    }
}

#[cfg(test)]
#[path = "prototxt_tests.rs"]
mod tests;
