//! `striate draw`, and what it shares with `striate classify --draw`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use striate::image::render::{RankOptions, draw_ranks};
use striate::image::{Image, Limits, output as files};
use striate::models::imagenet;

use crate::args::{Format, positive};
use crate::error::{Error, Result};
use crate::inputs;
use crate::labels::{self, Labels};
use crate::output::Output;
use crate::outputs::{Destination, Files, has_extension, is_stdout};
use crate::results::{self, Class, Entry};

/// Options of `striate draw`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  striate classify --model vgg-d.sqlite3 --format json photo.jpg > ranks.jsonl
  striate draw photo.jpg ranks.jsonl --output ranks.png
  striate classify --model vgg-d.sqlite3 --format ccv photo.jpg | \\
      striate draw photo.jpg - --labels imagenet --output ranks.png
  striate draw photo.jpg ranks.jsonl --output - | display")]
pub(crate) struct DrawArgs {
    /// The picture; `-` is standard input.
    image: PathBuf,
    /// What `striate classify` printed with `--format json` or `--format ccv`; `-` is standard
    /// input.
    results: PathBuf,
    /// The PNG file to write; `-` is standard output.
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Names of the classes: a file with one a line, `imagenet` (ccv's order) or
    /// `imagenet-sorted` (torchvision's) [default: those in the results].
    #[arg(long, value_name = "LABELS")]
    labels: Option<Labels>,
    /// The line of the results to paint, from 1 [default: the one that names the picture, or the
    /// only one].
    #[arg(long, value_name = "N", value_parser = positive::<usize>())]
    line: Option<usize>,
    /// How many ranks to paint.
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Refuse pictures of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
}

/// What was written, as one line of JSON.
#[derive(Serialize)]
struct Report {
    file: String,
    rows: usize,
    cols: usize,
}

/// Paints, and tells what was written.
pub(crate) fn run(args: &DrawArgs, output: &mut Output) -> Result<()> {
    check_name(&args.output).map_err(Error::Usage)?;
    let mut all = Files::default();
    all.reads("picture", &*args.image);
    all.reads("results", &*args.results);
    if let Some(Labels::File(path)) = &args.labels {
        all.reads("labels", &**path);
    }
    all.writes("--output", &*args.output);
    all.check()?;
    let to = Destination::of_whole(&args.output, "a PNG picture", true)?;
    to.check_report(output)?;
    let labels = args.labels.as_ref().map(Labels::read).transpose()?;
    let entries = results::read(&args.results)?;
    let entry = choose(args, &entries)?;
    let classes = entry.classes.as_ref().map_err(|error| {
        Error::message(format!("{}: line {}: {error}", inputs::shown(&args.results), entry.line))
    })?;
    if let (Some(given), Some(names)) = (&args.labels, &labels)
        && let Some(class) = classes.iter().find(|class| class.id >= names.len())
    {
        let (expected, labels) = (class.id + 1, names.len());
        return Err(given.error(Error::message(format!(
            "expected a label for class {}, at least {expected} labels, got {labels}",
            class.id
        ))));
    }
    let ranks: Vec<(String, f32)> = classes
        .iter()
        .take(usize::from(args.top))
        .map(|class| (label(class, labels.as_deref(), classes.len()), class.confidence))
        .collect();

    let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };
    let picture = inputs::picture(&args.image, &limits)?;
    let painted = paint(&picture, &ranks, &to)?;
    if to.is_stdout() {
        return Ok(());
    }
    let file = args.output.display().to_string();
    if output.format() == Format::Json {
        return output.json(&Report { file, rows: painted.rows(), cols: painted.cols() });
    }
    output.done(&format!("wrote {file}: {} x {} pixels", painted.cols(), painted.rows()))
}

/// Paints ranks over a picture and writes it as PNG.
pub(crate) fn paint(picture: &Image, ranks: &[(String, f32)], to: &Destination) -> Result<Image> {
    labels::warn_of_boxes(ranks.iter().map(|(label, _)| label.as_str()));
    let options = RankOptions { max_bars: ranks.len(), ..RankOptions::default() };
    let painted = draw_ranks(picture, ranks, &options)?;
    to.write(&files::png(&painted)?)?;
    Ok(painted)
}

/// What to write in place of a class without a name.
pub(crate) fn nameless(id: usize) -> String {
    format!("class {id}")
}

/// Refuses the name of a picture that would lie about what is in it.
pub(crate) fn check_name(path: &Path) -> std::result::Result<(), String> {
    let is_png = path.extension().is_none() || has_extension(path, "png");
    if is_png || is_stdout(path) || path.is_dir() {
        return Ok(());
    }
    Err(format!("'{}' is to be a PNG file; let its name end in .png", path.display()))
}

/// The entry of the line asked for; else of the picture; else the only one.
fn choose<'a>(args: &DrawArgs, entries: &'a [Entry]) -> Result<&'a Entry> {
    let file = inputs::shown(&args.results);
    if let Some(line) = args.line {
        return entries
            .iter()
            .find(|entry| entry.line == line)
            .ok_or_else(|| Error::message(format!("{file}: line {line} holds no result")));
    }
    let name = args.image.to_string_lossy();
    let names_it = |entry: &&Entry| entry.image.as_deref() == Some(&*name);
    match entries {
        [only] => Ok(only),
        _ => entries.iter().find(names_it).ok_or_else(|| {
            Error::message(format!(
                "{file}: none of the {} results names the picture {name}; choose one with --line N",
                entries.len()
            ))
        }),
    }
}

/// The name of a class: from the labels given, the results, or ImageNet where there are as many
/// ranks as it has classes.
fn label(class: &Class, labels: Option<&[String]>, ranks: usize) -> String {
    let given = labels.and_then(|labels| labels.get(class.id).cloned());
    let imagenet = || {
        let classes = imagenet::classes();
        (ranks == classes.len()).then(|| classes.get(class.id)).flatten()
    };
    given
        .or_else(|| class.label.clone())
        .or_else(|| imagenet().map(|class| class.label().to_owned()))
        .unwrap_or_else(|| nameless(class.id))
}
