//! The header of a `.npy` file: a Python dictionary with the keys `descr`, `fortran_order` and
//! `shape`.

use striate_tensor::DType;

/// The most axes accepted, numpy's own limit.
const MAX_AXES: usize = 64;

/// The most brackets within each other: a description of records nests.
const MAX_DEPTH: usize = 16;

/// A type of element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) dtype: DType,
    /// The bytes of a number stand in the order of big-endian processors.
    pub(super) big_endian: bool,
}

/// The types as numpy writes them: a letter for the kind, and bytes.
const NAMES: &[(&str, DType)] = &[
    ("f4", DType::F32),
    ("f2", DType::F16),
    ("f8", DType::F64),
    ("u4", DType::U32),
    ("i8", DType::I64),
    ("i4", DType::I32),
    ("i1", DType::I8),
    ("u1", DType::U8),
    ("b1", DType::Bool),
];

/// The `descr` of a type in this machine's order of bytes: `<f4`.
pub(super) fn descr(dtype: DType) -> String {
    let order = match dtype.size_bytes() {
        1 => '|',
        _ if cfg!(target_endian = "little") => '<',
        _ => '>',
    };
    let name = NAMES.iter().find(|(_, named)| *named == dtype).map_or("f4", |(name, _)| name);
    format!("{order}{name}")
}

/// Which types are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    /// What becomes f32: floats and bytes.
    Floats,
    /// Every element type.
    All,
}

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    /// The first axis is the fastest, not the last.
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// A value in the dictionary.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    /// None of a number that is no length.
    Number(Option<usize>),
    List(Vec<Value<'a>>),
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Header {
    /// Understands the text of a header; the error says what is wrong with it.
    pub(super) fn parse(text: &str, accepts: Accepts) -> Result<Self> {
        let mut parser = Parser { rest: text };
        let entries = parser.dictionary()?;
        let find = |key: &str| {
            let mut found = entries.iter().filter(|(name, _)| *name == key).map(|(_, value)| value);
            let value = found.next().ok_or_else(|| format!("no key '{key}'"))?;
            match found.next() {
                None => Ok(value),
                Some(_) => Err(format!("the key '{key}' stands there twice")),
            }
        };
        let element = match find("descr")? {
            Value::Text(descr) => element(descr, accepts)?,
            Value::List(_) => return Err(unread("records of several fields", accepts)),
            _ => return Err("descr is no type of element".to_owned()),
        };
        let Value::Bool(fortran_order) = *find("fortran_order")? else {
            return Err("fortran_order is neither True nor False".to_owned());
        };
        let Value::List(axes) = find("shape")? else {
            return Err("shape is not a tuple in parentheses".to_owned());
        };
        if axes.len() > MAX_AXES {
            return Err(format!("{} axes, at most {MAX_AXES} are read", axes.len()));
        }
        let axis = |(index, value): (usize, &Value<'_>)| match value {
            Value::Number(Some(axis)) => Ok(*axis),
            _ => Err(format!("axis {index} of the shape is no length (a number from 0)")),
        };
        let shape = axes.iter().enumerate().map(axis).collect::<Result<_>>()?;
        Ok(Header { element, fortran_order, shape })
    }
}

/// The element that a `descr` means: the order of bytes, a letter for the kind, and bytes.
fn element(descr: &str, accepts: Accepts) -> Result<Element> {
    let (order, kind) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), kind)) => (order, kind),
        _ => ("", descr),
    };
    let little = cfg!(target_endian = "little");
    let big_endian = order == ">" || (matches!(order, "=" | "") && !little);
    let floats = [DType::F32, DType::F16, DType::F64, DType::U8];
    match NAMES.iter().find(|(name, _)| *name == kind) {
        Some(&(_, dtype)) if accepts == Accepts::All || floats.contains(&dtype) => {
            Ok(Element { dtype, big_endian })
        }
        _ => Err(unread(&described(kind), accepts)),
    }
}

/// A type that is not read, in words.
fn described(kind: &str) -> String {
    let bits = || kind[1..].parse::<usize>().ok().and_then(|bytes| bytes.checked_mul(8));
    let numbers = |name: &str| match bits() {
        Some(bits) if bits <= 256 => format!("{name} of {bits} bits"),
        _ => format!("{name} of an unknown size"),
    };
    match kind.chars().next() {
        Some('b' | '?') => "truth values (bool)".to_owned(),
        Some('i') => numbers("whole numbers with a sign"),
        Some('u') => numbers("whole numbers without a sign"),
        Some('f') => numbers("floating-point numbers"),
        Some('c') => "complex numbers".to_owned(),
        Some('S' | 'a' | 'U') => "texts".to_owned(),
        Some('O') => "Python objects".to_owned(),
        Some('M' | 'm') => "dates or times".to_owned(),
        Some('V') => "raw bytes or records".to_owned(),
        _ => "elements of an unknown type".to_owned(),
    }
}

fn unread(what: &str, accepts: Accepts) -> String {
    let types = match accepts {
        Accepts::Floats => "float16, float32, float64 and uint8",
        Accepts::All => "float16, float32, float64, int8, int32, int64, uint8, uint32 and bool",
    };
    format!("the array holds {what}; only {types} are read: convert it with `array.astype('<f4')`")
}

/// Reads the literals of Python that a header has.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn dictionary(&mut self) -> Result<Vec<(&'a str, Value<'a>)>> {
        if !self.eats('{') {
            return Err("it is no dictionary in braces".to_owned());
        }
        let mut entries = Vec::new();
        while !self.eats('}') {
            let key = match self.value(0)? {
                Value::Text(key) => key,
                _ => return Err("a key of the dictionary is no text in quotes".to_owned()),
            };
            if !self.eats(':') {
                return Err("a key of the dictionary has no value".to_owned());
            }
            entries.push((key, self.value(0)?));
            if !self.eats(',') && !self.peek_is('}') {
                return Err("the dictionary does not end".to_owned());
            }
        }
        if !self.rest.trim().is_empty() {
            return Err("something follows the dictionary".to_owned());
        }
        Ok(entries)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} brackets within each other"));
        }
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(Value::Bool(value));
            }
        }
        for quote in ['\'', '"'] {
            if self.eats(quote) {
                let (text, rest) =
                    self.rest.split_once(quote).ok_or("a text has no closing quote")?;
                self.rest = rest;
                return Ok(Value::Text(text));
            }
        }
        for (open, close) in [('(', ')'), ('[', ']')] {
            if self.eats(open) {
                return self.list(close, depth);
            }
        }
        let number =
            self.rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-+._".contains(c));
        let (word, rest) = self.rest.split_at(self.rest.len() - number.len());
        if word.is_empty() {
            return Err("a value is missing, or is no literal of Python".to_owned());
        }
        self.rest = rest;
        // Python 2 wrote long numbers with an L.
        Ok(Value::Number(word.strip_suffix('L').unwrap_or(word).parse().ok()))
    }

    fn list(&mut self, close: char, depth: usize) -> Result<Value<'a>> {
        let mut values = Vec::new();
        while !self.eats(close) {
            values.push(self.value(depth + 1)?);
            if !self.eats(',') && !self.peek_is(close) {
                return Err("a list in brackets does not end".to_owned());
            }
        }
        Ok(Value::List(values))
    }

    fn peek_is(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(c)
    }

    fn eats(&mut self, c: char) -> bool {
        let found = self.peek_is(c);
        if found {
            self.rest = &self.rest[c.len_utf8()..];
        }
        found
    }
}
