//! What `striate classify` printed, read back: ccv's lines or JSON lines.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The ranks of a picture, or why there are none.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// The line that it stands on, from 1.
    pub(crate) line: usize,
    /// The picture, where the form names it.
    pub(crate) image: Option<String>,
    /// Its classes, the likeliest first; or the error in its place.
    pub(crate) classes: Result<Vec<Class>, String>,
}

/// A class with its confidence.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Class {
    /// From 0, whatever the form counts from.
    pub(crate) id: usize,
    /// The name, where the form has names.
    pub(crate) label: Option<String>,
    /// The confidence; a JSON line has `null` for what is no number.
    #[serde(deserialize_with = "number_or_null")]
    pub(crate) confidence: f32,
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(f32::NAN))
}

/// What a JSON line holds.
#[derive(Deserialize)]
struct JsonLine {
    image: Option<String>,
    classes: Option<Vec<Class>>,
    error: Option<String>,
}

/// Reads a file of results; `-` is stdin.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = path.display();
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(path).map(|all| bytes = all)
    };
    read.map_err(|e| Error::because(format!("cannot read the results in {file}"), e))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::message(format!("{file}: not text in UTF-8, so no results")))?;
    parse(&text).map_err(|message| Error::message(format!("{file}: {message}")))
}

/// The entries of a text of results; the message of an error names the line.
fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        // After each picture ccv says how long it took, unless it works through a list.
        if line.starts_with("elapsed time") {
            continue;
        }
        entries.push(parse_line(number, line).map_err(|what| format!("line {number}: {what}"))?);
    }
    if entries.is_empty() {
        return Err("no results".into());
    }
    Ok(entries)
}

fn parse_line(number: usize, line: &str) -> Result<Entry, String> {
    if line.starts_with('{') {
        let parsed: JsonLine = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let classes = match (parsed.classes, parsed.error) {
            (Some(classes), None) => Ok(classes),
            (_, Some(error)) => Err(error),
            (None, None) => return Err("neither \"classes\" nor \"error\"".into()),
        };
        return Ok(Entry { line: number, image: parsed.image, classes });
    }
    if let Some(error) = line.strip_prefix("error:") {
        return Ok(Entry { line: number, image: None, classes: Err(error.trim().into()) });
    }
    let classes = pairs(line)?;
    Ok(Entry { line: number, image: None, classes: Ok(classes) })
}

/// ccv's line: `id confidence id confidence …`, ids from 1.
fn pairs(line: &str) -> Result<Vec<Class>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.is_empty() {
        return Err("expected `id confidence id confidence …`, got an empty line".into());
    }
    let (pairs, rest) = words.as_chunks::<2>();
    if let [last] = rest {
        return Err(format!("expected a confidence after the class id `{last}`"));
    }
    pairs
        .iter()
        .map(|[text, confidence]| {
            let id = text.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
            let id = id.ok_or_else(|| format!("expected class ids from 1, got `{text}`"));
            let confidence = confidence
                .parse()
                .map_err(|_| format!("expected a confidence, a number, got `{confidence}`"));
            Ok(Class { id: id?, label: None, confidence: confidence? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(id: usize, confidence: f32) -> Class {
        Class { id, label: None, confidence }
    }

    #[test]
    fn both_forms() {
        let text = "\
588 0.012706 348 0.012448
elapsed time 7ms
error: b.png is not an image
{\"image\": \"c.png\", \"classes\": [{\"id\": 3, \"label\": \"dog\", \"confidence\": 0.5}]}
{\"image\": \"d.png\", \"error\": \"gone\"}
{\"image\": \"e.png\", \"classes\": [{\"id\": 3, \"label\": null, \"confidence\": null}]}

";
        let entries = parse(text).unwrap();
        assert_eq!(entries.len(), 5);
        let first = entries[0].classes.as_ref().unwrap();
        assert_eq!(first, &[class(587, 0.012706), class(347, 0.012448)]);
        assert_eq!((entries[1].line, &entries[1].image), (3, &None));
        assert_eq!(entries[1].classes, Err("b.png is not an image".into()));
        let dog = &entries[2].classes.as_ref().unwrap()[0];
        assert_eq!((dog.id, dog.label.as_deref()), (3, Some("dog")));
        assert_eq!(entries[3].image.as_deref(), Some("d.png"));
        assert!(entries[4].classes.as_ref().unwrap()[0].confidence.is_nan());
    }

    #[test]
    fn what_is_no_result_is_named_with_its_line() {
        for (text, expected) in [
            ("", "no results"),
            ("1 0.5\n2\n", "line 2: expected a confidence"),
            ("0 0.5", "line 1: expected class ids from 1"),
            ("1 x", "line 1: expected a confidence, a number, got `x`"),
            ("1 0.5\n\n1 0.5", "line 2: expected `id confidence"),
            ("{\"image\": 3}", "line 1: invalid type"),
            ("{}", "line 1: neither"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
