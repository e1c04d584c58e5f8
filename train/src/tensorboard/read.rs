//! Event files, read again: how far they belong to a checkpoint.

use std::fs::File;
use std::io::{BufReader, Read, Result};
use std::ops::Range;

use super::{LOSS, START, TEST, masked_checksum};
use crate::RunStart;
use crate::side::{Evidence, Owner, keep};

/// An event of ours is shorter than this.
const MAX_EVENT_BYTES: u64 = 1 << 20;

/// What an event file holds.
#[derive(Default)]
pub(super) struct Found {
    /// Whether it has no event but its version.
    pub(super) is_empty: bool,
    pub(super) owner: Option<Owner>,
    pub(super) evidence: Evidence,
    /// The bytes of the events that belong to the checkpoint.
    pub(super) kept: Vec<Range<u64>>,
    /// Scalars among them.
    pub(super) kept_scalars: u64,
}

/// Reads a file up to its end or its first damaged record: what a killed process has left.
pub(super) fn read(file: File, start: &RunStart<'_>) -> Result<Found> {
    let mut reader = BufReader::new(file);
    let mut found = Found { is_empty: true, ..Found::default() };
    let mut at = 0;
    while let Some(message) = record(&mut reader)? {
        let range = at..at + message.len() as u64 + 16;
        at = range.end;
        let Some(event) = Event::parse(&message) else { break };
        if let Some(owner) = event.owner {
            found.owner.get_or_insert(owner);
        }
        if let Some((tag, value)) = &event.scalar {
            found.is_empty = false;
            if event.step <= start.iterations {
                found.kept_scalars += 1;
                compare(&mut found.evidence, start, event.step, tag, *value);
            }
        }
        // The record that says where the run began stays, wherever that was.
        if event.step <= start.iterations || event.scalar.is_none() {
            keep(&mut found.kept, range);
        }
    }
    Ok(found)
}

fn compare(evidence: &mut Evidence, start: &RunStart<'_>, step: u64, tag: &str, value: f32) {
    let known = match tag {
        LOSS => start.loss_of(step),
        TEST => {
            let epoch = start.history.epochs.iter().find(|epoch| epoch.iterations == step);
            epoch.and_then(|epoch| epoch.test).map(|test| test.miss_rate())
        }
        _ => None,
    };
    if let Some(known) = known {
        evidence.note((known as f32).to_bits() == value.to_bits());
    }
}

/// The next record; `None` at the end, and where it is cut off or damaged.
fn record(reader: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut head = [0; 12];
    if !filled(reader, &mut head)? {
        return Ok(None);
    }
    let (length, check) = head.split_at(8);
    if check != masked_checksum(length).to_le_bytes() {
        return Ok(None);
    }
    let mut eight = [0; 8];
    eight.copy_from_slice(length);
    let length = u64::from_le_bytes(eight);
    if length > MAX_EVENT_BYTES {
        return Ok(None);
    }
    let mut message = vec![0; length as usize];
    let mut check = [0; 4];
    let is_whole = filled(reader, &mut message)? && filled(reader, &mut check)?;
    Ok((is_whole && check == masked_checksum(&message).to_le_bytes()).then_some(message))
}

/// Fills a buffer, or says that the file has ended.
fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The fields of an event that matter here.
#[derive(Default)]
struct Event {
    step: u64,
    scalar: Option<(String, f32)>,
    owner: Option<Owner>,
}

impl Event {
    fn parse(message: &[u8]) -> Option<Event> {
        let mut event = Event::default();
        for field in Fields(message) {
            match field? {
                (2, Value::Number(step)) => event.step = step,
                (5, Value::Bytes(summary)) => event.scalar = scalar(summary),
                (7, Value::Bytes(session)) => event.owner = owner(session),
                _ => {}
            }
        }
        Some(event)
    }
}

/// The first value of a summary: a tag, and a number.
fn scalar(summary: &[u8]) -> Option<(String, f32)> {
    let Some(Some((1, Value::Bytes(value)))) = Fields(summary).next() else { return None };
    let (mut tag, mut number) = (None, None);
    for field in Fields(value) {
        match field? {
            (1, Value::Bytes(text)) => tag = Some(String::from_utf8_lossy(text).into_owned()),
            (2, Value::Float(value)) => number = Some(value),
            _ => {}
        }
    }
    Some((tag?, number?))
}

fn owner(session: &[u8]) -> Option<Owner> {
    let (mut status, mut owner) = (0, Owner { working: String::new(), id: String::new() });
    for field in Fields(session) {
        match field? {
            (1, Value::Number(number)) => status = number,
            (2, Value::Bytes(text)) => owner.working = String::from_utf8_lossy(text).into_owned(),
            (3, Value::Bytes(text)) => owner.id = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    (status == START).then_some(owner)
}

/// The value of a protocol buffer's field.
enum Value<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// Eight bytes: none is asked for.
    Eight,
}

/// The fields of a protocol buffer: number and value; `None` where it is damaged, then the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.bytes(8).map(|_| Value::Eight)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(self.bytes(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
