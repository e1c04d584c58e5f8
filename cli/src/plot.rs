//! `striate plot`.

mod chart;
mod curves;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use striate::image::output as files;
use striate::train::{EpochReport, EvaluationReport, history_of};

use crate::args::Format;
use crate::error::{Error, Result};
use crate::inputs;
use crate::labels;
use crate::output::{self, Output, grouped};
use crate::outputs::{Destination, Files, has_extension};
use curves::Curves;

/// Options of `striate plot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Above: the loss of the training mini-batches, as it is (faint) and smoothed, and that of the test
samples. Below: the error rate on the training samples while the weights moved, and on the test
samples after each epoch (top-1, and top-5 where five classes count). A training that still
runs can be plotted as well.

Without --output the epochs are printed as a table. With --format json one line a file is printed,
with all points of its curves.

Examples:
  striate plot mnist.sqlite3 -o curve.svg
  striate plot run-1.sqlite3 run-2.sqlite3 -o compare.png
  striate plot mnist.sqlite3
  striate plot mnist.sqlite3 -o - --type png | display
  striate plot mnist.sqlite3 --format json > curve.jsonl")]
pub(crate) struct PlotArgs {
    /// The working files of trainings, `-` is standard input; several are drawn into one plot.
    #[arg(required = true)]
    trainings: Vec<PathBuf>,
    /// The picture to write: .svg or .png; `-` is standard output.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The form of the picture [default: what OUT ends in; svg where that is `-` or a pipe].
    #[arg(long = "type", value_enum, value_name = "TYPE", requires = "output")]
    picture: Option<Picture>,
    /// Points that the smoothed loss looks back on [default: a fiftieth of all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    smooth: Option<u16>,
    /// What stands above the plot [default: the file and its best error rate].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// The form of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Picture {
    /// Lines and text, which stay sharp.
    Svg,
    /// Pixels.
    Png,
}

/// A training, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    picture: Option<String>,
    /// Mini-batches a point.
    stride: u64,
    points: Vec<PointReport>,
    epochs: &'a [EpochReport],
}

/// A point of the loss curve.
#[derive(Serialize)]
struct PointReport {
    iteration: u64,
    /// The same in epochs, where one has ended.
    epoch: Option<f64>,
    loss: f64,
    smoothed: Option<f64>,
    miss_rate: f64,
}

/// Reads, draws, and prints.
pub(crate) fn run(args: &PlotArgs, output: &mut Output) -> Result<()> {
    let mut all = Files::default();
    all.reads_all("training", &args.trainings);
    all.writes("--output", args.output.as_deref());
    all.check()?;
    let to = args.output.as_deref().map(|path| picture(path, args.picture)).transpose()?;
    if let Some((to, _)) = &to {
        to.check_report(output)?;
    }
    let trainings =
        args.trainings.iter().map(|path| read(path, args)).collect::<Result<Vec<_>>>()?;
    if let Some((to, form)) = &to {
        let title = args.title.clone().unwrap_or_else(|| title(&trainings));
        // Controls are no part of SVG.
        let title = output::printable(&title);
        let names = trainings.iter().map(|curves| curves.name.as_str());
        labels::warn_of_boxes(names.chain([&*title]));
        let chart = chart::Chart { title: &title, trainings: &trainings };
        match form {
            Picture::Svg => to.write(chart.svg()?.as_bytes())?,
            Picture::Png => to.write(&files::png(&chart.picture()?)?)?,
        }
        if to.is_stdout() {
            return Ok(());
        }
    }
    let picture = args.output.as_ref().map(|path| path.display().to_string());
    if output.format() == Format::Json {
        for (path, curves) in args.trainings.iter().zip(&trainings) {
            output.json(&report(path, curves, picture.clone()))?;
        }
        return Ok(());
    }
    match picture {
        Some(file) => output.done(&format!("wrote {file}: {}", title(&trainings))),
        None => print_epochs(&trainings, output),
    }
}

