//! An interpreter of the part of Python's pickles that values are made of.
//!
//! Nothing is executed. A pickle names functions and classes and asks for them to be called; the few that
//! make tensors and dicts are known here ([`rebuild`]), and every other becomes an [`Object`] that
//! remembers its name and whatever plain data it was given. So a checkpoint with a trainer's options in it
//! still gives its tensors, and a hostile one gives a message.

mod reader;
mod rebuild;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

pub(super) use reader::Reader;
pub(super) use value::{Global, Heap, Node, Object, StorageRef, TensorRef, Value, shortened};

use crate::Result;

/// Steps of a pickle, and values of lists that are copied.
const MAX_STEPS: usize = 16_000_000;

/// Values that are no numbers: ten for each of three tensors for each of
/// [`MAX_TENSORS`](crate::MAX_TENSORS), and more.
const MAX_NODES: usize = 2_000_000;

/// The newest protocol that there is.
const MAX_PROTOCOL: u8 = 5;

/// Reads a pickle from its beginning to its end: its value, and the heap where that is.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<(Value, Heap)> {
    let mut machine = Machine {
        reader,
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        memoized: 0,
        steps: 0,
        at: 0,
    };
    loop {
        if let Some(value) = machine.step()? {
            return Ok((value, machine.heap));
        }
    }
}

struct Machine<'r, 'f> {
    reader: &'r mut Reader<'f>,
    heap: Heap,
    stack: Vec<Value>,
    /// Heights of the stack that were marked.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    /// How often a value was put there without a number.
    memoized: u64,
    steps: usize,
    /// Where the opcode is that is executed.
    at: u64,
}

impl Machine<'_, '_> {
    /// An opcode; the value, where it is the last.
    fn step(&mut self) -> Result<Option<Value>> {
        self.at = self.reader.at();
        self.spend(1)?;
        let code = self.reader.u8()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let version = self.reader.u8()?;
                if version > MAX_PROTOCOL {
                    return self.fail("a pickle of protocol 2 to 5", format!("protocol {version}"));
                }
            }
            // The length of a frame says nothing that the opcodes do not.
            0x95 => drop(self.reader.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.marked()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(code == 0x88)),
            b'J' => {
                let value = i32::from_le_bytes(self.reader.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'K' | b'M' | 0x8a | 0x8b | b'G' => self.number(code)?,
            b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 | b'T' | b'U' => self.text(code)?,
            b']' | 0x8f => self.put(Node::List(Vec::new()))?,
            b'}' => self.put(Node::Dict(Vec::new()))?,
            b')' => self.put(Node::Tuple(Vec::new()))?,
            b't' => {
                let values = self.marked()?;
                self.put(Node::Tuple(values))?;
            }
            b'l' | 0x91 => {
                let values = self.marked()?;
                self.put(Node::List(values))?;
            }
            b'd' => {
                let values = self.marked()?;
                let entries = self.pairs(&values)?;
                self.put(Node::Dict(entries))?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(self.pop()?);
                }
                values.reverse();
                self.put(Node::Tuple(values))?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' | 0x90 => {
                let values = self.marked()?;
                self.append(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let values = self.marked()?;
                let entries = self.pairs(&values)?;
                self.set_items(entries)?;
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(code)?,
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.global(String::from_utf8(module).ok(), String::from_utf8(name).ok())?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |value| self.heap.text(value).map(str::to_owned);
                let (module, name) = (text(module), text(name));
                self.global(module, name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.stack.push(storage);
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(callable, arguments)?;
                self.stack.push(made);
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.call(class, arguments)?;
                self.stack.push(made);
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                // Attributes of a dict, such as the versions of a state dict's modules, say nothing here.
                if let Value::Node(at) = object
                    && let Some(Node::Object(object)) = self.heap.nodes.get_mut(at)
                {
                    object.state = Some(state);
                }
            }
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'p' | b'g' | b'i' | b'o' => {
                let got = format!("an opcode of protocol 0 or 1 ({})", char::from(code));
                return self.fail("a pickle of protocol 2 to 5, as torch.save writes", got);
            }
            other => {
                return self.fail("an opcode of a pickle", format!("the byte {other:#04x}"));
            }
        }
        Ok(None)
    }

    fn fail<T>(&self, expected: impl Into<String>, got: impl Into<String>) -> Result<T> {
        Err(self.reader.error(self.at, expected, got))
    }

    /// Counts steps, of which there is an end.
    fn spend(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(steps);
        match self.steps {
            0..=MAX_STEPS => Ok(()),
            _ => self.fail(format!("a pickle of at most {MAX_STEPS} steps"), "more"),
        }
    }

    /// Pushes what becomes a node.
    fn put(&mut self, node: Node) -> Result<()> {
        let value = self.add(node)?;
        self.stack.push(value);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<Value> {
        if self.heap.nodes.len() == MAX_NODES {
            return self.fail(format!("a pickle of at most {MAX_NODES} values"), "more");
        }
        self.heap.nodes.push(node);
        Ok(Value::Node(self.heap.nodes.len() - 1))
    }

    /// The height below which the last mark lets nothing be taken.
    fn bottom(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value> {
        match self.stack.len() > self.bottom() {
            true => self.stack.pop().map_or_else(|| self.fail("a value", "none"), Ok),
            false => self.fail("a value before this opcode", "none"),
        }
    }

    fn top(&self) -> Result<Value> {
        match self.stack.last() {
            Some(top) if self.stack.len() > self.bottom() => Ok(*top),
            _ => self.fail("a value before this opcode", "none"),
        }
    }

    /// What has come since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark.min(self.stack.len()))),
            None => self.fail("a mark before this opcode", "none"),
        }
    }

    fn pairs(&self, values: &[Value]) -> Result<Vec<(Value, Value)>> {
        let (pairs, rest) = values.as_chunks::<2>();
        match rest {
            [] => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
            _ => self.fail("a value for each key", format!("{} of both", values.len())),
        }
    }

    fn append(&mut self, values: Vec<Value>) -> Result<()> {
        let list = self.top()?;
        match list {
            Value::Node(at) => match self.heap.nodes.get_mut(at) {
                Some(Node::List(list)) => list.extend(values),
                // A class made of a list: what it has is not asked for.
                Some(Node::Object(_)) => {}
                _ => return self.fail("a list to append to", self.heap.describe(list)),
            },
            other => return self.fail("a list to append to", self.heap.describe(other)),
        }
        Ok(())
    }

    fn set_items(&mut self, entries: Vec<(Value, Value)>) -> Result<()> {
        let dict = self.top()?;
        match dict {
            Value::Node(at) => match self.heap.nodes.get_mut(at) {
                Some(Node::Dict(all)) => all.extend(entries),
                Some(Node::Object(object)) => object.items.extend(entries),
                _ => return self.fail("a dict to put entries into", self.heap.describe(dict)),
            },
            other => return self.fail("a dict to put entries into", self.heap.describe(other)),
        }
        Ok(())
    }

    fn memo(&mut self, code: u8) -> Result<()> {
        let number = match code {
            b'q' | b'h' => self.reader.u8()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.reader.array()?).into(),
            _ => self.memoized,
        };
        if matches!(code, b'h' | b'j') {
            let Some(value) = self.memo.get(&number).copied() else {
                return self.fail("a value that was memoized", format!("none of number {number}"));
            };
            self.stack.push(value);
            return Ok(());
        }
        let top = self.top()?;
        self.memo.insert(number, top);
        // The number that is next where none is given is that of the entries so far.
        self.memoized = self.memo.len() as u64;
        Ok(())
    }

