//! The command line: the options that all commands share, and the commands. Each command's own
//! options stand in its file.

use std::num::NonZeroUsize;
use std::ops::RangeBounds;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use striate::image::Protocol;
use striate::tensor::DType;

use crate::error::{Error, Result};
#[cfg(feature = "plot")]
use crate::plot;
use crate::{
    bench, classify, completions, convert, draw, encode, inspect, plan, prepare, train, tune,
    validate, visualize,
};

const EXAMPLES: &str = "\
Examples:
  striate classify samples/digit-7.png                  what digit is this? (embedded model)
  striate classify --model vgg-d.sqlite3 photo.jpg      five likeliest classes of a photo
  striate classify --model vgg-d.sqlite3 --format json --list photos.txt > ranks.jsonl
  striate inspect vgg-d.sqlite3                         layers, shapes, parameters
  striate convert vgg-d.sqlite3 vgg-d.safetensors --dtype f16
  striate bench vgg-d --layers                          where the time goes
  striate plan --model vgg-d --devices 4..64 --link 100GbE --flops 4.5T   would it pay?
  striate tune vgg-d                                    choose the GPU's kernels by measuring

Model files are recognised by their content: ccv's .sqlite3, and .safetensors.
Exit codes: 0 done, 1 failed (the reason is on stderr, after `error:`), 2 wrong usage (an option that
can be no right one, whatever the files hold).
Text files (lists, labels, truth, results, JSON) are UTF-8, or UTF-16 with a byte order mark. Empty
lines are skipped, and no character begins a comment. Control characters in names are printed as
escapes (`\\u{1b}`); JSON keeps every name whole.
`striate help COMMAND` tells more about a command.";

/// Convolutional networks on whatever CPU or GPU is there: classify photos, inspect, convert and
/// time models.
#[derive(Debug, Parser)]
#[command(name = "striate", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rank the classes of photos.
    Classify(classify::ClassifyArgs),
    /// Run the raw network on a tensor, and save what a layer puts out.
    Encode(encode::EncodeArgs),
    /// Show what a model file holds: layers, shapes, parameters, metadata.
    Inspect(inspect::InspectArgs),
    /// Convert a model file between formats and precisions.
    Convert(convert::ConvertArgs),
    /// Train a network, or resume its training.
    Train(Box<train::TrainArgs>),
    /// Predict what training on many devices would take: step times, bytes sent, the best way.
    Plan(Box<plan::PlanArgs>),
    /// Resize a set of labelled images once, for training.
    Prepare(prepare::PrepareArgs),
    /// Compute top-1 and top-5 error rates of classification results.
    Validate(validate::ValidateArgs),
    /// Paint the ranks of a classification over its picture.
    Draw(draw::DrawArgs),
    /// Show what a network has learnt: filters, activations, where it looks.
    Visualize(visualize::VisualizeArgs),
    /// Draw the loss and the error rates of trainings.
    #[cfg(feature = "plot")]
    Plot(plot::PlotArgs),
    /// Time ops and networks, and compare with what the machine can do.
    Bench(bench::BenchArgs),
    /// Measure which kernels are the fastest on your GPU, and use them from then on.
    Tune(tune::TuneArgs),
    /// List the devices of this machine.
    Devices,
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where to compute: `auto` (the best GPU, else the CPU), `cpu`, `gpu`, `gpu:N` (by number, see
    /// `striate devices`) or `gpu:NAME` (the one whose name contains NAME).
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: String,
    /// The form of what is printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Threads of the CPU, at most 1024 [default: as many as it runs at once, or
    /// RAYON_NUM_THREADS]. Results are the same bits for any number.
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// The seed of everything random [default: 1].
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print results and errors only: no notes, warnings or progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more about what is done (`info:`); twice for more (`debug:`). RUST_LOG chooses by module.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// Refuses wrong usage that parsing does not see.
    pub(crate) fn check(&self, command: &Command) -> Result<()> {
        let classifies = matches!(command, Command::Classify(_));
        if self.format == Format::Ccv && !classifies {
            return Err(Error::Usage("'--format ccv' is for 'striate classify' only".into()));
        }
        if let (None, Ok(text)) = (self.threads, std::env::var("RAYON_NUM_THREADS"))
            && text.parse::<usize>().is_ok_and(|count| count > MAX_THREADS)
        {
            return Err(Error::Usage(format!(
                "invalid value '{text}' of RAYON_NUM_THREADS: expected at most {MAX_THREADS} threads"
            )));
        }
        check_device("--device", &self.device)
    }
}

/// More threads than any machine runs at once: starting them, and memory for each, would take long
/// before anything is computed.
const MAX_THREADS: usize = 1024;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= MAX_THREADS);
    count.ok_or_else(|| format!("expected a number of threads from 1 to {MAX_THREADS}"))
}

/// The most images at once: a trainer takes no larger mini-batch.
const MAX_BATCH: usize = 1 << 20;

/// Parses a number of images at once.
pub(crate) fn batch(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= MAX_BATCH);
    count.ok_or_else(|| format!("expected a number of images from 1 to {MAX_BATCH}"))
}

/// Parses a whole number of 1 or more.
pub(crate) fn positive<T: FromStr + Default + PartialEq + Clone + Send + Sync + 'static>()
-> impl TypedValueParser<Value = T> {
    let number = |text: &str| text.parse().ok().filter(|number| *number != T::default());
    clap::builder::NonEmptyStringValueParser::new().try_map(move |text: String| {
        number(&text).ok_or_else(|| "expected a whole number of 1 or more".to_owned())
    })
}

/// Parses a number that is finite, in a range: `0.0..` or `0.0..1.0`.
pub(crate) fn number<T>(text: &str, range: impl RangeBounds<T>, expected: &str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Copy + Into<f64>,
{
    let number = text.parse::<T>().ok();
    let number = number.filter(|number| (*number).into().is_finite() && range.contains(number));
    number.ok_or_else(|| format!("expected {expected}"))
}

/// Refuses a name that no device can have.
pub(crate) fn check_device(option: &str, name: &str) -> Result<()> {
    let known = matches!(name, "auto" | "cpu" | "gpu")
        || name.strip_prefix("gpu:").is_some_and(|which| !which.trim().is_empty());
    match known {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "invalid value '{name}' for '{option}': expected auto, cpu, gpu, gpu:N or gpu:NAME"
        ))),
    }
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON object a line.
    Json,
    /// What ccv's classifier prints (`classify` only): `id confidence id confidence …`, ids from 1.
    Ccv,
}

/// Precisions that weights can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// Single precision, 4 bytes a weight.
    F32,
    /// Half precision, 2 bytes a weight.
    F16,
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        }
    }
}

/// Parses a crop protocol; help and completions list all of them.
pub(crate) fn protocol_parser() -> impl TypedValueParser<Value = Protocol> {
    let values = Protocol::all()
        .map(|protocol| PossibleValue::new(protocol.name()).help(protocol.description()));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Protocol>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
