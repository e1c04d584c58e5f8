//! What `striate classify` printed, read back: ccv's lines or JSON lines.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use striate::image::text::{Text, json_fault};

use crate::error::{Error, Result};
use crate::text;

/// How far a confidence may be above 1: sums of probabilities are rounded.
const ROUNDING: f32 = 1e-3;

/// The ranks of a picture, or why there are none.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// The line that it stands on, from 1.
    pub(crate) line: usize,
    /// The picture, where the form names it.
    pub(crate) image: Option<String>,
    /// Its classes, the likeliest first; or what stands in their place.
    pub(crate) classes: Result<Vec<Class>, NoRanks>,
}

/// Why a picture has no ranks.
#[derive(Debug, PartialEq)]
pub(crate) enum NoRanks {
    /// The error that stands there.
    Reported(String),
    /// There are classes, but this confidence of theirs is no probability.
    NotConfidences(f32),
    /// There is no class at all.
    NoClasses,
}

impl fmt::Display for NoRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRanks::Reported(error) if error.is_empty() => {
                f.write_str("an error without a reason")
            }
            NoRanks::Reported(error) => f.write_str(error),
            NoRanks::NoClasses => f.write_str("no classes"),
            NoRanks::NotConfidences(value) => write!(
                f,
                "a confidence of {value}, expected numbers from 0 to 1; a network whose numbers \
                 overflow gives such"
            ),
        }
    }
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

/// Reads a file of results; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    let text = text::read(path, "the results")?;
    parse(&text).map_err(|message| Error::message(format!("{}: {message}", text.path().display())))
}

/// The entries of a text of results; the message of an error names the line.
fn parse(text: &Text) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, line) in text.entries() {
        // After each picture ccv says how long it took, unless it works through a list.
        if line.starts_with("elapsed time") {
            continue;
        }
        let mut entry =
            parse_line(number, line).map_err(|what| format!("line {number}: {what}"))?;
        entry.classes = entry.classes.and_then(ranks);
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err("no results".into());
    }
    Ok(entries)
}

/// The classes, if all their confidences are probabilities. Where they are not, no class comes first,
/// so none can be right.
fn ranks(classes: Vec<Class>) -> Result<Vec<Class>, NoRanks> {
    let is_one = |value: f32| (0.0..=1.0 + ROUNDING).contains(&value);
    match classes.iter().find(|class| !is_one(class.confidence)) {
        Some(class) => Err(NoRanks::NotConfidences(class.confidence)),
        None if classes.is_empty() => Err(NoRanks::NoClasses),
        None => Ok(classes),
    }
}

fn parse_line(number: usize, line: &str) -> Result<Entry, String> {
    if line.starts_with('{') {
        let parsed: JsonLine = serde_json::from_str(line).map_err(|e| json_fault(&e))?;
        let classes = match (parsed.classes, parsed.error) {
            (Some(classes), None) => Ok(classes),
            (_, Some(error)) => Err(NoRanks::Reported(error)),
            (None, None) => return Err("neither \"classes\" nor \"error\"".into()),
        };
        return Ok(Entry { line: number, image: parsed.image, classes });
    }
    if let Some(error) = line.strip_prefix("error:") {
        return Ok(Entry {
            line: number,
            image: None,
            classes: Err(NoRanks::Reported(error.trim().into())),
        });
    }
    let classes = pairs(line)?;
    Ok(Entry { line: number, image: None, classes: Ok(classes) })
}

/// ccv's line: `id confidence id confidence …`, ids from 1.
fn pairs(line: &str) -> Result<Vec<Class>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
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

    fn parse(text: &str) -> Result<Vec<Entry>, String> {
        super::parse(&Text::read(text.as_bytes(), Path::new("r.txt"), 1 << 20).unwrap())
    }

    #[test]
    fn both_forms() {
        let text = "\
588 0.012706 348 0.012448
elapsed time 7ms
error: b.png is not an image

{\"image\": \"c.png\", \"classes\": [{\"id\": 3, \"label\": \"dog\", \"confidence\": 0.5}]}
{\"image\": \"d.png\", \"error\": \"gone\"}

";
        for text in [text.to_owned(), format!("\u{feff}{}", text.replace('\n', "\r\n"))] {
            let entries = parse(&text).unwrap();
            assert_eq!(entries.len(), 4);
            let first = entries[0].classes.as_ref().unwrap();
            assert_eq!(first, &[class(587, 0.012706), class(347, 0.012448)]);
            assert_eq!((entries[1].line, &entries[1].image), (3, &None));
            assert_eq!(entries[1].classes, Err(NoRanks::Reported("b.png is not an image".into())));
            let dog = &entries[2].classes.as_ref().unwrap()[0];
            assert_eq!((entries[2].line, dog.id, dog.label.as_deref()), (5, 3, Some("dog")));
            assert_eq!(entries[3].image.as_deref(), Some("d.png"));
        }
    }

    #[test]
    fn what_is_no_confidence_is_no_rank() {
        let json = |confidence: &str| {
            format!(
                "{{\"classes\": [{{\"id\": 0, \"label\": null, \"confidence\": {confidence}}}]}}"
            )
        };
        let bad =
            ["1 nan 2 nan", "1 NaN", "1 inf 2 0", "1 -0.5", "1 1.5", "1 0.5 2 -nan", "1 1e30"];
        for text in bad.map(str::to_owned).into_iter().chain(["null", "-1", "7"].map(json)) {
            let entry = parse(&text).unwrap().remove(0);
            let Err(NoRanks::NotConfidences(_)) = entry.classes else {
                panic!("{text}: {entry:?}")
            };
        }
        for good in ["1 1.000001", "1 0 2 1", "1 1e-30", &json("1"), &json("0.25")] {
            assert!(parse(good).unwrap()[0].classes.is_ok(), "{good}");
        }
    }

    #[test]
    fn no_classes_are_no_ranks() {
        let entry = parse("{\"image\": \"a.png\", \"classes\": []}").unwrap().remove(0);
        assert_eq!(entry.classes, Err(NoRanks::NoClasses));
        let entry = parse("error:").unwrap().remove(0);
        assert_eq!(entry.classes.unwrap_err().to_string(), "an error without a reason");
    }

    #[test]
    fn what_is_no_result_is_named_with_its_line() {
        for (text, expected) in [
            ("", "no results"),
            ("\n\n", "no results"),
            ("1 0.5\n2\n", "line 2: expected a confidence"),
            ("0 0.5", "line 1: expected class ids from 1"),
            ("1 x", "line 1: expected a confidence, a number, got `x`"),
            ("1 0.5\n\n1", "line 3: expected a confidence"),
            ("{\"image\": 3}", "line 1: invalid type"),
            ("{}", "line 1: neither"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("at line 1 column"), "{error}");
        }
    }
}