/// Where the picture goes, and its form: as asked for, else as the name of the file says.
fn picture(path: &Path, asked: Option<Picture>) -> Result<(Destination, Picture)> {
    let form = match asked {
        Some(form) => form,
        None if has_extension(path, "svg") => Picture::Svg,
        None if has_extension(path, "png") => Picture::Png,
        None if matches!(Destination::of(path)?, Destination::File(_)) => {
            return Err(Error::Usage(format!("'{}' must end in .svg or .png", path.display())));
        }
        None => Picture::Svg,
    };
    Ok((Destination::of_whole(path, "a PNG picture", form == Picture::Png)?, form))
}

fn read(path: &Path, args: &PlotArgs) -> Result<Curves> {
    let file = inputs::shown(path);
    let history = history_of(&inputs::model(path)?)?.ok_or_else(|| {
        Error::message(format!("{file} holds no training: expected the working file of one"))
    })?;
    if history.points.is_empty() && history.epochs.is_empty() {
        return Err(Error::message(format!("{file}: the training has not got to a point yet")));
    }
    let same_name = args.trainings.iter().filter(|other| other.file_name() == path.file_name());
    let name = match path.file_name() {
        Some(name) if same_name.count() == 1 => name.to_string_lossy().into_owned(),
        _ => file.to_string(),
    };
    Ok(Curves::new(name, history, args.smooth.map(usize::from)))
}

/// What stands above the plot where nothing is asked for.
fn title(trainings: &[Curves]) -> String {
    let [curves] = trainings else { return format!("{} trainings", trainings.len()) };
    let epochs = match &curves.history.epochs[..] {
        [] => "in its first epoch".to_owned(),
        [_] => "1 epoch".to_owned(),
        epochs => format!("{} epochs", epochs.len()),
    };
    let best = curves.history.epochs.iter().filter_map(|epoch| {
        let rate = epoch.test?.miss_rate();
        // As the axis counts them.
        Some((epoch.epoch + 1, rate))
    });
    match best.min_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((after, rate)) => {
            format!("{}: {epochs}, best error rate {} after {after}", curves.name, percent(rate))
        }
        None => format!("{}: {epochs}", curves.name),
    }
}

fn report<'a>(path: &Path, curves: &'a Curves, picture: Option<String>) -> Report<'a> {
    let points =
        curves.history.points.iter().zip(&curves.smoothed).map(|(point, smoothed)| PointReport {
            iteration: point.iteration,
            epoch: curves.epochs_at(point.iteration),
            loss: point.loss,
            smoothed: *smoothed,
            miss_rate: point.miss_rate,
        });
    Report {
        file: path.display().to_string(),
        picture,
        stride: curves.history.stride,
        points: points.collect(),
        epochs: &curves.history.epochs,
    }
}

fn print_epochs(trainings: &[Curves], output: &mut Output) -> Result<()> {
    let heads =
        ["training", "epoch", "iterations", "loss", "error rate", "test loss", "top-1", "top-5"];
    let mut table = output::table(&heads, &[1, 2, 3, 4, 5, 6, 7]);
    for curves in trainings {
        if curves.history.epochs.is_empty() {
            let name = &curves.name;
            output.note(&format!("{name} is in its first epoch; draw its curve with --output"));
        }
        for epoch in &curves.history.epochs {
            let test = |number: fn(&EvaluationReport) -> String| {
                epoch.test.as_ref().map_or_else(|| "–".to_owned(), number)
            };
            table.add_row([
                curves.name.clone(),
                epoch.epoch.to_string(),
                grouped(epoch.iterations),
                format!("{:.4}", epoch.loss),
                percent(epoch.miss_rate),
                test(|test| format!("{:.4}", test.loss)),
                test(|test| percent(test.miss_rate())),
                test(|test| percent(test.miss_rate_top5())),
            ]);
        }
    }
    output.table(&table)
}

fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}
