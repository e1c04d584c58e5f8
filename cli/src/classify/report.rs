//! The ranks of an image in the three forms.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use striate::{Ranked, Ranks};

use crate::args::Format;
use crate::draw::nameless;
use crate::error::{Error, Result};
use crate::output::{self, printable};

/// Characters of the longest bar.
const BAR_CHARS: usize = 20;

/// Bars painted over a picture where all classes are printed.
const MAX_PAINTED: usize = 5;

/// How ranks are told.
pub(super) struct Report {
    /// Classes of an image that are told.
    top: usize,
    /// The images come from a list: ccv prints no times then.
    list: bool,
    format: Format,
}

/// What is told of an image: it may have been classified by another process.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Printed {
    /// For stdout or the file, whole lines.
    pub(super) text: String,
    /// For stderr, where there are no ranks.
    pub(super) error: Option<String>,
    /// The picture that was painted.
    pub(super) painted: Option<String>,
    /// What to know of the picture.
    pub(super) hint: Option<String>,
}

/// An image as one line of JSON. Scripts depend on these names.
#[derive(Serialize)]
struct JsonRanks<'a> {
    image: &'a str,
    classes: Vec<JsonClass<'a>>,
    milliseconds: f64,
}

#[derive(Serialize)]
struct JsonClass<'a> {
    id: usize,
    label: Option<&'a str>,
    confidence: f32,
}

#[derive(Serialize)]
struct JsonError<'a> {
    image: &'a str,
    error: &'a str,
}

impl Report {
    /// Tells the first `top` classes.
    pub(super) fn new(top: usize, list: bool, format: Format) -> Self {
        Report { top, list, format }
    }

    /// Classes that a picture gets bars for.
    pub(super) fn painted(&self) -> usize {
        if self.top == usize::MAX { MAX_PAINTED } else { self.top }
    }

    /// Tells the ranks of image `number`.
    pub(super) fn ranks(
        &self,
        number: usize,
        path: &Path,
        ranks: &Ranks,
        elapsed: Duration,
    ) -> Result<Printed> {
        let image = path.to_string_lossy();
        let classes = ranks.top(self.top);
        // Thousandths of a millisecond: what is finer is noise.
        let milliseconds = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        let text = match self.format {
            Format::Table => {
                let empty = if number > 0 { "\n" } else { "" };
                let rows: String = classes.iter().map(|class| row(class) + "\n").collect();
                format!("{empty}{}  ({milliseconds:.1} ms)\n{rows}", printable(&image))
            }
            Format::Json => {
                let class = |class| {
                    let &Ranked { id, ref label, confidence } = class;
                    JsonClass { id, label: label.as_deref(), confidence }
                };
                let classes = classes.iter().map(class).collect();
                json_line(&JsonRanks { image: &image, classes, milliseconds })?
            }
            Format::Ccv if self.list => ccv_line(&classes) + "\n",
            Format::Ccv => {
                format!("{}\nelapsed time {}ms\n", ccv_line(&classes), elapsed.as_millis())
            }
        };
        Ok(Printed { text, error: None, painted: None, hint: None })
    }

    /// Tells why an image has no ranks: on stderr, and on stdout in the form that a program reads.
    pub(super) fn error(&self, path: &Path, error: &str) -> Result<Printed> {
        let image = path.to_string_lossy();
        // As it is: white space is part of a name. The forms escape what they must.
        let names_it = error.contains(&*image);
        let error = if names_it { error.to_owned() } else { format!("{image}: {error}") };
        let text = match self.format {
            Format::Table => String::new(),
            Format::Json => json_line(&JsonError { image: &image, error: &error })?,
            // A line for each image, or whoever compares them with a list goes astray.
            Format::Ccv => format!("error: {}\n", printable(&error)),
        };
        Ok(Printed { text, error: Some(error), painted: None, hint: None })
    }
}

fn json_line(value: &impl Serialize) -> Result<String> {
    let text = output::json(value);
    Ok(text.map_err(|e| Error::because("cannot write JSON", e))? + "\n")
}

/// The name of a class, or its id where it has none.
pub(super) fn name(class: &Ranked) -> String {
    class.label.clone().unwrap_or_else(|| nameless(class.id))
}

/// `  98.76 %  ███████████████████▊  kit fox (0)`
fn row(class: &Ranked) -> String {
    let percent = class.confidence * 100.0;
    let bar = bar(class.confidence);
    let name = match &class.label {
        // A digit's name is its id: once is enough.
        Some(label) if *label == class.id.to_string() => label.clone(),
        Some(label) => format!("{label} ({})", class.id),
        None => nameless(class.id),
    };
    format!("  {percent:6.2} %  {bar:BAR_CHARS$}  {}", printable(&name))
}

/// A bar in eighths of a character.
fn bar(confidence: f32) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let part = if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
    let eighths = (part * (BAR_CHARS * 8) as f32).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// ccv's own line: ids from 1, six decimals.
fn ccv_line(classes: &[Ranked]) -> String {
    let mut line = String::new();
    for class in classes {
        // Writing to a string cannot fail.
        let _ = write!(line, "{} {:.6} ", class.id + 1, class.confidence);
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(id: usize, label: Option<&str>, confidence: f32) -> Ranked {
        Ranked { id, label: label.map(str::to_owned), confidence }
    }

    #[test]
    fn the_line_of_ccv() {
        let classes = [ranked(586, None, 0.012_706_329), ranked(0, Some("kit fox"), 1.0 / 3.0)];
        assert_eq!(ccv_line(&classes), "587 0.012706 1 0.333333");
        assert_eq!(ccv_line(&[]), "");
    }

    #[test]
    fn bars_are_as_long_as_the_confidence() {
        assert_eq!(bar(1.0), "█".repeat(20));
        assert_eq!(bar(0.5), "█".repeat(10));
        assert_eq!(bar(0.05 + 0.025), "█▌");
        assert_eq!((bar(0.0), bar(f32::NAN)), (String::new(), String::new()));
        let row = row(&ranked(7, Some("seven"), 0.5));
        assert_eq!(row, format!("   50.00 %  {}{}  seven (7)", "█".repeat(10), " ".repeat(10)));
    }

    #[test]
    fn a_line_stays_one_whatever_the_names_hold() {
        let label = "cat\n  99.00 %  forged\u{1b}[2J\u{202e}";
        let row = row(&ranked(7, Some(label), 0.5));
        assert!(row.ends_with("cat\\n  99.00 %  forged\\u{1b}[2J\\u{202e} (7)"), "{row}");
        let told = |format, error: &str| {
            let report = Report::new(1, true, format);
            report.error(Path::new("no  such\n.png"), error).unwrap()
        };
        // Two spaces stay two, also where a message is one line.
        let plain = told(Format::Ccv, "cannot read no  such\n.png: gone");
        assert_eq!(plain.text, "error: cannot read no  such\\n.png: gone\n");
        assert_eq!(told(Format::Ccv, "gone").text, "error: no  such\\n.png: gone\n");
        // JSON loses nothing.
        let text = told(Format::Json, "gone\u{9b}").text;
        assert_eq!(text.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["image"], "no  such\n.png");
        assert_eq!(read["error"], "no  such\n.png: gone\u{9b}");
    }
}
