//! The notes of ours in a checkpoint or a model: what ccv's tables have no place for, as texts by
//! name.

use std::collections::BTreeMap;

use rusqlite::types::{Value, ValueRef};
use striate_nn::{Metadata, Network, NetworkSpec};

use super::database::{Database, describe, explain};
use super::layers::stored_part;
use super::schema::NOTES;
use super::write::Writer;
use crate::limits::{check_layers, check_spec_text};
use crate::{Error, Result};

/// The version of what is ours in the file: the notes and the exact weights.
pub(super) const FORMAT: &str = "format";
/// The version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;
/// The network's specification, in JSON.
pub(super) const SPEC: &str = "spec";
/// Labels, protocol and notes of the model, in JSON.
pub(super) const METADATA: &str = "metadata";

/// The names that are not free for others.
pub(super) const RESERVED: [&str; 3] = [FORMAT, SPEC, METADATA];

/// More notes than any real file has.
pub(super) const MAX_NOTES: usize = 10_000;

/// The notes of a file, those with a meaning here already understood.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) spec: Option<NetworkSpec>,
    pub(super) metadata: Metadata,
    pub(super) others: BTreeMap<String, String>,
}

/// The metadata of a file that has none: ccv's own, which it classifies with by this protocol.
pub(super) fn ccv_metadata() -> Metadata {
    Metadata { protocol: Some("ccv-cpu".into()), ..Metadata::default() }
}

/// Whether the metadata of a network are those of a file that has none.
fn is_plain(network: &Network) -> bool {
    let metadata = network.metadata();
    *metadata == Metadata::default()
        || (*metadata == ccv_metadata() && network.spec().scan().is_some())
}

/// Whether a network is more than ccv's tables say, so that a model of it needs notes. Its name does
/// not count: a file without notes has its own.
pub(super) fn needs_notes(network: &Network) -> bool {
    let spec = NetworkSpec { name: String::new(), ..network.spec().clone() };
    !is_plain(network) || spec != stored_part(&spec)
}

/// Writes the table of notes: the specification, the metadata, and others by name.
pub(super) fn write_notes(
    writer: &Writer<'_>,
    network: &Network,
    others: &BTreeMap<String, String>,
) -> Result<()> {
    let file = writer.file;
    writer.create(&NOTES)?;
    let note = |key: &str, value: String| {
        writer.insert(&NOTES, vec![Value::Text(key.into()), Value::Text(value)])
    };
    let failed = |key: &str, e| Error::parse(file, place(key), "what JSON can hold", e);
    note(FORMAT, VERSION.to_string())?;
    let spec = serde_json::to_string(network.spec()).map_err(|e| failed(SPEC, e))?;
    // JSON has no numbers for what is not finite: what would not come back is not written.
    match NetworkSpec::from_json(&spec) {
        Ok(back) if back == *network.spec() => note(SPEC, spec)?,
        Ok(_) => {
            let expected = "a specification that JSON can hold";
            let got = "one that it changes, such as a number that is not finite";
            return Err(Error::content(file, place(SPEC), expected, got));
        }
        Err(e) => {
            let expected = "a specification that JSON can hold";
            return Err(Error::parse(file, place(SPEC), expected, e));
        }
    }
    if !is_plain(network) {
        let text = serde_json::to_string(network.metadata());
        note(METADATA, text.map_err(|e| failed(METADATA, e))?)?;
    }
    for (key, value) in others {
        note(key, value.clone())?;
    }
    Ok(())
}

/// The notes of a file; none where there is no table of them.
pub(super) fn read_notes(database: &Database) -> Result<Notes> {
    if !database.has(&NOTES)? {
        return Ok(Notes::default());
    }
    database.check_table(&NOTES)?;
    let mut texts = read_texts(database)?;
    let fail = |key: &str, expected: &str, got: String| {
        Err(Error::content(&database.file, place(key), expected, got))
    };
    match texts.remove(FORMAT).as_deref().map(str::parse::<u32>) {
        Some(Ok(1..=VERSION)) => {}
        Some(Ok(other)) => {
            let expected = format!("version {VERSION} (update Striate to read newer)");
            return fail(FORMAT, &expected, other.to_string());
        }
        Some(Err(_)) => return fail(FORMAT, "the version of the notes", "no number".into()),
        None => return fail(FORMAT, "the version of the notes", "none".into()),
    }
    let file = &database.file;
    let spec = match texts.remove(SPEC) {
        None => None,
        Some(text) => {
            check_spec_text(file, &place(SPEC), &text)?;
            let expected = "the network's specification in JSON";
            let spec = NetworkSpec::from_json(&text)
                .map_err(|e| Error::parse(file, place(SPEC), expected, e))?;
            check_layers(file, &place(SPEC), spec.nodes.len())?;
            Some(spec)
        }
    };
    let metadata = match texts.remove(METADATA) {
        None => Metadata::default(),
        Some(text) => serde_json::from_str(&text).map_err(|e| {
            Error::parse(file, place(METADATA), "labels, protocol and notes in JSON", e)
        })?,
    };
    Ok(Notes { spec, metadata, others: texts })
}

fn read_texts(database: &Database) -> Result<BTreeMap<String, String>> {
    let file = &database.file;
    let sql = format!("SELECT key, value FROM {} LIMIT {}", NOTES.name, MAX_NOTES + 1);
    let rows = database.query(NOTES.name, &sql, [], |row| {
        let text = |place: &str, column: usize| {
            let value = row.get_ref(column).map_err(|e| explain(file, place, e))?;
            match value {
                ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec())
                    .map_err(|e| Error::parse(file, place, "a text in UTF-8", e)),
                other => Err(Error::content(file, place, "a text", describe(other))),
            }
        };
        let key = text(&format!("{}, column key", NOTES.name), 0)?;
        let value = text(&place(&key), 1)?;
        Ok((key, value))
    })?;
    if rows.len() > MAX_NOTES {
        let expected = format!("at most {MAX_NOTES} notes");
        return Err(Error::content(file, NOTES.name, expected, "more"));
    }
    let mut texts = BTreeMap::new();
    for (key, text) in rows {
        if texts.contains_key(&key) {
            return Err(Error::content(file, place(&key), "one value", "another one"));
        }
        texts.insert(key, text);
    }
    Ok(texts)
}

/// A note's value, as messages name it.
pub(super) fn place(key: &str) -> String {
    format!("{}, key {key:?}, column value", NOTES.name)
}
