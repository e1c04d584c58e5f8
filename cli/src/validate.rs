//! `striate validate`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use striate::image::text::Text;

use crate::args::Format;
use crate::error::{Error, Result};
use crate::inputs::shown;
use crate::output::{self, Output};
use crate::results::{self, Class, Entry, NoRanks};
use crate::text;

/// The ranks that the more lenient of both rates looks at.
const LENIENT_RANKS: usize = 5;

/// Options of `striate validate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The results are what `striate classify --format ccv` prints (or ccv's own classifier, or
`--format json`), a line for each line of the truth, in the same order; empty lines do not count.
A picture without ranks counts as wrong: one that could not be read, or whose confidences are not
numbers from 0 to 1, as when a network overflows.

Examples:
  striate classify --model vgg-d.sqlite3 --list photos.txt --format ccv > results.txt
  striate validate --truth truth.txt results.txt")]
pub(crate) struct ValidateArgs {
    /// The right classes, ids from 1, one a line; what follows an id on its line is not looked at,
    /// so ccv's lists of `id file` will do.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// The results; `-` is standard input.
    results: PathBuf,
}

/// How many pictures were classified wrong. Scripts depend on the names.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Score {
    images: usize,
    top1_misses: usize,
    top5_misses: usize,
    top1_miss_rate: f64,
    top5_miss_rate: f64,
    /// Pictures without ranks, counted as wrong.
    unreadable: usize,
}

/// Prints both rates.
pub(crate) fn run(args: &ValidateArgs, output: &mut Output) -> Result<()> {
    let truth = read_truth(&args.truth)?;
    let results = results::read(&args.results)?;
    check_lengths(args, &truth, &results)?;
    let score = score(&truth, &results);
    warn_of_no_ranks(args, &results, output);
    if results.iter().any(too_few_ranks) {
        output.warning(&format!(
            "{} holds fewer than {LENIENT_RANKS} ranks of some pictures, which makes the top-5 \
             rate look worse; classify with `--top {LENIENT_RANKS}` or more",
            shown(&args.results)
        ));
    }

    if output.format() == Format::Json {
        return output.json(&score);
    }
    let mut table = output::table(&["", "error rate", "wrong", "images"], &[1, 2, 3]);
    for (name, rate, misses) in [
        ("top-1", score.top1_miss_rate, score.top1_misses),
        ("top-5", score.top5_miss_rate, score.top5_misses),
    ] {
        let rate = format!("{:.2} %", rate * 100.0);
        table.add_row([name.into(), rate, misses.to_string(), score.images.to_string()]);
    }
    output.table(&table)?;
    if score.unreadable > 0 {
        output.line(&format!("{} without ranks, counted as wrong", score.unreadable))?;
    }
    Ok(())
}

/// Says which pictures have ranks that are none, and why: their model is at fault, not they.
fn warn_of_no_ranks(args: &ValidateArgs, results: &[Entry], output: &Output) {
    let is_bad = |no_ranks: &NoRanks| !matches!(no_ranks, NoRanks::Reported(_));
    let bad = |entry: &&Entry| entry.classes.as_ref().is_err_and(is_bad);
    let count = results.iter().filter(bad).count();
    let Some(first) = results.iter().find(bad) else { return };
    if let Err(reason) = &first.classes {
        let (file, line) = (shown(&args.results), first.line);
        output.warning(&format!(
            "{file}: {count} of {} results are no ranks and count as wrong; the first is line \
             {line}: {reason}",
            results.len()
        ));
    }
}

fn score(truth: &[usize], results: &[Entry]) -> Score {
    let mut score = Score { images: truth.len(), ..Score::default() };
    for (&id, entry) in truth.iter().zip(results) {
        let ranks = entry.classes.as_deref().unwrap_or_default();
        let is_right = |class: &Class| class.id == id;
        score.unreadable += usize::from(entry.classes.is_err());
        score.top1_misses += usize::from(!ranks.first().is_some_and(is_right));
        score.top5_misses += usize::from(!ranks.iter().take(LENIENT_RANKS).any(is_right));
    }
    let rate = |misses: usize| misses as f64 / truth.len().max(1) as f64;
    score.top1_miss_rate = rate(score.top1_misses);
    score.top5_miss_rate = rate(score.top5_misses);
    score
}