    fn number(&mut self, code: u8) -> Result<()> {
        let length = match code {
            b'K' => return self.small_int(1),
            b'M' => return self.small_int(2),
            b'G' => {
                self.stack.push(Value::Float(f64::from_be_bytes(self.reader.array()?)));
                return Ok(());
            }
            0x8a => self.reader.u8()?.into(),
            _ => u32::from_le_bytes(self.reader.array()?).into(),
        };
        let bytes = self.reader.take(length)?;
        let value = match bytes.as_deref() {
            Some(bytes) if bytes.len() <= 8 => {
                let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
                let mut all = [if negative { 0xff } else { 0 }; 8];
                all[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(all))
            }
            _ => Value::Large,
        };
        self.stack.push(value);
        Ok(())
    }

    fn small_int(&mut self, bytes: usize) -> Result<()> {
        let mut value = 0;
        for shift in 0..bytes {
            value |= i64::from(self.reader.u8()?) << (8 * shift);
        }
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// Texts and bytes. A `str` of Python 2 is a text where it is UTF-8.
    fn text(&mut self, code: u8) -> Result<()> {
        let length = match code {
            0x8c | b'C' | b'U' => self.reader.u8()?.into(),
            b'X' | b'B' | b'T' => u32::from_le_bytes(self.reader.array()?).into(),
            _ => u64::from_le_bytes(self.reader.array()?),
        };
        let bytes = self.reader.take(length)?;
        let is_text = matches!(code, b'X' | 0x8c | 0x8d | b'T' | b'U');
        let text = bytes.filter(|_| is_text).and_then(|bytes| String::from_utf8(bytes).ok());
        self.put(text.map_or(Node::Bytes, |text| Node::Text(text.into())))
    }

    fn global(&mut self, module: Option<String>, name: Option<String>) -> Result<()> {
        /// Far more than any module's path.
        const MAX_NAME_BYTES: usize = 512;
        match (module, name) {
            (Some(module), Some(name)) if module.len().max(name.len()) <= MAX_NAME_BYTES => {
                let global = Global { module, name, at: self.at };
                self.put(Node::Global(Arc::new(global)))
            }
            _ => self.fail("the name of a module and of what is in it", "something else"),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