/// Whether ranks are missing that the picture had: a network of few classes has few ranks, but
/// their confidences add up to 1.
fn too_few_ranks(entry: &Entry) -> bool {
    let Ok(ranks) = &entry.classes else { return false };
    let sum: f32 = ranks.iter().map(|class| class.confidence).sum();
    ranks.len() < LENIENT_RANKS && sum < 0.999
}

fn check_lengths(args: &ValidateArgs, truth: &[usize], results: &[Entry]) -> Result<()> {
    let (truth_file, results_file) = (shown(&args.truth), shown(&args.results));
    if let Some(entry) = results.get(truth.len()) {
        return Err(Error::message(format!(
            "{results_file}: line {}: expected results of {} images, as {truth_file} has, but \
             here is one more",
            entry.line,
            truth.len()
        )));
    }
    if results.len() < truth.len() {
        return Err(Error::message(format!(
            "{truth_file}: line {}: no result for this image; {results_file} ends after {}",
            results.len() + 1,
            results.len()
        )));
    }
    Ok(())
}

/// The ids, from 0.
fn read_truth(path: &Path) -> Result<Vec<usize>> {
    let text = text::read(path, "the truth")?;
    let truth = parse_truth(&text)?;
    if truth.is_empty() {
        let file = text.path().display();
        return Err(Error::message(format!("{file}: no class ids; they stand one a line")));
    }
    Ok(truth)
}

fn parse_truth(text: &Text) -> Result<Vec<usize>> {
    let id = |(number, line): (usize, &str)| {
        let word = line.split_whitespace().next().unwrap_or_default();
        let id = word.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
        let wrong = || {
            let what = format!("line {number}: expected a class id from 1, got `{word}`");
            Error::message(format!("{}: {what}", text.path().display()))
        };
        id.ok_or_else(wrong)
    };
    text.entries().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ids: &[usize]) -> Entry {
        let class = |&id: &usize| Class { id, label: None, confidence: 0.01 };
        Entry { line: 1, image: None, classes: Ok(ids.iter().map(class).collect()) }
    }

    #[test]
    fn counts_misses_by_rank() {
        let error = Entry { line: 4, image: None, classes: Err(NoRanks::Reported("gone".into())) };
        let results =
            [entry(&[7, 1, 2, 3, 4]), entry(&[1, 2, 3, 4, 7]), entry(&[1, 2, 3, 4, 5, 7]), error];
        let score = score(&[7; 4], &results);
        assert_eq!((score.images, score.unreadable), (4, 1));
        assert_eq!((score.top1_misses, score.top5_misses), (3, 2));
        assert_eq!((score.top1_miss_rate, score.top5_miss_rate), (0.75, 0.5));
        assert!(too_few_ranks(&entry(&[1, 2])) && !too_few_ranks(&entry(&[1, 2, 3, 4, 5])));
    }

    #[test]
    fn truth_is_ids_from_1_with_or_without_files() {
        let parse = |text: &str| {
            let text = Text::read(text.as_bytes(), Path::new("t.txt"), 99).unwrap();
            parse_truth(&text).map_err(|e| e.to_string())
        };
        let forms = ["3\n1 a b.png\r\n12\tc.png\n\n", "\u{feff}3\n\n1 a\r\r12", " 3\n1\n12"];
        for form in forms {
            assert_eq!(parse(form).unwrap(), [2, 0, 11], "{form:?}");
        }
        assert!(parse("1\n0\n").unwrap_err().starts_with("t.txt: line 2: "));
        assert!(parse("1\n\nx").unwrap_err().starts_with("t.txt: line 3: "));
    }
}
